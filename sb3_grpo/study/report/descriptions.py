"""Sections of a report that describe policies and trainings: each gives Markdown, empty without results."""

from typing import Final

import numpy as np

from sb3_grpo.fairness.inference import linearised_rates, split_uncertainty
from sb3_grpo.fairness.inference.bands import group_bands
from sb3_grpo.fairness.report.wording import percent, plain, signed
from sb3_grpo.study.report import text
from sb3_grpo.study.report.data import BASELINE, RULE, Results, values
from sb3_grpo.study.report.figures import policy_points
from sb3_grpo.study.report.learning import REACHED, pace
from sb3_grpo.study.report.primary import (
    over_trainings,
)

TUNED: Final = ("triage-tuned", "c-mu-tuned")


def every_row(results: Results) -> str:
    """Every row and rule: reward, disparity, waits, use, cost."""
    parts = []
    for scenario in results.scenarios:
        rows = []
        for name in [*results.model_rows(scenario), *results.rules(scenario)]:
            played = results.tests(scenario, name)
            if not played:
                continue
            keys = ("reward", "worst", "gap", "efficiency", "cost_share", "indices/wait_time_cv")
            cells = [text.interval(over_trainings(values(played, key)), 1 if key == "reward" else 3) for key in keys]
            beds = np.mean([np.mean([p.numbers["utilisation"][f"{bed} beds"] for bed in _BEDS]) for p in played])
            nurses, equipment = (values(played, f"utilisation/{key}").mean() for key in ("nurses", "equipment"))
            use = " / ".join(percent(share, 0) for share in (beds, nurses, equipment))
            rows.append([name, "" if played[0].mode == RULE else str(len(played)), *cells, use])
        if rows:
            columns = [
                "policy",
                "trainings",
                "reward per episode",
                "worst group",
                "gap",
                "efficiency",
                "cost share",
                "wait-time CV",
            ]
            parts.append(f"### {scenario}\n\n{text.table([*columns, 'beds / nurses / equipment used'], rows)}")
    if not parts:
        return ""
    intro = (
        "Means over trainings, 95 % limits over trainings in brackets (Student's t). A rule has one number: how well 500 "
        "episodes measure it stands in the next table. Wait-time CV: coefficient of variation of the groups' mean waits. "
        "Beds: mean of the types' shares."
    )
    return "\n\n".join([intro.replace("500", str(results.protocol.test_episodes)), *parts])


_BEDS: Final = ("general", "paediatric", "critical")


def rules_in_use(results: Results) -> str:
    """How well the test episodes measure each rule."""
    rows = []
    for scenario in results.scenarios:
        for rule in results.rules(scenario):
            (played, *_) = results.tests(scenario, rule)
            totals = played.totals
            if totals is None:
                continue
            bands = group_bands(totals, results.group_names, np.random.default_rng(0))
            cells = [text.interval(each) for each in (*bands.rates, bands.worst, bands.gap)]
            rows.append([scenario, rule, *cells])
    if not rows:
        return ""
    intro = "Benefit rates of the rules in use, with simultaneous 95 % limits over episodes."
    return f"{intro}\n\n{text.table(['hospital', 'rule', *results.group_names, 'worst', 'gap'], rows)}"


def waits_and_success(results: Results) -> str:
    """Waits and success per group under lam=0 and the chosen lam."""
    rows = []
    for scenario in results.scenarios:
        for row in (BASELINE, results.chosen_row(scenario), *TUNED):
            played = results.tests(scenario, row) if row else []
            if not played:
                continue
            for key, name, digits in (("wait_mean", "mean wait, h", 1), ("success", "success of the treated", 3)):
                cells = [
                    text.interval(over_trainings(values(played, f"groups/{group}/{key}")), digits)
                    for group in results.group_names
                ]
                rows.append([scenario, str(row), name, *cells])
    if not rows:
        return ""
    intro = (
        "Mean wait until treatment by the product limit: whoever left, died or was still waiting is censored then, not "
        "dropped. Success: of the treatments whose end is known. Limits over trainings."
    )
    return f"{intro}\n\n{text.table(['hospital', 'policy', '', *results.group_names], rows)}"


def pareto(results: Results) -> str:
    """Which policies no other beats in both efficiency and worst group."""
    from sb3_grpo.fairness.inference import pareto_front

    rows = []
    for scenario in results.scenarios:
        names, points = policy_points(results, scenario)
        if not names:
            continue
        front = pareto_front(points)
        on_front = [k for k in np.argsort(-points[:, 1]) if front.members[k]]
        shown = [f"{names[k]} ({plain(points[k, 0], 3)}, {plain(points[k, 1], 3)})" for k in on_front]
        rows.append([scenario, "; ".join(shown), text.number(front.hypervolume, 4)])
    if not rows:
        return ""
    intro = (
        "Policies that no other beats in both efficiency and worst group, by means over trainings (efficiency, worst group)."
    )
    return f"{intro}\n\n{text.table(['hospital', 'on the front', 'area it dominates, from (0, 0)'], rows)}"


def learning(results: Results) -> str:
    """How fast and how evenly models learn."""
    rows = []
    for scenario in results.scenarios:
        for row in results.model_rows(scenario):
            found = pace(results, scenario, row) if row != BASELINE else None
            if found is None:
                continue
            ratio = found.steps / found.baseline_steps - 1
            spread = [
                f"{text.number(found.deviation[key])} / {text.number(found.baseline_deviation[key])}, p {text.p(p)}"
                for key, p in found.p_variance.items()
            ]
            rows.append(
                [
                    scenario,
                    row,
                    f"{found.reached[0]} of {found.reached[1]}",
                    text.number(found.steps / 1e6, 2),
                    text.number(found.baseline_steps / 1e6, 2),
                    text.NOTHING if np.isnan(ratio) else f"{signed(100 * ratio, 0)} %",
                    *spread,
                ]
            )
    if not rows:
        return ""
    intro = (
        f"Million time steps until {percent(REACHED, 0)} of the efficiency that lam=0 has at the end of training, on "
        "validation episodes, by straight lines between looks; of the trainings that reach it. Spread: standard deviation "
        "over trainings on the test episodes, row / lam=0, p of the Brown-Forsythe test. Descriptive."
    )
    columns = [
        "hospital",
        "policy",
        "reach it",
        "steps",
        "steps of lam=0",
        "longer by",
        "spread of efficiency",
        "spread of gap",
    ]
    return f"{intro}\n\n{text.table(columns, rows)}"


def uncertainty(results: Results) -> str:
    """How much trainings differ (epistemic), and episodes within one (aleatoric)."""
    rows = []
    for scenario in results.scenarios:
        for row in (BASELINE, results.chosen_row(scenario)):
            played = results.tests(scenario, row) if row else []
            totals = [each.totals for each in played]
            known = [each for each in totals if each is not None]
            if len(known) < 2 or len(known) < len(totals):
                continue
            for place, group in enumerate(results.group_names):
                split = split_uncertainty(np.stack([linearised_rates(each)[:, place] for each in known]))
                rows.append(
                    [
                        scenario,
                        str(row),
                        group,
                        text.number(split.epistemic),
                        text.number(split.aleatoric),
                        percent(split.epistemic_share),
                    ]
                )
    if not rows:
        return ""
    intro = (
        "Standard deviation of a group's benefit rate between trainings (epistemic, of what each would have over infinitely "
        "many episodes) and between the episodes of one training (aleatoric), by analysis of variance."
    )
    columns = ["hospital", "policy", "group", "between trainings", "between episodes", "share of the first in the variance"]
    return f"{intro}\n\n{text.table(columns, rows)}"
