"""Joint bootstrap intervals: exact reductions, coverage on a synthetic pool, pairing, visibility of levelling down."""

import json

import numpy as np
import pytest
from scipy import stats

from sb3_grpo.fairness.inference import Comparison, bootstrap_estimates, compare_policies
from sb3_grpo.fairness.metrics import EpisodeTotals, FloatArray

GROUPS = ("pediatric", "adult", "elderly", "critical")
RATES = np.array([0.80, 0.70, 0.75, 0.60])


def make_totals(rates: FloatArray, demand: FloatArray | float = 50.0, counted: int = 50) -> EpisodeTotals:
    """Totals whose rate in each episode and group is given, (E, G)."""
    needed = np.broadcast_to(np.asarray(demand, dtype=np.float64), rates.shape)
    return EpisodeTotals(needed, needed * rates, np.full(rates.shape, counted))


def synthetic_pair(rng: np.random.Generator, n_episodes: int) -> tuple[EpisodeTotals, EpisodeTotals]:
    """Two policies that meet the same episodes: the second is 0.02 better in every group, with noise of its own.

    Demand is independent of the rates, so that the pooled rates' expectation is RATES (and RATES + 0.02).
    """
    demand = rng.gamma(20.0, 5.0, (n_episodes, len(RATES)))
    shared = RATES + rng.normal(0.0, 0.05, (n_episodes, 1)) + rng.normal(0.0, 0.04, demand.shape)
    return make_totals(shared, demand), make_totals(shared + 0.02 + rng.normal(0.0, 0.02, demand.shape), demand)


def compare(seed: int = 0, reference: str | None = "a", n_resamples: int = 999, **totals: EpisodeTotals) -> Comparison:
    costs = {name: np.zeros(len(policy.demand)) for name, policy in totals.items()}
    rng = np.random.default_rng(seed)
    names = GROUPS[: next(iter(totals.values())).demand.shape[1]]
    return compare_policies(totals, costs, names, rng, reference=reference, n_resamples=n_resamples)


def test_equals_scipy_on_a_mean() -> None:
    """With equal demand a pooled rate is the mean of the episodes' rates: scipy's own interval of it, same draws."""
    rates = np.random.default_rng(1).beta(8, 2, (40, 1))
    ours = compare(seed=5, reference=None, a=make_totals(rates))["a"].rates[0]
    theirs = stats.bootstrap((rates[:, 0],), np.mean, n_resamples=999, method="BCa", rng=np.random.default_rng(5))
    assert ours.method == "BCa"
    assert ours.value == pytest.approx(rates.mean())
    np.testing.assert_allclose([ours.low, ours.high], theirs.confidence_interval)
    np.testing.assert_allclose(ours.bias, theirs.bootstrap_distribution.mean() - rates.mean(), atol=1e-12)


def test_numbers_do_not_depend_on_the_other_policies() -> None:
    """Every policy gets the same resampled episodes, so adding one changes nothing about the others."""
    first, second = synthetic_pair(np.random.default_rng(2), 30)
    assert compare(a=first, b=second)["a"] == compare(a=first)["a"]


def test_paired_numbers_by_hand() -> None:
    """Two episodes, exact differences; costs enter efficiency only."""
    a, b = make_totals(np.array([[0.8, 0.4], [0.6, 0.6]])), make_totals(np.array([[0.6, 0.5], [0.6, 0.7]]))
    comparison = compare_policies(
        {"a": a, "b": b}, {"a": [4.0, 0.0], "b": [10.0, 6.0]}, ("x", "y"), np.random.default_rng(0), "a", n_resamples=99
    )
    base, other = comparison["a"], comparison["b"]
    assert [rate.value for rate in base.rates] == pytest.approx([0.7, 0.5])
    assert (base.worst.value, base.gap.value, base.worst_group) == (pytest.approx(0.5), pytest.approx(0.2), "y")
    assert (base.efficiency.value, base.benefit_share, base.cost_share) == pytest.approx((0.58, 0.6, 0.02))
    assert base.paired is None and other.paired is not None
    assert other.paired.reference == "a"
    assert [rate.value for rate in other.paired.rates] == pytest.approx([-0.1, 0.1])
    assert (other.paired.worst.value, other.paired.gap.value) == pytest.approx((0.1, -0.2))
    assert other.paired.efficiency.value == pytest.approx(0.52 - 0.58)
    assert other.paired.efficiency_ratio.value == pytest.approx(0.52 / 0.58)
    assert comparison.n_episodes == 2 and comparison.counted == (100, 100)


def test_coverage() -> None:
    """95 % intervals cover the truth at about their level, those of extremes at least.

    300 samples of 60 episodes. An interval that covers with probability 0.95 falls outside 0.91 to 0.98 with probability
    0.2 % below and 0.5 % above (binomial); five of them: at most 4 % for a fresh seed; the seed is fixed.
    """
    rng = np.random.default_rng(2024)
    n_samples = 300
    hits = np.zeros(5)
    for _ in range(n_samples):
        first, second = synthetic_pair(rng, 60)
        comparison = compare(seed=int(rng.integers(2**32)), a=first, b=second, n_resamples=499)
        base, paired = comparison["a"], comparison["b"].paired
        assert paired is not None
        known = [
            (base.rates[0], 0.80),
            (base.worst, 0.60),
            (base.gap, 0.20),
            (paired.rates[1], 0.02),
            (paired.gap, 0.0),
        ]
        hits += [estimate.low <= truth <= estimate.high for estimate, truth in known]
    assert np.all(hits / n_samples >= 0.91) and np.all(hits[[0, 3]] / n_samples <= 0.98), hits / n_samples


