"""Results as Markdown."""

from collections.abc import Mapping, Sequence

from sb3_grpo.diagnosis.tables import estimate_text
from sb3_grpo.early_warning.results import ALARMS, RANKINGS, Results
from sb3_grpo.fairness.inference.results import Estimate
from sb3_grpo.fairness.report.wording import capital


def markdown(results: Results, labels: Mapping[str, str], shown: Sequence[int] = (6, 12, 24, 48)) -> str:
    """
    Every table.

    :param results: the numbers
    :param labels: what methods are called
    :param shown: hours that tables have room for
    """
    hours = [hour for hour in shown if all(hour in of for of in results.rankings.values())]
    parts = ["## Discrimination"]
    for measure, name in RANKINGS.items():
        rows = [
            [labels[method], *(estimate_text(of[hour][measure]) for hour in hours)] for method, of in results.rankings.items()
        ]
        parts += [f"{capital(name)} of the score after so many hours:", _table(["method", *_after(hours)], rows)]
    for measure, name in RANKINGS.items():
        rows = [
            [labels[method], labels[other], *(estimate_text(of[hour][measure], signed=True) for hour in hours)]
            for method, others in results.changes.items()
            for other, of in others.items()
        ]
        if rows:
            parts += [f"Difference in {name}, same patients:", _table(["method", "less", *_after(hours)], rows)]
    parts += ["## Alarms", _table(["method", *ALARMS.values()], alarm_rows(results, labels))]
    rows = [
        [labels[method], labels[other], estimate_text(change, signed=True)]
        for method, others in results.alarm_changes.items()
        for other, change in others.items()
    ]
    if rows:
        parts += ["Difference in reward a patient, same patients:", _table(["method", "less", "reward"], rows)]
    parts += ["## Groups", *_group_tables(results, labels)]
    return "\n\n".join(parts) + "\n"


def alarm_rows(results: Results, labels: Mapping[str, str]) -> list[list[str]]:
    """One row per method: :data:`~sb3_grpo.early_warning.results.ALARMS`, hours with one decimal."""
    return [
        [labels[method], *(_hours(of[key]) if key.startswith("warning") else estimate_text(of[key]) for key in ALARMS)]
        for method, of in results.alarms.items()
    ]


def _hours(estimate: Estimate) -> str:
    if estimate.value != estimate.value:
        return "not known"
    return f"{estimate.value:.1f} ({estimate.low:.1f} to {estimate.high:.1f})"


def _after(hours: Sequence[int]) -> list[str]:
    return [f"{hour} h" for hour in hours]


def _group_tables(results: Results, labels: Mapping[str, str]) -> list[str]:
    parts: list[str] = []
    few: dict[str, None] = {}
    for attribute in next(iter(results.groups.values()), {}):
        rows = []
        for method, ways in results.groups.items():
            of = ways[attribute]
            for place, group in enumerate(of.names):
                rates = [estimate_text(of.rates[rate][place]) for rate in ("tpr", "fpr")]
                rows.append([labels[method], group, str(of.cases[place]), *rates])
            for group, (deaths, others) in of.insufficient.items():
                few[f"{group}: insufficient, {deaths} deaths and {others} survivals."] = None
        if rows:
            parts += [f"By {attribute}:", _table(["method", attribute, "patients", "deaths announced", "false alarms"], rows)]
    return [*parts, *([" ".join(few)] if few else [])]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
