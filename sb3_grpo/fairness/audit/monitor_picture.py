"""Control charts as one PNG."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from sb3_grpo.fairness.audit.monitor import GAP, WORST, Chart, Monitoring
from sb3_grpo.fairness.audit.picture import literal
from sb3_grpo.fairness.audit.words import hour_text
from sb3_grpo.fairness.report.figures import COLOURS

_COLUMNS = 2


def draw(path: str | Path, watched: Monitoring) -> None:
    """Draw every chart with its limit; windows in which it was passed are marked.

    :param path: the PNG to write
    :param watched: what watching gave
    """
    n_rows = -(-len(watched.charts) // _COLUMNS)
    figure = Figure(figsize=(11, 0.9 + 1.9 * n_rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(n_rows, _COLUMNS, sharex=True, squeeze=False).ravel()
    for axes, chart in zip(panels, watched.charts, strict=False):
        _panel(axes, chart, watched)
    for axes in panels[len(watched.charts) :]:
        axes.set_axis_off()
    title = f"{watched.file}: {watched.label} by {' x '.join(watched.plan.by)}, each {watched.plan.window}"
    figure.suptitle(literal(title), ha="left", x=0.01, fontsize=12)
    figure.savefig(path, dpi=110, format="png")


def _panel(axes: Axes, chart: Chart, watched: Monitoring) -> None:
    windows = np.arange(len(chart.value))
    axes.axvspan(-0.5, watched.n_baseline - 0.5, color="#eef1f4", zorder=0)
    axes.plot(windows, chart.value, color=COLOURS[0], marker=".", markersize=4, linewidth=1)
    axes.plot(windows, chart.limit, color=COLOURS[1], linestyle="--", linewidth=1.2)
    axes.axhline(chart.centre, color="#6b7682", linewidth=0.8)
    axes.plot(windows[chart.passed], chart.value[chart.passed], "X", color=COLOURS[1], markersize=8, zorder=3)
    average = chart.name in (WORST, GAP) and watched.plan.smoothing < 1
    axes.set_title(
        literal(f"{chart.name} (moving average after the baseline)" if average else chart.name), loc="left", fontsize=9
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    places = np.unique(np.linspace(0, len(windows) - 1, 4).astype(int))
    axes.set_xticks(places, [hour_text(float(watched.begins[place])) for place in places], fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
