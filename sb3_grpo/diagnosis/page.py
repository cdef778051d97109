"""Results as one page that works offline, in the form of the reports (:mod:`sb3_grpo.fairness.report`)."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from hospital_gym.clinical.case_table import CaseTable
from sb3_grpo.diagnosis.folds import SCHEMES
from sb3_grpo.diagnosis.results import COMPARED, Results
from sb3_grpo.diagnosis.tables import (
    COLUMNS,
    change_columns,
    change_rows,
    estimate_text,
    group_rows,
    insufficient_sentences,
    method_rows,
    seed_columns,
    seed_rows,
    source_columns,
    source_rows,
)
from sb3_grpo.fairness.classification import METRICS, RATES
from sb3_grpo.fairness.inference.results import Estimate
from sb3_grpo.fairness.report import elements, figures
from sb3_grpo.fairness.report.page import compose
from sb3_grpo.fairness.report.wording import capital, p_value

DISCLAIMER: Final = (
    "Research software, not a medical device. Numbers on a table of past cases are no evidence of benefit to patients."
)


def render(
    title: str,
    table: CaseTable,
    results: Sequence[Results],
    labels: Mapping[str, str],
    subject: str,
    facts: Mapping[str, str],
) -> str:
    """
    The page as HTML.

    :param title: heading
    :param table: the cases
    :param results: one for each way of holding out cases, the first is what the decision is about
    :param labels: what methods are called
    :param subject: the method that the page is about
    :param facts: how the numbers were found, by name
    """
    links, sections = [], []
    for number, each in enumerate(results):
        address = f"scheme-{number}"
        links.append((address, capital(SCHEMES[each.scheme])))
        sections.append(_section(address, each, labels))
    links.append(("method", "Method"))
    notes = {**facts, **({"Table": " ".join(table.notes)} if table.notes else {})}
    sections.append(elements.section("method", "Method", elements.facts(notes, "notes")))
    subtitle = f"{len(table)} cases, answers {', '.join(table.label_names)}, {len(table.source_names)} sources"
    return compose(title, subtitle, _decision(results[0], labels, subject, links), "".join(sections), DISCLAIMER)


def conclusion(results: Results, labels: Mapping[str, str], subject: str) -> str:
    """
    What was found about the subject, in a sentence.

    :param results: the numbers
    :param labels: what methods are called
    :param subject: the method
    """
    metrics = results.metrics[subject].overall
    text = f"{labels[subject]}: F1 {estimate_text(metrics['f1'])}, {METRICS['ppv_gap']} {estimate_text(metrics['ppv_gap'])}."
    change = results.changes.get(subject)
    if change is None or results.reference is None:
        return text
    gap, f1 = change["ppv_gap"].difference, change["f1"].difference
    return (
        f"{text} Against {labels[results.reference]} on the same patients "
        f"{_gap_change(gap, results.adjusted.get(subject, math.nan))} F1 changes by {estimate_text(f1, signed=True)}."
    )


def _gap_change(gap: Estimate, adjusted: float) -> str:
    """
    :param gap: change of the gap; NaN where one of the two methods has none, for lack of answers or patients in a group
    :param adjusted: its corrected p value
    """
    if math.isnan(gap.value):
        return "the gap cannot be compared: at least one of the two is not known."
    verdict = "smaller" if gap.value < 0 else "larger" if gap.value > 0 else "the same"
    shown = "that is more than noise" if adjusted < 0.05 else "that may be chance"
    return f"the gap is {verdict}, {estimate_text(gap, signed=True)}, corrected p = {p_value(adjusted)}: {shown}."


def _decision(results: Results, labels: Mapping[str, str], subject: str, links: Sequence[tuple[str, str]]) -> str:
    navigation = "".join(f'<li><a href="#{address}">{elements.text(name)}</a></li>' for address, name in links)
    metrics = results.metrics[subject].overall
    tiles = {capital(METRICS[name]): estimate_text(metrics[name]).replace(" (", "\n(") for name in COLUMNS[:4]}
    return (
        f'<section class="decision" aria-label="Decision">'
        f"{elements.paragraph(conclusion(results, labels, subject), 'sentence')}{elements.facts(tiles, 'tiles')}"
        f'<nav aria-label="Sections"><ul>{navigation}</ul></nav>'
        "<noscript><p>Charts need JavaScript; every number is in the tables as well.</p></noscript></section>"
    )


def _section(address: str, results: Results, labels: Mapping[str, str]) -> str:
    points = {labels[name]: (m.overall["ppv_gap"], m.overall["f1"]) for name, m in results.metrics.items()}
    titles = (f"{METRICS['ppv_gap']} (less is better)", "F1 (more is better)")
    drawn = elements.chart(
        f"{address}-chart", "F1 and predictive parity gap of every method", figures.trade_off(points, titles)
    )
    patients = next(iter(results.metrics.values())).n_patients
    caption = (
        f"Every method, with 95 % intervals; gaps are means over the attributes. The unit is the patient, n = {patients}."
    )
    columns = ["method", *(METRICS[column] for column in COLUMNS)]
    content = [
        elements.figure(
            drawn,
            "F1 against predictive parity gap: up and to the left is better.",
            elements.table(f"{address}-methods", caption, columns, method_rows(results, labels)),
        )
    ]
    if results.changes and results.reference is not None:
        caption = (
            f"Change against {labels[results.reference]} on the same patients. p: exchange of the two methods' answers, "
            f"corrected (Holm) over {len(results.changes)} methods, of the change in the {METRICS[COMPARED[0]]}."
        )
        content.append(elements.table(f"{address}-changes", caption, change_columns(), change_rows(results, labels)))
    for place, attribute in enumerate(next(iter(results.metrics.values())).groups):
        rows = group_rows(results, attribute, labels)
        if rows:
            caption = f"By {attribute}: intervals of one rate hold for all groups together."
            heading = ["method", attribute, "cases", *RATES.values()]
            content.append(elements.table(f"{address}-groups-{place}", caption, heading, rows))
    if results.source_auc:
        caption = "Area under the ROC curve among the cases of each source, with 95 % intervals."
        columns, rows = source_columns(results), source_rows(results, labels)
        content.append(elements.table(f"{address}-sources", caption, columns, rows))
    if results.by_seed:
        caption = "How much trainings differ: every training seed by itself."
        content.append(elements.table(f"{address}-seeds", caption, seed_columns(), seed_rows(results, labels)))
    content += [elements.paragraph(f"{sentence}.", "note") for sentence in insufficient_sentences(results)]
    return elements.section(address, capital(SCHEMES[results.scheme]), *content)
