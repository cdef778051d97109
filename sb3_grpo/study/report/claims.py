"""What published systems claim for the same hospitals, and what was measured here, claim by claim."""

from typing import Final

import numpy as np

from sb3_grpo.fairness.inference import Interval, ratio_of_means
from sb3_grpo.fairness.report.wording import percent, plain, signed
from sb3_grpo.study.report import text
from sb3_grpo.study.report.data import BASELINE, Results, values
from sb3_grpo.study.report.learning import pace
from sb3_grpo.study.report.primary import Against, over_trainings, primary, rows_against_baseline

_PUBLISHED_REDUCTION: Final = {"Urban": "38.7 %", "Rural": "28.8 %", "Pediatric": "46.3 %", "Surge": "42.7 %"}
_PUBLISHED_WAITS: Final = {"pediatric": 32.4, "adult": 34.1, "elderly": 31.8, "critical": 18.2}
_PUBLISHED_SUCCESS: Final = {"pediatric": 0.942, "adult": 0.928, "elderly": 0.915, "critical": 0.873}


def claims(results: Results) -> str:
    """A table of claims, one row each: the published value, and ours in each hospital with limits over trainings."""
    found = [each.against for each in primary(results)]
    if not found:
        return ""
    rows = [
        *_disparity(results, found),
        *_significance(results, found),
        *_groups(results, found),
        *_use(results, found),
        *_learning(results, found),
        *_indices(results, found),
    ]
    intro = (
        "What the published hospital system (Group Robust Policy Optimization) says about itself, beside what these commands "
        "measured at the chosen lam. Its public code has single runs, no lam=0 baseline and no repeated trainings, and its "
        "hospitals are not these: agreement or not is about the method, not about its numbers. `n/a`: not in this study."
    )
    return f"{intro}\n\n{text.table(['claim', 'published', *(against.scenario for against in found)], rows)}"


def _disparity(results: Results, found: list[Against]) -> list[list[str]]:
    per_hospital = "/".join(_PUBLISHED_REDUCTION.get(against.scenario, "n/a") for against in found)
    best = []
    for against in found:
        lams = {row: each for row, each in rows_against_baseline(results, against.scenario).items() if _is_lam(row) and each}
        best.append(min(lams, key=lambda row: lams[row].gap.difference) if lams else text.NOTHING)
    return [
        ["disparity shrinks (average)", "25.3 % (23.1 to 27.5)", *(text.share(against.reduction) for against in found)],
        ["the same by hospital", per_hospital, *(percent(against.reduction.value) for against in found)],
        ["efficiency kept", "98.2 %", *(text.share(against.efficiency) for against in found)],
        ["lam with the smallest gap", "0.3 in most, 0.4 in Surge", *(row.removeprefix("lam=") for row in best)],
    ]


def _is_lam(row: str) -> bool:
    return row.startswith("lam=") and row != "lam=auto"


def _significance(results: Results, found: list[Against]) -> list[list[str]]:
    corrected = [each.p_corrected for each in primary(results)]
    effects = []
    for against in found:
        lams = [each for row, each in rows_against_baseline(results, against.scenario).items() if _is_lam(row) and each]
        sizes = [abs(each.effect.value) for each in lams if np.isfinite(each.effect.value)]
        effects.append(f"{plain(min(sizes), 2)} to {plain(max(sizes), 2)}" if sizes else text.NOTHING)
    return [
        ["t of the gap against lam=0", "4.23 to 6.89", *(text.number(abs(against.gap.statistic), 2) for against in found)],
        ["p of it", "< 0.001, Bonferroni", *(f"{text.p(p)}, Holm" for p in corrected)],
        ["Cohen's d, over the values of lam", "0.87 to 1.34", *effects],
    ]