def test_pairing_narrows_the_interval() -> None:
    """The shared luck of the episodes cancels in the paired difference; the two samples taken apart would keep it.

    The paired difference has standard deviation 0.02 per episode, the unpaired one sqrt(2) * 0.064 or more.
    """
    first, second = synthetic_pair(np.random.default_rng(3), 60)
    paired = compare(a=first, b=second)["b"].paired
    assert paired is not None

    def difference(i: FloatArray, j: FloatArray, axis: int) -> FloatArray:
        rate = [
            t.benefit[k.astype(int), 0].sum(axis) / t.demand[k.astype(int), 0].sum(axis) for t, k in ((first, i), (second, j))
        ]
        return np.asarray(rate[1] - rate[0])

    episodes = np.arange(60)
    apart = stats.bootstrap(
        (episodes, episodes), difference, n_resamples=999, rng=np.random.default_rng(0)
    ).confidence_interval
    assert paired.rates[0].high - paired.rates[0].low < 0.4 * (apart.high - apart.low)
    assert paired.rates[0].low > 0  # the pairs show the gain of 0.02, which the interval taken apart does not
    assert apart.low < 0 < apart.high


def test_bias_of_the_extremes_points_the_right_way() -> None:
    """Four equal groups: the smallest of four noisy rates lies below the truth, the gap above it, and the bias says so."""
    rng = np.random.default_rng(4)
    comparison = compare(reference=None, a=make_totals(0.7 + rng.normal(0, 0.06, (100, 4))))["a"]
    assert comparison.worst.value < 0.7 and comparison.worst.bias < -0.001
    assert comparison.gap.value > 0 and comparison.gap.bias > 0.001
    assert all(abs(rate.bias) < 0.001 for rate in comparison.rates)


def test_levelling_down_is_visible() -> None:
    noise = np.random.default_rng(6).normal(0, 0.02, (40, 2))
    base = make_totals(np.array([0.8, 0.6]) + noise)
    down = make_totals(np.array([0.65, 0.6]) + noise)  # the better-off group loses, the other gains nothing
    up = make_totals(np.array([0.75, 0.65]) + noise)
    comparison = compare(a=base, down=down, up=up)
    for name, levels_down, changes in (("down", True, [-0.15, 0.0]), ("up", False, [-0.05, 0.05])):
        paired = comparison[name].paired
        assert paired is not None
        assert paired.gap.high < 0
        assert [rate.value for rate in paired.rates] == pytest.approx(changes)
        assert paired.levels_down is levels_down
    assert [row["paired"]["levels_down"] for row in comparison.to_dict()["policies"][1:]] == [True, False]


def test_insufficient_groups_stay_out() -> None:
    rates = np.random.default_rng(7).uniform(0.4, 0.9, (4, 3))
    totals = make_totals(rates)
    totals.counted[:, 1] = 7  # 28 patients in all
    comparison = compare(a=totals, b=make_totals(rates)._replace(counted=totals.counted))
    assert comparison.insufficient == ("adult",)
    base = comparison["a"]
    assert np.isnan(base.rates[1].value) and base.rates[1].method == "none"
    assert base.worst.value == min(base.rates[0].value, base.rates[2].value)
    assert base.worst_group in ("pediatric", "elderly")
    text = json.dumps(comparison.to_dict(), allow_nan=False)
    assert json.loads(text)["policies"][0]["rates"][1]["value"] is None


def test_degenerate_samples_say_so() -> None:
    rng = np.random.default_rng(8)
    totals = make_totals(rng.uniform(0.4, 0.9, (10, 2)))
    same = compare(a=totals, b=totals)["b"].paired
    assert same is not None
    assert (same.gap.value, same.gap.low, same.gap.high, same.gap.method) == (0, 0, 0, "constant")
    one = compare(reference=None, a=totals.of_episodes([0]))["a"]
    assert one.gap.method == "none" and np.isnan(one.gap.low) and one.gap.value > 0
    # The value lies outside its resamples: bias correction is infinite, the percentile interval is given and named.
    values = rng.normal(size=10)

    def spread(weights: FloatArray) -> FloatArray:
        return np.where(weights.min(axis=1, keepdims=True) > 0, 1.0, 0.0).T - (weights**2 @ values)[None] * 1e-3

    (estimate,) = bootstrap_estimates(spread, 10, rng, n_resamples=199)
    assert estimate.method == "percentile" and estimate.low < estimate.high < estimate.value


def test_same_generator_same_numbers() -> None:
    first, second = synthetic_pair(np.random.default_rng(9), 20)
    assert compare(seed=1, a=first, b=second) == compare(seed=1, a=first, b=second)
    assert compare(seed=1, a=first, b=second) != compare(seed=2, a=first, b=second)


def test_bad_input_is_named() -> None:
    first, second = synthetic_pair(np.random.default_rng(10), 5)
    with pytest.raises(ValueError, match="expected the same patients for every policy"):
        compare(a=first, b=second._replace(demand=second.demand * [[1], [1], [1], [2], [1]]))
    with pytest.raises(ValueError, match=r"reference: got 'c', expected one of \['a', 'b'\]"):
        compare(a=first, b=second, reference="c")
    with pytest.raises(ValueError, match=r"totals\['b'\]: got shape \(4, 4\), expected \(5, 4\) as 'a'"):
        compare(a=first, b=second.of_episodes(range(4)))
    with pytest.raises(ValueError, match="costs: got"):
        compare_policies({"a": first}, {}, GROUPS, np.random.default_rng(0))
    with pytest.raises(ValueError, match="expected at least one"):
        compare_policies({}, {}, GROUPS, np.random.default_rng(0))
    with pytest.raises(ValueError, match="confidence: got 95"):
        compare_policies({"a": first}, {"a": np.zeros(5)}, GROUPS, np.random.default_rng(0), confidence=95)
