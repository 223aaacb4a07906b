"""docs/capacity.md, made of what was measured and assumed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from k8s.capacity.model import FOLDER, Assumed, Measured, Plan, plan
from mesh.config import load
from mesh.kafka.retention import Retention

PAGE: Final = FOLDER.parents[1] / "docs" / "capacity.md"
_WORTH_A_ROW_US: Final = 1.0
_KINDS: Final = {
    "movie": "a movie",
    "score": "a score",
    "top": "a chart",
    "search": "a search",
    "rate": "rating a movie",
    "mine": "one's own rating",
}


def plans(measured: Measured, assumed: Assumed) -> list[Plan]:
    """What each stage needs, with the log kept as long as the code keeps it by default."""
    log_s = load(Retention, {}).log_s
    return [plan(stage, measured, assumed, log_s) for stage in assumed.stages]


def made() -> str:
    """The page."""
    measured, assumed = Measured.read(), Assumed.read()
    checked = json.loads((FOLDER / "checked.json").read_text())
    found = plans(measured, assumed)
    return (
        (FOLDER / "page.template")
        .read_text()
        .format(
            measured=measured,
            assumed=assumed,
            checked=checked,
            mix=", ".join(f"{share} {kind}" for kind, share in assumed.mix.items()),
            stages=_stages(found),
            costs=_costs(measured, assumed.mix),
            last=found[-1].stage.name,
            pods=_pods(found[-1]),
            comparison=_comparison(checked["millicores"]),
            remark=checked["remark"],
        )
    )


def _stages(found: Sequence[Plan]) -> str:
    rows = [
        ("users a day", [f"{each.stage.users:,}" for each in found]),
        ("movies", [f"{each.stage.movies:,}" for each in found]),
        ("requests a second, mean", [f"{each.mean:,.1f}" for each in found]),
        ("requests a second, at the peak", [f"{each.peak:,.0f}" for each in found]),
        ("cores busy at the peak", [f"{each.busy_cores:.2f}" for each in found]),
        ("cores to have", [f"{each.cores:.2f}" for each in found]),
        ("pods and servers", [str(sum(need.pods for need in each.needs)) for each in found]),
        ("of them Kafka's brokers", [str(each.of("kafka").pods) for each in found]),
        ("memory, GiB", [f"{each.memory_gib:.1f}" for each in found]),
        ("ratings a day", [f"{each.ratings_a_day:,.0f}" for each in found]),
        ("Kafka's disks, GiB in all", [f"{each.log_gib:,.2f}" for each in found]),
        ("PostgreSQL's ratings after a year, GiB a copy", [f"{each.rows_gib:,.1f}" for each in found]),
        ("US dollars a month, with these disks", [f"{each.dollars:,.0f}" for each in found]),
    ]
    return _table(["", *(each.stage.name for each in found)], ([name, *cells] for name, cells in rows))


def _costs(measured: Measured, mix: Mapping[str, float]) -> str:
    mixed = measured.of_mix(mix)
    rows = [
        [name, *(f"{measured.cpu_us[kind].get(name, 0):,.0f}" for kind in mix), f"{used:,.0f}"]
        for name, used in sorted(mixed.items(), key=lambda item: -item[1])
        if used >= _WORTH_A_ROW_US
    ]
    sums = [f"{sum(measured.cpu_us[kind].values()):,.0f}" for kind in mix]
    head = ["process", *(_KINDS[kind] for kind in mix), "the mix"]
    return _table(head, [*rows, ["all", *sums, f"{sum(mixed.values()):,.0f}"]])


def _pods(of: Plan) -> str:
    rows = (
        [need.process, f"{need.cores:.2f}", str(need.pods), f"{need.memory_gib:.2f}"] for need in of.needs
    )
    return _table(["process", "cores busy at the peak", "pods", "memory, GiB in all"], rows)


def _comparison(millicores: Iterable[tuple[str, float, float]]) -> str:
    rows = (
        [name, f"{predicted:.0f}", f"{was:.0f}", f"{was / predicted:.2f}" if predicted else "–"]
        for name, predicted, was in millicores
    )
    return _table(["process", "predicted, millicores", "measured", "measured ÷ predicted"], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
