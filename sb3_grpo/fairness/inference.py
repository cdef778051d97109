"""Intervals for the metrics of several policies that met the same patients.

The unit is the episode: patients of one episode share queues and beds, so they are not independent. Whole episodes are
resampled, and every policy gets the *same* resampled episodes (common random numbers): what two policies have in common
cancels in their difference, as it did in the simulation. For every resample the metrics are computed from sums pooled over
its episodes, as for the real sample.

Intervals are bias-corrected and accelerated (BCa; B. Efron, "Better bootstrap confidence intervals", JASA 82, 1987), by
:func:`scipy.stats.bootstrap` on the vector of episode indices: scipy resamples one index vector, and the statistic computes
all policies' metrics from it, which makes the resampling joint.

The smallest rate of several is biased downwards and the gap upwards, the more so the closer the groups are; the bootstrap's
estimate of that bias stands beside every value. Where the two smallest groups tie, no bootstrap interval of an extreme is
exact; the rates of the groups themselves are not affected.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from sb3_grpo.fairness.metrics import (
    MIN_PATIENTS,
    EpisodeTotals,
    FloatArray,
    metric_columns,
    policy_metrics,
    ratio,
    sufficient_groups,
)

N_RESAMPLES: Final = 9999
"""Default number of resamples: the Monte Carlo error of a 95 % limit is then about 3 % of the interval's half-width."""

_CONSTANT: Final = 1e-12  # a statistic that no left-out episode moves by more than this is a constant
_BATCH: Final = 1000  # resamples at a time: bounds the memory at about 1000 x episodes x 8 bytes


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    :param value: the number for the whole sample; NaN if it is insufficient
    :param low: lower limit
    :param high: upper limit
    :param bias: mean over the resamples - value, the bootstrap's estimate of the bias of ``value``
    :param method: ``"BCa"``; ``"percentile"`` where BCa is undefined (value outside all resamples); ``"constant"`` where
        every episode gives the same number; ``"none"`` where there is no interval (insufficient, or one episode)
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
        return _without_nan(plain)


def compare_policies(
    totals: Mapping[str, EpisodeTotals],
    costs: Mapping[str, npt.ArrayLike],
    group_names: Sequence[str],
    rng: np.random.Generator,
    reference: str | None = None,
    n_resamples: int = N_RESAMPLES,
    confidence: float = 0.95,
    min_patients: int = MIN_PATIENTS,
) -> Comparison:
    """Metrics of every policy and paired differences to a reference, with joint bootstrap intervals.

    :param totals: per policy the sums by episode and group; row e is the same episode for every policy
    :param costs: per policy the cost of each episode, (E,), in units of benefit
    :param group_names: names of the G groups
    :param rng: source of the resamples
    :param reference: name of the policy that the paired differences refer to
    :param n_resamples: number of resamples
    :param confidence: confidence level, in (0, 1)
    :param min_patients: groups with fewer counted patients are insufficient
    :return: the comparison
    :raises ValueError: if the policies did not meet the same patients, or names or shapes do not match
    """
    names = list(totals)
    _check(totals, costs, group_names, reference, n_resamples, confidence)
    base = totals[names[0]]
    sufficient = sufficient_groups(base, min_patients)
    n_groups, width = len(group_names), len(group_names) + 3

    demand = base.demand
    benefit = np.stack([totals[name].benefit for name in names])  # (P, E, G)
    cost = np.stack([np.asarray(costs[name], dtype=np.float64) for name in names])  # (P, E)

    def statistic(weights: FloatArray) -> FloatArray:
        """All numbers for episodes counted ``weights`` (R, E) times each: (K, R)."""
        pooled_benefit, pooled_cost = weights @ benefit, cost @ weights.T  # (P, R, G), (P, R)
        single = metric_columns(weights @ demand, pooled_benefit, pooled_cost, sufficient)  # (P, R, G + 3)
        blocks = [single]
        if reference is not None:
            against = single[names.index(reference)]
            blocks += [single - against, ratio(single[..., -1:], against[..., -1:])]
        return np.moveaxis(np.concatenate(blocks, axis=-1), 1, -1).reshape(-1, len(weights))

    estimates = bootstrap_estimates(statistic, len(demand), rng, n_resamples, confidence)
    rows = np.asarray(estimates, dtype=object).reshape(len(names), -1)
    policies = []
    for name, row in zip(names, rows, strict=True):
        plain = policy_metrics(totals[name], costs[name], min_patients)
        paired = None
        if reference is not None and name != reference:
            difference = row[width:]
            paired = PairedDifference(reference, tuple(difference[:n_groups]), *difference[n_groups:])
        policies.append(
            PolicyEstimates(
                name=name,
                rates=tuple(row[:n_groups]),
                worst=row[n_groups],
                worst_group=group_names[int(np.nanargmin(plain.rates))] if sufficient.any() else None,
                gap=row[n_groups + 1],
                efficiency=row[n_groups + 2],
                benefit_share=plain.benefit_share,
                cost_share=plain.cost_share,
                paired=paired,
            )
        )
    return Comparison(
        group_names=tuple(group_names),
        counted=tuple(int(n) for n in base.counted.sum(axis=0)),
        insufficient=tuple(name for name, enough in zip(group_names, sufficient, strict=True) if not enough),
        n_episodes=len(demand),
        confidence=confidence,
        n_resamples=n_resamples,
        reference=reference,
        policies=tuple(policies),
    )


