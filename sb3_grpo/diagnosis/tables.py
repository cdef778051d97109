"""Results as tables: for the terminal, and in Markdown for the documentation."""

from collections.abc import Mapping, Sequence
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from sb3_grpo.diagnosis.folds import SCHEMES
from sb3_grpo.diagnosis.results import BY_SEED, COMPARED, Results
from sb3_grpo.fairness.classification import METRICS, RATES
from sb3_grpo.fairness.inference.results import Estimate
from sb3_grpo.fairness.report.wording import capital, p_value

COLUMNS: Final = ("f1", "auc", "ppv_gap", "eod", "fpr_gap", "tpr_gap", "f1_sd", "accuracy", "accuracy_sd", "es_f1")
"""Metrics of the table of methods."""

TERMINAL: Final = {"f1": "F1", "auc": "AUC", "ppv_gap": "parity gap", "eod": "odds difference"}
"""Those of them that a terminal has room for, and what they are called there."""


def estimate_text(estimate: Estimate, signed: bool = False, between: str = " to ") -> str:
    """
    A number with its interval.

    :param estimate: the number
    :param signed: whether a plus sign is written
    :param between: what stands between the limits
    """
    if estimate.value != estimate.value:
        return "not known"
    value = _number(estimate.value, signed)
    if estimate.low != estimate.low:
        return f"{value} (no interval)"
    return f"{value} ({_number(estimate.low, signed)}{between}{_number(estimate.high, signed)})"


def _number(value: float, signed: bool) -> str:
    text = f"{value:+.3f}" if signed else f"{value:.3f}"
    return text.replace("-", "\u2212") if float(text) else text.lstrip("-+")


def method_rows(results: Results, labels: Mapping[str, str], columns: Sequence[str] = COLUMNS) -> list[list[str]]:
    """One row per method: its name, and the metrics with their intervals."""
    return [
        [labels[name], *(estimate_text(metrics.overall[column]) for column in columns)]
        for name, metrics in results.metrics.items()
    ]


def change_rows(results: Results, labels: Mapping[str, str]) -> list[list[str]]:
    """One row per compared method: changes to the reference, the ratio of the primary metric and its p values."""
    rows = []
    for name, changes in results.changes.items():
        primary = changes[COMPARED[0]]
        cells = [estimate_text(changes[key].difference, signed=True) for key in COMPARED[:5]]
        p = f"{p_value(primary.p_value)}, corrected {p_value(results.adjusted.get(name, float('nan')))}"
        # No limits for the ratio: where both gaps may be 0 it can be anything
        rows.append([labels[name], *cells, f"{primary.ratio.value:.3f}", p])
    return rows


def change_columns() -> list[str]:
    """Headings of :func:`change_rows`."""
    return ["method", *(METRICS[key] for key in COMPARED[:5]), f"ratio of the {METRICS[COMPARED[0]]}", "p of its change"]


def group_rows(results: Results, attribute: str, labels: Mapping[str, str]) -> list[list[str]]:
    """One row per method and group: how many cases, and the rates."""
    rows = []
    for name, metrics in results.metrics.items():
        of = metrics.groups[attribute]
        for place, group in enumerate(of.names):
            cells = [estimate_text(of.rates[rate][place]) for rate in RATES]
            rows.append([labels[name], group, str(of.cases[place]), *cells])
    return rows


def source_rows(results: Results, labels: Mapping[str, str]) -> list[list[str]]:
    """One row per method: area under the curve within each source; :func:`source_columns` has the headings."""
    sources = source_columns(results)[1:]
    nothing = Estimate(float("nan"), float("nan"), float("nan"), float("nan"), "none")
    return [
        [labels[name], *(estimate_text(of.get(source, nothing)) for source in sources)]
        for name, of in results.source_auc.items()
    ]


def source_columns(results: Results) -> list[str]:
    """Headings of :func:`source_rows`; sources in which all cases have the same label have no area."""
    return ["method", *next(iter(results.source_auc.values()), {})]


def seed_rows(results: Results, labels: Mapping[str, str]) -> list[list[str]]:
    """One row per method: what each training seed gives by itself."""
    return [
        [labels[name], *(", ".join(f"{value:.3f}" for value in of[key]) for key in BY_SEED)]
        for name, of in results.by_seed.items()
    ]


def seed_columns() -> list[str]:
    """Headings of :func:`seed_rows`."""
    return ["method", *(f"{METRICS[key]} of each seed" for key in BY_SEED)]


def insufficient_sentences(results: Results) -> list[str]:
    """Which groups are too small to be compared. They are the same for every method."""
    found = []
    for metrics in list(results.metrics.values())[:1]:
        for attribute, of in metrics.groups.items():
            for group, (having, others) in of.insufficient.items():
                found.append(
                    f"{attribute} {group}: insufficient ({having} cases with the condition, {others} without): "
                    "enters no comparison"
                )
    return found


def terminal_table(results: Results, labels: Mapping[str, str]) -> Table:
    """The methods, in as many columns as a terminal has room for."""
    table = Table(title=capital(SCHEMES[results.scheme]), box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("method")
    for heading in TERMINAL.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for name, metrics in results.metrics.items():
        cells = [estimate_text(metrics.overall[column]).replace("0.", ".") for column in TERMINAL]
        table.add_row(Text(labels[name], style="bold"), *cells)
    return table


def markdown(results: Results, labels: Mapping[str, str]) -> str:
    """Every table, in Markdown."""
    patients = next(iter(results.metrics.values())).n_patients
    parts = [
        f"## {capital(SCHEMES[results.scheme])}",
        f"{patients} patients. Brackets: 95 % intervals, the unit is the patient.",
        _table(["method", *(METRICS[column] for column in COLUMNS)], method_rows(results, labels)),
    ]
    if results.changes:
        assert results.reference is not None
        parts += [
            f"Change against {labels[results.reference]}, same patients:",
            _table(change_columns(), change_rows(results, labels)),
        ]
    for attribute in next(iter(results.metrics.values())).groups:
        heading = ["method", attribute, "cases", *RATES.values()]
        rows = group_rows(results, attribute, labels)
        if rows:
            parts += [f"By {attribute}:", _table(heading, rows)]
    if results.source_auc:
        parts += [
            "Area under the ROC curve within each source:",
            _table(source_columns(results), source_rows(results, labels)),
        ]
    if results.by_seed:
        parts += ["How much trainings differ:", _table(seed_columns(), seed_rows(results, labels))]
    parts += [f"{sentence}." for sentence in insufficient_sentences(results)]
    return "\n\n".join(parts) + "\n"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
