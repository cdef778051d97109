"""Sections on the groups: their rates, who gains and who loses, efficiency against the worst-off group."""

from typing import Final

import numpy as np

from sb3_grpo.fairness.inference.results import Interval
from sb3_grpo.fairness.report import elements, figures
from sb3_grpo.fairness.report.contents import Contents
from sb3_grpo.fairness.report.decision import LABELS, fell, levelling_down, rose, verdict
from sb3_grpo.fairness.report.findings import Findings, PolicyFindings
from sb3_grpo.fairness.report.wording import MINUS, Scale, capital, insufficient, level_text, listing, number, percent, plain

_INDICES: Final = {
    "published_demographic_parity": f"demographic parity: 1 {MINUS} largest distance of a group's share treated from all's",
    "in_time_parity_difference": f"parity in time: largest {MINUS} smallest share in time",
    "published_equalized_odds": f"equal success: 1 {MINUS} largest distance of a group's success from all's",
    "equalized_odds_difference": "equalized odds: the same in time, of those who must not wait or of the others, the larger",
    "consistency": f"individual fairness: 1 {MINUS} mean difference in time from the ten patients most alike",
    "lipschitz": "individual fairness: mean of that difference divided by the distance of the patients",
    "wait_time_equity": f"equity of waits: 1 {MINUS} standard deviation / mean of the groups' mean waits",
}
"""Indices of disparity that the page gives, by what they are."""

_STANDARDISED: Final = {"benefit_rate": "benefit rate", "in_time": "in time", "success": "success"}


def groups(contents: Contents) -> str:
    """Rate of every group under every policy."""
    found, scale = contents.findings, contents.scale
    bands = found.subject.bands
    text = f"Under {found.setting.subject} "
    if bands.worst_group is None:
        text += "every group has too few patients."
    else:
        text += f"the worst-off group is {bands.worst_group} with {scale.with_limits(bands.worst)}"
        best = [
            (rate.value, name) for rate, name in zip(bands.rates, found.group_names, strict=True) if rate.value == rate.value
        ]
        text += f", the best-off {max(best)[1]} with {scale.level(max(best)[0])}." if len(best) > 1 else "."
    shown = figures.shown_policies(found)
    if len(shown) < len(found.policies):
        text += f" The chart shows {len(shown)} policies, the table all {len(found.policies)}."
    text += " Thin lines are intervals."
    drawn = elements.chart("groups-chart", f"Bars: {found.setting.rate} of each group", figures.group_bars(found))
    return elements.section(
        "groups",
        f"{capital(found.setting.rate)} of each group",
        elements.paragraph(found.setting.meaning),
        elements.figure(drawn, text, _group_table(contents)),
        elements.paragraph(_insufficient_note(found), "note") if bands.insufficient else "",
        _at_equal_severity(contents),
        _indices(contents),
    )


def _indices(contents: Contents) -> str:
    """The usual indices of disparity, under the policies compared, where there are records."""
    metrics = {name: contents.findings.policies[name].metrics for name in contents.compared}
    known = {name: found.indices for name, found in metrics.items() if found is not None}
    rows = [
        [label, *(number(of.get(key, np.nan)) if np.isfinite(of.get(key, np.nan)) else "not known" for of in known.values())]
        for key, label in _INDICES.items()
        if any(key in of for of in known.values())
    ]
    if not rows:
        return ""
    caption = (
        "Best is 1 where the formula begins with 1, else 0. They have no intervals, and alone they mislead: "
        "triage makes shares and waits differ on purpose. Judge by the rates above."
    )
    return elements.details(
        "Parity, odds, individual fairness", elements.table("indices-table", caption, ["index", *known], rows)
    )


def _group_table(contents: Contents) -> str:
    found, scale = contents.findings, contents.scale
    names = figures.in_order(found)
    rows = [
        [group, str(found.counted[k]), *(_rate(found, found.policies[name].bands.rates[k], k, scale) for name in names)]
        for k, group in enumerate(found.group_names)
    ]
    for label, of in (
        ("worst-off group", lambda policy: scale.with_limits(policy.bands.worst)),
        ("gap, best less worst", lambda policy: _gap(policy, scale)),
        ("efficiency", lambda policy: scale.with_limits(policy.efficiency)),
    ):
        rows.append([label, "", *(of(found.policies[name]) for name in names)])
    caption = (
        f"{capital(found.setting.rate)} by group, with {level_text(found.confidence)} intervals that hold for all groups of "
        f"a policy together. Unit: the episode, n = {found.n_episodes}."
    )
    return elements.table("groups-table", caption, ["group", "patients", *names], rows)


def _at_equal_severity(contents: Contents) -> str:
    """The same if all groups were equally ill, where records tell how ill they are."""
    metrics = contents.findings.subject.metrics
    standardised = None if metrics is None else metrics.standardised
    if metrics is None or standardised is None:
        return ""
    known = [name for name in _STANDARDISED if name in standardised.values and name in metrics.values]
    columns, cells = ["group"], [[str(group) for group in metrics.values.index]]
    for name in known:
        label = _STANDARDISED[name]
        columns += [label, f"{label}, equal severity"]
        cells.append([percent(float(value)) for value in metrics.values[name]])
        equal = [float(value) for value in standardised.values[name]]
        cells.append(["not compared" if np.isnan(value) else percent(value) for value in equal])
    rows = list(zip(*cells, strict=True))
    caption = (
        f"Under {contents.findings.setting.subject}: as they are, and with the same mix of {standardised.column} in every "
        "group (direct standardisation). Groups without enough patients in every stratum are not compared."
    )
    return elements.details("At equal severity", elements.table("severity-table", caption, columns, rows))


