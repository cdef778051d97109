"""Intervals for the metrics of several policies that met the same patients.

The unit is the episode: patients of one episode share queues and beds, so they are not independent. Whole episodes are
resampled, and every policy gets the *same* resampled episodes (common random numbers): what two policies have in common
cancels in their difference, as it did in the simulation. For every resample the metrics are computed from sums pooled over
its episodes, as for the real sample.

Intervals of rates and efficiency are bias-corrected and accelerated (BCa; B. Efron, "Better bootstrap confidence intervals",
JASA 82, 1987), by :func:`scipy.stats.bootstrap` on the vector of episode indices: scipy resamples one index vector, and the
statistic computes all policies' metrics from it, which makes the resampling joint. Below 20 episodes, which are too few to
resample, they are Student's t.

The smallest rate of several is biased downwards and the gap upwards, the more so the closer the groups are; the bootstrap's
estimate of that bias stands beside every value. Where groups tie, no bootstrap of an extreme itself is right: intervals of
worst and gap follow from simultaneous limits of the rates, see :mod:`sb3_grpo.fairness.inference.max_t`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.inference.bands import group_bands, paired_bands
from sb3_grpo.fairness.inference.max_t import BONFERRONI, MIN_EPISODES, N_BAND_RESAMPLES, band, ratio_draws
from sb3_grpo.fairness.inference.resampling import N_RESAMPLES, bootstrap_estimates
from sb3_grpo.fairness.inference.results import Comparison, Estimate, Interval, PairedDifference, PolicyEstimates
from sb3_grpo.fairness.metrics import (
    MIN_PATIENTS,
    EpisodeTotals,
    FloatArray,
    metric_columns,
    policy_metrics,
    ratio,
    sufficient_groups,
)


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
    resamples, seed = (
        min(n_resamples, N_BAND_RESAMPLES),
        int(rng.integers(2**63)),
    )  # the same resampled episodes for every policy
    policies = []
    for name, row in zip(names, rows, strict=True):
        plain = policy_metrics(totals[name], costs[name], min_patients)
        bands = group_bands(totals[name], group_names, np.random.default_rng(seed), resamples, confidence, min_patients)
        few = _few(totals[name], costs[name], None, None, confidence)
        row[:width] = _with_limits(row[:width], (*few[:n_groups], bands.worst, bands.gap, few[n_groups]))
        paired = None
        if reference is not None and name != reference:
            against = totals[reference], costs[reference]
            change = paired_bands(
                totals[name],
                costs[name],
                *against,
                group_names,
                np.random.default_rng(seed),
                resamples,
                confidence,
                min_patients,
            )
            few = _few(totals[name], costs[name], *against, confidence)
            difference = _with_limits(row[width:], (*few[:n_groups], change.worst, change.gap, *few[n_groups:]))
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


def _with_limits(estimates: Iterable[Estimate], limits: Sequence[Interval | None]) -> list[Estimate]:
    """Estimates with other limits, where there are any."""
    return [
        estimate
        if limit is None or np.isnan(estimate.value)
        else replace(estimate, low=limit.low, high=limit.high, method=limit.method)
        for estimate, limit in zip(estimates, limits, strict=True)
    ]


def _few(
    totals: EpisodeTotals,
    costs: npt.ArrayLike,
    reference: EpisodeTotals | None,
    reference_costs: npt.ArrayLike | None,
    confidence: float,
) -> list[Interval | None]:
    """Student's t limits of rates and efficiency (or their differences, and the efficiency's ratio) where episodes are few."""
    n, n_groups = totals.demand.shape
    if n >= MIN_EPISODES:
        return [None] * (n_groups + (1 if reference is None else 2))
    net = totals.benefit.sum(axis=1) - np.asarray(costs, dtype=np.float64)
    benefit, tops, bottoms = totals.benefit, [net], [totals.demand.sum(axis=1)]
    if reference is not None and reference_costs is not None:
        reference_net = reference.benefit.sum(axis=1) - np.asarray(reference_costs, dtype=np.float64)
        benefit, tops, bottoms = benefit - reference.benefit, [net - reference_net, net], [*bottoms, reference_net]
    draws = ratio_draws(
        np.column_stack([benefit, *tops]), np.column_stack([totals.demand, *bottoms]), np.random.default_rng(0), 1
    )
    alone = [band(draws, row[None], confidence)[0] for row in np.eye(len(draws.value))]
    return [replace(interval, method="t") if interval.method == BONFERRONI else interval for interval in alone]


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
