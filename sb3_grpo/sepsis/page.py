"""The report of a study of sepsis: tables as Markdown, a figure, and the numbers as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hospital_gym.clinical.sepsis.exact import Worth
from hospital_gym.clinical.sepsis.grouping import GROUPINGS
from hospital_gym.clinical.sepsis.mdp import SepsisMDP
from sb3_grpo.common.files import replacing, write_json, write_text
from sb3_grpo.fairness.inference import Interval, SignificanceTest
from sb3_grpo.sepsis.results import MODES, Found, Summary, change, references, summarise, variances

_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_MARKERS: Final = ("o", "s", "^", "D", "v")
_DISCLAIMER: Final = (
    "Research software, not a medical device: states are clusters of records of MIMIC-III, and what does well here is no "
    "evidence of benefit to patients."
)


def write_report(
    problem: SepsisMDP,
    group_by: str,
    found: Mapping[str, Sequence[Found]],
    missing: int,
    command: str,
    markdown: Path,
    picture: Path,
) -> list[Path]:
    """
    Write the report.

    :param problem: the decision problem
    :param group_by: what patients are grouped by
    :param found: what the finished trainings found, by model, at least one of each
    :param missing: how many trainings are not finished
    :param command: the command that writes it
    :param markdown: where the tables go; the numbers go beside them, as JSON
    :param picture: where the figure goes
    :return: the files
    """
    known = references(problem, group_by)
    summaries = {mode: {name: summarise(each, mode) for name, each in found.items()} for mode in MODES}
    numbers = markdown.with_suffix(".json")
    write_json(numbers, _numbers(known, group_by, found, summaries))
    _draw(known, found, summaries["most_likely"], picture)
    write_text(markdown, _text(known, group_by, found, summaries, missing, command, picture.name))
    return [markdown, numbers, picture]


def _text(
    known: Mapping[str, Worth],
    group_by: str,
    found: Mapping[str, Sequence[Found]],
    summaries: Mapping[str, Mapping[str, Summary]],
    missing: int,
    command: str,
    picture: str,
) -> str:
    names = GROUPINGS[group_by]
    first = next(iter(found))
    parts = [
        "# Treatment of sepsis",
        _DISCLAIMER,
        f"Written by `{command}`." + (f" {missing} trainings are not finished." if missing else ""),
        "Values are exact: the probability that a patient survives under a policy, from the equations of the decision "
        "problem, not from episodes. Regret is the optimum's value less the policy's. In brackets: 95 % limits of the mean "
        "over trainings (Student's t). The variance is over the groups, all weighing the same; that of regrets leaves out by "
        "how much the groups differ under the optimum.",
        "## Without learning",
        _table(
            [
                *("policy", "value", "decisions"),
                *(f"{key}, {name}" for key in ("value", "regret") for name in names),
                *("variance of values x 10^6", "variance of regrets x 10^6"),
            ],
            [_reference_row(name, worth) for name, worth in known.items()],
        ),
    ]
    for mode, by_model in summaries.items():
        columns = ["model", "trainings", "episodes each", "value", "regret", "decisions"]
        groups = [f"{key}, {name}" for key in ("value", "regret") for name in names]
        parts += [
            f"## Learned, {MODES[mode]} actions",
            _table(columns, [_row(name, summary) for name, summary in by_model.items()]),
            _table(("model", *groups), [_group_row(name, summary) for name, summary in by_model.items()]),
            _table(
                ("model", "variance of values x 10^6", "variance of regrets x 10^6"),
                [
                    (name, _interval(s.value_variance, 1, 1e6), _interval(s.regret_variance, 1, 1e6))
                    for name, s in by_model.items()
                ],
            ),
        ]
        if len(found) > 1:
            columns = [f"less {first}", "value", "variance of values x 10^6", "variance of regrets x 10^6"]
            rows = [_change_row(name, found[name], found[first], mode) for name in found if name != first]
            parts += ["Differences, with 95 % limits and p of Welch's test, not corrected:", _table(columns, rows)]
    parts += [
        "## Along the way",
        f"![Value of the most probable actions during training, and regret by group]({picture})",
        "Each training by itself, value of the most probable actions:",
        _table(
            ("model", "seed", "episodes", "decisions", "value", "value, drawn"),
            [_seed_row(name, each) for name, several in found.items() for each in several],
        ),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _reference_row(name: str, worth: Worth) -> tuple[str, ...]:
    groups = [f"{value:.4f}" for values in (worth.group_values, worth.group_regrets) for value in values]
    spread = [f"{1e6 * np.var(values):.1f}" for values in (worth.group_values, worth.group_regrets)]
    return name, f"{worth.value:.4f}", f"{worth.length:.2f}", *groups, *spread


def _row(name: str, summary: Summary) -> tuple[str, ...]:
    episodes = f"{summary.episodes.value:,.0f}"
    return name, str(summary.n), episodes, _interval(summary.value), _interval(summary.regret), _interval(summary.length, 2)


def _group_row(name: str, summary: Summary) -> tuple[str, ...]:
    return name, *(_interval(each) for values in (summary.group_values, summary.group_regrets) for each in values.values())


def _change_row(name: str, other: Sequence[Found], base: Sequence[Found], mode: str) -> tuple[str, ...]:
    pairs = [([each[mode]["value"] for each in other], [each[mode]["value"] for each in base], 4, 1.0)]
    pairs += [(variances(other, mode, key), variances(base, mode, key), 1, 1e6) for key in ("group_values", "group_regrets")]
    return name, *(_change(change(x, y), digits, scale) for x, y, digits, scale in pairs)


def _seed_row(name: str, each: Found) -> tuple[str, ...]:
    values = [f"{each[mode]['value']:.4f}" for mode in ("most_likely", "drawn")]
    return name, str(each["seed"]), f"{each['episodes']:,}", f"{each['timesteps']:,}", *values


def _interval(of: Interval, digits: int = 4, scale: float = 1.0) -> str:
    value, low, high = (f"{scale * number:.{digits}f}" for number in (of.value, of.low, of.high))
    return value if np.isnan(of.low) else f"{value} ({low} to {high})"


def _change(test: SignificanceTest | None, digits: int, scale: float) -> str:
    if test is None:
        return "n/a"
    value, low, high = (f"{scale * number:+.{digits}f}" for number in (test.difference, test.interval.low, test.interval.high))
    p = "p < 0.001" if test.p_value < 0.001 else f"p = {test.p_value:.3f}"
    return f"{value} ({low} to {high}), {p}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _numbers(
    known: Mapping[str, Worth],
    group_by: str,
    found: Mapping[str, Sequence[Found]],
    summaries: Mapping[str, Mapping[str, Summary]],
) -> dict[str, Any]:
    """The same as JSON can hold it."""
    return {
        "group_by": group_by,
        "groups": list(GROUPINGS[group_by]),
        "without_learning": {name: _plain(asdict(worth)) for name, worth in known.items()},
        "learned": {mode: {name: _plain(asdict(summary)) for name, summary in of.items()} for mode, of in summaries.items()},
        "trainings": {name: [dict(each) for each in several] for name, several in found.items()},
    }


def _plain(value: Any) -> Any:
    """Numbers rounded, arrays as lists, and null for what does not exist."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return [_plain(each) for each in value.tolist()]
    if isinstance(value, float):
        return None if np.isnan(value) else float(f"{value:.6g}")
    return value


