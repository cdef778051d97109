"""The group bars and the front as one PNG."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from sb3_grpo.fairness.inference.results import Interval
from sb3_grpo.fairness.report.figures import COLOURS, in_order, shown_policies
from sb3_grpo.fairness.report.findings import Findings
from sb3_grpo.fairness.report.wording import insufficient, shortened

_HATCHES = ("", "///", "...", "xxx")
_MARKERS = ("o", "s", "D", "^", "X", "*", "v")


def draw(path: str | Path, findings: Findings, title: str) -> None:
    """Draw the rate of every group, and efficiency against the worst-off group.

    :param path: the PNG to write
    :param findings: what was found
    :param title: heading
    """
    names = shown_policies(findings)
    height = 2.0 + 0.26 * len(names) * len(findings.group_names)
    figure = Figure(figsize=(11, max(height, 4.2)), layout="constrained")
    FigureCanvasAgg(figure)
    bars, plane = figure.subplots(1, 2, width_ratios=(3, 2))
    _bars(bars, findings, names)
    _front(plane, findings)
    for axes in (bars, plane):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    figure.suptitle(_literal(title), ha="left", x=0.01, fontsize=12)
    figure.legend(*bars.get_legend_handles_labels(), loc="outside lower left", ncols=len(names), frameon=False)
    figure.savefig(path, dpi=110, format="png")


def _bars(axes: Axes, findings: Findings, names: list[str]) -> None:
    rows = np.arange(len(findings.group_names))[::-1]
    width = 0.76 / len(names)
    for place, name in enumerate(names):
        rates = findings.policies[name].bands.rates
        at = rows + 0.38 - width * (place + 0.5)
        known = np.array([np.isfinite(rate.value) for rate in rates])
        values = np.array([rate.value for rate in rates])[known]
        axes.barh(
            at[known],
            values,
            width * 0.9,
            color=COLOURS[place],
            edgecolor="white",
            hatch=_HATCHES[place],
            label=_literal(name),
            xerr=_errors([rate for rate in rates if np.isfinite(rate.value)]),
            error_kw=dict(ecolor="#1d2733", capsize=2),
        )
    for row, name, n in zip(rows, findings.group_names, findings.counted, strict=True):
        if name in findings.subject.bands.insufficient:
            axes.annotate(insufficient(n), (0, row), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(rows, [_literal(shortened(name)) for name in findings.group_names])
    axes.set_xlabel(findings.setting.rate)
    axes.grid(axis="x", alpha=0.3)
    if findings.setting.share:
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _front(axes: Axes, findings: Findings) -> None:
    for place, policy in enumerate(findings.policies[name] for name in in_order(findings)):
        x, y = policy.efficiency.value, policy.bands.worst.value
        if not np.isfinite(x + y):
            continue
        kind = place % len(COLOURS)
        across, up = _errors([policy.efficiency]), _errors([policy.bands.worst])
        axes.errorbar([x], [y], xerr=across, yerr=up, color="#9aa4af", elinewidth=1, fmt="none", zorder=1)
        axes.plot([x], [y], _MARKERS[kind], color=COLOURS[kind], markeredgecolor="#1d2733", markersize=8, zorder=2)
        axes.annotate(_literal(shortened(policy.name)), (x, y), (0, 9), textcoords="offset points", ha="center", fontsize=9)
    on_front = sorted((p.efficiency.value, p.bands.worst.value) for p in findings.policies.values() if p.on_front)
    axes.plot([x for x, _ in on_front], [y for _, y in on_front], ":", color="#6b7682", zorder=0)
    axes.set_xlabel("efficiency: (benefit \N{MINUS SIGN} cost) / demand")
    axes.set_ylabel("rate of the worst-off group")
    axes.locator_params(axis="x", nbins=5)
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    if findings.setting.share:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))


def _errors(intervals: list[Interval]) -> np.ndarray:
    """Lengths below and above, (2, n); 0 where there is no interval."""
    both = np.array([[i.value - i.low, i.high - i.value] for i in intervals]).reshape(-1, 2).T
    return np.maximum(np.nan_to_num(both), 0.0)


def _literal(name: str) -> str:
    """A name in which matplotlib finds no mathematics."""
    return name.replace("$", r"\$")
