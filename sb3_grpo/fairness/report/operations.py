"""Sections on the hospital: waits, use of beds and nurses, changes of the hospital; and on training."""

from collections.abc import Callable
from typing import Final

import numpy as np

from sb3_grpo.fairness.report import elements, figures
from sb3_grpo.fairness.report.contents import Contents
from sb3_grpo.fairness.report.curves import QUANTITIES, TrainingCurve
from sb3_grpo.fairness.report.waits import MARKS
from sb3_grpo.fairness.report.wording import Scale, capital, hours, insufficient, level_text, percent

_COLUMNS: Final[dict[str, tuple[str, Callable[[float], str]]]] = {
    "in_time": ("in time", percent),
    "treated": ("treated", percent),
    "left": ("left", percent),
    "died_waiting": ("died waiting", percent),
    "success": ("success", percent),
    "wait_mean": ("mean wait", hours),
    "wait_median": ("median wait", hours),
    "wait_p95": ("95 % wait at most", hours),
}


def waits(contents: Contents) -> str:
    """How long each group waits, and what becomes of it."""
    found = contents.findings
    if not contents.curves:
        return ""
    tiles, rows = [], []
    for place, group in enumerate(found.group_names):
        curves = {name: of[group] for name, of in contents.curves.items()}
        if all(np.isnan(curve.untreated).all() for curve in curves.values()):
            tiles.append(f"<div>{elements.subheading(group)}{elements.paragraph(insufficient(found.counted[place]))}</div>")
        else:
            drawn = elements.chart(f"waits-chart-{place}", f"Waits of {group}", figures.wait_chart(group, curves))
            tiles.append(f"<div>{elements.subheading(group)}{drawn}</div>")
        for name, curve in curves.items():
            rows.append([group, name, str(curve.n), *(_share(curve.at(hour), curve.n) for hour in MARKS)])
    text = (
        "Share of each group not yet in treatment, by the hours since arrival: lower is sooner. Whoever left or died counts "
        "as untreated; whoever still waits when observation ends is censored then, not dropped."
    )
    columns = ["group", "policy", "patients", *(f"after {hour:g} h" for hour in MARKS)]
    data = elements.details(
        "The same as a table",
        elements.table("waits-table", "Share not yet in treatment by hours since arrival.", columns, rows),
    )
    grid = f'<div class="grid">{"".join(tiles)}</div>'
    return elements.section(
        "waits",
        "Waiting",
        elements.figure(grid, text, data, elements.line_key(list(contents.curves))),
        "".join(_outcomes(contents, number, name) for number, name in enumerate(contents.curves)),
    )


def _share(value: float, n: int) -> str:
    return insufficient(n) if np.isnan(value) else percent(value)


def _outcomes(contents: Contents, place: int, name: str) -> str:
    metrics = contents.findings.policies[name].metrics
    if metrics is None:
        return ""
    known = [key for key in _COLUMNS if key in metrics.values]
    rows = []
    for group in metrics.values.index:
        cells = []
        for key in known:
            value, n = float(metrics.values.loc[group, key]), int(metrics.patients.loc[group, key])
            if np.isnan(value):
                cells.append(insufficient(n) if n < metrics.min_patients else f"undefined (n={n})")
            else:
                cells.append(f"> {metrics.horizon:g} h" if np.isinf(value) else _COLUMNS[key][1](value))
        rows.append([str(group), str(int(metrics.n[group])), *cells])
    caption = (
        f"What became of each group under {name}. Waits until treatment by the product limit: whoever left, died or still "
        "waited is censored then. Success: of the treatments whose end is known."
    )
    return elements.table(
        f"outcomes-table-{place}", caption, ["group", "patients", *(_COLUMNS[key][0] for key in known)], rows
    )


def resources(contents: Contents) -> str:
    """How much of its beds, nurses and equipment the hospital uses."""
    subject = contents.findings.setting.subject
    shares = contents.used.get(subject, {})
    if not shares:
        return ""
    fullest = max(shares, key=lambda resource: shares[resource].value)
    text = (
        f"Under {subject}, {fullest} are used most: {percent(shares[fullest].value)}. Hours used of hours available, over all "
        "hours under control. Beds: occupied of open ones, surge blocks included. Nurses: needed by the patients in beds, of "
        "those present: beyond 100 % absence left too few. Equipment: held by critical patients."
    )
    scale = Scale(share=True)
    rows = [[name, *(scale.with_limits(used[name]) for used in contents.used.values())] for name in shares]
    caption = (
        f"Share in use, with {level_text(contents.findings.confidence)} intervals that hold for all resources of a policy "
        f"together. Unit: the episode, n = {contents.findings.n_episodes}."
    )
    data = elements.table("resources-table", caption, ["resource", *contents.used], rows)
    drawn = elements.chart(
        "resources-chart", "Share of beds, nurses and equipment in use", figures.resource_bars(contents.used)
    )
    return elements.section("resources", "Beds, nurses, equipment", elements.figure(drawn, text, data))


def levers(contents: Contents) -> str:
    """What changes of the hospital would do under the same policy."""
    if not contents.levers:
        return ""
    scale, found = contents.scale, contents.findings
    rows = [
        [
            lever.name,
            scale.with_limits(lever.change.worst, change=True),
            scale.with_limits(lever.change.gap, change=True),
            scale.with_limits(lever.change.efficiency, change=True),
        ]
        for lever in contents.levers
    ]
    caption = (
        f"What one change of the hospital does under {found.setting.subject}, same patients. "
        f"{level_text(found.confidence)} intervals that hold for all {len(rows)} levers together. "
        f"Unit: the episode, n = {found.n_episodes} pairs."
    )
    return elements.section(
        "levers",
        "What if",
        elements.paragraph("The policy is unchanged: it has not learned about the change, nor is the change's price counted."),
        elements.table("levers-table", caption, ["change of the hospital", "worst-off group", "gap", "efficiency"], rows),
    )


def training(contents: Contents) -> str:
    """How training went."""
    if not contents.training:
        return ""
    parts = []
    for quantity, label in QUANTITIES.items():
        curves = [curve for curve in contents.training if quantity in curve.series]
        if not curves:
            continue
        drawn = elements.chart(
            f"training-{quantity}", f"Training: {label}", figures.training_chart(quantity, curves, contents.findings)
        )
        ends = [_ends(curve, quantity) for curve in curves]
        rows = [[curve.name, *(f"{value:.4g}" for value in end)] for curve, end in zip(curves, ends, strict=True)]
        text = "; ".join(f"{curve.name} from {end[1]:.3g} to {end[2]:.3g}" for curve, end in zip(curves, ends, strict=True))
        columns = ["run", "time steps", "first", "last", "smallest", "largest"]
        table = elements.table(f"training-{quantity}-table", capital(label), columns, rows)
        data = elements.details("The same as a table", table)
        parts.append(elements.subheading(capital(label)) + elements.figure(drawn, f"{capital(label)}: {text}.", data))
    note = "Measured while training, on few episodes and by a policy still changing: not the numbers to judge by."
    return elements.section("training", "Training", elements.paragraph(note), *parts)


def _ends(curve: TrainingCurve, quantity: str) -> tuple[float, float, float, float, float]:
    values = curve.series[quantity]
    values = values[np.isfinite(values)]
    return float(curve.timesteps[-1]), float(values[0]), float(values[-1]), float(values.min()), float(values.max())
