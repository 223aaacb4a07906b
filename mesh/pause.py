"""Leaving alone what failed, so that nobody waits for it again without success."""

import logging
import time

log = logging.getLogger(__name__)


class Pause:
    """After a failure, something is not asked for a while."""

    def __init__(self, what: str, seconds: float, meanwhile: str = "it is left alone") -> None:
        """`what` is asked, and `meanwhile` what is done for those seconds instead, as the log says it."""
        self._what = what
        self._meanwhile = meanwhile
        self._seconds = seconds
        self._until = 0.0

    @property
    def on(self) -> bool:
        """Whether it failed a moment ago: don't ask it."""
        return time.monotonic() < self._until

    def begin(self, why: BaseException | str) -> None:
        """It failed: the pause begins, or begins again."""
        if not self.on:
            reason = f"{type(why).__name__}: {why}" if isinstance(why, BaseException) else why
            log.warning("%s is away (%s); %s for %g s", self._what, reason, self._meanwhile, self._seconds)
        self._until = time.monotonic() + self._seconds

    def end(self) -> None:
        """It is known to be back."""
        self._until = 0.0