def _groups(results: Results, found: list[Against]) -> list[list[str]]:
    rows = []
    for name in results.group_names:
        waits = [_mean(results, against, f"groups/{name}/wait_mean") for against in found]
        rows.append(
            [f"mean wait, h: {name}", _published(_PUBLISHED_WAITS, name, 1), *(text.interval(each, 1) for each in waits)]
        )
    for name in results.group_names:
        success = [_mean(results, against, f"groups/{name}/success") for against in found]
        said = _PUBLISHED_SUCCESS.get(name)
        rows.append([f"success: {name}", percent(said) if said else "n/a", *(text.share(each) for each in success)])
    shorter = []
    for against in found:
        new, old = (_mean(results, against, "overall/wait_mean", row) for row in (against.row, BASELINE))
        shorter.append(f"{signed(new.value - old.value, 1)} h" if np.isfinite(new.value - old.value) else text.NOTHING)
    return [*rows, ["mean wait of all against lam=0", "2 to 4 h shorter", *shorter]]


def _published(table: dict[str, float], name: str, digits: int) -> str:
    return plain(table[name], digits) if name in table else "n/a"


def _use(results: Results, found: list[Against]) -> list[list[str]]:
    beds = []
    for against in found:
        played = results.tests(against.scenario, against.row)
        shares = [
            np.mean([p.numbers["utilisation"][f"{bed} beds"] for bed in ("general", "paediatric", "critical")]) for p in played
        ]
        beds.append(percent(float(np.mean(shares))))
    others = {
        name: [percent(_mean(results, against, f"utilisation/{key}").value) for against in found]
        for name, key in (("nurses", "nurses"), ("equipment", "equipment"))
    }
    costs = []
    for against in found:
        new, old = (values(results.tests(against.scenario, row), "cost_share") for row in (against.row, BASELINE))
        ratio = ratio_of_means(new, old) if min(len(new), len(old)) >= 2 else over_trainings(np.array([]))
        costs.append(f"{signed(100 * (ratio.value - 1), 0)} %" if np.isfinite(ratio.value) else text.NOTHING)
    return [
        ["beds used (mean of the types)", "88.7 %", *beds],
        ["staff used (need / presence)", "86.4 %", *others["nurses"]],
        ["equipment used", "82.1 %", *others["equipment"]],
        ["cost against lam=0", "-12 %", *costs],
    ]


def _learning(results: Results, found: list[Against]) -> list[list[str]]:
    paces = [pace(results, against.scenario, against.row) for against in found]
    faster, spread = [], []
    for each in paces:
        change = np.nan if each is None else each.steps / each.baseline_steps - 1
        faster.append(text.NOTHING if np.isnan(change) else f"{signed(100 * change, 0)} % time steps")
        if each is None:
            spread.append(text.NOTHING)
        else:
            gap, base = each.deviation["gap"], each.baseline_deviation["gap"]
            spread.append(f"{text.number(gap)} against {text.number(base)}, p {text.p(each.p_variance['gap'])}")
    return [
        ["learns faster than lam=0", "15 % faster", *faster],
        ["standard deviation of the gap over trainings", "lower than PPO's", *spread],
    ]


def _indices(results: Results, found: list[Against]) -> list[list[str]]:
    named = (
        ("wait-time equity, 1 - CV", "91.4 % (0.05 to 0.16 in its tables)", "wait_time_equity"),
        ("demographic parity, 1 - max distance", "no number", "published_demographic_parity"),
        ("equalised odds, 1 - max distance", "no number", "published_equalized_odds"),
        ("individual: consistency (10 neighbours)", "no number", "consistency"),
        ("individual: difference / distance (distance >= 0.1)", "no number", "lipschitz"),
    )
    return [
        [name, published, *(text.interval(_mean(results, against, f"indices/{key}")) for against in found)]
        for name, published, key in named
    ]


def _mean(results: Results, against: Against, key: str, row: str | None = None) -> Interval:
    return over_trainings(values(results.tests(against.scenario, against.row if row is None else row), key))
