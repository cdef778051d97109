"""The figures of a study: pictures with matplotlib, and one page with plotly that names every point."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sb3_grpo.common.files import replacing
from sb3_grpo.fairness.inference import Interval, pareto_front
from sb3_grpo.fairness.metrics import FloatArray
from sb3_grpo.study.report.data import BASELINE, Results, values
from sb3_grpo.study.report.learning import curves
from sb3_grpo.study.report.primary import over_trainings, primary, rows_against_baseline

# The palette of M. Okabe and K. Ito, told apart also by those who see few colours; shapes differ as well.
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
_RULE_COLOUR: Final = "#777777"
_DPI: Final = 110
_LEAST: Final = 3  # trainings: the interval of two says nothing that a picture could show


def draw_all(results: Results, folder: Path) -> list[Path]:
    """Draw every figure for which there are results.

    :param results: the results
    :param folder: where the files go
    :return: the files, pictures first
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []
    if results.played:
        drawn += [_saved(folder / "lam.png", lam_figure(results)), _saved(folder / "pareto.png", pareto_figure(results))]
        if primary(results):
            drawn.append(_saved(folder / "groups.png", groups_figure(results)))
        if any(variant_rows(results, scenario) for scenario in results.scenarios):
            drawn.append(_saved(folder / "sensitivity.png", sensitivity_figure(results)))
    if results.trained:
        drawn.append(_saved(folder / "learning.png", learning_figure(results)))
    if results.played:
        page = folder / "pareto.html"
        with replacing(page) as unfinished:
            pareto_page(results).write_html(str(unfinished), include_plotlyjs=True)
        drawn.append(page)
    return drawn


def lam_rows(results: Results, scenario: str) -> list[str]:
    """Rows of the algorithm as it is with a number as lam, in order."""
    return [row for row in results.model_rows(scenario) if row.startswith("lam=") and row != "lam=auto"]


def variant_rows(results: Results, scenario: str) -> list[str]:
    """Rows with a name: the algorithm with something changed."""
    return [row for row in results.model_rows(scenario) if not row.startswith("lam=")]


def lam_figure(results: Results) -> Figure:
    """Gap, worst group and efficiency by lam: every training a dot, the mean a line, lam=auto and the rules beside."""
    figure, axes = _panels(3, len(results.scenarios), 3.4, 2.5)
    for column, scenario in enumerate(results.scenarios):
        rows = lam_rows(results, scenario)
        lams = [float(row.removeprefix("lam=")) for row in rows]
        for line, key in enumerate(("gap", "worst", "efficiency")):
            panel = axes[line, column]
            samples = [values(results.tests(scenario, row), key) for row in rows]
            for lam, sample in zip(lams, samples, strict=True):
                panel.plot([lam] * len(sample), sample, "o", color=_COLOURS[0], alpha=0.35, markersize=4, markeredgewidth=0)
            means = [float(sample.mean()) if len(sample) else np.nan for sample in samples]
            panel.plot(lams, means, "-o", color=_COLOURS[0], markersize=5, label="mean of the trainings")
            auto = values(results.tests(scenario, "lam=auto"), key)
            if len(auto):
                panel.plot(
                    _final_lam(results, scenario), auto.mean(), "D", color=_COLOURS[1], label="lam=auto, at its final lam"
                )
            for number, rule in enumerate(("triage-tuned", "c-mu-tuned")):
                of_rule = values(results.tests(scenario, rule), key)
                if len(of_rule):
                    panel.axhline(of_rule[0], color=_RULE_COLOUR, linestyle=("--", ":")[number], linewidth=1.2, label=rule)
            panel.set_xlim(-0.03, 0.05 + max([0.5, *lams, _final_lam(results, scenario)]))
            _label(panel, scenario if line == 0 else "", "lam" if line == 2 else "", _NAMES[key] if column == 0 else "")
    return _with_legend(figure, axes)


def _final_lam(results: Results, scenario: str) -> float:
    """Mean lam at the end of the trainings with lam=auto, 0 without any."""
    ends = [trained.result["lam_end"] for trained in results.trainings(scenario, "lam=auto")]
    return float(np.mean(ends)) if ends else 0.0


_NAMES: Final = {
    "gap": "gap\n(less is better)",
    "worst": "worst group's benefit rate\n(more is better)",
    "efficiency": "efficiency\n(more is better)",
}


