"""An audit as data: a tidy table, and JSON with a version."""

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sb3_grpo.fairness.audit.audit import CONFIDENCE, Audit, GroupAudit
from sb3_grpo.fairness.audit.words import conclusion, messages, notes, shown
from sb3_grpo.fairness.inference.results import Interval
from sb3_grpo.fairness.report.document import without_nan

if TYPE_CHECKING:
    import pandas as pd

SCHEMA: Final = "sb3_grpo audit"
VERSION: Final = 1
"""Rises when a key changes its meaning or goes; new keys do not change it."""

COLUMNS: Final = ("by", "group", "quantity", "value", "low", "high", "method", "patients")
"""Columns of the tidy table; ``group`` is empty for worst and gap."""


def to_dict(audit: Audit) -> dict[str, Any]:
    """Nested dictionaries, lists, numbers and strings; a number that does not exist is None (JSON has no NaN).

    :param audit: the audit
    """
    return without_nan(
        {
            "schema": SCHEMA,
            "version": VERSION,
            "file": audit.file,
            "records": audit.n_rows,
            "outcome": audit.outcome,
            "label": audit.label,
            "unit": {"name": audit.units.name, "n": audit.units.n, "assumed": audit.units.statement},
            "confidence": CONFIDENCE,
            "period": None if audit.period is None else {"first": audit.period[0], "last": audit.period[1]},
            "groups": [_group(audit, of) for of in audit.groups],
            "left_out": list(audit.sentences),
            "notes": notes(audit),
        }
    )


def to_json(audit: Audit) -> str:
    """The audit as JSON text."""
    return json.dumps(to_dict(audit), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _group(audit: Audit, of: GroupAudit) -> dict[str, Any]:
    bands = of.bands
    return {
        "by": list(of.by),
        "conclusion": conclusion(audit, of),
        "gap_shown": shown(bands.gap),
        "rates": {name: _interval(rate) for name, rate in zip(bands.group_names, bands.rates, strict=True)},
        "patients": dict(zip(of.findings.group_names, of.findings.counted, strict=True)),
        "worst": _interval(bands.worst) | {"group": bands.worst_group},
        "best": _interval(bands.best),
        "gap": _interval(bands.gap),
        "insufficient": list(bands.insufficient),
        "intervals": {
            name: {group: _interval(value) for group, value in groups.items()} for name, groups in of.intervals.items()
        },
        "mean_stay_hours": None if of.stays is None else {name: _interval(value) for name, value in of.stays.items()},
        "metrics": {**of.metrics.to_dict(), "messages": messages(of)},
    }


def _interval(interval: Interval) -> dict[str, Any]:
    return {"value": interval.value, "low": interval.low, "high": interval.high, "method": interval.method}


def to_frame(audit: Audit) -> "pd.DataFrame":
    """One row per number, columns :data:`COLUMNS`."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for of in audit.groups:
        bands, counted = of.bands, dict(zip(of.findings.group_names, of.findings.counted, strict=True))
        for group, rate in zip(bands.group_names, bands.rates, strict=True):
            rows.append(_row(of, audit.outcome, rate, group, counted[group]))
        rows += [_row(of, "worst", bands.worst), _row(of, "gap", bands.gap)]
        for name, groups in of.intervals.items():
            rows += [_row(of, name, value, group, _patients(of, group, name)) for group, value in groups.items()]
        for group, stay in (of.stays or {}).items():
            rows.append(_row(of, "mean_stay", stay, group))
        for name in map(str, of.metrics.values):
            if name == audit.outcome or name in of.intervals:
                continue
            for group in bands.group_names:
                nothing = Interval(float(of.metrics.values[name].loc[group]), np.nan, np.nan, "episode", 0, "none")
                rows.append(_row(of, name, nothing, group, _patients(of, group, name)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _patients(of: GroupAudit, group: str, metric: str) -> int:
    return int(of.metrics.patients[metric].loc[group])


def _row(of: GroupAudit, quantity: str, value: Interval, group: str = "", patients: int | None = None) -> dict[str, Any]:
    return {
        "by": " x ".join(of.by),
        "group": group,
        "quantity": quantity,
        "value": value.value,
        "low": value.low,
        "high": value.high,
        "method": value.method,
        "patients": patients,
    }
