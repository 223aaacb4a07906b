"""`marquee demo`: real ratings through the edge, and the chart compared with a recount."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from local.commands import admin, chart, loading, movies, recount
from local.commands.loading import Way
from local.commands.movielens import Dataset, omdb_answers, open_dataset, sample_films
from local.stack.layout import Stack, StackError
from mesh.tables import PASSED_OVER_CODE, PassedOver

_SHOWN: Final = 20
_PAGE: Final = 100
_POLL_S: Final = 0.5
_STALLED_AFTER_S: Final = 60.0


@dataclass(frozen=True)
class Place:
    """Where the mesh runs, as far as the demo must know it."""

    movie_svc: Callable[[Stack, str, Mapping[str, Path]], subprocess.CompletedProcess[str]]
    """Runs a command of movie_svc's on its stores, with files by the names of the options that take them."""
    next_steps: Callable[[Stack, str], str]
    """What to try now, with the resource name of the first movie."""


def run(
    stack: Stack, data: Path | None, *, limit: int = 0, way: Way = Way.BOTH, place: Place | None = None
) -> int:
    """Loads, waits, rebuilds, compares and tells. Without a `place`, the mesh is the stack of this machine.

    Returns the command's exit code: 0, 1 if the chart is not the recount's, or
    that of lines passed over if there were any and all else is right.

    Raises:
        StackError: a step failed; the message says which and why.
    """
    place = place or Place(_movie_svc_here, _steps_here)
    console = Console(soft_wrap=True)
    passed = PassedOver(lambda text: console.print(text, highlight=False, markup=False))
    dataset = open_dataset(data, limit, passed)
    if not dataset.ratings:
        raise StackError(
            f"{dataset.folder} holds no rating that can be read: name another folder with --data"
        )
    expected = recount.histograms(dataset.ratings)
    _refuse_foreign(stack, expected)
    console.print(f"[bold]1.[/] the catalogue of {len(expected):,} movies", highlight=False)
    all_read = _know_movies(stack, place, dataset, console)

    console.print(f"[bold]2.[/] {dataset.name} through {stack.edge_url}", highlight=False)
    began = time.monotonic()
    sent = loading.send(stack, dataset, console, way)

    console.print("[bold]3.[/] wait until all of them are stored and counted")
    _await_counted(stack, expected)
    counted_s = time.monotonic() - began

    console.print("[bold]4.[/] rebuild the charts, and compare them with a recount of the data")
    rebuilt = admin.rebuild_charts(stack)
    entries, formula = _whole_chart(stack, rebuilt.formula.prior_mean)
    rows = recount.top_rated(dataset.ratings, formula["priorVotes"], formula["priorMean"])
    wrong = recount.differences(entries, rows)
    if abs(formula["priorMean"] - recount.mean(dataset.ratings)) > 1e-9:
        wrong.append(f"C is {formula['priorMean']}, the mean of the data {recount.mean(dataset.ratings)}")

    console.print()
    chart.show({"entries": entries[:_SHOWN], "formula": formula}, console)
    console.print()
    _verdict(console, wrong, len(rows))
    count = len(dataset.ratings)
    console.print(str(sent), highlight=False)
    console.print(
        f"stored, counted and checked after {counted_s:.1f} s: [bold]{count / counted_s:,.0f} a second[/]; "
        f"charts rebuilt in {rebuilt.elapsed_ms} ms",
        highlight=False,
    )
    if passed.count:
        console.print(f"[bold yellow]{passed.count:,} lines can't be read[/]: see above", highlight=False)
    steps_to_try = place.next_steps(stack, entries[0]["movie"])
    console.print(steps_to_try, highlight=False, markup=False, soft_wrap=True)
    if wrong:
        return 1
    return 0 if all_read and not passed.count else PASSED_OVER_CODE


def _refuse_foreign(stack: Stack, expected: dict[str, list[int]]) -> None:
    """The check needs a mesh without other ratings; those of an earlier demo are the same ratings."""
    for movie, histogram in admin.totals(stack).histograms.items():
        known = expected.get(movie, [0] * 10)
        if any(has > wanted for has, wanted in zip(histogram, known, strict=True)):
            raise StackError(
                f"the mesh already holds ratings that are not in this data (of {movie}), and the chart could "
                "not be checked: start afresh with `marquee down --wipe`"
            )


def _know_movies(stack: Stack, place: Place, dataset: Dataset, console: Console) -> bool:
    """Gives movie_svc the titles: MovieLens' catalogue and recorded OMDb answers, or the sample's films.

    Returns whether all lines could be read.
    """
    if dataset.folder is None:
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as films:
            films.writelines(json.dumps({"body": body}) + "\n" for body in sample_films())
            films.flush()
            return _movie_svc(stack, place, console, "import", {"": Path(films.name)})
    tables = {"--movies": dataset.folder / "movies.csv", "--links": dataset.folder / "links.csv"}
    all_read = _movie_svc(stack, place, console, "import-catalogue", tables)
    answers = omdb_answers()
    if answers is not None:
        all_read &= _movie_svc(stack, place, console, "import", {"": answers})
    return all_read


