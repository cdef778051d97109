"""Objectives: how much each group counts, given how each group fares.

An objective maps the performance of every group, z (G,), to one coefficient per group, c (G,): the gradient of the objective
with respect to z, as constants. It sees performance only. Advantages carry the gradient but never choose the group: a critic
that knows the group makes their mean zero in every group, however badly one of them fares.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sb3_grpo.common.checks import is_number

#: State of an objective between updates: plain arrays, so that it is saved with the model
ObjectiveState = dict[str, np.ndarray]


class Objective(Protocol):
    """What the algorithm asks of an objective."""

    def __call__(
        self, performance: np.ndarray, state: ObjectiveState, *, scale: float, reference: np.ndarray | float
    ) -> tuple[np.ndarray, ObjectiveState]:
        """
        Called once per rollout, never per epoch or minibatch (the same data would be counted many times).

        :param performance: Performance of each group, (G,); NaN for a group without any data yet
        :param state: What the previous call returned; empty at first. Never changed in place
        :param scale: One unit of performance, positive, the same for all groups; NaN if not known yet
        :param reference: Performance at which a group is in no need, a number or (G,)
        :return: Coefficients of the groups, (G,), and the new state
        """
        ...


def relative_need(performance: np.ndarray, reference: np.ndarray | float, scale: float, bound: float = 3.0) -> np.ndarray:
    """
    How far each group is below the reference, in units of ``scale`` and clipped to +-``bound``.

    :param performance: Performance of each group, (G,)
    :param reference: Performance at which a group is in no need, a number or (G,)
    :param scale: One unit of performance, positive
    :param bound: Largest absolute need
    :return: (G,); zero where performance, reference or scale is not known yet (NaN)
    """
    need = np.clip((reference - performance) / scale, -bound, bound)
    return np.where(np.isnan(need), 0.0, need)


def adversary_step(log_weights: np.ndarray, need: np.ndarray, eta: float, forgetting: float) -> np.ndarray:
    """
    One step of an adversary that moves weight to the groups in need, in log space:
    log q <- a (log p0 + eta * need) + (1 - a) log q, with p0 uniform.

    Under a constant need the weights converge to p0 exp(eta * need), the maximiser of sum_g q_g need_g minus KL(q, p0) / eta.
    The forgetting ``a`` is what keeps them from cycling and from becoming one-hot, as pure multiplicative weights do.

    :param log_weights: Logarithms of the current weights, (G,)
    :param need: Need of each group, (G,)
    :param eta: Inverse temperature, per unit of need
    :param forgetting: Share of the new target in the step, in (0, 1]
    :return: Logarithms of the new weights, (G,), normalised to sum 1
    """
    target = eta * need - np.log(len(need))
    mixed = forgetting * target + (1.0 - forgetting) * log_weights
    return mixed - np.logaddexp.reduce(mixed)


def raise_to_floor(weights: np.ndarray, floor: float) -> np.ndarray:
    """
    Project weights onto the part of the simplex where each is at least ``floor`` (in Kullback-Leibler divergence):
    the small ones become ``floor``, the others keep their proportions.

    :param weights: Positive weights with sum 1, (G,)
    :param floor: Least weight, in [0, 1 / G]
    :return: (G,), sum 1
    """
    low = weights < floor
    while low.any() and not low.all():
        scaled = weights * (1.0 - floor * low.sum()) / weights[~low].sum()
        # Scaling down can push further weights below the floor
        if not (fallen := ~low & (scaled < floor)).any():
            return np.where(low, floor, scaled)
        low |= fallen
    return np.full_like(weights, 1.0 / len(weights)) if low.any() else weights


@dataclass(frozen=True)
class Minimax:
    """
    Maximise the performance of the worst group: c is the weight that an adversary on the simplex gives each group
    (see :func:`adversary_step`). Coefficients are positive and sum to 1.

    :param eta: Inverse temperature of the adversary, per unit of need: 0 gives uniform weights, large values the worst group
    :param forgetting: Share of the newest rollout in the adversary's log-weights, in (0, 1]
    :param floor: Least total weight, shared equally: every group gets at least ``floor / G``; in [0, 1]
    """

    eta: float = 5.0
    forgetting: float = 0.1
    floor: float = 0.05

    def __post_init__(self) -> None:
        if not (is_number(self.eta) and self.eta >= 0):
            raise ValueError(f"`eta` of objective 'minimax' must be a finite number, at least 0, got {self.eta!r}")
        if not (is_number(self.forgetting) and 0 < self.forgetting <= 1):
            raise ValueError(f"`forgetting` of objective 'minimax' must be in (0, 1], got {self.forgetting!r}")
        if not (is_number(self.floor) and 0 <= self.floor <= 1):
            raise ValueError(f"`floor` of objective 'minimax' must be in [0, 1], got {self.floor!r}")

    def __call__(
        self, performance: np.ndarray, state: ObjectiveState, *, scale: float, reference: np.ndarray | float
    ) -> tuple[np.ndarray, ObjectiveState]:
        """See :class:`Objective`."""
        n_groups = len(performance)
        log_weights = _grow(state.get("log_weights", np.zeros(0)), n_groups)
        need = relative_need(performance, reference, scale)
        weights = np.exp(adversary_step(log_weights, need, self.eta, self.forgetting))
        weights = raise_to_floor(weights, self.floor / n_groups)
        return weights, {"log_weights": np.log(weights)}


def _grow(log_weights: np.ndarray, n_groups: int) -> np.ndarray:
    """Groups met for the first time enter with the weight 1 / G."""
    n_known = len(log_weights)
    if n_known == n_groups:
        return log_weights
    share = np.log(n_known / n_groups) if n_known else 0.0
    return np.concatenate([log_weights + share, np.full(n_groups - n_known, -np.log(n_groups))])


#: Objectives by name. Each value is called with the ``objective_kwargs`` of the algorithm.
OBJECTIVES: dict[str, Callable[..., Objective]] = {"minimax": Minimax}


def make_objective(objective: str, objective_kwargs: dict[str, Any] | None = None) -> Objective:
    """
    :param objective: Name of the objective, one of ``OBJECTIVES``
    :param objective_kwargs: Its parameters
    :return: The objective
    :raises ValueError: If the name or a parameter is unknown, or a parameter is out of range
    """
    if not isinstance(objective, str) or objective not in OBJECTIVES:
        raise ValueError(f"`objective` must be one of {sorted(OBJECTIVES)}, got {objective!r}")
    try:
        return OBJECTIVES[objective](**(objective_kwargs or {}))
    except TypeError as error:
        raise ValueError(f"`objective_kwargs` {objective_kwargs} do not fit objective {objective!r}: {error}") from error
