"""The advantage of each step, from that of the individual and that of its group. Pure functions of arrays.

T is the number of steps of a rollout, N of environments. A step with group -1 concerns no group, that is everybody: its group
advantage is its individual one.
"""

from typing import NamedTuple

import numpy as np

#: Least number of a group's steps whose mean stands for the group
LEAST_STEPS = 8


class Mixture(NamedTuple):
    """
    How the two advantages are mixed.

    :param alpha_1: Weight of the individual advantage, positive
    :param alpha_2: Weight of the group advantage, at least 0
    :param alpha_3: Weight of the distance of the two, from 0 to below ``alpha_1``
    :param beta: Power of the distance, at least 1
    """

    alpha_1: float
    alpha_2: float
    alpha_3: float
    beta: float

    @property
    def is_individual(self) -> bool:
        """Whether groups have no part in it."""
        return self.alpha_2 == 0 and self.alpha_3 == 0


def shape(
    individual: np.ndarray, group: np.ndarray, ids: np.ndarray, mixture: Mixture, centred: bool = True
) -> tuple[np.ndarray, None]:
    """
    alpha_1 A_i + alpha_2 A_g - alpha_3 s (\\|A_i - A_g\\| / s)^beta (after https://arxiv.org/abs/2504.18631), minus its mean
    in each group. s is the deviation of A_i over the rollout, so that the unit of rewards does not matter; with beta=1 it
    cancels.

    The mean of the distance in a group is a constant that would push every action of the group down alike. It may be taken
    off only where actions have no part in which group a step belongs to: elsewhere it would hide which group to serve.

    Not standardised: that comes once, afterwards. With alpha_2 = alpha_3 = 0 this is alpha_1 A_i, not centred.

    :param individual: A_i, (T, N)
    :param group: A_g, (T, N)
    :param ids: Group of each step, (T, N), -1 for none
    :param mixture: The weights
    :param centred: Whether to take off the mean of each group
    :return: Advantages, (T, N) float32; and weights of the samples: None, all weigh 1
    """
    if mixture.is_individual:
        return (mixture.alpha_1 * individual).astype(np.float32), None
    own, common = individual.astype(np.float64), group.astype(np.float64)
    scale = own.std() or 1.0
    distance = scale * (np.abs(own - common) / scale) ** mixture.beta
    mixed = mixture.alpha_1 * own + mixture.alpha_2 * common - mixture.alpha_3 * distance
    if centred:
        for group_id in np.unique(ids):
            members = ids == group_id
            mixed[members] -= mixed[members].mean()
    return mixed.astype(np.float32), None


def concerned_group(advantages: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """
    From the group critic: what an action does to the group that it concerns.

    :param advantages: Advantages of each group, (T, N, G)
    :param ids: Group of each step, (T, N), -1 for none
    :return: A_g, (T, N)
    """
    chosen = np.take_along_axis(advantages, np.maximum(ids, 0)[..., None], axis=-1)[..., 0]
    return np.where(ids < 0, advantages.sum(axis=-1), chosen)


def batch_mean(individual: np.ndarray, ids: np.ndarray, least: int = LEAST_STEPS) -> np.ndarray:
    """
    Mean advantage of the group's *other* steps in the rollout, for a mean that holds the step itself depends on its action.

    :param individual: A_i, (T, N)
    :param ids: Group of each step, (T, N), -1 for none
    :param least: A group with fewer steps has the mean of all groups' other steps
    :return: A_g, (T, N)
    """
    means = individual.astype(np.float64)
    known = ids >= 0
    if np.count_nonzero(known) > 1:
        means[known] = _others(means[known])
    for group_id in np.unique(ids[known]):
        members = ids == group_id
        if np.count_nonzero(members) >= max(least, 2):
            means[members] = _others(individual[members].astype(np.float64))
    return means


def _others(values: np.ndarray) -> np.ndarray:
    """Of each value the mean of all others, (n,)."""
    return (values.sum() - values) / (len(values) - 1)


def relative_distance(individual: np.ndarray, group: np.ndarray) -> float:
    """
    :param individual: A_i, (T, N)
    :param group: A_g, (T, N)
    :return: Mean of \\|A_i - A_g\\|, in deviations of A_i: near 0, the distance has no part in training
    """
    return float(np.abs(individual - group).mean() / (individual.std() or 1.0))
