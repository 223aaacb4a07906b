"""The lives of the log, as several databases tell of them."""

from typing import Any

import pytest

from rating_svc import lives
from rating_svc.registry import Life

OPEN: Any = (1, "log", "id", 2, None, None)
CLOSED: Any = (1, "log", "id", 2, None, [7, 9])


class Databases:
    """Their rows, one database after the other."""

    def __init__(self, *rows: Any) -> None:
        self.rows = list(rows)

    async def fetch(self, _query: str, *_: Any, fresh: bool = False) -> list[Any]:
        return self.rows


@pytest.mark.parametrize("rows", [(OPEN, CLOSED), (CLOSED, OPEN)])
async def test_where_one_database_knows_that_a_topic_is_closed_it_is(rows: tuple[Any, ...]) -> None:
    assert await lives.known(Databases(*rows)) == [Life(1, "log", "id", 2, None, [7, 9])]
