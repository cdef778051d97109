"""What to look at next: at most five sentences, each from a rule on the records that stands beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from sb3_grpo.fairness.inference.max_t import band, ratio_draws
from sb3_grpo.fairness.inference.results import EPISODE, Interval
from sb3_grpo.fairness.metrics import MIN_PATIENTS
from sb3_grpo.fairness.records import counted_rows
from sb3_grpo.fairness.report.counterfactuals import Lever
from sb3_grpo.fairness.report.decision import rose, verdict
from sb3_grpo.fairness.report.findings import Findings, resampler
from sb3_grpo.fairness.report.sources import Source
from sb3_grpo.fairness.report.wording import Scale, hours, insufficient, level_text, listing, percent, plain

MOST: Final = 5
SATURATED: Final = 0.9
"""Mean share in use from which a resource counts as saturated: queues grow without bound as it nears 1."""

INVALID: Final = 0.05
"""Share of invalid actions from which a policy's numbers are in part those of the rule that acted in its place."""

_CLASS: Final = ("age_band", "severity_arrival")
_FACTOR_OF_EPISODES: Final = 100  # beyond that many times the episodes played, more are no advice


@dataclass(frozen=True)
class Recommendation:
    """One recommendation.

    :param about: what it is about, a word or two
    :param text: what was found, with numbers
    :param rule: the rule that led to it
    """

    about: str
    text: str
    rule: str


def recommend(
    findings: Findings, source: Source, used: Mapping[str, Interval], levers: Sequence[Lever]
) -> tuple[Recommendation, ...]:
    """Apply all rules, the most pressing first.

    :param findings: what was found
    :param source: the policy that the report is about
    :param used: share of each resource in use; empty where it is not known
    :param levers: what changes of the hospital do
    :return: at most :data:`MOST`
    """
    scale = Scale(findings.setting.share)
    found = [
        _invalid_actions(findings),
        _losses(findings, scale),
        _lever(findings, levers, scale),
        _saturated(used),
        _longest_wait(source, findings.setting.seed),
        _too_few_patients(findings),
        _too_few_episodes(findings, scale),
    ]
    return tuple(recommendation for recommendation in found if recommendation is not None)[:MOST]


def _invalid_actions(findings: Findings) -> Recommendation | None:
    policy = findings.subject
    if not policy.invalid_share >= INVALID:
        return None
    return Recommendation(
        "Invalid actions",
        f"In {percent(policy.invalid_share)} of the decisions {policy.name} chose an action that was not possible, and the "
        "triage rule acted instead: the numbers here are in part those of that rule. Train and play with masks.",
        f"A share of invalid actions of at least {percent(INVALID, 0)}.",
    )


def _losses(findings: Findings, scale: Scale) -> Recommendation | None:
    paired = findings.subject.paired
    lost = verdict(paired).lost
    if paired is None or not lost:
        return None
    changes = dict(zip(paired.group_names, paired.rates, strict=True))
    who = listing(f"{name} by {scale.with_limits(changes[name], change=True)}" for name in lost)
    return Recommendation(
        "Who pays",
        f"Against {findings.setting.reference}, the {findings.setting.rate} changes for {who}. Decide whether that is "
        "acceptable before adopting the policy.",
        "A group whose interval of the change lies below 0.",
    )


def _lever(findings: Findings, levers: Sequence[Lever], scale: Scale) -> Recommendation | None:
    if not levers:
        return None
    best = levers[0]
    rule = (
        "The lever with the largest paired change of the worst-off group's rate, if its interval lies above 0; the same "
        f"policy on the same patients, {level_text(findings.confidence)} intervals that hold for all {len(levers)} levers "
        "together."
    )
    change = scale.with_limits(best.change.worst, change=True)
    if rose(best.change.worst):
        text = f"Of the {len(levers)} levers tried, \u201c{best.name}\u201d helps the worst-off group most: {change}."
    else:
        text = (
            f"No lever of the {len(levers)} tried is shown to help the worst-off group; the largest change is that of "
            f"\u201c{best.name}\u201d: {change}."
        )
    return Recommendation("Best lever", text, rule)


def _saturated(used: Mapping[str, Interval]) -> Recommendation | None:
    if not used:
        return None
    name = max(used, key=lambda resource: used[resource].value)
    share = used[name]
    if share.value < SATURATED:
        return None
    return Recommendation(
        "Saturated resource",
        f"{name[0].upper()}{name[1:]}: {Scale(True).with_limits(share)} in use. Little is left for those who come next.",
        f"The resource with the largest share in use over all hours, if that is at least {percent(SATURATED, 0)}.",
    )


