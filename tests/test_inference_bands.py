"""Simultaneous bands: hand-computed limits, ties, pairing, what cannot be computed, coverage with known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sb3_grpo.fairness.inference import GroupBands, PairedBands, group_bands, paired_bands
from sb3_grpo.fairness.inference.max_t import band, ratio_draws, smallest
from sb3_grpo.fairness.metrics import EpisodeTotals, FloatArray

NAMES = ("a", "b", "c", "d")


def make_totals(rates: FloatArray, demand: FloatArray | float = 50.0) -> EpisodeTotals:
    needed = np.broadcast_to(np.asarray(demand, dtype=np.float64), rates.shape)
    return EpisodeTotals(needed, needed * rates, np.full(rates.shape, 50))


def noisy(truth: list[float], n: int, rng: np.random.Generator) -> EpisodeTotals:
    """Pooled rates whose expectation is the truth: episodes have luck of their own, groups too, demand is independent."""
    shape = (n, len(truth))
    rates = np.array(truth) + rng.normal(0, 0.05, (n, 1)) + rng.normal(0, 0.04, shape)
    return make_totals(rates, rng.gamma(20.0, 5.0, shape))


def bands(totals: EpisodeTotals, seed: int = 0, n_resamples: int = 499) -> GroupBands:
    names = NAMES[: totals.demand.shape[1]]
    return group_bands(totals, names, np.random.default_rng(seed), n_resamples)


def paired(new: EpisodeTotals, old: EpisodeTotals, seed: int = 0, n_resamples: int = 499) -> PairedBands:
    zero = np.zeros(len(new.demand))
    names = NAMES[: new.demand.shape[1]]
    return paired_bands(new, zero, old, zero, names, np.random.default_rng(seed), n_resamples)


def test_few_episodes_by_hand() -> None:
    """Ten episodes, equal demand: rates are means, their errors s / sqrt(n), limits Bonferroni's t."""
    rates = np.random.default_rng(1).uniform(0.4, 0.8, (10, 3))
    result = bands(make_totals(rates))
    mean, error = rates.mean(axis=0), np.asarray(stats.sem(rates, axis=0))
    t = stats.t(9)
    for k in range(3):
        half = t.ppf(1 - 0.05 / 2 / 3) * error[k]
        interval = result.rates[k]
        assert (interval.value, interval.low, interval.high) == pytest.approx((mean[k], mean[k] - half, mean[k] + half))
        assert (interval.unit, interval.n, interval.method) == ("episode", 10, "Bonferroni t")
    one, three = t.ppf(1 - 0.0225), t.ppf(1 - 0.0225 / 3)  # of 0.05, 0.005 is spent on groups that are clearly not extreme
    assert (result.worst.low, result.worst.high) == pytest.approx(((mean - one * error).min(), (mean + three * error).min()))
    assert (result.best.low, result.best.high) == pytest.approx(((mean - three * error).max(), (mean + one * error).max()))
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    apart = [(mean[i] - mean[j], stats.sem(rates[:, i] - rates[:, j])) for i, j in pairs]
    high = max(d + one * e for d, e in apart)
    low = max(0.0, max(d - t.ppf(1 - 0.0225 / 6) * e for d, e in apart))
    assert (result.gap.value, result.gap.low, result.gap.high) == pytest.approx((np.ptp(mean), low, high))


def test_error_of_a_ratio_by_hand() -> None:
    """Linearisation: N = 1, 3 and D = 2, 2 give 4/4 with residuals -1, 1; variance (1 + 1) / 2 / 2^2 / (2 - 1)."""
    draws = ratio_draws(np.array([[1.0], [3.0]]), np.array([[2.0], [2.0]]), np.random.default_rng(0))
    assert draws.value == pytest.approx([1.0]) and draws.covariance == pytest.approx(np.array([[0.25]]))


