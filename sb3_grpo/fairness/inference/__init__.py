"""Intervals and tests for what policies do to groups. The unit is the episode or the training seed, never the patient.

============= ======================================================================================================
results.py    what the functions return
resampling.py BCa bootstrap of whole episodes
comparison.py several policies on the same episodes: the table that the commands print
bands.py      simultaneous bands of group rates, and the extremes that follow: worst, best, gap
max_t.py      how those are made
============= ======================================================================================================
"""

from sb3_grpo.fairness.inference.bands import GroupBands, PairedBands, group_bands, paired_bands
from sb3_grpo.fairness.inference.comparison import compare_policies
from sb3_grpo.fairness.inference.resampling import N_RESAMPLES, bootstrap_estimates
from sb3_grpo.fairness.inference.results import Comparison, Estimate, Interval, PairedDifference, PolicyEstimates, Unit

__all__ = [
    "N_RESAMPLES",
    "Comparison",
    "Estimate",
    "GroupBands",
    "Interval",
    "PairedBands",
    "PairedDifference",
    "PolicyEstimates",
    "Unit",
    "bootstrap_estimates",
    "compare_policies",
    "group_bands",
    "paired_bands",
]