def pareto_figure(results: Results) -> Figure:
    """Efficiency and worst group of every row and rule, with the front of their means."""
    figure, axes = _panels(1, len(results.scenarios), 4.2, 4.0)
    for column, scenario in enumerate(results.scenarios):
        panel = axes[0, column]
        names, points = policy_points(results, scenario)
        _draw_front(panel, points)
        for name, point in zip(names, points, strict=True):
            is_rule = name in results.rules(scenario)
            marker, colour = ("x", _RULE_COLOUR) if is_rule else ("o", _COLOURS[0] if name.startswith("lam=") else _COLOURS[3])
            panel.plot(*point, marker, color=colour, markersize=6, markeredgewidth=1.5)
        _annotate(panel, names, points, pareto_front(points).members)
        for row, colour in ((BASELINE, _COLOURS[6]), (results.chosen_row(scenario), _COLOURS[1])):
            if row in names:
                panel.plot(*points[names.index(row)], "o", color=colour, markersize=9, label=_called(row))
        panel.plot([], [], "o", color=_COLOURS[0], label="other lam")
        panel.plot([], [], "o", color=_COLOURS[3], label="something else changed")
        panel.plot([], [], "x", color=_RULE_COLOUR, label="rules in use")
        _label(panel, scenario, "efficiency", "worst group's benefit rate" if column == 0 else "")
    return _with_legend(figure, axes)


def _called(name: str | None) -> str:
    return BASELINE if name == BASELINE else "the chosen lam"


def policy_points(results: Results, scenario: str) -> tuple[list[str], FloatArray]:
    """Every row and rule, and its mean efficiency and worst rate over trainings, (n, 2)."""
    names, points = [], []
    for name in [*results.model_rows(scenario), *results.rules(scenario)]:
        played = results.tests(scenario, name)
        point = [values(played, key) for key in ("efficiency", "worst")]
        if all(len(sample) for sample in point):
            names.append(name)
            points.append([float(sample.mean()) for sample in point])
    return names, np.array(points).reshape(-1, 2)


def _draw_front(panel: Axes, points: FloatArray) -> None:
    members = points[pareto_front(points).members]
    order = members[np.argsort(members[:, 0])]
    panel.plot(order[:, 0], order[:, 1], ":", color="#999999", linewidth=1.5, zorder=1)


def _annotate(panel: Axes, names: Sequence[str], points: FloatArray, members: np.ndarray) -> None:
    """Names of the policies on the front, one above the other where they would overlap."""
    order = [k for k in np.argsort(-points[:, 1]) if members[k]]
    for place, k in enumerate(order):
        offset = (6, 5) if place % 2 == 0 else (6, -11)
        panel.annotate(names[k], points[k], offset, textcoords="offset points", fontsize=8)
    panel.margins(x=0.18, y=0.1)


def groups_figure(results: Results) -> Figure:
    """How each group's benefit rate changes from lam=0 to the chosen lam, with intervals over trainings."""
    found = [each.against for each in primary(results)]
    figure, axes = _panels(1, len(found), 3.4, 3.2)
    for column, against in enumerate(found):
        panel, names = axes[0, column], list(against.groups)
        places = np.arange(len(names))[::-1]
        for place, name in zip(places, names, strict=True):
            _draw_interval(panel, against.groups[name].interval, place, _COLOURS[names.index(name) % len(_COLOURS)])
        panel.axvline(0, color="#444444", linewidth=1)
        panel.set_yticks(places, names if column == 0 else [""] * len(names))
        panel.set_ylim(-0.6, len(names) - 0.4)
        _label(panel, f"{against.scenario}: {against.row} less {BASELINE}", "change of the benefit rate", "")
    return figure


def learning_figure(results: Results) -> Figure:
    """Efficiency and gap on validation episodes while models train: mean and range of the trainings."""
    figure, axes = _panels(2, len(results.scenarios), 3.4, 2.6)
    for column, scenario in enumerate(results.scenarios):
        rows = [row for row in (BASELINE, results.chosen_row(scenario), "group critic, lam=0", "SB3 PPO, lam=0") if row]
        for number, row in enumerate(rows):
            found = curves(results, scenario, row)
            if found is None:
                continue
            for line, key in enumerate(("efficiency", "gap")):
                panel, lines, colour = axes[line, column], found.curves[key], _COLOURS[number]
                if np.isnan(lines).any():
                    continue
                panel.fill_between(found.steps / 1e6, lines.min(axis=0), lines.max(axis=0), color=colour, alpha=0.15)
                panel.plot(
                    found.steps / 1e6, lines.mean(axis=0), f"-{_MARKERS[number]}", color=colour, markersize=4, label=row
                )
        for line, key in enumerate(("efficiency", "gap")):
            title, bottom = (scenario if line == 0 else ""), ("million time steps" if line == 1 else "")
            _label(axes[line, column], title, bottom, _NAMES[key] if column == 0 else "")
    return _with_legend(figure, axes)