def test_resampled_covariance_is_that_of_the_resample() -> None:
    """What each resample says about its own error equals the same formula on the resampled episodes."""
    rng = np.random.default_rng(2)
    top, bottom = rng.uniform(1, 2, (25, 2)), rng.uniform(2, 3, (25, 2))
    draws = ratio_draws(top, bottom, np.random.default_rng(3), n_resamples=4)
    rows = np.random.default_rng(3).integers(25, size=(4, 25))
    for r in range(4):
        again = ratio_draws(top[rows[r]], bottom[rows[r]], rng, n_resamples=1)
        assert draws.value + draws.change[r] == pytest.approx(again.value)
        assert draws.resampled[r] == pytest.approx(again.covariance)


def test_one_mean_is_the_equal_tailed_bootstrap_t() -> None:
    """Against a plain loop over the same resamples, as P. Hall defines the interval."""
    rng = np.random.default_rng(4)
    x = rng.lognormal(size=40)
    (ours,) = band(ratio_draws(x[:, None], np.ones((40, 1)), np.random.default_rng(5), 399), np.eye(1))
    samples = x[np.random.default_rng(5).integers(40, size=(399, 40))]
    t = (samples.mean(axis=1) - x.mean()) / stats.sem(samples, axis=1)
    low = x.mean() - np.quantile(t, 0.975, method="higher") * stats.sem(x)
    high = x.mean() + np.quantile(-t, 0.975, method="higher") * stats.sem(x)
    assert (ours.low, ours.high) == pytest.approx((low, high))
    assert ours.method == "studentised max-t"


def test_difference_of_the_smallest_keeps_the_pairing() -> None:
    """One group is far below the others under both policies: its own paired difference decides, not the two luck terms."""
    rng = np.random.default_rng(6)
    luck = rng.normal(0, 0.05, (40, 3))
    old = make_totals(np.array([0.4, 0.8, 0.9]) + luck)
    new = make_totals(np.array([0.42, 0.8, 0.9]) + luck + rng.normal(0, 0.01, (40, 3)))
    change = paired(new, old)
    assert change.worst.low > 0
    assert change.worst.high - change.worst.low < 0.015
    assert change.worst.value == pytest.approx(change.rates[0].value)
    assert change.worst.low <= change.worst.value <= change.worst.high
    assert not change.levels_down


def test_difference_of_minima_by_hand() -> None:
    """Ten episodes: lower limit min over p of max over q, each with Bonferroni's t over q; upper limit mirrored."""
    rng = np.random.default_rng(7)
    new, old = rng.uniform(0.4, 0.8, (2, 10, 2))
    change = paired(make_totals(new), make_totals(old))
    t = stats.t.ppf(1 - 0.0225 / 2, 9)
    d = np.array([[(new[:, p] - old[:, q]).mean() for q in range(2)] for p in range(2)])
    e = np.array([[stats.sem(new[:, p] - old[:, q]) for q in range(2)] for p in range(2)])
    assert change.worst.low == pytest.approx((d - t * e).max(axis=1).min())
    assert change.worst.high == pytest.approx((d + t * e).min(axis=0).max())
    assert change.worst.value == pytest.approx(new.mean(axis=0).min() - old.mean(axis=0).min())


def test_what_is_clearly_not_the_smallest_costs_nothing() -> None:
    """Far above, a second group leaves the limits of the first where they were alone; close by, it widens them."""
    rng = np.random.default_rng(17)
    x = rng.normal(size=(10, 1)) * [0.0, 1.0] + rng.normal(size=(10, 2))
    t, error = stats.t.ppf(1 - 0.0225, 9), float(stats.sem(x[:, 0]))
    for distance, factor in ((100.0, t), (1.0, stats.t.ppf(1 - 0.0225 / 2, 9))):
        apart = x - x.mean(axis=0) + [0.0, distance]
        interval = smallest(ratio_draws(apart, np.ones((10, 2)), rng), np.eye(2))
        assert interval.high == pytest.approx(factor * error)
    # Pairs that move together are told apart at a distance of half a standard deviation.
    close = np.column_stack([x[:, 0], x[:, 0] + 0.5 + 0.1 * rng.normal(size=10)]) - x[:, :1].mean()
    assert smallest(ratio_draws(close, np.ones((10, 2)), rng), np.eye(2)).high == pytest.approx(t * error)


