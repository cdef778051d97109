"""Intervals and tests for what policies do to groups. The unit is the episode or the training seed, never the patient.

================= ==================================================================================================
results.py        what the functions return
resampling.py     BCa bootstrap of whole episodes
comparison.py     several policies on the same episodes: the table that the commands print
bands.py          simultaneous bands of group rates, and the extremes that follow: worst, best, gap
max_t.py          how those are made
means.py          means of one number per unit
significance.py   tests between two policies or algorithms, corrections, effect sizes
trainings.py      several trainings: interquartile mean, probability of improvement, split of the uncertainty
ratios.py         ratio of two means
pareto.py         policies that no other beats in both efficiency and worst group
controls.py       control variates from the draws
pairing.py        the same patients under two policies; negative controls
adjusted.py       group differences in an outcome at equal covariates
overlap.py        whether groups can be compared at all
outcome_models.py regressions behind adjusted differences
rows.py           any result as a row of a table
================= ==================================================================================================
"""

from sb3_grpo.fairness.inference.adjusted import ASSUMPTIONS, AdjustedEffect, adjusted_difference, covariate_table
from sb3_grpo.fairness.inference.bands import GroupBands, PairedBands, group_bands, paired_bands
from sb3_grpo.fairness.inference.comparison import compare_policies
from sb3_grpo.fairness.inference.controls import ControlledMeans, control_variates, controlled_bands, draw_controls
from sb3_grpo.fairness.inference.means import linearised_rates, mean_interval
from sb3_grpo.fairness.inference.overlap import Overlap
from sb3_grpo.fairness.inference.pairing import (
    NEGATIVE_CONTROLS,
    NegativeControl,
    match_patients,
    negative_control,
    paired_patient_means,
)
from sb3_grpo.fairness.inference.pareto import ParetoFront, pareto_front
from sb3_grpo.fairness.inference.ratios import ratio_of_means
from sb3_grpo.fairness.inference.resampling import N_RESAMPLES, bootstrap_estimates
from sb3_grpo.fairness.inference.results import Comparison, Estimate, Interval, PairedDifference, PolicyEstimates, Unit
from sb3_grpo.fairness.inference.rows import TableRow, markdown_table, table_row
from sb3_grpo.fairness.inference.significance import (
    SignificanceTest,
    adjust_p_values,
    cohens_d,
    cohens_dz,
    paired_t_test,
    sign_flip_test,
    welch_test,
)
from sb3_grpo.fairness.inference.trainings import (
    UncertaintySplit,
    interquartile_mean,
    probability_of_improvement,
    split_uncertainty,
)

__all__ = [
    "ASSUMPTIONS",
    "NEGATIVE_CONTROLS",
    "N_RESAMPLES",
    "AdjustedEffect",
    "Comparison",
    "ControlledMeans",
    "Estimate",
    "GroupBands",
    "Interval",
    "NegativeControl",
    "Overlap",
    "PairedBands",
    "PairedDifference",
    "ParetoFront",
    "PolicyEstimates",
    "SignificanceTest",
    "TableRow",
    "UncertaintySplit",
    "Unit",
    "adjust_p_values",
    "adjusted_difference",
    "bootstrap_estimates",
    "cohens_d",
    "cohens_dz",
    "compare_policies",
    "control_variates",
    "controlled_bands",
    "covariate_table",
    "draw_controls",
    "group_bands",
    "interquartile_mean",
    "linearised_rates",
    "markdown_table",
    "match_patients",
    "mean_interval",
    "negative_control",
    "paired_bands",
    "paired_patient_means",
    "paired_t_test",
    "pareto_front",
    "probability_of_improvement",
    "ratio_of_means",
    "sign_flip_test",
    "split_uncertainty",
    "table_row",
    "welch_test",
]