def longest_waits(source: Source, seed: int) -> list[tuple[str, Interval, Interval]]:
    """Mean wait of each class of patients, in hours and in target waits, the longest for its target first.

    Waits that ended by leaving, death or the end of observation count with the time waited until then. A class is an age band
    and a severity at arrival where the records have both, else a group.

    :param source: the policy
    :param seed: seed of the resamples
    :return: name, mean wait in hours, mean wait / mean target (NaN where targets are not known); classes with too few
        patients are left out; empty where waits are not known
    """
    import pandas as pd

    frame = source.frame
    if frame is None or "wait" not in frame.columns or "episode" not in frame.columns or source.counts is None:
        return []
    by = list(_CLASS) if all(name in frame.columns for name in _CLASS) else list(source.counts.by)
    kept = counted_rows(frame)
    has_target = "target_wait" in kept.columns
    numbers = pd.DataFrame({"n": 1.0, "wait": kept["wait"], "target": kept["target_wait"] if has_target else np.nan})
    labels = [" ".join(names) for names in zip(*(kept[name].astype(str) for name in by), strict=True)]
    classes = pd.Series(labels, index=kept.index, dtype=object)
    sizes = numbers.groupby(classes).size()
    names = [str(name) for name in sizes.index if sizes[name] >= MIN_PATIENTS]
    if not names:
        return []
    sums = numbers.groupby([kept["episode"], classes]).sum().unstack(fill_value=0.0)
    n, wait, target = (sums[name][names].to_numpy(dtype=np.float64) for name in ("n", "wait", "target"))
    each = np.eye(len(names))
    means = _at_least_zero(band(ratio_draws(wait, n, resampler(seed)), each))
    ratios = [Interval(np.nan, np.nan, np.nan, EPISODE, len(n), "none")] * len(names)
    if has_target:
        ratios = _at_least_zero(band(ratio_draws(wait, target, resampler(seed)), each))
    rows = list(zip(names, means, ratios, strict=True))
    return sorted(rows, key=lambda row: -(row[2].value if has_target else row[1].value))


def _at_least_zero(intervals: list[Interval]) -> list[Interval]:
    """The part of each interval where a wait can lie."""
    return [replace(interval, low=float(np.maximum(interval.low, 0.0))) for interval in intervals]


def _longest_wait(source: Source, seed: int) -> Recommendation | None:
    rows = longest_waits(source, seed)
    if not rows:
        return None
    name, mean, ratio = rows[0]
    limits = "" if np.isnan(mean.low) else f" ({plain(mean.low, 1)} to {plain(mean.high, 1)})"
    text = f"{name[0].upper()}{name[1:]} patients wait {hours(mean.value)}{limits} on average"
    if np.isfinite(ratio.value):
        within = "" if np.isnan(ratio.low) else f" ({plain(ratio.low, 1)} to {plain(ratio.high, 1)})"
        text += f", {plain(ratio.value, 1)} times{within} their target"
    return Recommendation(
        "Longest wait",
        f"{text}: look first at how they get a bed.",
        "The class of patients whose mean wait is longest, in target waits where targets are known; whoever left, died or "
        "still waits counts with the time waited.",
    )


def _too_few_patients(findings: Findings) -> Recommendation | None:
    names = findings.subject.bands.insufficient
    if not names:
        return None
    counts = dict(zip(findings.group_names, findings.counted, strict=True))
    who = listing(f"{name}: {insufficient(counts[name])}" for name in names)
    return Recommendation(
        "Too few patients",
        f"{who}. Nothing is known about them, so they enter neither worst-off group nor gap: play or record more.",
        f"Groups with fewer than {MIN_PATIENTS} counted patients.",
    )


def _too_few_episodes(findings: Findings, scale: Scale) -> Recommendation | None:
    paired = findings.subject.paired
    if verdict(paired).kind != "no difference shown" or paired is None:
        return None
    change = paired.worst
    half = (change.high - change.low) / 2
    if not (np.isfinite(half) and abs(change.value) > 0):
        return None
    needed = findings.n_episodes * (half / abs(change.value)) ** 2
    if not findings.n_episodes < needed <= _FACTOR_OF_EPISODES * findings.n_episodes:
        return None
    rounded = int(np.ceil(needed / 10) * 10)
    return Recommendation(
        "More episodes",
        f"If the change of the worst-off group is as large as it looks ({scale.change(change.value)}), about {rounded} "
        f"episodes would show it; {findings.n_episodes} do not.",
        "No difference shown; half-widths shrink with the square root of the number of episodes.",
    )
