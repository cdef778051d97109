"""A comparison as a picture that needs no statistics to be read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sb3_grpo.fairness.inference import Comparison, Estimate

# The palette of M. Okabe and K. Ito, told apart also by those who see few colours; shapes differ as well.
_COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
_ROW_INCHES: Final = 0.62


def draw_comparison(path: Path, comparison: Comparison, labels: Mapping[str, str], title: str) -> None:
    """Draw every policy as a row: each group's benefit rate, the gap between the worst and the best, the efficiency.

    :param path: the PNG to write
    :param comparison: the numbers
    :param labels: how policies are called
    :param title: first line of the heading
    """
    n_policies = len(comparison.policies)
    figure = Figure(figsize=(12, 2.4 + _ROW_INCHES * n_policies), layout="constrained")
    FigureCanvasAgg(figure)
    rates, efficiency = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    rows = np.arange(n_policies)[::-1]
    _draw_rates(rates, comparison, rows)
    for row, policy in zip(rows, comparison.policies, strict=True):
        _draw_estimate(efficiency, policy.efficiency, row, "#444444", "o")
        efficiency.annotate(
            f"{policy.efficiency.value:.3f}", (policy.efficiency.value, row), (0, 7), textcoords="offset points", ha="center"
        )
    rates.set_yticks(rows, [labels.get(policy.name, policy.name) for policy in comparison.policies])
    rates.set_ylim(-0.6, n_policies - 0.4)
    rates.set_xlabel("benefit rate: share of the ideal benefit that the group received (further right is better)")
    efficiency.locator_params(axis="x", nbins=4)
    efficiency.set_xlabel("efficiency:\n(benefit - cost) / demand")
    for axes in (rates, efficiency):
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.margins(x=0.09)  # room for the gaps' numbers
    heading = f"{title}\nEach grey bar is the gap between the worst-off and the best-off group: shorter is more even"
    figure.suptitle(heading, ha="left", x=0.01, fontsize=12)
    figure.legend(*rates.get_legend_handles_labels(), loc="outside lower left", ncols=8, frameon=False)
    figure.savefig(path, dpi=120, format="png")


def _draw_rates(axes: Axes, comparison: Comparison, rows: np.ndarray) -> None:
    for row, policy in zip(rows, comparison.policies, strict=True):
        known = [rate.value for rate in policy.rates if np.isfinite(rate.value)]
        if len(known) >= 2:
            axes.barh(row, max(known) - min(known), left=min(known), height=0.42, color="#DDDDDD", zorder=1)
            right = max([max(known), *(rate.high for rate in policy.rates if np.isfinite(rate.high))])
            text = f"gap {policy.gap.value:.3f}"
            axes.annotate(text, (right, row), (8, 0), textcoords="offset points", va="center", color="#444444")
    n_groups = len(comparison.group_names)
    for group, name in enumerate(comparison.group_names):
        colour, marker = _COLOURS[group % len(_COLOURS)], _MARKERS[group % len(_MARKERS)]
        if name in comparison.insufficient:
            axes.plot([], [], marker, color=colour, label=f"{name}: insufficient (n={comparison.counted[group]})")
            continue
        # Rows of dots a little apart, so that intervals of groups with equal rates do not hide each other.
        shift = 0.26 * (0.5 - (group + 0.5) / n_groups)
        for row, policy in zip(rows, comparison.policies, strict=True):
            _draw_estimate(axes, policy.rates[group], row + shift, colour, marker)
        axes.plot([], [], marker, color=colour, label=name)


def _draw_estimate(axes: Axes, estimate: Estimate, row: float, colour: str, marker: str) -> None:
    if np.isfinite(estimate.low):
        axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=1.5, zorder=2)
    axes.plot([estimate.value], [row], marker, color=colour, markersize=7, zorder=3)
