"""Metrics of every method, and comparisons on the same patients."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from sb3_grpo.fairness.classification import (
    Attribute,
    Change,
    Diagnoses,
    DiagnosisMetrics,
    area_under_curve,
    compare_diagnoses,
    diagnosis_metrics,
)
from sb3_grpo.fairness.classification.counts import FloatArray, conditions
from sb3_grpo.fairness.classification.inference import N_DIAGNOSIS_RESAMPLES
from sb3_grpo.fairness.inference import adjust_p_values, bootstrap_estimates
from sb3_grpo.fairness.inference.results import Estimate, without_nan

COMPARED: Final = ("ppv_gap", "f1", "eod", "fpr_gap", "tpr_gap", "auc", "accuracy", "es_f1")
"""Metrics whose change is reported, the primary one first."""

BY_SEED: Final = ("ppv_gap", "f1")
"""Metrics that are shown for each training seed by itself: how much trainings differ."""


@dataclass(frozen=True)
class Results:
    """
    One way of holding out cases.

    :param scheme: the way
    :param metrics: by method
    :param reference: method that the others are compared with; None: nothing is compared
    :param changes: by method, then metric: the method less the reference
    :param adjusted: by method: p value of the change in the primary metric, Holm-corrected over the methods
    :param by_seed: by method, then metric of :data:`BY_SEED`: its value in each training seed by itself
    :param source_auc: by method, then source: area under the curve among the cases of that source
    """

    scheme: str
    metrics: Mapping[str, DiagnosisMetrics]
    reference: str | None
    changes: Mapping[str, Mapping[str, Change]]
    adjusted: Mapping[str, float]
    by_seed: Mapping[str, Mapping[str, tuple[float, ...]]]
    source_auc: Mapping[str, Mapping[str, Estimate]]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it: what does not exist is None, numbers have five decimals."""
        return rounded(
            {
                "scheme": self.scheme,
                "reference": self.reference,
                "metrics": {name: asdict(metrics) for name, metrics in self.metrics.items()},
                "changes": {name: {key: asdict(c) for key, c in changes.items()} for name, changes in self.changes.items()},
                "adjusted_p": dict(self.adjusted),
                "by_seed": {name: dict(values) for name, values in self.by_seed.items()},
                "source_auc": {name: {k: asdict(v) for k, v in of.items()} for name, of in self.source_auc.items()},
            }
        )


def rounded(value: Any) -> Any:
    """Nested dictionaries and lists with numbers of five decimals, as JSON can hold them."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return without_nan(round(value, 5)) if isinstance(value, float) else value


def summarise(
    scheme: str,
    diagnoses: Mapping[str, Diagnoses],
    reference: str | None,
    subjects: Sequence[str] = (),
    sources: Attribute | None = None,
    seed: int = 0,
    n_resamples: int = N_DIAGNOSIS_RESAMPLES,
) -> Results:
    """
    :param scheme: how cases were held out
    :param diagnoses: answers by method
    :param reference: method to compare with; ignored if it has no answers
    :param subjects: methods whose change is tested and corrected for each other
    :param sources: where cases come from; None: one source
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
    source_auc = {}
    if sources is not None and len(sources.names) > 1:
        source_auc = {name: _source_auc(of, sources, seed, n_resamples) for name, of in diagnoses.items()}
    by_seed = {name: _by_seed(of) for name, of in diagnoses.items() if len(of.probability) > 1}
    return Results(scheme, metrics, reference if changes else None, changes, adjusted, by_seed, source_auc)


def _by_seed(diagnoses: Diagnoses) -> dict[str, tuple[float, ...]]:
    everybody = np.ones((1, diagnoses.units[0]))
    alone = [replace(diagnoses, probability=probability[None]) for probability in diagnoses.probability]
    values = np.array([each.statistic(BY_SEED)(everybody)[:, 0] for each in alone])
    return {name: tuple(values[:, k].tolist()) for k, name in enumerate(BY_SEED)}


def _source_auc(diagnoses: Diagnoses, sources: Attribute, seed: int, n_resamples: int) -> dict[str, Estimate]:
    """Mean over trainings and answers, within each source; patients are resampled within it."""
    found = {}
    for number, name in enumerate(sources.names):
        rows = np.flatnonzero(sources.ids == number)
        if len(np.unique(diagnoses.label[rows])) < 2:
            continue
        _, units = np.unique(diagnoses.patient[rows], return_inverse=True)
        label, probability = diagnoses.label[rows], diagnoses.probability[:, rows]
        which = [k for k in conditions(diagnoses.n_classes) if 0 < (label == k).sum() < len(rows)]

        def statistic(
            weights: FloatArray, label: Any = label, probability: Any = probability, units: Any = units, which: Any = which
        ) -> FloatArray:
            times = weights[:, units]
            areas = [area_under_curve(label == k, of_seed[:, k], times) for of_seed in probability for k in which]
            return np.mean(areas, axis=0)[None]

        rng = np.random.default_rng(seed)
        found[name] = bootstrap_estimates(statistic, int(units.max()) + 1, rng, n_resamples)[0]
    return found