def _movie_svc(stack: Stack, place: Place, console: Console, command: str, files: Mapping[str, Path]) -> bool:
    """Runs its import; shows what could not be read, and returns whether that was nothing."""
    done = place.movie_svc(stack, command, files)
    if done.returncode == PASSED_OVER_CODE:
        console.print(done.stderr.strip(), highlight=False, markup=False)
        return False
    if done.returncode:
        raise StackError(f"movie_svc {command} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    return True


def _movie_svc_here(
    stack: Stack, command: str, files: Mapping[str, Path]
) -> subprocess.CompletedProcess[str]:
    arguments = [f"{option}={file}" if option else str(file) for option, file in files.items()]
    return subprocess.run(
        movies.command(command, *arguments),
        env=movies.environment(stack),
        capture_output=True,
        text=True,
        check=False,
    )


def _await_counted(stack: Stack, expected: dict[str, list[int]]) -> None:
    """Waits until rating_svc has stored everything, and ranking_svc's aggregates are its recount."""
    last, moved = "", time.monotonic()
    while True:
        stored = admin.totals(stack)
        if stored.histograms == expected and stored.pending == 0:
            differing = admin.reconcile(stack).differing
            if differing == 0:
                return
            progress = f"{differing} movies differ"
        else:
            progress = f"{stored.votes} stored, {stored.pending} pending"
        if progress != last:
            last, moved = progress, time.monotonic()
        elif time.monotonic() - moved > _STALLED_AFTER_S:
            # One that the data had too, from somebody else, shows only now.
            _refuse_foreign(stack, expected)
            raise StackError(
                f"nothing has moved for {_STALLED_AFTER_S:.0f} s: {stored.votes:,} ratings are stored of "
                f"{sum(map(sum, expected.values())):,}, {stored.pending:,} changes are not handed on; "
                "see `marquee status` and `marquee logs`"
            )
        time.sleep(_POLL_S)


def _whole_chart(stack: Stack, prior_mean: float) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """All pages of the chart, once the servers have the one that was just rebuilt."""
    deadline = time.monotonic() + _STALLED_AFTER_S
    while True:
        first = chart.read(stack, {"pageSize": str(_PAGE)})
        titled = all(entry.get("title") for entry in first["entries"][:_SHOWN])
        if first["formula"]["priorMean"] == prior_mean and titled:
            break
        if time.monotonic() > deadline:
            raise StackError(
                "the edge still answers with a chart from before the rebuild, or without titles: "
                "see `marquee logs`"
            )
        time.sleep(_POLL_S)
    entries = list(first["entries"])
    page = first
    while page.get("nextPageToken"):
        page = chart.read(stack, {"pageSize": str(_PAGE), "pageToken": page["nextPageToken"]})
        entries += page["entries"]
    return entries, first["formula"]


def _verdict(console: Console, wrong: Sequence[str], movies: int) -> None:
    if wrong:
        console.print(f"[bold red]The chart is not what the recount says: {len(wrong)} differences.[/]")
        for text in wrong[:10]:
            console.print(f"  {text}", highlight=False)
        return
    console.print(
        f"[bold green]The chart is right:[/] all {movies:,} movies, their votes, means, weighted scores "
        "and order are those of an independent recount of the data.",
        highlight=False,
    )


def _steps_here(stack: Stack, movie: str) -> str:
    metrics = ", ".join(
        f"http://{stack.address(key.partition('/')[0], 'metrics')}/metrics ({key.partition('/')[0]})"
        for key in stack.ports
        if key.endswith("/metrics")
    )
    marquee = _command()
    return f"""{calls_to_try(stack, movie, f"{marquee} token --user alice")}

Metrics: {metrics}; Envoy: http://{stack.address("envoy", "admin")}/stats/prometheus
Look: {marquee} status, logs -f, top --genre Drama, verify, load; all of it: {marquee} --help
Stop: {marquee} down"""


def calls_to_try(stack: Stack, movie: str, token_command: str) -> str:
    """Calls of the API as a person types them, on the edge of `stack`."""
    from edge import tokens

    token = tokens.issue(stack.home.tokens, "alice", (), 24 * 3600)
    return f"""
The mesh stays up. Try it:

  {stack.edge_url}/docs in a browser
  curl '{stack.edge_url}/v1/{movie}'
  curl '{stack.edge_url}/v1/charts/top-rated?genre=Drama&decade=1990&pageSize=5'
  TOKEN=$({token_command})     # or, good for a day:
  TOKEN={token}
  curl -X PUT -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
       -d '{{"score": 9}}' '{stack.edge_url}/v1/users/me/ratings/{movie.removeprefix("movies/")}'"""


def _command() -> str:
    """How this command can be called from here."""
    found = shutil.which("marquee")
    return "marquee" if found else os.path.relpath(Path(sys.executable).with_name("marquee"))