def _rate(found: Findings, rate: Interval, place: int, scale: Scale) -> str:
    return insufficient(found.counted[place]) if np.isnan(rate.value) else scale.with_limits(rate)


def _gap(policy: PolicyFindings, scale: Scale) -> str:
    gap = policy.bands.gap
    if np.isnan(gap.value):
        return "not known"
    size = f"{plain(100 * gap.value, 1)} points" if scale.share else number(gap.value)
    return f"{size} ({scale.limits(gap)})"


def _insufficient_note(found: Findings) -> str:
    counts = dict(zip(found.group_names, found.counted, strict=True))
    who = listing(f"{name}: {insufficient(counts[name])}" for name in found.subject.bands.insufficient)
    return f"{who}. Too few patients for a rate: they enter neither worst-off group nor gap."


def changes(contents: Contents) -> str:
    """Who gains, who loses, and whether the gap fell by levelling down."""
    found, scale = contents.findings, contents.scale
    paired = found.subject.paired
    figure = figures.group_changes(found)
    if paired is None or figure is None:
        return ""
    rows = []
    reference = found.policies[str(found.setting.reference)]
    for k, (name, change) in enumerate(zip(paired.group_names, paired.rates, strict=True)):
        if np.isnan(change.value):
            rows.append([name, *[insufficient(found.counted[k])] * 3, "not judged"])
            continue
        before, after = (policy.bands.rates[k].value for policy in (reference, found.subject))
        rows.append([name, scale.level(before), scale.level(after), scale.with_limits(change, change=True), _judged(change)])
    rows += [
        ["worst-off group", scale.level(reference.bands.worst.value), scale.level(found.subject.bands.worst.value),
         scale.with_limits(paired.worst, change=True), _judged(paired.worst)],
        ["best-off group", scale.level(reference.bands.best.value), scale.level(found.subject.bands.best.value),
         scale.with_limits(paired.best, change=True), _judged(paired.best)],
        ["gap", _gap(reference, scale).split(" (")[0], _gap(found.subject, scale).split(" (")[0],
         scale.with_limits(paired.gap, change=True), _judged(paired.gap, "fell", "rose")],
    ]  # fmt: skip
    caption = (
        f"Change of each group's {found.setting.rate}, same episodes and patients, {level_text(found.confidence)} intervals "
        f"that hold for all groups together. Unit: the episode, n = {found.n_episodes} pairs."
    )
    columns = ["group", str(found.setting.reference), found.setting.subject, "change", "beyond noise"]
    drawn = elements.chart("changes-chart", f"Change of each group's {found.setting.rate}", figure)
    known = [(c.value, n) for n, c in zip(paired.group_names, paired.rates, strict=True) if not np.isnan(c.value)]
    text = "Right of the line: better off than under the reference. "
    if known:
        text += f"From {min(known)[1]} ({scale.change(min(known)[0])}) to {max(known)[1]} ({scale.change(max(known)[0])})."
    return elements.section(
        "changes",
        "Who gains, who loses",
        elements.paragraph(f"{found.setting.subject} against {found.setting.reference}."),
        elements.figure(drawn, text, elements.table("changes-table", caption, columns, rows)),
        elements.subheading("Levelling-down check"),
        elements.paragraph(levelling_down(found)),
        elements.paragraph(
            "Rule: levelling down is when the gap falls, no gain of the worst-off group is shown, and some group loses. "
            "A change is shown when its interval excludes 0.",
            "note",
        ),
    )


def _judged(change: Interval, down: str = "lost", up: str = "gained") -> str:
    return up if rose(change) else down if fell(change) else "no change shown"


def front(contents: Contents) -> str:
    """Efficiency and worst group of every policy."""
    found, scale = contents.findings, contents.scale
    best = [policy.name for policy in found.policies.values() if policy.on_front]
    if not best:
        return ""
    area = number(found.front.hypervolume)
    text = (
        f"Further right is more efficient, further up is better for the worst-off group. On the front, estimated to be beaten "
        f"by no other policy in both: {listing(best)}. Policies within each other's intervals are not told apart. "
        f"Area under the front (hypervolume above {listing(f'{r:g}' for r in found.front.reference)}): {area}."
    )
    rows = []
    for policy in (found.policies[name] for name in figures.in_order(found)):
        conclusion = LABELS[verdict(policy.paired).kind]
        rows.append(
            [
                policy.name,
                scale.with_limits(policy.efficiency),
                scale.level(policy.benefit_share),
                "not known" if np.isnan(policy.cost_share) else scale.level(policy.cost_share),
                scale.with_limits(policy.bands.worst),
                "yes" if policy.on_front else "no",
                "reference" if policy.name == found.setting.reference else conclusion,
            ]
        )
    caption = (
        f"Every policy with {level_text(found.confidence)} intervals; the last column is against "
        f"{found.setting.reference or 'no policy'}. Unit: the episode, n = {found.n_episodes}."
    )
    columns = ["policy", "efficiency", "benefit / demand", "cost / demand", "worst-off group", "on the front", "conclusion"]
    drawn = elements.chart("front-chart", "Efficiency and worst-off group of every policy", figures.pareto(found))
    return elements.section(
        "front",
        "Efficiency and the worst-off group",
        elements.figure(drawn, text, elements.table("front-table", caption, columns, rows)),
    )
