"""Tokens of the development issuer, and links that bring one to the page."""

from collections.abc import Sequence

from edge import tokens
from local.stack import state as states
from local.stack.layout import Home, StackError


def issue(home: Home, user: str, scope: Sequence[str], ttl_s: int, tier: str) -> str:
    """A token for a user.

    Raises:
        StackError: there is no key yet, or the services would refuse the user.
    """
    try:
        return tokens.issue(home.tokens, user, scope, ttl_s, tier)
    except FileNotFoundError:
        raise StackError(
            "there is no key to sign tokens with yet: start the mesh with `marquee up`"
        ) from None
    except ValueError as error:
        raise StackError(str(error)) from None


def link(home: Home, token: str) -> str:
    """A link to the page that brings a token: after the `#`, which browsers send to no server.

    Raises:
        StackError: no edge runs.
    """
    running = states.live(home)
    if running is None or "envoy/edge" not in running.stack(home).ports:
        raise StackError("there is no running edge: start the mesh with `marquee up`")
    return f"http://{running.stack(home).address('envoy', 'edge')}/sign-in#token={token}"
