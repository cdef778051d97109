"""Results as a picture: how well patients are ranked by the hour, and what alarms do to groups."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sb3_grpo.early_warning.results import RANKINGS, Results
from sb3_grpo.fairness.report.figures import COLOURS
from sb3_grpo.fairness.report.wording import capital

_MARKERS = "osD^vPX*"


def draw_results(path: Path, results: Results, labels: Mapping[str, str], subject: str, title: str) -> None:
    """
    :param path: the PNG to write
    :param results: the numbers
    :param labels: what methods are called
    :param subject: the method whose groups are shown
    :param title: what stands above
    """
    figure = Figure(figsize=(13.5, 4.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    for axes, measure in zip(panels, RANKINGS, strict=False):
        _draw_ranking(axes, results, labels, measure)
    _draw_groups(panels[2], results, subject, labels)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=3, frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, format="png")


def _draw_ranking(axes: Axes, results: Results, labels: Mapping[str, str], measure: str) -> None:
    for place, (name, of) in enumerate(results.rankings.items()):
        colour = COLOURS[place % len(COLOURS)]
        values = [of[hour][measure].value for hour in of]
        axes.plot(list(of), values, color=colour, marker=_MARKERS[place % len(_MARKERS)], markersize=5, label=labels[name])
        if place == 0:  # intervals of all methods would hide each other
            low, high = ([getattr(of[hour][measure], side) for hour in of] for side in ("low", "high"))
            axes.fill_between(list(of), low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_title(f"{capital(RANKINGS[measure])}, test patients", fontsize=10)
    axes.set_xlabel("hours seen")
    axes.grid(alpha=0.3)


def _draw_groups(axes: Axes, results: Results, subject: str, labels: Mapping[str, str]) -> None:
    names: list[str] = []
    for of in results.groups[subject].values():
        for place, group in enumerate(of.names):
            row = -len(names)
            for rate, colour, marker in (("tpr", COLOURS[0], "o"), ("fpr", COLOURS[1], "s")):
                estimate = of.rates[rate][place]
                axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=1.5)
                axes.plot([estimate.value], [row], marker, color=colour, markersize=6)
            names.append(group)
    if not names:
        axes.text(0.5, 0.5, "groups are too small to compare", ha="center", fontsize=9, transform=axes.transAxes)
    axes.set_yticks(-np.arange(len(names)), names, fontsize=9)
    axes.plot([], [], "o", color=COLOURS[0], label="deaths announced")
    axes.plot([], [], "s", color=COLOURS[1], label="false alarms")
    axes.legend(fontsize=8, loc="best")
    axes.set_xlim(0, 1)
    axes.set_title(f"Alarms by group: {labels[subject]}", fontsize=10)
    axes.set_xlabel("share of those who die, of those who live")
    axes.grid(axis="x", alpha=0.3)
