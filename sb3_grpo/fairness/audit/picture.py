"""The rates of an audit as one PNG."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from sb3_grpo.fairness.audit.audit import Audit, GroupAudit
from sb3_grpo.fairness.audit.words import gap_text
from sb3_grpo.fairness.report.figures import COLOURS
from sb3_grpo.fairness.report.wording import insufficient, shortened


def draw(path: str | Path, audit: Audit, title: str) -> None:
    """Draw the rate of every group with its interval, one panel for each way of forming groups.

    :param path: the PNG to write
    :param audit: the audit
    :param title: heading
    """
    sizes = [max(len(of.bands.group_names), 2) for of in audit.groups]
    figure = Figure(figsize=(8, 1.2 + sum(0.36 * size + 0.8 for size in sizes)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(sizes), 1, height_ratios=sizes, sharex=True, squeeze=False)[:, 0]
    for axes, of in zip(panels, audit.groups, strict=True):
        _bars(axes, of)
    panels[-1].set_xlabel(f"{literal(audit.label)} (unit: {literal(audit.units.name)}, n = {audit.units.n})")
    figure.suptitle(literal(title), ha="left", x=0.01, fontsize=12)
    figure.savefig(path, dpi=110, format="png")


def _bars(axes: Axes, of: GroupAudit) -> None:
    names = of.bands.group_names
    rows = np.arange(len(names))[::-1]
    known = [k for k, rate in enumerate(of.bands.rates) if np.isfinite(rate.value)]
    rates = [of.bands.rates[k] for k in known]
    errors = np.array([[rate.value - rate.low, rate.high - rate.value] for rate in rates]).reshape(-1, 2).T
    axes.barh(
        rows[known],
        [rate.value for rate in rates],
        0.7,
        color=COLOURS[0],
        xerr=np.maximum(np.nan_to_num(errors), 0.0),
        error_kw=dict(ecolor="#1d2733", capsize=2),
    )
    counted = of.findings.counted
    for k, row in enumerate(rows):
        if k not in known:
            axes.annotate(insufficient(counted[k]), (0, row), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(rows, [literal(shortened(name)) for name in names])
    axes.set_title(f"by {literal(of.name)}: gap {gap_text(of.bands.gap)}", loc="left", fontsize=10)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def literal(name: str) -> str:
    """A name in which matplotlib finds no mathematics."""
    return name.replace("$", r"\$")