def test_efficiency_by_hand() -> None:
    """Cost is subtracted; the ratio is that of the sums."""
    rng = np.random.default_rng(8)
    new, old = (make_totals(rng.uniform(0.4, 0.8, (10, 2)), 10.0) for _ in range(2))
    cost, reference_cost = rng.uniform(0, 1, (2, 10))
    result = paired_bands(new, cost, old, reference_cost, NAMES[:2], rng)
    net, reference_net = new.benefit.sum(axis=1) - cost, old.benefit.sum(axis=1) - reference_cost
    low, high = stats.t.interval(0.95, 9, (net - reference_net).mean() / 20, stats.sem(net - reference_net) / 20)
    assert (result.efficiency.low, result.efficiency.high) == pytest.approx((low, high))
    assert result.efficiency_ratio.value == pytest.approx(net.sum() / reference_net.sum())


@pytest.mark.parametrize("truth", [[0.7] * 4, [0.6, 0.6, 0.7, 0.8]], ids=["all equal", "two tied worst"])
def test_coverage_under_ties(truth: list[float]) -> None:
    """Worst, best and gap of 40 episodes are covered in at least 95 % of samples, and so are all rates at once.

    300 samples: an interval that covers with probability 0.95 falls below 0.91 with probability 0.2 % (binomial); four of
    them twice: at most 1.6 % for a fresh seed. The seed is fixed.
    """
    rng = np.random.default_rng(11)
    hits = np.zeros(4)
    for _ in range(300):
        result = bands(noisy(truth, 40, rng), int(rng.integers(2**32)), n_resamples=299)
        known = zip((result.worst, result.best, result.gap), (min(truth), max(truth), max(truth) - min(truth)), strict=True)
        hits[:3] += [interval.low <= number <= interval.high for interval, number in known]
        hits[3] += all(rate.low <= number <= rate.high for rate, number in zip(result.rates, truth, strict=True))
    assert (hits / 300 >= 0.91).all(), hits / 300


def test_plain_bootstrap_fails_where_the_bands_hold() -> None:
    """Why this is here: with eight equal groups the percentile interval of the minimum often misses the truth.

    200 samples. For an interval that covers with probability 0.85, fewer than 150 hits have probability 0.01 %; seed fixed.
    """
    rng = np.random.default_rng(12)
    plain = np.zeros(200, dtype=bool)
    for k in range(200):
        totals = make_totals(0.7 + rng.normal(0, 0.04, (40, 8)), rng.gamma(20.0, 5.0, (40, 8)))
        weights = rng.multinomial(40, np.full(40, 1 / 40), size=299)
        lowest = (weights @ totals.benefit / (weights @ totals.demand)).min(axis=1)
        low, high = np.quantile(lowest, [0.025, 0.975])
        plain[k] = low <= 0.7 <= high
    assert plain.mean() < 0.75


@given(st.integers(0, 10**6), st.integers(2, 4), st.sampled_from([5, 25]))
@settings(max_examples=25, deadline=None)
def test_properties(seed: int, n_groups: int, n: int) -> None:
    """Limits enclose the estimate; order of groups and unit of demand change nothing; the extremes follow from the rates."""
    rng = np.random.default_rng(seed)
    totals = noisy([0.6] * n_groups, n, rng)
    result = bands(totals, seed, 99)
    for interval in (*result.rates, result.worst, result.best, result.gap):
        assert interval.low <= interval.value + 1e-12 and interval.value <= interval.high + 1e-12
    assert result.worst.value == min(rate.value for rate in result.rates)
    assert result.gap.value == pytest.approx(result.best.value - result.worst.value)
    order = rng.permutation(n_groups)
    scaled = EpisodeTotals(3 * totals.demand[:, order], 3 * totals.benefit[:, order], totals.counted[:, order])
    again = bands(scaled, seed, 99)
    for name in ("worst", "best", "gap"):
        ours, theirs = getattr(result, name), getattr(again, name)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    swapped, change = paired(totals, scaled_up(totals), seed, 99), paired(scaled_up(totals), totals, seed, 99)
    assert (swapped.gap.low, swapped.gap.high) == pytest.approx((-change.gap.high, -change.gap.low))


