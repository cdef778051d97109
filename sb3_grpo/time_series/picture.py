"""Pictures of single recommendations and of the gate over time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sb3_grpo.time_series.explanation import Explanation

#: So many channels are drawn by name; the others are summed up
MOST_ROWS: Final = 12

_FOR, _AGAINST, _NEUTRAL = "#b2182b", "#2166ac", "#6b7682"


class _Row(NamedTuple):
    """One line of the contributions: by hour (NaN where not measured), in all, and what is written beside it."""

    label: str
    by_hour: np.ndarray
    total: float


def draw_explanation(
    path: str | Path,
    explanation: Explanation,
    channel_names: Mapping[str, Sequence[str]] | None = None,
    static_names: Mapping[str, Sequence[str]] | None = None,
    action_names: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """
    Draw one recommendation: which modalities pass the gate, which hours are attended to, and which values speak for and
    against it, by hour and in all.

    :param path: The PNG to write
    :param explanation: What is to be drawn
    :param channel_names: Names of the channels of modalities; the others are numbered
    :param static_names: Names of the entries of static keys; the others are numbered
    :param action_names: Names of the actions
    :param title: Heading, for example which patient it is
    :raises ValueError: If names are given, but not one for each channel, entry or action
    """
    rows = _rows(explanation, channel_names or {}, static_names or {})
    figure = Figure(figsize=(12, 3.6 + 0.27 * (len(rows) + len(explanation.attention))), layout="constrained")
    FigureCanvasAgg(figure)
    ratios = (len(explanation.gate) + 1, len(rows) + 1)
    (attention, gate), (heat, bars) = figure.subplots(2, 2, width_ratios=(5, 3), height_ratios=ratios)
    _draw_attention(attention, explanation)
    _draw_gate(gate, explanation)
    _draw_by_hour(figure, heat, rows, explanation)
    _draw_totals(bars, rows)
    for axes in (gate, bars):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        _literal("\n".join(filter(None, (title, _summary(explanation, action_names))))), ha="left", x=0.01, fontsize=11
    )
    figure.savefig(path, dpi=110, format="png")


def draw_gate_over_time(path: str | Path, gates: np.ndarray, hours: np.ndarray, parts: Sequence[str], title: str = "") -> None:
    """
    Draw the mean gate of each part by hour of the stay, over many patients.

    :param path: The PNG to write
    :param gates: Gate of n observations, as :func:`~sb3_grpo.time_series.gates` returns it, (n, P)
    :param hours: Hour of the stay of each observation, (n,)
    :param parts: Names of the parts, P of them
    :param title: Heading
    :raises ValueError: If the shapes do not fit, or there is no observation
    """
    means, counts, distinct = gate_by_hour(gates, hours)
    if len(parts) != means.shape[1]:
        raise ValueError(f"parts: got {len(parts)} names, expected {means.shape[1]}")
    figure = Figure(figsize=(10, 2.6 + 0.4 * len(parts)), layout="constrained")
    FigureCanvasAgg(figure)
    heat, number = figure.subplots(2, 1, sharex=True, height_ratios=(len(parts), 1.4))
    edges = np.append(distinct - 0.5, distinct[-1] + 0.5)
    low, high = _shown_range(means)
    image = heat.pcolormesh(edges, np.arange(len(parts) + 1), means.T, vmin=low, vmax=high, cmap="viridis")
    heat.set_yticks(np.arange(len(parts)) + 0.5, [_literal(part) for part in parts])
    heat.invert_yaxis()
    figure.colorbar(image, ax=[heat, number], label="mean gate")
    number.step(distinct, counts, where="mid", color=_NEUTRAL)
    number.set_ylim(0, None)
    number.set_ylabel("patients")
    number.set_xlabel("hour of the stay")
    figure.suptitle(_literal(title), ha="left", x=0.01, fontsize=11)
    figure.savefig(path, dpi=110, format="png")


def gate_by_hour(gates: np.ndarray, hours: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    :param gates: Gate of n observations, (n, P)
    :param hours: Hour of the stay of each, (n,)
    :return: Mean gate in each hour that occurs, (H, P); number of observations, (H,); the hours, (H,)
    :raises ValueError: If the shapes do not fit, or there is no observation
    """
    gates, hours = np.asarray(gates, dtype=np.float64), np.asarray(hours)
    if gates.ndim != 2 or hours.shape != gates.shape[:1] or not len(hours):
        raise ValueError(
            f"gates, hours: got the shapes {gates.shape} and {hours.shape}, expected (n, P) and (n,), n at least 1"
        )
    distinct, place, counts = np.unique(hours, return_inverse=True, return_counts=True)
    sums = np.zeros((len(distinct), gates.shape[1]))
    np.add.at(sums, place, gates)
    return sums / counts[:, None], counts, distinct


