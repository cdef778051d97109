"""Metrics per group from patient records.

:func:`group_metrics` computes them all from a table, from records or from the counts of many chunks; docs/guide/metrics.md
says what each of them is, what it needs and where it misleads.
"""

from sb3_grpo.fairness.metrics.definitions import DEFINITIONS, Definition
from sb3_grpo.fairness.metrics.groups import GroupMetrics, group_metrics
from sb3_grpo.fairness.metrics.individual import IndividualFairness, individual_fairness
from sb3_grpo.fairness.metrics.pooled import (
    MIN_PATIENTS,
    EpisodeTotals,
    FloatArray,
    Metrics,
    benefit_rates,
    episode_totals,
    metric_columns,
    policy_metrics,
    ratio,
    sufficient_groups,
)
from sb3_grpo.fairness.metrics.utilisation import bed_use, resource_use

__all__ = [
    "DEFINITIONS",
    "MIN_PATIENTS",
    "Definition",
    "EpisodeTotals",
    "FloatArray",
    "GroupMetrics",
    "IndividualFairness",
    "Metrics",
    "bed_use",
    "benefit_rates",
    "episode_totals",
    "group_metrics",
    "individual_fairness",
    "metric_columns",
    "policy_metrics",
    "ratio",
    "resource_use",
    "sufficient_groups",
]