def scaled_up(totals: EpisodeTotals) -> EpisodeTotals:
    """The same patients with other benefits."""
    return totals._replace(benefit=totals.benefit * np.linspace(0.9, 1.0, totals.benefit.size).reshape(totals.benefit.shape))


def test_what_cannot_be_computed_says_so() -> None:
    totals = noisy([0.6, 0.7, 0.8], 25, np.random.default_rng(13))
    totals.counted[:, 1] = 1  # 25 patients in all
    result = bands(totals)
    assert result.insufficient == ("b",) and result.rates[1].method == "none" and np.isnan(result.rates[1].value)
    assert result.worst_group == "a" and result.gap.value == pytest.approx(result.rates[2].value - result.rates[0].value)
    nobody = bands(totals._replace(counted=np.zeros_like(totals.counted)))
    assert nobody.worst_group is None and nobody.worst.method == nobody.gap.method == "none"
    alone = bands(make_totals(np.full((1, 2), 0.5)))
    assert alone.gap.method == "none" and np.isnan(alone.gap.low) and alone.worst.value == 0.5
    same = paired(totals, totals)
    assert (same.gap.low, same.gap.high, same.gap.method) == (0, 0, "constant")


def test_rare_groups_fall_back_by_name() -> None:
    """A group that occurs in three of thirty episodes is absent from 4 % of the resamples: no quantile, Bonferroni's t."""
    rng = np.random.default_rng(14)
    totals = noisy([0.6, 0.7], 30, rng)
    present = np.ones((30, 2))
    present[3:, 1] = 0.0
    totals = totals._replace(demand=totals.demand * present, benefit=totals.benefit * present)
    result = bands(totals)
    assert {rate.method for rate in result.rates} == {"Bonferroni t"} and result.worst.method == "Bonferroni t"
    assert np.isfinite([result.gap.low, result.gap.high]).all()


def test_contrasts_without_error_bound_nothing_else() -> None:
    """A constant among the contrasts is its own limit, and does not widen the others."""
    rng = np.random.default_rng(15)
    x = np.column_stack([rng.normal(size=30), np.full(30, 5.0)])
    draws = ratio_draws(x, np.ones((30, 2)), np.random.default_rng(0), 199)
    varying, constant = band(draws, np.eye(2))
    assert (constant.low, constant.high, constant.method) == (5.0, 5.0, "constant")
    (alone,) = band(ratio_draws(x[:, :1], np.ones((30, 1)), np.random.default_rng(0), 199), np.eye(1))
    assert (varying.low, varying.high) == pytest.approx((alone.low, alone.high))
    assert smallest(draws, np.eye(2)).high == pytest.approx(varying.high)


def test_bad_input_is_named() -> None:
    totals = noisy([0.6, 0.7], 5, np.random.default_rng(16))
    with pytest.raises(ValueError, match=r"totals: got shape \(5, 2\), expected \(episodes >= 1, 3\)"):
        group_bands(totals, "abc", np.random.default_rng(0))
    with pytest.raises(ValueError, match="expected the same patients"):
        paired(totals, totals._replace(demand=totals.demand + 1))
    with pytest.raises(ValueError, match=r"costs: got shape \(4,\), expected one for each of the 5 episodes"):
        paired_bands(totals, np.zeros(4), totals, np.zeros(5), "ab", np.random.default_rng(0))
    with pytest.raises(ValueError, match="confidence: got 95"):
        group_bands(totals, "ab", np.random.default_rng(0), confidence=95)
    with pytest.raises(ValueError, match="n_resamples: got 0"):
        group_bands(totals, "ab", np.random.default_rng(0), n_resamples=0)