def _rows(
    explanation: Explanation, channel_names: Mapping[str, Sequence[str]], static_names: Mapping[str, Sequence[str]]
) -> list[_Row]:
    """The channels that contribute most, the first the most, and what is left over."""
    rows = []
    for key, of in explanation.contributions.items():
        values = explanation.values[key]
        by_hour = np.where(np.isnan(values), np.nan, of)
        for channel, name in enumerate(_names("channel_names", key, channel_names, of.shape[1])):
            newest = values[:, channel][~np.isnan(values[:, channel])]
            if len(newest):
                rows.append(_Row(f"{name}  {newest[-1]:+.1f}", by_hour[:, channel], float(of[:, channel].sum())))
    nothing = np.full(len(explanation.hours), np.nan)
    for key, of in explanation.static_contributions.items():
        names = _names("static_names", key, static_names, len(of))
        rows += [_Row(name, nothing, float(number)) for name, number in zip(names, of, strict=True)]
    rows.sort(key=lambda row: -abs(row.total))
    rest = rows[MOST_ROWS:]
    kept = rows[:MOST_ROWS]
    return [*kept, _Row(f"{len(rest)} others", nothing, sum(row.total for row in rest))] if rest else kept


def _names(argument: str, key: str, names: Mapping[str, Sequence[str]], n: int) -> list[str]:
    if key not in names:
        return [f"{key} {place}" for place in range(n)]
    if len(names[key]) != n:
        raise ValueError(f"{argument}: got {len(names[key])} names for {key!r}, expected {n}")
    return [str(name) for name in names[key]]


def _summary(explanation: Explanation, action_names: Sequence[str] | None) -> str:
    if action_names is not None and not explanation.action < len(action_names):
        raise ValueError(f"action_names: got {len(action_names)}, expected a name for the action {explanation.action}")
    action = f"action {explanation.action}" if action_names is None else action_names[explanation.action]
    return (
        f"{action}: probability {explanation.probability:.2f}, log-odds {explanation.score:+.2f}; with average values "
        f"{explanation.reference_score:+.2f}"
    )


def _draw_attention(axes: Axes, explanation: Explanation) -> None:
    weights = np.array(list(explanation.attention.values()))
    measured = np.array([~np.isnan(values).all(axis=1) for values in explanation.values.values()])
    edges = _hour_edges(weights.shape[1])
    shown = np.where(measured, weights, np.nan)
    axes.set_facecolor("#eceff2")
    axes.pcolormesh(edges, np.arange(len(weights) + 1), shown, norm=PowerNorm(0.5, 0.0, 1.0), cmap="Greens")
    labels = [f"{key}" if measured[row].any() else f"{key} (missing)" for row, key in enumerate(explanation.attention)]
    axes.set_yticks(np.arange(len(weights)) + 0.5, [_literal(label) for label in labels])
    axes.invert_yaxis()
    axes.set_xlim(_first_hour(explanation), None)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("attention: 0 white, 1 dark green, by square root (grey: nothing measured)", fontsize=9, loc="left")


def _draw_gate(axes: Axes, explanation: Explanation) -> None:
    places = np.arange(len(explanation.gate))
    axes.barh(places, list(explanation.gate.values()), color="#3b6ea5")
    axes.set_yticks(places, [_literal(part) for part in explanation.gate])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_title("gate (share that passes)", fontsize=9, loc="left")


def _draw_by_hour(figure: Figure, axes: Axes, rows: list[_Row], explanation: Explanation) -> None:
    table = np.array([row.by_hour for row in rows]).reshape(len(rows), len(explanation.hours))
    largest = max(float(np.nanmax(np.abs(table), initial=0.0)), 1e-6)
    norm = TwoSlopeNorm(0.0, -largest, largest)
    axes.set_facecolor("#eceff2")
    image = axes.pcolormesh(_hour_edges(table.shape[1]), np.arange(len(rows) + 1), table, norm=norm, cmap="RdBu_r")
    axes.set_yticks(np.arange(len(rows)) + 0.5, [_literal(row.label) for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(_first_hour(explanation), None)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("hours from now")
    axes.set_title("contributions by hour, newest value beside the name (grey: not measured)", fontsize=9, loc="left")
    figure.colorbar(image, ax=axes, location="bottom", shrink=0.6, aspect=40, label="log-odds")


def _draw_totals(axes: Axes, rows: list[_Row]) -> None:
    totals = [row.total for row in rows]
    axes.barh(np.arange(len(rows)) + 0.5, totals, color=[_FOR if total > 0 else _AGAINST for total in totals])
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_ylim(len(rows), 0)
    axes.set_yticks([])
    axes.set_xlabel("log-odds")
    axes.set_title("contributions in all: for (red), against (blue)", fontsize=9, loc="left")


def _hour_edges(n_rows: int) -> np.ndarray:
    """Edges of the rows in hours from now: the last row is now."""
    return np.arange(n_rows + 1) - (n_rows - 0.5)


def _first_hour(explanation: Explanation) -> float:
    """Where the stay begins, padding left out; the whole window if all is padding."""
    return float(_hour_edges(len(explanation.hours))[explanation.hours.argmax()])


def _shown_range(means: np.ndarray) -> tuple[float, float]:
    """Limits of the colours: what occurs, but at least 0.1, so that noise does not look like a pattern."""
    low, high = float(means.min()), float(means.max())
    spare = max(0.1 - (high - low), 0.0) / 2
    return low - spare, high + spare


def _literal(name: str) -> str:
    """A name in which matplotlib finds no mathematics."""
    return name.replace("$", r"\$")
