"""Titles are found by each of their names, in every script."""

import pytest

from local.stack.layout import Stack
from tests.support.movies import MovieProcess, Omdb
from tests.support.titles import Movies, aged, answer, connected, looked_up, searched

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("title", "year", "expected"),
    [
        ("Alien 3", 1992, "Alien³"),
        ("Alien3", 1992, "Alien³"),
        ("Alien", None, "Alien"),
        ("SWAT", 2003, "S.W.A.T."),
        ("S W A T", 2003, "S.W.A.T."),
        ("8 1/2", 1963, "8½"),
        ("WALL-E", 2008, "WALL·E"),
        ("Walle", 2008, "WALL·E"),
        ("MASH", 1970, "M*A*S*H"),
        ("Ocean's Eleven", 2001, "Ocean’s Eleven"),
        ("OCEANS ELEVEN", None, "Ocean’s Eleven"),
        ("Amelie", None, "Amélie"),
        ("Leon", None, "Léon"),
        ("Good, the Bad & the Ugly, The", 1966, "The Good, the Bad and the Ugly"),
        ("oedipe roi", None, "Œdipe roi"),
        ("kis uykusu", None, "Kış Uykusu"),
        ("शोले", 1975, "शोले"),
        ("ゴジラ", 1954, "ゴジラ"),
        ("ｺﾞｼﾞﾗ", 1954, "ゴジラ"),
        ("コジラ", 1954, "コジラ"),
        ("ΖΟΡΜΠΑΣ", None, "Ζορμπάς"),
        ("جدايي نادر از سيمين", None, "جدایی نادر از سیمین"),
        ("جدایی نادر از سیمین", 2011, "جدایی نادر از سیمین"),
        ("शाला", 1975, None),
        ("शल", 1975, None),
        ("दिवार", 1975, None),
        ("ทมยำกง", 2005, None),
        ("Мои друг Иван Лапшин", 1985, None),
        ("81/2", 1963, None),
        ("Seven", 1995, None),
    ],
)
async def test_a_title_is_looked_up_however_it_is_written_and_no_other_one_answers(
    service: MovieProcess, title: str, year: int | None, expected: str | None
) -> None:
    assert await looked_up(service, title, year) == expected


async def test_names_of_a_catalogue_stay_when_omdb_names_a_title(
    movies: Movies, service: MovieProcess
) -> None:
    also = "Chungking Forest (a.k.a. Chung Hing sam lam) (Bosque de Chungking, El) (1994)"
    full = answer(9200001, "Chungking Express", 1994, Plot="Two policemen.", imdbVotes="9")
    await movies.catalogue((9200001, also))
    await movies.answers(full)
    await movies.answers(answer(9200001, "Chungking Expres", 1994, imdbVotes="10"))
    await movies.answers({**full, "imdbVotes": "11"})
    # Whichever comes first.
    await movies.answers(answer(9200002, "The Killer", 1989, imdbVotes="9"))
    await movies.catalogue((9200002, "Assassin, The (Die xue shuang xiong) (1989)"))
    await aged(movies.stack)
    for name in (
        "Chungking Express",
        "Chungking Expres",
        "Chungking Forest",
        "Chung Hing sam lam",
        "El bosque de Chungking",
    ):
        assert await looked_up(service, name, 1994) == "Chungking Express"
        assert await looked_up(service, name) == "Chungking Express"
        assert (await searched(service, name))[0] == "Chungking Express"
    assert await looked_up(service, "Chung Hing sam lam", 1995) is None
    for name in ("Die xue shuang xiong", "Assassin, The", "The Killer"):
        assert await looked_up(service, name, 1989) == "The Killer"
        assert await searched(service, name) == ["The Killer"]
    assert "The Killer" in await searched(service, "Die xue shuang xong")


async def test_who_has_a_name_as_title_comes_before_who_is_also_called_so(
    movies: Movies, service: MovieProcess
) -> None:
    await movies.catalogue((9300001, "Famous Thing (a.k.a. Quiet Thing) (1990)"))
    await movies.answers(
        answer(9300001, "Famous Thing", 1990, imdbVotes="90,000"),
        answer(9300002, "Quiet Thing", 1990, imdbVotes="3"),
    )
    await aged(movies.stack)
    assert await looked_up(service, "quiet thing", 1990) == "Quiet Thing"
    assert await looked_up(service, "famous thing", 1990) == "Famous Thing"


async def test_keys_by_the_rules_of_another_release_are_made_again(movies: Movies) -> None:
    """Before a process serves: another film must not answer; and what that release writes later, too."""
    sql = await connected(movies.stack)
    # As the release before wrote them.
    await sql.execute(
        """INSERT INTO movies (id, movie, etag, source, fetch_time, fresh_until, create_time, type, title,
                               title_key, words, year, votes, genres)
           SELECT id, movie, etag, source, fetch_time, fresh_until, create_time, type, title, k,
                  to_tsvector('simple', k || ' alias'), year, votes, genres
           FROM (SELECT 9400001 AS id, 'मेला' AS title, 'मल' AS k) AS t,
                (SELECT movie, etag, source, fetch_time, fresh_until, create_time, type, year, votes, genres
                 FROM movies WHERE id = 73707) AS m"""
    )
    await sql.execute(
        "UPDATE movies SET title_key = 'alien3', words = 'alien3', keyed = NULL WHERE id = 103644"
    )
    await sql.execute(
        "INSERT INTO lookups (title_key, year, type, movie_id, fresh_until) "
        "VALUES ('मल', 1975, 0, 9400001, now() + interval '1 day')"
    )
    async with movies.process(MARQUEE_OMDB_MODE="off") as service:
        assert await sql.fetchval("SELECT count(*) FROM movies WHERE keyed IS DISTINCT FROM fetch_time") == 0
        assert await looked_up(service, "मल", 1975) is None
        assert await sql.fetchval("SELECT title_key FROM movies WHERE id = 9400001") == "मेला"
        assert await looked_up(service, "Alien 3", 1992) == "Alien³"
        assert await looked_up(service, "मेला", 1975) == "शोले", "the bytes of the row"
        assert await searched(service, "मेला") == ["शोले"], "and by its words"
        assert "शोले" in await searched(service, "alias"), "words of names that nothing else tells of stay"
    await sql.execute("DELETE FROM movies WHERE id = 9400001")
    await sql.close()


async def test_what_omdb_finds_comes_first_and_nothing_twice(movies: Movies, stack: Stack) -> None:
    omdb = Omdb(stack)
    await omdb.behave()
    await omdb.reset()
    await movies.answers(
        answer(9500001, "Godfathr", 1970, imdbVotes="5"),
        # Known here, and one letter from what is asked for; OMDb finds it by its own title.
        answer(68646, "The Godfathar", 1972, imdbVotes="2,000,000"),
        answer(9500002, "The Godfathers", 1980, imdbVotes="1"),
    )
    await aged(stack)
    async with movies.process() as service:
        for size in (1, 2, 100):
            found = await searched(service, "godfather", size)
            assert len(found) == len(set(found)), found
            assert found[0] == "The Godfathers", "known here, and begins so"
            assert {"The Godfathar", "Godfathr"} <= set(found), found
            assert found.index("The Godfathar") < found.index("Godfathr") == len(found) - 1
        await omdb.behave(mode="down")
        assert "The Godfathers" in await searched(service, "godfathxrs"), "OMDb is away"
    await omdb.behave()
