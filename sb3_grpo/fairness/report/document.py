"""The report as data: a tidy table, and JSON with a version."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sb3_grpo.fairness.inference.results import Interval
from sb3_grpo.fairness.report.contents import Contents
from sb3_grpo.fairness.report.decision import verdict
from sb3_grpo.fairness.report.findings import EFFICIENCY, Findings, PolicyFindings
from sb3_grpo.fairness.report.waits import MARKS

if TYPE_CHECKING:
    import pandas as pd

SCHEMA: Final = "sb3_grpo fairness report"
VERSION: Final = 1
"""Rises when a key changes its meaning or goes; new keys do not change it."""

COLUMNS: Final = (
    "policy", "reference", "group", "quantity", "value", "low", "high", "method", "unit", "units", "patients"
)  # fmt: skip
"""Columns of the tidy table. ``reference`` is empty but for differences, ``group`` but for what is of one group."""


def to_frame(findings: Findings) -> "pd.DataFrame":
    """One row per number.

    :param findings: what was found
    :return: columns as in :data:`COLUMNS`
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for policy in findings.policies.values():
        rows += _levels(findings, policy)
        rows += _changes(findings, policy)
        if policy.metrics is not None:
            table, patients = policy.metrics.values, policy.metrics.patients
            for name in table.columns:
                for group, value, n in zip(table.index, table[name], patients[name], strict=True):
                    rows.append(_row(policy.name, name, float(value), group=str(group), patients=int(n)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _levels(findings: Findings, policy: PolicyFindings) -> list[dict[str, Any]]:
    bands = policy.bands
    counted = findings.counted
    rows = [
        _row(policy.name, "rate", rate, group=name, patients=n)
        for name, rate, n in zip(bands.group_names, bands.rates, counted, strict=True)
    ]
    extremes = {"worst": bands.worst, "best": bands.best, "gap": bands.gap, EFFICIENCY: policy.efficiency}
    return rows + [_row(policy.name, name, value) for name, value in extremes.items()]


def _changes(findings: Findings, policy: PolicyFindings) -> list[dict[str, Any]]:
    paired, reference = policy.paired, findings.setting.reference
    if paired is None or reference is None:
        return []
    rows = [
        _row(policy.name, "change of rate", change, group=name, reference=reference, patients=n)
        for name, change, n in zip(paired.group_names, paired.rates, findings.counted, strict=True)
    ]
    others = {
        "change of worst": paired.worst,
        "change of best": paired.best,
        "change of gap": paired.gap,
        "change of efficiency": paired.efficiency,
        "efficiency kept": paired.efficiency_ratio,
    }
    return rows + [_row(policy.name, name, value, reference=reference) for name, value in others.items()]


def _row(
    policy: str, quantity: str, value: Interval | float, group: str = "", reference: str = "", patients: int | None = None
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "policy": policy,
        "reference": reference,
        "group": group,
        "quantity": quantity,
        "patients": patients,
    }
    if isinstance(value, Interval):
        return row | {
            "value": value.value,
            "low": value.low,
            "high": value.high,
            "method": value.method,
            "unit": value.unit,
            "units": value.n,
        }
    return row | {"value": value, "low": np.nan, "high": np.nan, "method": "none", "unit": "", "units": None}


def to_dict(contents: Contents) -> dict[str, Any]:
    """Nested dictionaries, lists, numbers and strings; a number that does not exist is None (JSON has no NaN).

    :param contents: the report
    """
    found = contents.findings
    setting = found.setting
    return without_nan(
        {
            "schema": SCHEMA,
            "version": VERSION,
            "title": contents.title,
            "decision": contents.decision,
            "subject": setting.subject,
            "reference": setting.reference,
            "rate": setting.rate,
            "groups": [{"name": n, "patients": k} for n, k in zip(found.group_names, found.counted, strict=True)],
            "unit": {"name": "episode", "n": found.n_episodes},
            "confidence": found.confidence,
            "policies": {name: _policy(found, policy) for name, policy in found.policies.items()},
            "tests": [asdict(test) for test in found.tests],
            "front": {
                "policies": [policy.name for policy in found.policies.values() if policy.on_front],
                "hypervolume": found.front.hypervolume,
                "above": list(found.front.reference),
            },
            "waits": {
                name: {
                    group: {"patients": curve.n, "untreated": {f"{hour:g}": curve.at(hour) for hour in MARKS}}
                    for group, curve in curves.items()
                }
                for name, curves in contents.curves.items()
            },
            "resources": {name: {key: asdict(use) for key, use in used.items()} for name, used in contents.used.items()},
            "levers": [
                {
                    "name": lever.name,
                    "worst": asdict(lever.change.worst),
                    "gap": asdict(lever.change.gap),
                    "efficiency": asdict(lever.change.efficiency),
                }
                for lever in contents.levers
            ],
            "training": {
                curve.name: {"timesteps": curve.timesteps.tolist(), **{k: v.tolist() for k, v in curve.series.items()}}
                for curve in contents.training
            },
            "recommendations": [asdict(recommendation) for recommendation in contents.recommendations],
            "notes": dict(contents.notes),
        }
    )


def _policy(found: Findings, policy: PolicyFindings) -> dict[str, Any]:
    bands, paired = policy.bands, policy.paired
    names = found.group_names
    result: dict[str, Any] = {
        "rates": {name: asdict(rate) for name, rate in zip(names, bands.rates, strict=True)},
        "worst": asdict(bands.worst) | {"group": bands.worst_group},
        "best": asdict(bands.best),
        "gap": asdict(bands.gap),
        "insufficient": list(bands.insufficient),
        EFFICIENCY: asdict(policy.efficiency),
        "benefit_share": policy.benefit_share,
        "cost_share": policy.cost_share,
        "on_front": policy.on_front,
        "invalid_share": policy.invalid_share,
        "metrics": None if policy.metrics is None else policy.metrics.to_dict(),
        "against_reference": None,
    }
    if paired is not None:
        conclusion = verdict(paired)
        result["against_reference"] = {
            "conclusion": conclusion.kind,
            "gained": list(conclusion.gained),
            "lost": list(conclusion.lost),
            "rates": {name: asdict(change) for name, change in zip(names, paired.rates, strict=True)},
            "worst": asdict(paired.worst),
            "best": asdict(paired.best),
            "gap": asdict(paired.gap),
            EFFICIENCY: asdict(paired.efficiency),
            "efficiency_kept": asdict(paired.efficiency_ratio),
        }
    return result


def to_json(contents: Contents) -> str:
    """The report as JSON text.

    :param contents: the report
    """
    return json.dumps(to_dict(contents), indent=2, allow_nan=False) + "\n"


def without_nan(value: Any) -> Any:
    """The same with None for numbers that are not finite, and numpy's numbers as Python's."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
