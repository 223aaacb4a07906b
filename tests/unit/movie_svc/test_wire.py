"""Messages put together from ready bytes are what protobuf would have made."""

from hypothesis import given
from hypothesis import strategies as st
from marquee.movies.v1 import movies_pb2

from movie_svc import wire

movies = st.builds(
    movies_pb2.Movie,
    name=st.just("movies/tt0111161"),
    title=st.text(max_size=300).filter(lambda text: text.isprintable()),
    year=st.integers(1870, 2100),
    etag=st.just("00"),
)


@given(movies)
def test_stale_is_added_to_ready_bytes(movie: movies_pb2.Movie) -> None:
    marked = movies_pb2.Movie.FromString(movie.SerializeToString() + wire.STALE)
    movie.stale = True
    assert marked == movie


@given(movies, st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_a_full_plot_is_added_with_its_etag(movie: movies_pb2.Movie, plot: str) -> None:
    longer = movies_pb2.Movie.FromString(wire.with_full_plot(movie.SerializeToString(), plot, "01"))
    movie.full_plot, movie.etag = plot, "01"
    assert longer == movie


@given(st.lists(movies, max_size=5), st.text("abc", max_size=200))
def test_pages_of_ready_bytes(found: list[movies_pb2.Movie], token: str) -> None:
    raw = wire.page([m.SerializeToString() for m in found], token)
    for made in (
        movies_pb2.SearchMoviesResponse.FromString(raw),
        movies_pb2.ListMoviesResponse.FromString(raw),
    ):
        assert list(made.movies) == found
        assert made.next_page_token == token


@given(st.lists(movies, max_size=5), st.integers(0, 3))
def test_batches_of_ready_bytes(found: list[movies_pb2.Movie], absent: int) -> None:
    missing = [movies_pb2.MissingMovie(name="movies/tt0000001", reason="MOVIE_NOT_FOUND")] * absent
    raw = wire.batch([m.SerializeToString() for m in found], missing)
    assert movies_pb2.BatchGetMoviesResponse.FromString(raw) == movies_pb2.BatchGetMoviesResponse(
        movies=found, missing=missing
    )
