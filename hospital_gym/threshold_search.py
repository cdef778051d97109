"""Searching the escalation thresholds of a rule, so that learned policies are compared with rules at their best."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, differential_evolution

from hospital_gym.heuristics import Escalation

_LIMITS: Final = {
    "overtime": (1, 16),
    "block_general": (1, 16),
    "block_paediatric": (1, 10),
    "block_critical": (1, 10),
    "transfer": (1, 24),
    "reserve": (0, 12),
    "adult_after": (0, 16),
    "child_after": (0, 12),
    "critical_after": (0, 4),
}
"""Whole numbers searched for each threshold (patients, beds, hours), ends included."""


def escalation_from(numbers: npt.NDArray[np.float64]) -> Escalation:
    """The escalation with these thresholds, in the order of the search."""
    values = dict(zip(_LIMITS, (float(n) for n in numbers), strict=True))
    block = (values.pop("block_general"), values.pop("block_paediatric"), values.pop("block_critical"))
    return Escalation(block=block, **values)


def search_thresholds(score: Callable[[Escalation], float], generations: int, seed: int) -> tuple[Escalation, float]:
    """Thresholds with the highest score, by differential evolution over whole numbers.

    :param score: what to make large, for instance the efficiency of c-mu on episodes set apart for validation
    :param generations: rounds of the search, each of 27 candidates
    :param seed: seed of the search
    :return: the best escalation and its score
    """

    def loss(numbers: npt.NDArray[np.float64]) -> float:
        return -score(escalation_from(numbers))

    result = differential_evolution(
        loss,
        Bounds(*np.transpose(list(_LIMITS.values()))),
        integrality=[True] * len(_LIMITS),
        popsize=3,
        maxiter=generations,
        rng=np.random.default_rng(seed),
        polish=False,
        tol=0.0,
    )
    return escalation_from(result.x), -float(result.fun)
