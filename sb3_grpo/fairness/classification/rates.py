"""Rates of each group, and how far apart groups are, from counts. Pure functions of arrays with any leading axes.

The same numbers as scikit-learn's and fairlearn's (tests compare them), for thousands of resamples in one call.
"""

from typing import Final

import numpy as np

from sb3_grpo.fairness.classification.counts import Counts, FloatArray
from sb3_grpo.fairness.metrics import ratio

RATES: Final = {
    "f1": "F1",
    "accuracy": "accuracy",
    "tpr": "true positive rate",
    "fpr": "false positive rate",
    "ppv": "positive predictive value",
}
"""Rates of a group, and what they are called."""

DISPARITIES: Final = {
    "ppv_gap": "predictive parity gap",
    "eod": "equalized odds difference",
    "tpr_gap": "true positive rate gap",
    "fpr_gap": "false positive rate gap",
    "f1_gap": "F1 gap",
    "f1_sd": "F1 standard deviation",
    "accuracy_gap": "accuracy gap",
    "accuracy_sd": "accuracy standard deviation",
    "es_f1": "equity-scaled F1",
    "es_accuracy": "equity-scaled accuracy",
}
"""How far apart groups are. Less is better, but for the last two."""


def parts(counts: Counts, name: str) -> tuple[FloatArray, FloatArray]:
    """
    A rate as a ratio of counts.

    :param counts: (..., G, K')
    :param name: one of :data:`RATES`
    :return: numerator and denominator, (..., G, K')
    """
    tp, fp, fn, tn = counts
    return {
        "f1": (2 * tp, 2 * tp + fp + fn),
        "accuracy": (tp + tn, tp + fp + fn + tn),
        "tpr": (tp, tp + fn),
        "fpr": (fp, fp + tn),
        "ppv": (tp, tp + fp),
    }[name]


def rates(counts: Counts, name: str) -> FloatArray:
    """
    :param counts: (..., G, K')
    :param name: one of :data:`RATES`
    :return: (..., G, K') in [0, 1]; NaN where nothing was counted. F1 and accuracy of more than two answers are those of each
        answer against the rest
    """
    return ratio(*parts(counts, name))


def disparities(counts: Counts) -> dict[str, FloatArray]:
    """
    How far apart groups are.

    ========================== ===================================================================================
    ``ppv_gap``                largest - smallest positive predictive value
    ``tpr_gap``, ``fpr_gap``   the same of the true, of the false positive rate
    ``eod``                    the larger of these two (fairlearn's ``equalized_odds_difference``)
    ``f1_gap``, ``f1_sd``      largest - smallest F1, and the standard deviation over the groups (divided by G)
    ``accuracy_gap``, ``_sd``  the same of the accuracy
    ``es_f1``, ``es_accuracy`` all groups' value / (1 + sum over the groups of abs(all groups' value - the group's)),
                               the equity scaling of Y. Luo et al., "FairCLIP", CVPR 2024, arXiv 2403.19949
    ========================== ===================================================================================

    :param counts: (..., G, K') of the groups that are compared
    :return: (...) each: mean over the conditions K'; NaN with fewer than two groups, or where a rate is not known
    """
    values = {name: rates(counts, name) for name in RATES}
    found = {f"{name}_gap": _gap(values[name]) for name in values}
    found["eod"] = np.maximum(found["tpr_gap"], found["fpr_gap"])
    for name in ("f1", "accuracy"):
        found[f"{name}_sd"] = values[name].std(axis=-2) if values[name].shape[-2] > 1 else _gap(values[name])
        overall = rates(counts.pooled(), name)
        found[f"es_{name}"] = overall[..., 0, :] / (1.0 + np.abs(values[name] - overall).sum(axis=-2))
    return {name: found[name].mean(axis=-1) for name in DISPARITIES}


def _gap(values: FloatArray) -> FloatArray:
    """Largest - smallest over the groups, (..., K')."""
    if values.shape[-2] < 2:
        return np.full((*values.shape[:-2], values.shape[-1]), np.nan)
    return np.asarray(values.max(axis=-2) - values.min(axis=-2))