def _draw(
    known: Mapping[str, Worth], found: Mapping[str, Sequence[Found]], summaries: Mapping[str, Summary], path: Path
) -> None:
    figure = Figure(figsize=(10.0, 3.8), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    learning, regrets = figure.subplots(1, 2)
    _draw_learning(learning, known, found)
    _draw_regrets(regrets, summaries)
    with replacing(path) as unfinished:
        canvas.print_figure(unfinished, format="png")


def _draw_learning(axes: Axes, known: Mapping[str, Worth], found: Mapping[str, Sequence[Found]]) -> None:
    for number, (name, several) in enumerate(found.items()):
        colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
        points = min(len(each["curve"]) for each in several)
        episodes = np.array([[point["episodes"] for point in each["curve"][:points]] for each in several]).mean(axis=0)
        values = np.array([[point["most_likely"] for point in each["curve"][:points]] for each in several])
        axes.plot(episodes, values.mean(axis=0), color=colour, marker=marker, markersize=4, label=name)
        axes.fill_between(episodes, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    for name, line in (("uniform", ":"), ("clinicians", "--"), ("optimum", "-")):
        axes.axhline(known[name].value, color="#777777", linestyle=line)
    for text, name in (("optimum", "optimum"), ("clinicians (dashed), uniform (dotted)", "clinicians")):
        place = (0.99, known[name].value)
        axes.annotate(text, place, xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    axes.set(xlabel="patients trained on", ylabel="probability of survival, exact", title="Mean and range over trainings")
    axes.set_ylim(top=known["optimum"].value + 0.006)
    axes.legend(loc="center right", fontsize=8)


def _draw_regrets(axes: Axes, summaries: Mapping[str, Summary]) -> None:
    groups = list(next(iter(summaries.values())).group_regrets)
    places = np.arange(len(groups), dtype=float)
    for number, (name, summary) in enumerate(summaries.items()):
        of = list(summary.group_regrets.values())
        values = np.array([each.value for each in of])
        errors = np.nan_to_num(np.array([[each.value - each.low, each.high - each.value] for each in of]).T)
        shifted = places + 0.15 * (number - (len(summaries) - 1) / 2)
        colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
        axes.errorbar(shifted, values, yerr=errors, fmt=marker, color=colour, capsize=3, label=name)
    axes.set_xticks(places, groups)
    axes.set(ylabel="regret against the optimum", title="By group, 95 % limits over trainings")
    axes.set_ylim(bottom=0.0)
    axes.legend(fontsize=8)
