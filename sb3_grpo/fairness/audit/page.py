"""An audit as one page that works offline, in the form of the reports (:mod:`sb3_grpo.fairness.report`)."""

import numpy as np

from sb3_grpo.fairness.audit.audit import CONFIDENCE, Audit, GroupAudit
from sb3_grpo.fairness.audit.words import (
    DISCLAIMER,
    METRICS,
    SHARES,
    SHORT,
    conclusion,
    gap_text,
    insufficient_groups,
    metric_text,
    notes,
    overview,
    shown,
    stay_text,
)
from sb3_grpo.fairness.metrics import MIN_PATIENTS
from sb3_grpo.fairness.report import elements, figures
from sb3_grpo.fairness.report.page import compose
from sb3_grpo.fairness.report.waits import MARKS, wait_curves
from sb3_grpo.fairness.report.wording import capital, insufficient, level_text, listing, percent


def render(audit: Audit, title: str) -> str:
    """The page as HTML.

    :param audit: the audit
    :param title: heading
    """
    sections = []
    links = []
    for place, of in enumerate(audit.groups):
        sections.append(_groups(audit, of, place))
        links.append((f"groups-{place}", capital(of.name)))
    method = elements.section("method", "Method", elements.facts(notes(audit), "notes"))
    links.append(("method", "Method"))
    return compose(title, overview(audit), _decision(audit, links), "".join([*sections, method]), DISCLAIMER)


def _decision(audit: Audit, links: list[tuple[str, str]]) -> str:
    navigation = "".join(f'<li><a href="#{address}">{elements.text(name)}</a></li>' for address, name in links)
    beyond = [of.name for of in audit.groups if shown(of.bands.gap)]
    label = f"Gap shown by {listing(beyond)}" if beyond else "No gap shown"
    sentences = "".join(elements.paragraph(conclusion(audit, of), "sentence") for of in audit.groups)
    tiles = {"Records": f"{audit.n_rows:,}".replace(",", "\u202f"), f"Unit: {audit.units.name}": f"{audit.units.n}"}
    for of in audit.groups:
        tiles[f"Gap by {of.name}"] = gap_text(of.bands.gap).replace(" (", "\n(")
    warning = "" if audit.units.warning is None else elements.paragraph(f"{capital(audit.units.warning)}.", "note")
    return (
        f'<section class="decision" aria-label="Decision"><p class="verdict">{elements.text(label)}</p>{sentences}{warning}'
        f'{elements.facts(tiles, "tiles")}<nav aria-label="Sections"><ul>{navigation}</ul></nav>'
        "<noscript><p>Charts need JavaScript; every number is in the tables as well.</p></noscript></section>"
    )


def _groups(audit: Audit, of: GroupAudit, place: int) -> str:
    level = level_text(CONFIDENCE)
    drawn = elements.chart(f"rates-{place}", f"Bars: {audit.label} by {of.name}", figures.group_bars(of.findings))
    rows = [
        [group, str(n), insufficient(n) if np.isnan(rate.value) else SHARES.with_limits(rate)]
        for group, n, rate in zip(of.findings.group_names, of.findings.counted, of.bands.rates, strict=True)
    ]
    rows += [["lowest", "", SHARES.with_limits(of.bands.worst)], ["gap", "", gap_text(of.bands.gap)]]
    caption = (
        f"{capital(audit.label)} by {of.name}, with {level} intervals that hold for all groups together. "
        f"Unit: {audit.units.name}, n = {audit.units.n}."
    )
    few = insufficient_groups(of)
    note = listing(f"{name}: {insufficient(n)}" for name, n in few.items())
    return elements.section(
        f"groups-{place}",
        f"{capital(audit.label)} by {of.name}",
        elements.figure(
            drawn,
            conclusion(audit, of),
            elements.table(f"rates-{place}-table", caption, ["group", "patients", audit.label], rows),
        ),
        elements.paragraph(f"{note}. Too few patients: they enter no comparison.", "note") if few else "",
        _metrics(audit, of, place),
        _at_equal_severity(of, place),
        _waits(of, place),
    )


def _metrics(audit: Audit, of: GroupAudit, place: int) -> str:
    metrics = of.metrics
    known = [name for name in METRICS if name in metrics.values and name != audit.outcome]
    rows = []
    for group in metrics.values.index:
        cells = []
        for name in known:
            value, n = float(metrics.values.loc[group, name]), int(metrics.patients.loc[group, name])
            interval = of.intervals.get(name, {}).get(str(group))
            text = metric_text(name, value, n, metrics.horizon)
            if interval is not None and not np.isnan(interval.low):
                text += f" ({_limits(name, interval.low)} to {_limits(name, interval.high)})"
            cells.append(text)
        stay = [] if of.stays is None else [stay_text(of.stays[str(group)], int(metrics.n[group]))]
        rows.append([str(group), str(int(metrics.n[group])), *cells, *stay])
    columns = ["group", "patients", *(SHORT[name] for name in known), *(["mean stay"] if of.stays is not None else [])]
    caption = (
        f"What happened by {of.name}. Intervals in brackets: {level_text(CONFIDENCE)}, for all groups of one column together. "
        f"Unit: {audit.units.name}."
    )
    return elements.subheading("What happened") + elements.table(f"metrics-{place}-table", caption, columns, rows)


def _limits(name: str, value: float) -> str:
    return metric_text(name, value, MIN_PATIENTS, np.inf).replace(" %", "").replace(" h", "")


def _at_equal_severity(of: GroupAudit, place: int) -> str:
    standardised = of.metrics.standardised
    if standardised is None or standardised.values.empty:
        return ""
    known = [name for name in METRICS if name in standardised.values]
    rows = []
    for group in standardised.values.index:
        values = [float(standardised.values.loc[group, name]) for name in known]
        if all(np.isnan(value) for value in values):
            rows.append([str(group), *["not compared"] * len(known)])
        else:
            cells = [
                metric_text(name, value, MIN_PATIENTS, of.metrics.horizon) for name, value in zip(known, values, strict=True)
            ]
            rows.append([str(group), *cells])
    caption = (
        f"The same at equal {standardised.column}: each group\u2019s values by {standardised.column}, weighted with one mix "
        "for all groups. No intervals."
    )
    table = elements.table(f"equal-{place}-table", caption, ["group", *(SHORT[name] for name in known)], rows)
    return elements.subheading(f"At equal {standardised.column}") + table


def _waits(of: GroupAudit, place: int) -> str:
    curves = {name: curve for name, curve in wait_curves(of.counts).items() if not np.isnan(curve.untreated).all()}
    if not curves:
        return ""
    marks = [mark for mark in MARKS if mark <= next(iter(curves.values())).hours[-1]]
    rows = [[name, str(curve.n), *(percent(curve.at(mark)) for mark in marks)] for name, curve in curves.items()]
    caption = (
        f"Share not yet treated by hours since arrival, by {of.name}: lower is sooner. Whoever left or died counts as "
        "untreated."
    )
    columns = ["group", "patients", *(f"after {mark:g} h" for mark in marks)]
    return elements.subheading("Waiting") + elements.table(f"waits-{place}-table", caption, columns, rows)
