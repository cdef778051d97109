"""A comparison as a table: for the terminal, and in Markdown for the documentation."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sb3_grpo.fairness.inference import Comparison, Estimate, PairedDifference, PolicyEstimates

_COLUMN_WIDTH: Final = 12  # "+.012…+.034" and a space
_NAME_WIDTH: Final = 20
_LESS_IS_BETTER: Final = "gap"


Attainable = Mapping[str, Mapping[str, Any]]
"""What is attainable for each group, see :func:`sb3_grpo.cli.rules.attainable_rates`."""


def print_comparison(
    console: Console, comparison: Comparison, attainable: Attainable, labels: Mapping[str, str], title: str
) -> None:
    """Print a comparison, in one table where the terminal is wide enough, else in two.

    :param console: where to
    :param comparison: the numbers
    :param attainable: what is attainable for each group, printed above the policies
    :param labels: how policies are called; their names by default
    :param title: what stands above
    """
    columns = [*comparison.group_names, "worst", "gap", "efficiency"]
    if _NAME_WIDTH + _COLUMN_WIDTH * len(columns) <= console.width:
        parts = [columns]
    else:
        parts = [columns[:-3], columns[-3:]]
    for part in parts:
        console.print(_table(comparison, attainable, labels, part, title))
        title = ""
    for note in notes(comparison, labels):
        console.print(Text(note, style="dim"))


def notes(comparison: Comparison, labels: Mapping[str, str]) -> list[str]:
    """How to read the table, and what needs attention."""
    level = f"{comparison.confidence:.0%}".replace("%", " %")
    lines = [
        "Group columns: benefit rate, the share of the ideal benefit (immediate treatment in the right bed) that the group "
        "received. Efficiency: all benefit less all cost, per demand.",
        "Attainable: the group's highest rate under any of these policies, or if it goes first everywhere; not all at once.",
        f"Below each number its {level} interval, each for itself; the unit is the episode (n={comparison.n_episodes}). Worst "
        "and gap: from simultaneous limits of the group rates, which hold when groups tie. An estimated minimum is biased all "
        "the same: comparison.json has the bias and the method of every number.",
    ]
    if comparison.reference is not None:
        reference = labels.get(comparison.reference, comparison.reference)
        lines.append(f"With a sign: difference to {reference} on the same patients, and its interval.")
    for name in comparison.insufficient:
        count = comparison.counted[comparison.group_names.index(name)]
        lines.append(f"{name}: insufficient (n={count}): no rate, enters neither worst nor gap.")
    for policy in comparison.policies:
        if policy.paired is not None and policy.paired.levels_down:
            lines.append(
                f"{labels.get(policy.name, policy.name)} LEVELS DOWN: the gap is smaller, but the worst rate is no higher."
            )
    return lines


def markdown_comparison(comparison: Comparison, attainable: Attainable, labels: Mapping[str, str]) -> str:
    """The comparison as a Markdown table; differences in a second one if there is a reference."""
    columns = [*comparison.group_names, "worst", "gap", "efficiency"]
    rows = [(labels.get(p.name, p.name), _numbers(p)) for p in comparison.policies]
    best = " | ".join([*_attainable_cells(comparison.group_names, attainable), "", "", ""])
    parts = [f"{_markdown(columns, rows, signed=False)}\n| attainable | {best} |"]
    if comparison.reference is not None:
        rows = [(labels.get(p.name, p.name), _differences(p.paired)) for p in comparison.policies if p.paired is not None]
        parts.append(f"Difference to {labels.get(comparison.reference, comparison.reference)}, same patients:")
        parts.append(_markdown(columns, rows, signed=True))
    return "\n\n".join(parts) + "\n"


def _markdown(columns: list[str], rows: list[tuple[str, list[Estimate]]], signed: bool) -> str:
    lines = [f"| policy | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for label, estimates in rows:
        cells = [f"{_number(e.value, signed)} ({_interval(e, signed, between=' to ')})" for e in estimates]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _attainable_cells(names: Sequence[str], attainable: Attainable) -> list[str]:
    return [
        "" if name not in attainable or attainable[name]["rate"] is None else f"{attainable[name]['rate']:.3f}"
        for name in names
    ]


def _table(comparison: Comparison, attainable: Attainable, labels: Mapping[str, str], columns: list[str], title: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")
    table.add_column("policy", min_width=_NAME_WIDTH - 1)
    for column in columns:
        table.add_column(column, justify="right", min_width=_COLUMN_WIDTH - 1, no_wrap=True)
    names = [*comparison.group_names, "worst", "gap", "efficiency"]
    chosen = [names.index(column) for column in columns]
    if any(column in attainable for column in columns):
        table.add_row("attainable", *_attainable_cells(columns, attainable), end_section=True)
    for policy in comparison.policies:
        numbers = _numbers(policy)
        differences = [None] * len(names) if policy.paired is None else _differences(policy.paired)
        cells = [_cell(numbers[k], differences[k], names[k] == _LESS_IS_BETTER) for k in chosen]
        table.add_row(Text(labels.get(policy.name, policy.name), style="bold"), *cells, end_section=True)
    return table


def _numbers(policy: PolicyEstimates) -> list[Estimate]:
    return [*policy.rates, policy.worst, policy.gap, policy.efficiency]


def _differences(paired: PairedDifference) -> list[Estimate]:
    return [*paired.rates, paired.worst, paired.gap, paired.efficiency]


def _cell(number: Estimate, difference: Estimate | None, less_is_better: bool) -> Text:
    cell = Text(_number(number.value, signed=False), style="bold")
    cell.append(f"\n{_interval(number, signed=False)}", style="not bold dim")
    if difference is not None:
        better = difference.high < 0 if less_is_better else difference.low > 0
        worse = difference.low > 0 if less_is_better else difference.high < 0
        style = "green" if better else "red" if worse else ""
        cell.append(f"\n{_number(difference.value, signed=True)}", style=f"not bold {style}")
        cell.append(f"\n{_interval(difference, signed=True)}", style=f"not bold dim {style}")
    return cell


def _number(value: float, signed: bool) -> str:
    if value != value:
        return "insufficient"[:_COLUMN_WIDTH]
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def _interval(estimate: Estimate, signed: bool, between: str = "…") -> str:
    if estimate.low != estimate.low:
        return "no interval"
    low, high = (_number(limit, signed).replace("0.", ".", 1) for limit in (estimate.low, estimate.high))
    return f"{low}{between}{high}"
