"""Whose tokens the edge takes: the development issuer's (`edge.tokens`), or those of an OIDC provider."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from edge import template, tokens
from mesh.config import setting

SYSTEM_AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class IssuerConfig:
    """The issuer of tokens. Without a URL of its keys, it is the development issuer."""

    jwks_url: str = setting(
        "MARQUEE_OIDC_JWKS_URL",
        "",
        "where an OIDC provider publishes its keys (its `jwks_uri`); empty: the development issuer",
    )
    issuer: str = setting("MARQUEE_OIDC_ISSUER", tokens.ISSUER, "the `iss` that tokens must have")
    audience: str = setting("MARQUEE_OIDC_AUDIENCE", tokens.AUDIENCE, "the `aud` that tokens must have")
    authorities: str = setting(
        "MARQUEE_OIDC_CA",
        SYSTEM_AUTHORITIES,
        "the PEM file of the authorities that its server is verified by",
    )
    client_id: str = setting(
        "MARQUEE_OIDC_CLIENT_ID",
        "",
        "as which client, public and with PKCE, the page at / signs people in; empty: they paste a token",
    )
    scope: str = setting("MARQUEE_OIDC_SCOPE", "openid", "the scopes that the page asks the provider for")
    origins: str = setting(
        "MARQUEE_OIDC_ORIGINS",
        "",
        "origins besides the issuer's that the page may call to sign people in, such as that of its token "
        "endpoint; separated by spaces",
    )
    refresh_s: int = setting(
        "MARQUEE_OIDC_REFRESH_S",
        300,
        "how often its keys are fetched, in seconds: how soon a new key is known, and a withdrawn one is not",
        low=1,
        high=86_400,
    )


def jwt_filter(config: IssuerConfig, jwks: Path | None) -> dict[str, Any]:
    """The providers and requirements of Envoy's jwt filter.

    `jwks` is the file of keys where there is no URL.

    Raises:
        ValueError: there is neither.
    """
    values = _values(config, jwks)
    source = "keys_from_url" if config.jwks_url else "keys_from_file"
    provider = {
        **template.load("jwt", values, part="provider"),
        **template.load("jwt", values, part=source),
    }
    return {
        "providers": {"marquee": provider, "marquee_then_route": {**provider, "clear_route_cache": True}},
        "requirement_map": template.load("jwt", values, part="requirements"),
    }


def clusters(config: IssuerConfig) -> list[dict[str, Any]]:
    """What Envoy needs to fetch keys: the provider's server, if there is one."""
    if not config.jwks_url:
        return []
    values = _values(config, None)
    cluster: dict[str, Any] = template.load("jwt", values, part="cluster")
    if urlsplit(config.jwks_url).scheme == "https":
        cluster["transport_socket"] = template.load("jwt", values, part="tls")
    return [cluster]


def _values(config: IssuerConfig, jwks: Path | None) -> dict[str, Any]:
    values: dict[str, Any] = {"issuer": config.issuer, "audience": config.audience}
    if not config.jwks_url:
        if jwks is None:
            raise ValueError("the edge needs the token issuer's keys: give a file or a URL of them")
        return {**values, "jwks": str(jwks.resolve())}
    url = urlsplit(config.jwks_url)
    if url.scheme not in _PORTS or not url.hostname:
        raise ValueError(f"{config.jwks_url!r} is no URL of keys: give http:// or https://")
    return {
        **values,
        "jwks_url": config.jwks_url,
        "jwks_host": url.hostname,
        "jwks_port": url.port or _PORTS[url.scheme],
        "jwks_ca": config.authorities,
        "jwks_refresh": f"{config.refresh_s}s",
    }
