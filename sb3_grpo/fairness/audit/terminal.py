"""An audit in a terminal."""

from typing import Any

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sb3_grpo.fairness.audit.audit import Audit, GroupAudit
from sb3_grpo.fairness.audit.words import METRICS, SHARES, SHORT, conclusion, gap_text, messages, metric_text, stay_text
from sb3_grpo.fairness.metrics import MIN_PATIENTS
from sb3_grpo.fairness.report.wording import insufficient

_SHOWN = ("success", "in_time", "left", "died_waiting", "wait_median", "wait_p95")  # fit beside the outcome, unless all are 0


def summary(audit: Audit) -> Any:
    """Tables, what they mean, and what is assumed.

    :param audit: the audit
    """
    parts: list[Any] = []
    for of in audit.groups:
        parts += [table(audit, of), Text(conclusion(audit, of), style="bold"), Text("")]
    said = dict.fromkeys(sentence for of in audit.groups for sentence in messages(of))
    parts += [Text(sentence, style="dim") for sentence in said]
    parts += [Text(sentence, style="yellow") for sentence in audit.sentences]
    parts.append(Text(audit.units.statement, style="dim"))
    return Group(*parts)


def table(audit: Audit, of: GroupAudit) -> Table:
    """One row per group: patients, outcome with its interval, waits, stays."""
    metrics = of.metrics
    known = [
        name
        for name in METRICS
        if name in _SHOWN and name in metrics.values and name != audit.outcome and metrics.values[name].any()
    ]
    result = Table(title=Text(f"By {of.name}"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    result.add_column("group", overflow="fold")
    headings = ["patients", audit.label, *(SHORT[name] for name in known), *(["mean stay"] if of.stays is not None else [])]
    for heading in headings:
        result.add_column(Text(heading), justify="right", overflow="fold")
    rates = dict(zip(of.bands.group_names, of.bands.rates, strict=True))
    for group in metrics.values.index:
        n, rate = int(metrics.n[group]), rates[str(group)]
        cells = [insufficient(n) if np.isnan(rate.value) else SHARES.with_limits(rate)]
        for name in known:
            value, behind = float(metrics.values.loc[group, name]), int(metrics.patients.loc[group, name])
            cells.append(metric_text(name, value, behind, metrics.horizon))
        if of.stays is not None:
            cells.append(stay_text(of.stays[str(group)], n).partition(" (")[0] if n >= MIN_PATIENTS else insufficient(n))
        result.add_row(Text(str(group), style="bold"), f"{n:,}", *(Text(cell) for cell in cells))
    blank = [""] * (len(headings) - 2)
    result.add_section()
    result.add_row("gap", "", gap_text(of.bands.gap), *blank)
    return result
