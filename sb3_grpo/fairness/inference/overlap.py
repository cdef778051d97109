"""Whether two groups can be compared at equal covariates at all: overlap of their propensities."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.metrics import MIN_PATIENTS, FloatArray

EXTREME: Final = 0.01
"""A propensity nearer to 0 or 1 than this says that such patients occur in one group only."""

MOST_EXTREME: Final = 0.05
"""Above this share of patients with extreme propensities the comparison is refused."""


@dataclass(frozen=True)
class Overlap:
    """How far two groups overlap in their covariates.

    :param low: smallest propensity, the probability of belonging to the first group given the covariates
    :param high: largest propensity
    :param share_extreme: share of patients whose propensity is within 0.01 of 0 or 1
    :param effective_first: effective number of patients of the first group once weighted, (sum w)^2 / sum w^2
    :param effective_second: of the second group
    :param n_first: patients of the first group
    :param n_second: patients of the second group
    :param sufficient: whether a comparison is made
    :param message: the same in a sentence
    """

    low: float
    high: float
    share_extreme: float
    effective_first: float
    effective_second: float
    n_first: int
    n_second: int
    sufficient: bool
    message: str


def overlap_of(propensity: FloatArray, first: npt.NDArray[np.bool_]) -> Overlap:
    """Diagnose the overlap from propensities.

    :param propensity: (N,) probability of belonging to the first group given the covariates
    :param first: (N,) whether the patient belongs to it
    :return: the diagnosis; insufficient if either group is effectively below 30 patients, or more than 5 % of the patients
        occur practically in one group only
    """
    weights = (1 / np.maximum(propensity[first], 1e-12), 1 / np.maximum(1 - propensity[~first], 1e-12))
    ours, theirs = (float(w.sum() ** 2 / (w**2).sum()) if len(w) else 0.0 for w in weights)
    share = float(((propensity < EXTREME) | (propensity > 1 - EXTREME)).mean())
    low, high = float(propensity.min()), float(propensity.max())
    problems = []
    if min(ours, theirs) < MIN_PATIENTS:
        problems.append(f"a group has effectively {min(ours, theirs):.0f} patients, fewer than {MIN_PATIENTS}")
    if share > MOST_EXTREME:
        problems.append(f"{share:.0%} of the patients occur practically in one group only".replace("%", " %"))
    found = f"propensities {low:.3f} to {high:.3f}, effective sizes {ours:.0f} and {theirs:.0f}"
    if problems:
        message = (
            f"refused: {' and '.join(problems)} ({found}): the groups are too different to be compared at equal covariates"
        )
    elif share > 0:
        message = f"{found}; {share:.1%} of the patients hardly occur in both groups: read with care"
    else:
        message = found
    return Overlap(low, high, share, ours, theirs, int(first.sum()), int((~first).sum()), not problems, message)
