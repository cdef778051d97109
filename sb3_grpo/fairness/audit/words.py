"""What an audit says in words: a sentence for each way of forming groups, and how the numbers were found."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Final

import numpy as np

from sb3_grpo.fairness.audit.audit import CONFIDENCE, Audit, GroupAudit
from sb3_grpo.fairness.audit.cells import ORIGIN
from sb3_grpo.fairness.inference.results import Interval
from sb3_grpo.fairness.metrics import MIN_PATIENTS
from sb3_grpo.fairness.metrics.definitions import DEFINITIONS
from sb3_grpo.fairness.report.wording import Scale, hours, level_text, listing, percent, plain

DISCLAIMER: Final = (
    "Research software, not a medical device. Differences between groups in a log have many causes: this page shows them, it "
    "does not explain them."
)
SHARES: Final = Scale(share=True)
METRICS: Final = (
    *("benefit_rate", "treated", "in_time", "success", "left", "died_waiting", "transferred"),
    *("wait_mean", "wait_median", "wait_p95", "untreated_mean", "wait_treated_mean", "cost_per_treated"),
)
"""Metrics that tables show, in this order, those that the columns allow."""

SHORT: Final = {
    "benefit_rate": "benefit rate",
    "treated": "treated",
    "in_time": "in time",
    "success": "success",
    "left": "left",
    "died_waiting": "died waiting",
    "transferred": "transferred",
    "wait_mean": "mean wait",
    "wait_median": "median wait",
    "wait_p95": "95 % wait at most",
    "untreated_mean": "mean time untreated",
    "wait_treated_mean": "mean wait of the treated",
    "cost_per_treated": "cost per treated",
}
"""What tables call them."""

_FIRST_DAY: Final = 24.0 * 365  # hours; arrivals before 1971 are numbers of hours, not dates
_LIBRARIES: Final = ("sb3-grpo", "numpy", "scipy", "pandas", "statsmodels", "fairlearn", "plotly")


def conclusion(audit: Audit, of: GroupAudit) -> str:
    """What was found for one way of forming groups, in a sentence.

    :param audit: the audit
    :param of: the groups
    """
    bands = of.bands
    by = f"By {of.name}"
    known = [(rate.value, name) for name, rate in zip(bands.group_names, bands.rates, strict=True) if rate.value == rate.value]
    if not known:
        return f"{by}: nothing can be said, every group has too few patients."
    if len(known) < 2:
        return f"{by}: only {known[0][1]} has enough patients, so there is nothing to compare."
    best = max(known)[1]
    worst = bands.rates[bands.group_names.index(str(bands.worst_group))]
    text = (
        f"{by}: {audit.label} is lowest for {bands.worst_group}, {SHARES.with_limits(worst)}; the gap to the highest, "
        f"{best}, is {gap_text(bands.gap)}"
    )
    if np.isnan(bands.gap.low):
        return f"{text}. How certain that is cannot be said."
    return f"{text}. " + ("That is more than noise." if shown(bands.gap) else "That may be chance: no gap is shown.")


def shown(gap: Interval) -> bool:
    """Whether a gap is shown: its interval excludes 0."""
    return bool(gap.low > 0)


def gap_text(gap: Interval) -> str:
    """A gap in percentage points with its interval."""
    if np.isnan(gap.value):
        return "not known"
    limits = "no interval" if np.isnan(gap.low) else f"{plain(100 * gap.low, 1)} to {plain(100 * gap.high, 1)}"
    return f"{plain(100 * gap.value, 1)} points ({limits})"


def metric_text(name: str, value: float, n: int, horizon: float) -> str:
    """One number of a table.

    :param name: the metric
    :param value: its value
    :param n: patients behind it
    :param horizon: hours beyond which waits are not looked at
    """
    if np.isnan(value):
        return f"insufficient (n={n})" if n < MIN_PATIENTS else f"undefined (n={n})"
    unit = DEFINITIONS[name].unit
    if unit == "hours":
        return f"> {horizon:g} h" if np.isinf(value) else hours(value)
    return percent(value) if unit == "share" else plain(value, 2)


def stay_text(stay: Interval, n: int) -> str:
    """A mean stay with its interval."""
    if np.isnan(stay.value):
        return f"insufficient (n={n})" if n < MIN_PATIENTS else "not known"
    limits = "no interval" if np.isnan(stay.low) else f"{plain(stay.low, 1)} to {plain(stay.high, 1)}"
    return f"{hours(stay.value)} ({limits})"


def period_text(audit: Audit) -> str:
    """From when to when patients arrived."""
    if audit.period is None:
        return "Not known: no column tells when patients arrived."
    first, last = map(hour_text, audit.period)
    return f"Arrivals from {first} to {last}."


def hour_text(hour: float) -> str:
    """A moment: its date, or its number where hours are not counted from a date."""
    if hour < _FIRST_DAY:
        return f"hour {plain(hour, 0)}"
    return (datetime.fromisoformat(ORIGIN) + timedelta(hours=hour)).date().isoformat()


def notes(audit: Audit) -> dict[str, str]:
    """How the numbers were found, by name.

    :param audit: the audit
    """
    level = level_text(CONFIDENCE)
    definition = DEFINITIONS[audit.outcome]
    result = {
        "File": f"{audit.file}, {audit.n_rows} records. {period_text(audit)}",
        "Outcome": f"{audit.label}: {definition.label}, as a share of the group. More is better.",
        "Unit of the intervals": audit.units.statement,
        "Intervals": (
            f"{level}, for all groups of one metric and one way of forming groups together (Bonferroni's correction); several "
            "metrics and several ways of forming groups are several looks. Shares: Korn and Graubard's, which is Clopper and "
            "Pearson's for the number of independent patients that would be as informative. Means and benefit rates: "
            "studentised bootstrap of whole units. Worst and gap: simultaneous limits of the differences between groups, "
            "which hold when groups tie. Waits by the product limit have none."
        ),
        "Small groups": (
            f"A number of fewer than {MIN_PATIENTS} patients reads \u201cinsufficient\u201d and enters no comparison."
        ),
        "Waits": (
            "Until treatment, by the product limit: whoever left, died or still waited is censored then, not dropped. Mean "
            "time untreated counts those who left or died as untreated up to the horizon of "
            f"{audit.groups[0].counts.horizon:g} h."
        ),
        "What this is not": (
            "A log shows what happened to whom, not why. Groups differ in need, in the times at which they come and in what "
            "was recorded; equal numbers are not equal care, and a gap is not yet an injustice."
        ),
    }
    if audit.sentences:
        result["Rows left out"] = " ".join(audit.sentences)
    for group in audit.groups:
        said = messages(group)
        if said:
            result[f"Notes by {group.name}"] = " ".join(f"{sentence.rstrip('.')}." for sentence in said)
    result["Versions"] = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return result


def messages(of: GroupAudit) -> list[str]:
    """What could not be computed, and what to know when reading; without what no log can have."""
    return [text for text in of.metrics.messages if not text.startswith("consistency:")]


def overview(audit: Audit) -> str:
    """The file in a few words."""
    ways = listing(group.name for group in audit.groups)
    return f"{audit.file}: {audit.n_rows:,} records, groups by {ways}".replace(",", "\u202f", audit.n_rows >= 1000)


def insufficient_groups(of: GroupAudit) -> Mapping[str, int]:
    """Groups without a rate, and how many patients they have."""
    counted = dict(zip(of.findings.group_names, of.findings.counted, strict=True))
    return {name: counted[name] for name in of.bands.insufficient}
