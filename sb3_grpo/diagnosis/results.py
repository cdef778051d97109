"""Metrics of every method, and comparisons on the same patients."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from sb3_grpo.fairness.classification import (
    Change,
    Diagnoses,
    DiagnosisMetrics,
    compare_diagnoses,
    diagnosis_metrics,
)
from sb3_grpo.fairness.classification.inference import N_DIAGNOSIS_RESAMPLES
from sb3_grpo.fairness.inference import adjust_p_values
from sb3_grpo.fairness.inference.results import without_nan

COMPARED: Final = ("ppv_gap", "f1", "eod", "fpr_gap", "tpr_gap", "auc", "accuracy", "es_f1")
"""Metrics whose change is reported, the primary one first."""


@dataclass(frozen=True)
class Results:
    """
    One way of holding out cases.

    :param scheme: the way
    :param metrics: by method
    :param reference: method that the others are compared with; None: nothing is compared
    :param changes: by method, then metric: the method less the reference
    :param adjusted: by method: p value of the change in the primary metric, Holm-corrected over the methods
    """

    scheme: str
    metrics: Mapping[str, DiagnosisMetrics]
    reference: str | None
    changes: Mapping[str, Mapping[str, Change]]
    adjusted: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; what does not exist is None."""
        return without_nan(
            {
                "scheme": self.scheme,
                "reference": self.reference,
                "metrics": {name: asdict(metrics) for name, metrics in self.metrics.items()},
                "changes": {name: {key: asdict(c) for key, c in changes.items()} for name, changes in self.changes.items()},
                "adjusted_p": dict(self.adjusted),
            }
        )


def summarise(
    scheme: str,
    diagnoses: Mapping[str, Diagnoses],
    reference: str | None,
    subjects: Sequence[str] = (),
    seed: int = 0,
    n_resamples: int = N_DIAGNOSIS_RESAMPLES,
) -> Results:
    """
    :param scheme: how cases were held out
    :param diagnoses: answers by method
    :param reference: method to compare with; ignored if it has no answers
    :param subjects: methods whose change is tested and corrected for each other
    :param seed: of the resamples, the same for every method
    :param n_resamples: number of resamples
    """
    metrics = {
        name: diagnosis_metrics(answers, np.random.default_rng(seed), n_resamples) for name, answers in diagnoses.items()
    }
    attributes = next(iter(diagnoses.values())).attributes if diagnoses else {}
    names = (*COMPARED, *(f"{attribute}:{gap}" for attribute in attributes for gap in ("ppv_gap", "eod")))
    changes: dict[str, dict[str, Change]] = {}
    if reference is not None and reference in diagnoses:
        for name in subjects:
            if name in diagnoses and name != reference:
                changes[name] = compare_diagnoses(
                    diagnoses[name], diagnoses[reference], np.random.default_rng(seed), names, n_resamples
                )
    p_values = {name: change[COMPARED[0]].p_value for name, change in changes.items()}
    known = {name: p for name, p in p_values.items() if p == p}
    adjusted = dict(zip(known, adjust_p_values(list(known.values())).tolist(), strict=True)) if known else {}
    return Results(scheme, metrics, reference if changes else None, changes, adjusted)
