"""Objectives and what is left of their error budgets."""

from typing import Final

from k8s.dashboards.model import Dashboard, Kind, Panel, Query, Row, Unit

_SLO: Final = "{{sloth_slo}}"


def _ratio(window: str) -> Query:
    return Query(
        f'max by (sloth_slo) (slo:sli_error:ratio_rate{window}{{sloth_window="{window}"}}) >= 0', _SLO
    )


_NOW: Final = Row(
    "Error budgets (30 days)",
    (
        Panel(
            "Left of each budget",
            "100 %: no call failed its objective. Below 0: the objective of these 30 days is missed; "
            "ship nothing "
            "but what makes it better.",
            (Query("max by (sloth_slo) (slo:period_error_budget_remaining:ratio) > -Inf", _SLO),),
            Unit.SHARE,
            Kind.STAT,
        ),
    ),
    height=5,
)

_BURN: Final = Row(
    "How fast it burns",
    (
        Panel(
            "Burn rate now",
            "1: the budget ends just with the 30 days. 14.4 for an hour wakes somebody.",
            (Query("max by (sloth_slo) (slo:current_burn_rate:ratio) >= 0", _SLO),),
            steps=((1, "warning"), (14.4, "bad")),
        ),
        Panel(
            "Burnt in 30 days",
            "1: all of the budget.",
            (Query("max by (sloth_slo) (slo:period_burn_rate:ratio) >= 0", _SLO),),
            steps=((1, "bad"),),
        ),
        Panel(
            "Objectives",
            "From k8s/observability/slos; one runbook for each.",
            (Query("max by (sloth_slo, sloth_objective) (sloth_slo_info)"),),
            kind=Kind.TABLE,
            columns={"sloth_slo": "Objective", "sloth_objective": "Percent"},
        ),
    ),
)

_FAILED: Final = Row(
    "Share of calls that failed their objective",
    (
        Panel("In 5 minutes", "What burns now.", (_ratio("5m"),), Unit.SHARE),
        Panel("In 1 hour", "With 5 minutes: pages at 14.4 times the budget.", (_ratio("1h"),), Unit.SHARE),
        Panel("In 6 hours", "With 30 minutes: pages at 6 times the budget.", (_ratio("6h"),), Unit.SHARE),
        Panel("In 3 days", "With 6 hours: a ticket at 1 times the budget.", (_ratio("3d"),), Unit.SHARE),
    ),
    height=7,
)

PAGE: Final = Dashboard(
    "objectives",
    "SLOs",
    "What was promised, how much of it is kept, and how fast the rest is being used.",
    (_NOW, _BURN, _FAILED),
)
