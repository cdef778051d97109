"""What the inference functions return: numbers with their interval, their unit and how many units there were."""

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Unit = Literal["episode", "training seed"]
"""What was drawn independently: episodes say how good one fixed policy is, training seeds how good an algorithm is."""

EPISODE: Final[Unit] = "episode"
TRAINING_SEED: Final[Unit] = "training seed"
UNITS: Final = (EPISODE, TRAINING_SEED)


@dataclass(frozen=True)
class Interval:
    """A number with its interval, and what the interval rests on.

    :param value: the number for the whole sample; NaN if it is insufficient
    :param low: lower limit; NaN if there is none
    :param high: upper limit; NaN if there is none
    :param unit: what was drawn independently, ``"episode"`` or ``"training seed"``
    :param n: number of units
    :param method: how the interval was obtained; ``"none"`` where there is none
    :param confidence: confidence level
    """

    value: float
    low: float
    high: float
    unit: Unit
    n: int
    method: str
    confidence: float = 0.95

    def excludes(self, number: float) -> bool:
        """Whether the interval exists and the number lies outside it."""
        return bool(self.low > number or self.high < number)


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    :param value: the number for the whole sample; NaN if it is insufficient
    :param low: lower limit
    :param high: upper limit
    :param bias: mean over the resamples - value, the bootstrap's estimate of the bias of ``value``
    :param method: ``"BCa"``; ``"percentile"`` where BCa is undefined (value outside all resamples); ``"t"`` below 20 episodes;
        ``"studentised max-t"`` or ``"Bonferroni t"`` for worst and gap; ``"constant"`` where every episode gives the same
        number; ``"none"`` where there is no interval (insufficient, or one episode)
    """

    value: float
    low: float
    high: float
    bias: float
    method: str


@dataclass(frozen=True)
class PairedDifference:
    """A policy minus the reference policy, on the same episodes.

    :param reference: name of the reference policy
    :param rates: one per group: who gained and who lost
    :param worst: change of the smallest rate
    :param gap: change of the gap; negative is less disparity
    :param efficiency: change of the efficiency
    :param efficiency_ratio: efficiency / the reference's efficiency; NaN unless the latter is positive
    """

    reference: str
    rates: tuple[Estimate, ...]
    worst: Estimate
    gap: Estimate
    efficiency: Estimate
    efficiency_ratio: Estimate

    @property
    def levels_down(self) -> bool:
        """Whether the gap fell although the smallest rate did not rise: less disparity only because better-off groups lost."""
        return self.gap.value < 0 and not self.worst.value > 0


@dataclass(frozen=True)
class PolicyEstimates:
    """One policy's metrics with their intervals; meanings as in :class:`sb3_grpo.fairness.metrics.Metrics`.

    :param name: the policy's name
    :param rates: one per group
    :param worst: smallest rate
    :param worst_group: name of the group that has it, ``None`` if every group is insufficient
    :param gap: largest - smallest rate
    :param efficiency: ``benefit_share - cost_share``
    :param benefit_share: all benefit / all demand
    :param cost_share: all cost / all demand
    :param paired: difference to the reference policy, ``None`` for the reference itself or without one
    """

    name: str
    rates: tuple[Estimate, ...]
    worst: Estimate
    worst_group: str | None
    gap: Estimate
    efficiency: Estimate
    benefit_share: float
    cost_share: float
    paired: PairedDifference | None


@dataclass(frozen=True)
class Comparison:
    """Several policies on the same episodes.

    :param group_names: names of the groups
    :param counted: counted patients of each group over all episodes
    :param insufficient: names of the groups without a rate
    :param n_episodes: number of episodes, the unit of the intervals
    :param confidence: confidence level of every single interval (not simultaneous)
    :param n_resamples: number of bootstrap resamples
    :param reference: policy the paired differences refer to
    :param policies: one entry per policy, in the order given
    """

    group_names: tuple[str, ...]
    counted: tuple[int, ...]
    insufficient: tuple[str, ...]
    n_episodes: int
    confidence: float
    n_resamples: int
    reference: str | None
    policies: tuple[PolicyEstimates, ...]

    def __getitem__(self, name: str) -> PolicyEstimates:
        for policy in self.policies:
            if policy.name == name:
                return policy
        raise KeyError(f"{name!r}: the policies are {[policy.name for policy in self.policies]}")

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries, lists, numbers and strings; a number that does not exist is ``None`` (JSON has no NaN)."""
        plain = asdict(self)
        for policy, row in zip(self.policies, plain["policies"], strict=True):
            if policy.paired is not None:
                row["paired"]["levels_down"] = policy.paired.levels_down
        return without_nan(plain)


def values_of(values: npt.ArrayLike, key: str, least: int = 1) -> npt.NDArray[np.float64]:
    """Finite numbers, one per unit.

    :param values: (n,)
    :param key: their name in error messages
    :param least: least number of them
    :raises ValueError: if they are of another shape, too few, or not finite
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) < least:
        raise ValueError(f"{key}: got shape {x.shape}, expected (n >= {least},)")
    if not np.isfinite(x).all():
        raise ValueError(f"{key}[{int(np.argmin(np.isfinite(x)))}]: got {x[~np.isfinite(x)][0]}, expected finite numbers")
    return x


def check_unit(unit: str) -> None:
    """Refuse a unit that is no independent draw, patients above all."""
    if unit not in UNITS:
        raise ValueError(f"unit: got {unit!r}, expected one of {UNITS}: patients of an episode are not independent")


def check_confidence(confidence: float) -> None:
    """Refuse confidence levels that are none, e.g. 95."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: got {confidence}, expected a number inside (0, 1)")


def without_nan(value: Any) -> Any:
    """Nested dictionaries and lists as JSON can hold them: a number that does not exist is None."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
