"""What to conclude, by stated rules: the sentence on top of the page, and whether the gap fell by levelling down.

A change counts as shown when its interval excludes 0. The rules, in order, for a policy against the reference:

1. *levelling down*: the gap fell, no gain of the worst-off group is shown, and some group lost;
2. *better* or *worse*: the worst-off group's rate rose or fell;
3. *no difference shown*: none of these.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from sb3_grpo.fairness.inference.bands import PairedBands
from sb3_grpo.fairness.inference.results import Interval
from sb3_grpo.fairness.report.findings import Findings, PolicyFindings
from sb3_grpo.fairness.report.wording import Scale, level_text, listing, percent, plain

Kind = Literal["better", "worse", "levelling down", "no difference shown", "no comparison"]

LABELS: Final[dict[Kind, str]] = {
    "better": "Better for the worst-off group",
    "worse": "Worse for the worst-off group",
    "levelling down": "Levelling down",
    "no difference shown": "No difference shown",
    "no comparison": "No comparison",
}


@dataclass(frozen=True)
class Verdict:
    """What is concluded about a policy.

    :param kind: which rule applies
    :param gained: groups whose rate rose
    :param lost: groups whose rate fell
    """

    kind: Kind
    gained: tuple[str, ...]
    lost: tuple[str, ...]


def rose(change: Interval) -> bool:
    """Whether a rise is shown."""
    return bool(change.low > 0)


def fell(change: Interval) -> bool:
    """Whether a fall is shown."""
    return bool(change.high < 0)


def verdict(paired: PairedBands | None) -> Verdict:
    """Apply the rules.

    :param paired: differences to the reference; None without one
    """
    if paired is None:
        return Verdict("no comparison", (), ())
    changes = list(zip(paired.group_names, paired.rates, strict=True))
    gained = tuple(name for name, change in changes if rose(change))
    lost = tuple(name for name, change in changes if fell(change))
    kind: Kind = "no difference shown"
    if fell(paired.gap) and not rose(paired.worst) and lost:
        kind = "levelling down"
    elif rose(paired.worst):
        kind = "better"
    elif fell(paired.worst):
        kind = "worse"
    return Verdict(kind, gained, lost)


def decide(findings: Findings, name: str | None = None) -> str:
    """The decision about a policy in one sentence.

    :param findings: what was found
    :param name: the policy; default: the one the report is about
    """
    policy = findings.subject if name is None else findings.policies[name]
    scale = Scale(findings.setting.share)
    if policy.paired is None or findings.reference is None or policy.bands.worst_group is None:
        return _alone(findings, policy, scale)
    paired, reference = policy.paired, findings.reference
    conclusion, level = verdict(paired), level_text(findings.confidence)
    rate = f"the {findings.setting.rate} of the worst-off group ({_worst_groups(policy, reference)})"
    worst, gap = scale.with_limits(paired.worst, change=True), scale.with_limits(paired.gap, change=True)
    against = f"against {reference.name} ({level} interval)"
    if conclusion.kind == "no difference shown":
        played = f"{findings.n_episodes} episode{'s' if findings.n_episodes > 1 else ''}"
        return (
            f"No difference shown: over {played}, {policy.name} changes {rate} by {worst} {against} "
            f"and the gap between the groups by {gap}, {_at(paired, scale)}."
        )
    if conclusion.kind == "levelling down":
        return (
            f"Levelling down: {policy.name} narrows the gap between the groups by {_size(paired.gap, scale)} {against} at the "
            f"expense of {listing(conclusion.lost)}, while no gain is shown in {rate}: {worst}, {_at(paired, scale)}."
        )
    if fell(paired.gap) or rose(paired.gap):
        moved = f"{'narrows' if fell(paired.gap) else 'widens'} the gap between the groups by {_size(paired.gap, scale)}"
    else:
        moved = f"shows no change of the gap between the groups ({gap})"
    verb = "raises" if conclusion.kind == "better" else "lowers"
    return (
        f"{policy.name} {verb} {rate} by {_size(paired.worst, scale)} {against} and {moved}, {_at(paired, scale)}: "
        f"{conclusion.kind} for the worst-off group beyond noise."
    )


def _worst_groups(policy: PolicyFindings, reference: PolicyFindings) -> str:
    here, there = policy.bands.worst_group, reference.bands.worst_group
    return str(here) if here == there else f"{here}; {there} under {reference.name}"


def _alone(findings: Findings, policy: PolicyFindings, scale: Scale) -> str:
    bands, level = policy.bands, level_text(findings.confidence)
    if bands.worst_group is None:
        return f"Nothing can be said about {policy.name}: every group has too few patients."
    text = (
        f"Under {policy.name} the worst-off group is {bands.worst_group}, with a {findings.setting.rate} of "
        f"{scale.level(bands.worst.value)} ({'' if np.isnan(bands.worst.low) else f'{level} interval '}"
        f"{scale.limits(bands.worst)})"
    )
    if np.isfinite(bands.gap.value):
        text += f"; the gap to the best-off group is {_size(bands.gap, scale)}"
    if findings.setting.reference is None:
        return f"{text}; it was compared with no other policy."
    if policy.name == findings.setting.reference:
        return f"{text}; it is the reference."
    return f"{text}; it did not meet the same demand as {findings.setting.reference}, so they are not compared."


def _size(interval: Interval, scale: Scale) -> str:
    """The size of a change whose direction the verb says, "1.8 points (1.2 to 3.0)"."""
    value, low, high = interval.value, interval.low, interval.high
    if value < 0:
        value, low, high = -value, -high, -low
    factor, digits, unit = (100, 1, " points") if scale.share else (1, 3, "")
    limits = "" if np.isnan(low) else f" ({plain(factor * low, digits)} to {plain(factor * high, digits)})"
    return f"{plain(factor * value, digits)}{unit}{limits}"


def _at(paired: PairedBands, scale: Scale) -> str:
    """What becomes of the efficiency."""
    kept = paired.efficiency_ratio
    if np.isnan(kept.value) or not scale.share:
        return f"with a change of the efficiency of {scale.with_limits(paired.efficiency, change=True)}"
    limits = "" if np.isnan(kept.low) else f" ({plain(100 * kept.low, 1)} to {plain(100 * kept.high, 1)})"
    return f"with {percent(kept.value)}{limits} of the reference's efficiency"


def levelling_down(findings: Findings) -> str:
    """Who gained, who lost, and whether a smaller gap is owed to those who lost; a sentence or three.

    :param findings: what was found
    """
    paired = findings.subject.paired
    if paired is None:
        return "Without a policy to compare with, nothing can be said about gains and losses."
    conclusion, name = verdict(paired), findings.setting.subject
    parts = []
    if conclusion.gained:
        parts.append(f"{listing(conclusion.gained)} gained")
    if conclusion.lost:
        parts.append(f"{listing(conclusion.lost)} lost")
    change = " and ".join(parts) if parts else "no group's change is shown"
    if not fell(paired.gap):
        rest = "The gap is not shown to have fallen, so there is nothing to have been levelled down."
    elif conclusion.kind == "levelling down":
        rest = "The gap fell, no gain of the worst-off group is shown: this is levelling down."
    elif conclusion.lost:
        rest = "The gap fell and the worst-off group gained: not levelling down, but the better-off groups pay for part of it."
    else:
        rest = "The gap fell without a loss being shown for any group: not levelling down."
    return f"Under {name}, {change} beyond noise. {rest}" if parts else f"Under {name}, {change}. {rest}"