def bootstrap_estimates(
    statistic: Callable[[FloatArray], FloatArray],
    n_units: int,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    confidence: float = 0.95,
) -> list[Estimate]:
    """BCa intervals of K statistics of the same units, resampled jointly.

    :param statistic: maps how often each unit occurs, (R, n_units), to the K numbers of each of the R samples, (K, R)
    :param n_units: number of units (episodes)
    :param rng: source of the resamples
    :param n_resamples: number of resamples
    :param confidence: confidence level
    :return: K estimates; ``method`` says how each interval was obtained
    """
    values = statistic(np.ones((1, n_units)))[:, 0]
    estimates = [Estimate(float(value), np.nan, np.nan, np.nan, "none") for value in values]
    if n_units < 2:
        return estimates
    left_out = statistic(1.0 - np.eye(n_units))  # (K, n_units)
    usable = np.isfinite(values) & np.isfinite(left_out).all(axis=1)
    varies = usable & (np.abs(left_out - values[:, None]).max(axis=1, initial=0.0) > _CONSTANT)
    for k in np.flatnonzero(usable & ~varies):
        estimates[k] = Estimate(float(values[k]), float(values[k]), float(values[k]), 0.0, "constant")
    if not varies.any():
        return estimates

    def of_indices(indices: npt.NDArray[Any], axis: int) -> FloatArray:
        """The varying statistics of resamples given as unit indices along the last axis, as scipy passes them."""
        chosen = np.atleast_2d(indices.astype(np.int64))
        cells = chosen + n_units * np.arange(len(chosen))[:, None]
        weights = np.bincount(cells.ravel(), minlength=len(chosen) * n_units).reshape(len(chosen), n_units)
        numbers = statistic(weights.astype(np.float64))[varies]
        return numbers if indices.ndim > 1 else numbers[:, 0]

    # Where all resamples lie on one side of the value, BCa divides infinity by infinity: answered below, number by number.
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(n_units),),
            of_indices,
            n_resamples=n_resamples,
            batch=min(_BATCH, n_resamples),
            vectorized=True,
            confidence_level=confidence,
            method="BCa",
            rng=rng,
        )
    interval, distribution = result.confidence_interval, np.atleast_2d(result.bootstrap_distribution)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    lower, upper = np.atleast_1d(interval.low), np.atleast_1d(interval.high)
    for row, k in enumerate(np.flatnonzero(varies)):
        resampled = distribution[row]
        if not np.isfinite(resampled).all():
            continue  # a resample in which the group had no demand: there is no interval
        low, high, method = float(lower[row]), float(upper[row]), "BCa"
        if not (np.isfinite(low) and np.isfinite(high)):
            low, high = (float(np.quantile(resampled, tail)) for tail in tails)
            method = "percentile"
        bias = float(resampled.mean() - values[k])
        estimates[k] = Estimate(float(values[k]), low, high, bias, method)
    return estimates


def _check(
    totals: Mapping[str, EpisodeTotals],
    costs: Mapping[str, npt.ArrayLike],
    group_names: Sequence[str],
    reference: str | None,
    n_resamples: int,
    confidence: float,
) -> None:
    if not totals:
        raise ValueError("totals: got no policy, expected at least one")
    if set(totals) != set(costs):
        raise ValueError(f"costs: got {sorted(costs)}, expected those of totals, {sorted(totals)}")
    if reference is not None and reference not in totals:
        raise ValueError(f"reference: got {reference!r}, expected one of {sorted(totals)}")
    if n_resamples < 1:
        raise ValueError(f"n_resamples: got {n_resamples}, expected at least 1")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: got {confidence}, expected a number inside (0, 1)")
    first, base = next(iter(totals.items()))
    if base.demand.ndim != 2 or base.demand.shape[1] != len(group_names) or len(base.demand) == 0:
        raise ValueError(f"totals[{first!r}]: got shape {base.demand.shape}, expected (episodes >= 1, {len(group_names)})")
    for name, policy in totals.items():
        if policy.demand.shape != base.demand.shape:
            raise ValueError(f"totals[{name!r}]: got shape {policy.demand.shape}, expected {base.demand.shape} as {first!r}")
        differs = (policy.demand != base.demand) | (policy.counted != base.counted)
        if differs.any():
            raise ValueError(
                f"totals[{name!r}]: demand differs from {first!r} in episode row {int(np.argmax(differs.any(axis=1)))}: "
                "expected the same patients for every policy (same seed, same episodes)"
            )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
