"""How the cases of a rollout count: FairGRPO's argument ``weighting``."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from sb3_grpo.common.checks import check_whole, is_number
from sb3_grpo.common.objectives import GroupFacts, make_objective
from sb3_grpo.fair_grpo.case_history import CaseHistory, pooled_reward, reward_scale, shrunken_means
from sb3_grpo.fair_grpo.case_weights import (
    capped_to_mean_one,
    corrected_weights,
    published_weights,
    resampling_weights,
)

#: State of a weighting between rollouts: plain arrays, so that it is saved with the model
WeightingState = dict[str, np.ndarray]

#: Objectives of the group performance that are weights: at least 0, with sum 1
_SIMPLEX: Final = ("minimax", "softmin", "cvar")


class Cases(NamedTuple):
    """
    The cases of a rollout.

    :param rewards: Rewards of the answers, (C, R)
    :param advantages: Their advantages before they are weighted, (C, R)
    :param groups: Group of each case, (C,), -1 for none
    :param sources: Source of each case, (C,)
    """

    rewards: np.ndarray
    advantages: np.ndarray
    groups: np.ndarray
    sources: np.ndarray


class Weighting(ABC):
    """What the algorithm asks of a weighting."""

    #: Whether the history that it is given forgets older rollouts
    forgets: bool = True

    #: Whether it says something about groups only, so that without any it has no effect
    needs_groups: bool = True

    @abstractmethod
    def __call__(self, cases: Cases, history: CaseHistory, state: WeightingState) -> tuple[np.ndarray, WeightingState]:
        """
        Called once per rollout.

        :param cases: The rollout
        :param history: What is known of sources and groups, the rollout included
        :param state: What the previous call returned; empty at first. Never changed in place
        :return: Weight of each case, (C,), and the new state
        """


class Equal(Weighting):
    """Every case counts 1: group-relative policy optimisation as it is."""

    needs_groups = False

    def __call__(self, cases: Cases, history: CaseHistory, state: WeightingState) -> tuple[np.ndarray, WeightingState]:
        """See :class:`Weighting`."""
        return np.ones(len(cases.groups)), {}


@dataclass(frozen=True)
class Corrected(Weighting):
    """
    Rare and hard sources count more, and within each source rare and hard groups
    (:func:`~sb3_grpo.fair_grpo.case_weights.corrected_cell_weights`). Positive, mean 1, and the same whatever constant is
    added to all rewards.

    :param representation: Exponent of the share of the cases, at least 0. 0.5 as published; 1 balances completely
    :param difficulty: Exponent of the success rate, at least 0. 1 as published
    :param floor: Least success rate, in (0, 1]: a group is taken to be at most 1 / floor times as hard as can be
    :param shrinkage: Rewards of a source are drawn to those of all, of a group to its source's, as if this many further cases
        had fared so, at least 0
    :param max_weight: Largest weight of a case, at least 1
    :param reward_range: Lowest and highest possible reward; None: the extremes that have occurred
    :raises ValueError: If a parameter is out of range
    """

    representation: float = 0.5
    difficulty: float = 1.0
    floor: float = 0.1
    shrinkage: float = 20.0
    max_weight: float = 10.0
    reward_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for key in ("representation", "difficulty", "shrinkage"):
            _check(key, getattr(self, key), lambda value: value >= 0, "at least 0", "corrected")
        _check("floor", self.floor, lambda value: 0 < value <= 1, "in (0, 1]", "corrected")
        _check("max_weight", self.max_weight, lambda value: value >= 1, "at least 1", "corrected")
        if self.reward_range is not None:
            limits = self.reward_range
            is_pair = isinstance(limits, (tuple, list)) and len(limits) == 2 and all(map(is_number, limits))
            if not is_pair or limits[0] >= limits[1]:
                raise ValueError(f"`reward_range` of weighting 'corrected' must be two increasing numbers, got {limits!r}")

    def __call__(self, cases: Cases, history: CaseHistory, state: WeightingState) -> tuple[np.ndarray, WeightingState]:
        """See :class:`Weighting`."""
        weights = corrected_weights(
            history,
            cases.groups,
            cases.sources,
            max_weight=self.max_weight,
            representation=self.representation,
            difficulty=self.difficulty,
            floor=self.floor,
            shrinkage=self.shrinkage,
            reward_range=self.reward_range,
        )
        return weights, {}


class Published(Weighting):
    """The published formula to the letter, for comparison (:func:`~sb3_grpo.fair_grpo.case_weights.published_weights`)."""

    forgets = False

    def __call__(self, cases: Cases, history: CaseHistory, state: WeightingState) -> tuple[np.ndarray, WeightingState]:
        """See :class:`Weighting`."""
        return published_weights(history, cases.advantages, cases.groups, cases.sources), {}


@dataclass(frozen=True)
class GroupDRO(Weighting):
    """
    Distributionally robust optimisation over groups (https://arxiv.org/abs/1911.08731): an adversary gives each group a weight
    q_g that grows exponentially with how far its mean reward is below the average, and each of its cases counts q_g / p_g,
    with p_g the group's share. Sources do not matter.

    :param objective: ``"minimax"``, ``"softmin"`` or ``"cvar"``
    :param objective_kwargs: Its parameters, see :mod:`sb3_grpo.common.objectives`. One unit of performance is the standard
        deviation of the rewards
    :param shrinkage: Mean rewards of a group are drawn to those of all as if this many further cases had fared so, at least 0
    :param max_weight: Largest weight of a case, at least 1
    :raises ValueError: If a parameter is out of range
    """

    objective: str = "minimax"
    objective_kwargs: dict[str, Any] | None = None
    shrinkage: float = 20.0
    max_weight: float = 10.0

    def __post_init__(self) -> None:
        if self.objective not in _SIMPLEX:
            raise ValueError(f"`objective` of weighting 'group_dro' must be one of {_SIMPLEX}, got {self.objective!r}")
        _check("shrinkage", self.shrinkage, lambda value: value >= 0, "at least 0", "group_dro")
        _check("max_weight", self.max_weight, lambda value: value >= 1, "at least 1", "group_dro")
        make_objective(self.objective, self.objective_kwargs)

    def __call__(self, cases: Cases, history: CaseHistory, state: WeightingState) -> tuple[np.ndarray, WeightingState]:
        """See :class:`Weighting`."""
        numbers = history["cases"][:, :-1].sum(axis=0)
        if not numbers.any():
            return np.ones(len(cases.groups)), state
        pooled = pooled_reward(history)
        means = shrunken_means(numbers, history["rewards"][:, :-1].sum(axis=0), pooled, self.shrinkage)
        shares = numbers / numbers.sum()
        facts = GroupFacts(
            scale=reward_scale(history),
            reference=pooled,
            shares=shares,
            standard_error=np.full(len(shares), np.nan),
            step_shares=shares,
            mean_advantages=np.full(len(shares), np.nan),
        )
        objective = make_objective(self.objective, self.objective_kwargs)
        coefficients, state = objective(np.where(numbers > 0, means, np.nan), state, facts)
        relative = np.divide(coefficients, shares, out=np.ones(len(shares)), where=shares > 0)
        weights = np.append(np.maximum(relative, 1e-12), 1.0)[cases.groups]  # id -1 indexes the last weight
        return capped_to_mean_one(weights, self.max_weight), state


@dataclass(frozen=True)
class Resampling(Weighting):
    """
    Cases of the rollout are drawn with replacement, every group as often as every other, and count as often as they were drawn
    (:func:`~sb3_grpo.fair_grpo.case_weights.resampling_weights`). An environment that can present the cases of rare groups
    more often does better: it gets more, and other, answers to them.

    :param seed: Seed of the draws
    :raises ValueError: If it is no whole number, at least 0
    """

    seed: int = 0

    def __post_init__(self) -> None:
        check_whole("seed", self.seed, 0)

    def __call__(self, cases: Cases, history: CaseHistory, state: WeightingState) -> tuple[np.ndarray, WeightingState]:
        """See :class:`Weighting`."""
        rollouts = int(state.get("rollouts", np.array(0)))
        weights = resampling_weights(cases.groups, np.random.default_rng([self.seed, rollouts]))
        return weights, {"rollouts": np.array(rollouts + 1)}


@dataclass(frozen=True)
class FunctionWeighting(Weighting):
    """
    A weighting of the user's own.

    :param function: ``function(cases, history) -> weights``, one finite number for each case
    """

    function: Callable[[Cases, CaseHistory], Any]
    needs_groups = False

    def __call__(self, cases: Cases, history: CaseHistory, state: WeightingState) -> tuple[np.ndarray, WeightingState]:
        """
        See :class:`Weighting`.

        :raises ValueError: If the function returns anything but (C,) finite numbers
        """
        answer = self.function(cases, history)
        try:
            weights = np.array(answer, dtype=np.float64)
        except (TypeError, ValueError):
            weights = np.empty(0)
        if weights.shape != (len(cases.groups),) or not np.isfinite(weights).all():
            raise ValueError(
                f"`weighting` returned {answer!r}, but must return one finite number for each of {len(cases.groups)} cases"
            )
        return weights, {}


def _check(key: str, value: Any, accepted: Callable[[Any], bool], expected: str, name: str) -> None:
    if not (is_number(value) and accepted(value)):
        raise ValueError(f"`{key}` of weighting {name!r} must be a finite number, {expected}, got {value!r}")


#: Weightings by name. Each value is called with the ``weighting_kwargs`` of the algorithm.
WEIGHTINGS: dict[str | None, Callable[..., Weighting]] = {
    None: Equal,
    "corrected": Corrected,
    "published": Published,
    "group_dro": GroupDRO,
    "resampling": Resampling,
}


def make_weighting(weighting: Any, weighting_kwargs: dict[str, Any] | None = None) -> Weighting:
    """
    :param weighting: Name of the weighting, one of :data:`WEIGHTINGS`; or a weighting; or a function of cases and history that
        returns one weight per case
    :param weighting_kwargs: Its parameters, if it is a name
    :return: The weighting
    :raises ValueError: If the name or a parameter is unknown, or a parameter is out of range
    """
    if isinstance(weighting, Weighting) or (callable(weighting) and not isinstance(weighting, type)):
        if weighting_kwargs:
            raise ValueError(f"`weighting_kwargs` must be None where `weighting` is no name, got {weighting_kwargs!r}")
        return weighting if isinstance(weighting, Weighting) else FunctionWeighting(weighting)
    if not (weighting is None or isinstance(weighting, str)) or weighting not in WEIGHTINGS:
        raise ValueError(
            f"`weighting` must be one of {list(WEIGHTINGS)} or a function (cases, history) -> weights, got {weighting!r}"
        )
    try:
        return WEIGHTINGS[weighting](**(weighting_kwargs or {}))
    except TypeError as error:
        raise ValueError(f"`weighting_kwargs` {weighting_kwargs} do not fit weighting {weighting!r}: {error}") from error
