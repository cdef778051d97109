"""What watching a log gave, for terminals and programs."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sb3_grpo.fairness.audit.monitor import GAP, WORST, Chart, Monitoring
from sb3_grpo.fairness.audit.words import hour_text
from sb3_grpo.fairness.report.document import without_nan
from sb3_grpo.fairness.report.wording import percent, plain

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS: Final = 40

SCHEMA: Final = "sb3_grpo monitor"
VERSION: Final = 1

COLUMNS: Final = ("window", "chart", "value", "limit", "centre", "patients", "baseline", "passed")
"""Columns of the tidy table."""


def to_dict(watched: Monitoring) -> dict[str, Any]:
    """Nested dictionaries, lists, numbers and strings; a number that does not exist is None."""
    return without_nan(
        {
            "schema": SCHEMA,
            "version": VERSION,
            "file": watched.file,
            "outcome": watched.outcome,
            "label": watched.label,
            "by": list(watched.plan.by),
            "window": watched.plan.window,
            "baseline": watched.n_baseline,
            "judged": watched.n_judged,
            "false_alarms": watched.plan.false_alarms,
            "smoothing": watched.plan.smoothing,
            "multiplicity": watched.multiplicity,
            "alarms": [_alarm(watched, window, chart) for window, chart in watched.alarms],
            "not_watched": watched.not_watched,
            "left_out": list(watched.sentences),
        }
    )


def _alarm(watched: Monitoring, window: int, chart: Chart) -> dict[str, Any]:
    return {
        "window": hour_text(float(watched.begins[window])),
        "chart": chart.name,
        "value": float(chart.value[window]),
        "limit": float(chart.limit[window]),
        "centre": chart.centre,
    }


def to_frame(watched: Monitoring) -> "pd.DataFrame":
    """One row per window and chart, columns :data:`COLUMNS`."""
    import pandas as pd

    rows = [
        (
            hour_text(float(begin)),
            chart.name,
            chart.value[window],
            chart.limit[window],
            chart.centre,
            int(chart.patients[window]),
            window < watched.n_baseline,
            bool(chart.passed[window]),
        )
        for window, begin in enumerate(watched.begins)
        for chart in watched.charts
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def alarm_text(watched: Monitoring, window: int, chart: Chart) -> str:
    """One alarm in a sentence."""
    value, limit = float(chart.value[window]), float(chart.limit[window])
    beyond = "above" if chart.upper else "below"
    what = (
        "the gap (moving average)"
        if chart.name == GAP
        else "the worst rate (moving average)"
        if chart.name == WORST
        else chart.name
    )
    return (
        f"{watched.plan.window.capitalize()} of {hour_text(float(watched.begins[window]))}: {what} is {percent(value)}, "
        f"{beyond} its limit of {percent(limit)}; usual is {percent(chart.centre)}"
    )


def summary(watched: Monitoring) -> Any:
    """The table of the windows that were judged, the alarms, and how many limits there are."""
    parts: list[Any] = [_table(watched), Text("")]
    alarms = [Text(alarm_text(watched, window, chart), style="bold red") for window, chart in watched.alarms]
    parts += alarms or [Text("No limit was passed.", style="bold")]
    notes = [
        f"Unit: the {watched.plan.window} of arrival. Baseline: the first {watched.n_baseline} windows. "
        f"{watched.multiplicity}.",
        "Rates: p-charts with limits for windows that differ by more than chance between patients. Worst and gap: "
        f"exponentially weighted moving averages, smoothing {watched.plan.smoothing:g}. Alarms are one-sided: rates below, "
        "gap above.",
    ]
    if watched.not_watched:
        few = ", ".join(f"{name} (mean n={plain(n, 1)})" for name, n in watched.not_watched.items())
        notes.append(f"Not watched, too few patients in a window: {few}.")
    return Group(*parts, *(Text(note, style="dim") for note in (*notes, *watched.sentences)))


def _table(watched: Monitoring) -> Table:
    title = f"{watched.label} by {' x '.join(watched.plan.by)}: value, and limit in brackets"
    result = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    result.add_column(watched.plan.window)
    for chart in watched.charts:
        result.add_column(Text(chart.name), justify="right")
    result.add_row("usual", *(percent(chart.centre) for chart in watched.charts), end_section=True)
    first = max(watched.n_baseline, len(watched.begins) - _MOST_ROWS)
    if first > watched.n_baseline:
        result.caption = f"{first - watched.n_baseline} earlier windows are in monitor.csv"
    for window in range(first, len(watched.begins)):
        cells = [_cell(chart, window) for chart in watched.charts]
        result.add_row(hour_text(float(watched.begins[window])), *cells)
    return result


def _cell(chart: Chart, window: int) -> Text:
    value, limit = float(chart.value[window]), float(chart.limit[window])
    if np.isnan(value):
        return Text(f"insufficient (n={chart.patients[window]})", style="dim")
    passed = bool(chart.passed[window])
    sign = "<" if chart.upper else ">"
    text = f"{percent(value)} ({'!' if passed else sign} {plain(100 * limit, 1)})"
    return Text(text, style="bold red" if passed else "")