def sensitivity_figure(results: Results) -> Figure:
    """Gap and efficiency of every variant, for each lam: its trainings, and from three on their mean with an interval."""
    scenarios = [scenario for scenario in results.scenarios if variant_rows(results, scenario)]
    most = max(len(_variants(results, scenario)) for scenario in scenarios)
    figure, axes = _panels(2, len(scenarios), 3.6, 1.2 + 0.3 * most)
    for column, scenario in enumerate(scenarios):
        names = _variants(results, scenario)
        places = np.arange(len(names))[::-1]
        for line, key in enumerate(("gap", "efficiency")):
            panel = axes[line, column]
            for number, lam in enumerate((BASELINE, results.chosen_row(scenario))):
                for place, name in zip(places, names, strict=True):
                    row = f"{name}, {lam}" if name else str(lam)
                    sample, at = values(results.tests(scenario, row), key), place + 0.12 - 0.24 * number
                    panel.plot(sample, [at] * len(sample), "|", color=_COLOURS[number], markersize=7)
                    if len(sample) >= _LEAST:
                        _draw_interval(panel, over_trainings(sample), at, _COLOURS[number])
                panel.plot([], [], "o", color=_COLOURS[number], label=_called(lam))
            panel.set_yticks(places, [name or "as it is" for name in names] if column == 0 else [""] * len(names))
            panel.set_ylim(-0.6, len(names) - 0.4)
            _label(panel, scenario if line == 0 else "", _NAMES[key].replace("\n", " "), "")
    return _with_legend(figure, axes)


def _variants(results: Results, scenario: str) -> list[str]:
    """Names of the variants, the algorithm as it is first."""
    return ["", *dict.fromkeys(row.rpartition(", ")[0] for row in variant_rows(results, scenario))]


def pareto_page(results: Results) -> Any:
    """The Pareto figure with the name and the numbers of every point under the pointer."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=len(results.scenarios), subplot_titles=results.scenarios)
    for column, scenario in enumerate(results.scenarios, start=1):
        names, points = policy_points(results, scenario)
        on_front = pareto_front(points).members
        reduced = rows_against_baseline(results, scenario)
        texts = []
        for name, point in zip(names, points, strict=True):
            against = reduced.get(name)
            shrunk = "" if against is None else f"<br>gap {-against.reduction.value:+.0%} against lam=0"
            texts.append(f"{name}<br>efficiency {point[0]:.3f}, worst group {point[1]:.3f}{shrunk}")
        figure.add_trace(
            go.Scatter(
                x=points[:, 0],
                y=points[:, 1],
                mode="markers",
                hovertext=texts,
                hoverinfo="text",
                showlegend=False,
                marker=dict(
                    size=11,
                    symbol=["x" if name in results.rules(scenario) else "circle" for name in names],
                    color=[_COLOURS[1] if member else _COLOURS[0] for member in on_front],
                ),
            ),
            row=1,
            col=column,
        )
        figure.update_xaxes(title="efficiency", row=1, col=column)
    figure.update_yaxes(title="worst group's benefit rate", row=1, col=1)
    title = "Every policy by efficiency and worst group; circles are models, crosses rules, orange the front"
    figure.update_layout(template="simple_white", title=title, height=480)
    return figure


def _draw_interval(panel: Axes, interval: Interval, place: float, colour: str) -> None:
    if np.isfinite(interval.low):
        panel.plot([interval.low, interval.high], [place, place], color=colour, linewidth=1.6)
    panel.plot([interval.value], [place], "o", color=colour, markersize=5)


def _panels(n_rows: int, n_columns: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(max(width * n_columns, 5.0), height * n_rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def _label(panel: Axes, title: str, bottom: str, left: str) -> None:
    panel.set_title(title, fontsize=11, loc="left")
    panel.set_xlabel(bottom)
    panel.set_ylabel(left)
    panel.grid(alpha=0.25)
    panel.locator_params(axis="x", nbins=5)
    panel.spines[["top", "right"]].set_visible(False)


def _with_legend(figure: Figure, axes: np.ndarray) -> Figure:
    handles: dict[str, Any] = {}
    for panel in axes.flat:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower left",
        ncols=min(5, 1 + axes.shape[1]),
        frameon=False,
        fontsize=9,
    )
    return figure


def _saved(path: Path, figure: Figure) -> Path:
    with replacing(path) as unfinished:
        # No date or version in the file: the same numbers give the same bytes
        figure.savefig(unfinished, dpi=_DPI, format="png", metadata={"Software": None})
    return path
