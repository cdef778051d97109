"""Objectives: how much each group counts, given how each group fares.

An objective maps the performance of every group, z (G,), to one coefficient per group, c (G,): the gradient of the objective
with respect to z, as constants. It sees performance only. Advantages carry the gradient but never choose the group: a critic
that knows the group makes their mean zero in every group, however badly one of them fares.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sb3_grpo.common.checks import is_number, is_positive
from sb3_grpo.common.objective_functions import (
    adversary_step,
    cvar_coefficients,
    gap_coefficients,
    max_loss_coefficients,
    raise_to_floor,
    relative_need,
    softmin_coefficients,
)

#: State of an objective between updates: plain arrays, so that it is saved with the model
ObjectiveState = dict[str, np.ndarray]


class GroupFacts(NamedTuple):
    """
    What an objective may want to know besides the performance of G groups.

    :param scale: One unit of performance, positive, the same for all groups; NaN if not known yet
    :param reference: Performance at which a group is in no need, a number or (G,)
    :param shares: Share of each group in the exposure, p, (G,), sum 1
    :param standard_error: Standard error of each group's performance, (G,); NaN if not known yet
    :param step_shares: Share of each group in the steps of the rollout that concerned a group, (G,)
    :param mean_advantages: Mean advantage of each group's own steps in the rollout, (G,); NaN without steps
    :param present: Whether the group was exposed in the rollout, (G,); or True for all
    """

    scale: float
    reference: np.ndarray | float
    shares: np.ndarray
    standard_error: np.ndarray
    step_shares: np.ndarray
    mean_advantages: np.ndarray
    present: np.ndarray | bool = True


class Objective(ABC):
    """What the algorithm asks of an objective."""

    #: Whether the coefficients are weights of samples by the group of their own step, and mean nothing to a group critic
    weights_samples: bool = False

    #: Whether a rare group's performance is to be drawn to the average, see ``shrinkage`` of the algorithm
    shrinks: bool = True

    @abstractmethod
    def __call__(self, performance: np.ndarray, state: ObjectiveState, facts: GroupFacts) -> tuple[np.ndarray, ObjectiveState]:
        """
        Called once per rollout, never per epoch or minibatch (the same data would be counted many times).

        :param performance: Performance of each group, (G,); NaN for a group without any data yet
        :param state: What the previous call returned; empty at first. Never changed in place
        :param facts: What else is known about the groups
        :return: Coefficients of the groups, (G,), and the new state
        """

    def lam(self, state: ObjectiveState) -> float:
        """
        Asked only with ``lam="auto"``.

        :param state: State of the objective
        :return: The trade-off between average (0) and objective (1) that the objective finds right
        """
        raise NotImplementedError

    def log(self, state: ObjectiveState) -> dict[str, float]:
        """
        :param state: State of the objective
        :return: What to log besides the coefficients, by key
        """
        return {}

    def warning(self, before: ObjectiveState, after: ObjectiveState, names: Sequence[str]) -> str | None:
        """
        :param before: State before the newest update
        :param after: State after it
        :param names: Names of the groups
        :return: What the user must hear about the newest update
        """
        return None


@dataclass(frozen=True)
class Minimax(Objective):
    """
    Maximise the performance of the worst group: c is the weight that an adversary on the simplex gives each group
    (see :func:`~sb3_grpo.common.objective_functions.adversary_step`). Coefficients are at least 0 and sum to 1; a
    group without any data has 0, as in the other objectives.

    :param eta: Inverse temperature of the adversary, per unit of need: 0 gives uniform weights, large values the worst group
    :param forgetting: Share of the newest rollout in the adversary's log-weights, in (0, 1]
    :param floor: Least total weight, shared equally: every group gets at least ``floor / G``; in [0, 1]
    :raises ValueError: If a parameter is out of range
    """

    eta: float = 5.0
    forgetting: float = 0.1
    floor: float = 0.05

    #: Needs beyond this many units move the adversary no further
    NEED_BOUND = 3.0

    def __post_init__(self) -> None:
        if not (is_number(self.eta) and self.eta >= 0):
            raise ValueError(f"`eta` of objective 'minimax' must be a finite number, at least 0, got {self.eta!r}")
        if not (is_number(self.forgetting) and 0 < self.forgetting <= 1):
            raise ValueError(f"`forgetting` of objective 'minimax' must be in (0, 1], got {self.forgetting!r}")
        _check_floor(self.floor, "minimax")

    def __call__(self, performance: np.ndarray, state: ObjectiveState, facts: GroupFacts) -> tuple[np.ndarray, ObjectiveState]:
        """See :class:`Objective`."""
        n_groups = len(performance)
        log_weights = _grow(state.get("log_weights", np.zeros(0)), n_groups)
        need = relative_need(performance, facts.reference, facts.scale, self.NEED_BOUND)
        weights = np.exp(adversary_step(log_weights, need, self.eta, self.forgetting))
        weights = raise_to_floor(weights, self.floor / n_groups)
        # Without a floor a weight may underflow to 0, whose logarithm would keep the group there for ever
        log_weights = np.log(np.maximum(weights, np.finfo(np.float64).tiny))
        return _among_known(weights, performance), {"log_weights": log_weights}


@dataclass(frozen=True)
class Softmin(Objective):
    """
    Maximise the soft minimum of the groups' performance, a smooth bridge from their mean to the worst of them
    (:func:`~sb3_grpo.common.objective_functions.softmin_coefficients`).

    :param temperature: Softness, in units of ``performance_scale``, positive
    :param floor: Least total weight, shared equally: every group gets at least ``floor / G``; in [0, 1]
    :raises ValueError: If a parameter is out of range
    """

    temperature: float = 0.2
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check_temperature(self.temperature, "softmin")
        _check_floor(self.floor, "softmin")

    def __call__(self, performance: np.ndarray, state: ObjectiveState, facts: GroupFacts) -> tuple[np.ndarray, ObjectiveState]:
        """See :class:`Objective`."""
        weights = softmin_coefficients(relative_need(performance, facts.reference, facts.scale), self.temperature)
        return _among_known(raise_to_floor(weights, self.floor / len(weights)), performance), {}


@dataclass(frozen=True)
class Cvar(Objective):
    """
    Maximise the mean performance of the worst-off share of the population, its conditional value at risk
    (:func:`~sb3_grpo.common.objective_functions.cvar_coefficients`).

    :param alpha: Share of the population that counts, in (0, 1]: 1 is the average, small values the worst group
    :param floor: Least total weight, shared equally: every group gets at least ``floor / G``; in [0, 1]
    :raises ValueError: If a parameter is out of range
    """

    alpha: float = 0.2
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not (is_number(self.alpha) and 0 < self.alpha <= 1):
            raise ValueError(f"`alpha` of objective 'cvar' must be in (0, 1], got {self.alpha!r}")
        _check_floor(self.floor, "cvar")

    def __call__(self, performance: np.ndarray, state: ObjectiveState, facts: GroupFacts) -> tuple[np.ndarray, ObjectiveState]:
        """See :class:`Objective`."""
        weights = cvar_coefficients(relative_need(performance, facts.reference, facts.scale), facts.shares, self.alpha)
        return _among_known(raise_to_floor(weights, self.floor / len(weights)), performance), {}


@dataclass(frozen=True)
class Gap(Objective):
    """
    Make the gap between the best and the worst group small (:func:`~sb3_grpo.common.objective_functions.gap_coefficients`).

    The shortest way to a small gap is to hurt the best group. ``level_up_only`` (default) leaves that way out, which makes
    the objective the soft minimum.

    :param temperature: Softness of best and worst, in units of ``performance_scale``, positive
    :param level_up_only: Whether to raise the worst groups only
    :raises ValueError: If a parameter is out of range
    """

    temperature: float = 0.2
    level_up_only: bool = True

    def __post_init__(self) -> None:
        _check_temperature(self.temperature, "gap")
        if not isinstance(self.level_up_only, bool):
            raise ValueError(f"`level_up_only` of objective 'gap' must be True or False, got {self.level_up_only!r}")

    def __call__(self, performance: np.ndarray, state: ObjectiveState, facts: GroupFacts) -> tuple[np.ndarray, ObjectiveState]:
        """See :class:`Objective`."""
        need = relative_need(performance, facts.reference, facts.scale)
        known = ~np.isnan(performance)
        if not known.any():
            return gap_coefficients(need, self.temperature, self.level_up_only), {}
        coefficients = np.zeros(len(need))
        coefficients[known] = gap_coefficients(need[known], self.temperature, self.level_up_only)
        return coefficients, {}


@dataclass(frozen=True)
class MaxLoss(Objective):
    """
    The rule of the published group-robust hospital agent, for comparison only: all weight to the group with the largest mean
    loss. **It does not find the worst group** (:func:`~sb3_grpo.common.objective_functions.max_loss_coefficients`). As there,
    samples are weighted and there is no group critic.
    """

    weights_samples = True

    def __call__(self, performance: np.ndarray, state: ObjectiveState, facts: GroupFacts) -> tuple[np.ndarray, ObjectiveState]:
        """See :class:`Objective`."""
        return max_loss_coefficients(facts.mean_advantages, facts.shares, facts.step_shares), {}


@dataclass(frozen=True)
class FunctionObjective(Objective):
    """
    An objective of the user's own.

    :param function: ``function(z) -> c``, both (G,): the gradient of the objective at the performance z. A group without any
        data yet appears with the reference performance, and its coefficient is set to 0. Before any data every group counts
        by its share
    """

    function: Callable[[np.ndarray], Any]

    def __call__(self, performance: np.ndarray, state: ObjectiveState, facts: GroupFacts) -> tuple[np.ndarray, ObjectiveState]:
        """
        See :class:`Objective`.

        :raises ValueError: If the function returns anything but (G,) finite numbers
        """
        unknown = np.isnan(performance)
        if unknown.all():
            return facts.shares, {}
        answer = self.function(np.where(unknown, facts.reference, performance))
        try:
            coefficients = np.array(answer, dtype=np.float64)
        except (TypeError, ValueError):
            coefficients = np.empty(0)
        if coefficients.shape != performance.shape or not np.isfinite(coefficients).all():
            raise ValueError(
                f"`objective` returned {answer!r} for the performance {performance}, but must return one finite number for "
                f"each of the {len(performance)} groups"
            )
        coefficients[unknown] = 0.0
        return coefficients, {}


def _check_floor(floor: Any, name: str) -> None:
    if not (is_number(floor) and 0 <= floor <= 1):
        raise ValueError(f"`floor` of objective {name!r} must be in [0, 1], got {floor!r}")


def _check_temperature(temperature: Any, name: str) -> None:
    if not is_positive(temperature):
        raise ValueError(f"`temperature` of objective {name!r} must be a positive, finite number, got {temperature!r}")


def _among_known(weights: np.ndarray, performance: np.ndarray) -> np.ndarray:
    """
    A group without any data has no need that is known and no share: it would take weight from the others, and have the
    largest in the update, where its advantage is the noise of a critic that has seen none of its rewards.

    :param weights: Weights with sum 1, (G,)
    :param performance: Performance of each group, (G,); NaN for a group without any data
    :return: Weights with sum 1, 0 for such a group; as they are if nobody has data
    """
    known = ~np.isnan(performance)
    if known.all() or not known.any():
        return weights
    return np.where(known, weights, 0.0) / weights[known].sum()


def _grow(log_weights: np.ndarray, n_groups: int) -> np.ndarray:
    """Groups met for the first time enter with the weight 1 / G."""
    n_known = len(log_weights)
    if n_known == n_groups:
        return log_weights
    share = np.log(n_known / n_groups) if n_known else 0.0
    return np.concatenate([log_weights + share, np.full(n_groups - n_known, -np.log(n_groups))])


#: Objectives by name. Each value is called with the ``objective_kwargs`` of the algorithm.
OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "minimax": Minimax,
    "cvar": Cvar,
    "softmin": Softmin,
    "gap": Gap,
    "max_loss": MaxLoss,
}


def make_objective(
    objective: "str | Objective | Callable[[np.ndarray], Any]", objective_kwargs: dict[str, Any] | None = None
) -> Objective:
    """
    :param objective: Name of the objective, one of ``OBJECTIVES``; or an objective; or a function of the performance (G,)
        that returns the coefficients (G,)
    :param objective_kwargs: Its parameters, if it is a name
    :return: The objective
    :raises ValueError: If the name or a parameter is unknown, or a parameter is out of range
    """
    if isinstance(objective, Objective) or (callable(objective) and not isinstance(objective, type)):
        if objective_kwargs:
            raise ValueError(f"`objective_kwargs` must be None where `objective` is no name, got {objective_kwargs!r}")
        return objective if isinstance(objective, Objective) else FunctionObjective(objective)
    if not isinstance(objective, str) or objective not in OBJECTIVES:
        raise ValueError(f"`objective` must be one of {sorted(OBJECTIVES)} or a function z -> c, got {objective!r}")
    try:
        return OBJECTIVES[objective](**(objective_kwargs or {}))
    except TypeError as error:
        raise ValueError(f"`objective_kwargs` {objective_kwargs} do not fit objective {objective!r}: {error}") from error
