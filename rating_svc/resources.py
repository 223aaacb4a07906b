"""Ratings as resources of the API: whose they are, and how they look."""

from typing import Final

from marquee.ratings.v1 import ratings_pb2 as pb

from mesh import clock, identity, names
from mesh.errors import denied
from rating_svc.cache import PendingWrite
from rating_svc.merge import Shown

_ME: Final = "me"


def caller_and_movie(name: str) -> tuple[str, int]:
    """The caller and the movie of a rating's name.

    Raises:
        MarqueeError: UNAUTHENTICATED, INVALID_ARGUMENT, or PERMISSION_DENIED if it is another user's.
    """
    caller = identity.require().subject
    user, movie = names.rating_parts(name)
    require_own(user, caller)
    return caller, movie


def caller_of(parent: str) -> str:
    """The caller, whose name `parent` is; raises like `caller_and_movie`."""
    caller = identity.require().subject
    require_own(names.user_of(parent), caller)
    return caller


def require_own(user: str, caller: str) -> None:
    """Refuses another user's name with PERMISSION_DENIED."""
    if user not in (_ME, caller):
        raise denied("NOT_YOUR_RATING", "these are another user's ratings; yours are under users/me")


def submitted(user: str, write: PendingWrite) -> pb.Rating:
    """The answer to a write that stands in the log."""
    made = message(user, Shown(write.movie, write.score or 0, True, None, write.submit_us))
    if write.score is None:
        made.state = pb.Rating.STATE_DELETED
    return made


def message(user: str, shown: Shown) -> pb.Rating:
    """A rating as its author sees it."""
    return pb.Rating(
        name=names.rating_name(user, shown.movie),
        movie=names.movie_name(shown.movie),
        score=shown.score,
        state=pb.Rating.STATE_PENDING if shown.pending else pb.Rating.STATE_ACTIVE,
        create_time=None if shown.create_us is None else clock.timestamp(shown.create_us),
        update_time=clock.timestamp(shown.update_us),
        etag=f'"{shown.update_us:x}-{shown.score:x}"',
    )
