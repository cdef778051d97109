"""Metrics of answers to cases, by group: how often right, how often a positive answer is, and how far groups are apart.

=============== ====================================================================================================
counts.py       right and wrong answers of every group: what rates are made of
rates.py        rates per group and how far apart they are
ranking.py      area under the ROC curve, for many resamples at once
diagnoses.py    the answers of one method to the same patients, and every metric of them
inference.py    intervals, and paired comparisons of two methods; the unit is the patient
=============== ====================================================================================================
"""

from sb3_grpo.fairness.classification.counts import MIN_CELL, Counts, answer_counts, eligible_groups
from sb3_grpo.fairness.classification.diagnoses import METRICS, Attribute, Diagnoses
from sb3_grpo.fairness.classification.inference import (
    Change,
    DiagnosisMetrics,
    GroupRates,
    compare_diagnoses,
    diagnosis_metrics,
)
from sb3_grpo.fairness.classification.ranking import area_under_curve
from sb3_grpo.fairness.classification.rates import DISPARITIES, RATES, disparities, rates

__all__ = [
    "DISPARITIES",
    "METRICS",
    "MIN_CELL",
    "RATES",
    "Attribute",
    "Change",
    "Counts",
    "Diagnoses",
    "DiagnosisMetrics",
    "GroupRates",
    "answer_counts",
    "area_under_curve",
    "compare_diagnoses",
    "diagnosis_metrics",
    "disparities",
    "eligible_groups",
    "rates",
]
