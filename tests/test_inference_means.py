"""Means, tests and effect sizes against hand-computed values, scipy and statsmodels."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.oneway import anova_oneway

from sb3_grpo.fairness.inference import (
    adjust_p_values,
    cohens_d,
    cohens_dz,
    interquartile_mean,
    linearised_rates,
    mean_interval,
    paired_t_test,
    pareto_front,
    probability_of_improvement,
    sign_flip_test,
    split_uncertainty,
    welch_test,
)
from sb3_grpo.fairness.metrics import EpisodeTotals

X = np.array([0.80, 0.74, 0.91, 0.66, 0.85])
Y = np.array([0.70, 0.75, 0.79, 0.60, 0.71])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_mean_of_few_is_students_t() -> None:
    """Mean 0.792, standard error sqrt(sum of squares 0.03748 / 4 / 5) = 0.04329, t(4) = 2.7764."""
    interval = mean_interval(X, rng(), "training seed")
    assert interval.value == pytest.approx(0.792)
    assert interval.high - interval.value == pytest.approx(2.776445 * math.sqrt(0.03748 / 20), rel=1e-6)
    assert (interval.unit, interval.n, interval.method) == ("training seed", 5, "t")


def test_mean_bca_is_scipys() -> None:
    x = rng(1).lognormal(size=30)
    ours = mean_interval(x, rng(2), method="BCa", n_resamples=999)
    theirs = stats.bootstrap((x,), np.mean, n_resamples=999, method="BCa", rng=rng(2)).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.method == "BCa"


def test_mean_of_many_is_studentised_and_follows_skewness() -> None:
    x = rng(3).lognormal(size=40)
    interval = mean_interval(x, rng(4), n_resamples=999)
    assert interval.method == "studentised bootstrap"
    assert interval.high - interval.value > 1.2 * (interval.value - interval.low)


def test_means_that_have_no_interval() -> None:
    assert mean_interval([0.3], rng()).method == "none"
    constant = mean_interval([0.3] * 30, rng())
    assert constant.low == constant.high == pytest.approx(0.3) and constant.method == "constant"


def test_linearised_rates_average_to_the_pooled_rates() -> None:
    demand = rng(5).uniform(1, 9, (12, 3))
    demand[:, 2] = 0
    totals = EpisodeTotals(demand, demand * rng(6).uniform(0.2, 0.9, (12, 3)), np.ones((12, 3), dtype=np.int64))
    by_episode = linearised_rates(totals)
    pooled = totals.benefit[:, :2].sum(axis=0) / demand[:, :2].sum(axis=0)
    assert by_episode[:, :2].mean(axis=0) == pytest.approx(pooled)
    assert np.isnan(by_episode[:, 2]).all()


def test_welch_by_hand() -> None:
    """Variances 0.00937 and 0.00495 of five each: error sqrt(0.002864), difference 0.082."""
    test = welch_test(X, Y)
    v, w = X.var(ddof=1) / 5, Y.var(ddof=1) / 5
    assert test.statistic == pytest.approx(0.082 / math.sqrt(v + w))
    assert test.df == pytest.approx((v + w) ** 2 / (v**2 / 4 + w**2 / 4))
    assert test.p_value == pytest.approx(2 * stats.t.sf(test.statistic, test.df))
    half = stats.t.ppf(0.975, test.df) * math.sqrt(v + w)
    assert (test.interval.low, test.interval.high) == pytest.approx((0.082 - half, 0.082 + half))
    assert (test.unit, test.n) == ("training seed", (5, 5))
    same = anova_oneway([X, Y], use_var="unequal")
    assert test.p_value == pytest.approx(same.pvalue)


def test_paired_t_by_hand() -> None:
    """Differences 0.10, -0.01, 0.12, 0.06, 0.14: mean 0.082, sum of squares about it 0.01408."""
    test = paired_t_test(X, Y)
    assert test.statistic == pytest.approx(0.082 / math.sqrt(0.01408 / 20))
    assert test.df == 4 and test.n == (5,) and test.unit == "episode"
    assert test.interval.low == pytest.approx(0.082 - stats.t.ppf(0.975, 4) * math.sqrt(0.01408 / 20))


def test_constant_samples_are_told_apart() -> None:
    assert paired_t_test(X, X).p_value == 1.0
    assert paired_t_test(X + 0.5, X).p_value < 1e-12
    up = welch_test([2.0, 2.0], [1.0, 1.0])
    assert (up.p_value, up.statistic, up.interval.low) == (0.0, math.inf, 1.0)


@pytest.mark.parametrize("constant", [1.0, 0.1])  # the mean of three times 0.1 is not 0.1, so the variance is not quite 0
def test_one_constant_sample_is_no_matter(constant: float) -> None:
    """Of the other the variance is 1: error sqrt(1 / 3), and only its two degrees of freedom."""
    test = welch_test([constant] * 3, np.array([0.0, 1.0, 2.0]) + constant)
    assert test.statistic == pytest.approx(-math.sqrt(3)) and test.df == pytest.approx(2)
    assert test.p_value == pytest.approx(2 * stats.t.sf(math.sqrt(3), 2))
    half = stats.t.ppf(0.975, 2) / math.sqrt(3)
    assert (test.interval.low, test.interval.high) == pytest.approx((-1 - half, -1 + half))


def test_sign_flip_by_enumeration() -> None:
    """All 32 signs of the five differences: 0.10 0.12 0.06 0.14 up, 0.01 down."""
    d = X - Y
    means = [abs((np.array(signs) * d).mean()) for signs in product((-1, 1), repeat=5)]
    by_hand = np.mean(np.array(means) >= abs(d.mean()) - 1e-12)
    test = sign_flip_test(X, Y, rng())
    assert test.p_value == pytest.approx(by_hand) == pytest.approx(4 / 32)
    assert test.method == "sign-flip, all 2^5"


def test_sign_flip_at_random_counts_itself() -> None:
    """Thirty pairs all of one sign: no random flip is as extreme, so p = 2 (0 + 1) / (199 + 1), never 0."""
    test = sign_flip_test(np.ones(30), np.linspace(0, 0.5, 30), rng(), n_resamples=199)
    assert test.p_value == pytest.approx(2 / 200) and test.method == "sign-flip, 199 random"


def test_sign_flip_holds_its_level() -> None:
    """Skewed but symmetric-under-the-null pairs: 400 tests at 5 %: above 35 with probability 0.05 %; fixed seed."""
    source = rng(7)
    p = [sign_flip_test(source.exponential(size=8), source.exponential(size=8), source).p_value for _ in range(400)]
    assert np.sum(np.array(p) <= 0.05) <= 35


def test_corrections_by_hand() -> None:
    """Holm of 0.01, 0.04, 0.03: 3 x 0.01, then 2 x 0.03, then max(0.06, 0.04)."""
    assert adjust_p_values([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjust_p_values([0.01, 0.04, 0.5], "bonferroni") == pytest.approx([0.03, 0.12, 1.0])
    assert len(adjust_p_values([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_corrections_never_help(p_values: list[float]) -> None:
    """Corrected p values are at least the raw ones, at most Bonferroni's, and keep their order."""
    holm, bonferroni = adjust_p_values(p_values), adjust_p_values(p_values, "bonferroni")
    assert (holm >= np.array(p_values)).all() and (holm <= bonferroni + 1e-12).all()
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(holm[order]) >= 0).all()


def test_cohens_d_by_hand() -> None:
    """Pooled variance (0.00937 + 0.00495) / 2; the interval inverts the noncentral t."""
    d = cohens_d(X, Y)
    pooled = math.sqrt((X.var(ddof=1) + Y.var(ddof=1)) / 2)
    assert d.value == pytest.approx(0.082 / pooled)
    scale = math.sqrt(5 * 5 / 10)
    assert stats.nct.sf(d.value * scale, 8, d.low * scale) == pytest.approx(0.025)
    assert stats.nct.cdf(d.value * scale, 8, d.high * scale) == pytest.approx(0.025)
    dz = cohens_dz(X, Y)
    assert dz.value == pytest.approx(0.082 / math.sqrt(0.01408 / 4))
    assert stats.nct.sf(dz.value * math.sqrt(5), 4, dz.low * math.sqrt(5)) == pytest.approx(0.025)
    assert cohens_d([1.0, 1.0], [2.0, 2.0]).method == "none"


@pytest.mark.parametrize("t", [-60.0, -16.0, -5.0, -0.5, 0.0, 10.0, 30.0])
@pytest.mark.parametrize("n", [3, 30])
def test_the_interval_of_a_large_effect_is_found(t: float, n: int) -> None:
    """scipy's noncentral t is NaN for some effects far from the observed one, such as nct.cdf(-5, 29, 10)."""
    shape = np.arange(n) - (n - 1) / 2
    differences = shape / shape.std(ddof=1) + t / math.sqrt(n)
    d = cohens_dz(differences, np.zeros(n))
    assert d.low < d.value < d.high
    assert stats.nct.sf(t, n - 1, d.low * math.sqrt(n)) == pytest.approx(0.025, rel=1e-4)
    assert stats.nct.cdf(t, n - 1, d.high * math.sqrt(n)) == pytest.approx(0.025, rel=1e-4)


@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_effect_sizes_do_not_depend_on_the_scale(seed: int, shift: float, scale: float) -> None:
    x, y = rng(seed).normal(size=(2, 6))
    d, again = cohens_d(x, y), cohens_d(scale * x + shift, scale * y + shift)
    assert (again.value, again.low, again.high) == pytest.approx((d.value, d.low, d.high), rel=1e-5, abs=1e-7)
    swapped = cohens_d(y, x)
    assert (swapped.low, swapped.high) == pytest.approx((-d.high, -d.low), rel=1e-6, abs=1e-8)
    assert d.low < d.value < d.high


def test_interquartile_mean_by_hand() -> None:
    """Eight scores: the middle four are 3, 4, 5, 6 whatever the outer ones."""
    scores = np.array([[-90.0, 3.0], [2.0, 4.0], [5.0, 99.0], [6.0, 7.0]])
    interval = interquartile_mean(scores, rng(), n_resamples=499)
    assert interval.value == 4.5 and (interval.unit, interval.n) == ("training seed", 4)
    assert interval.low <= 4.5 <= interval.high
    assert interquartile_mean([1.0], rng()).method == "none"


def test_resampling_stays_within_the_hospital() -> None:
    """Hospitals without spread between trainings leave no uncertainty, however different they are."""
    interval = interquartile_mean(np.array([[1.0, 5.0]] * 4), rng(), n_resamples=99)
    assert interval.low == interval.high == 3.0


def test_probability_of_improvement_by_hand() -> None:
    """Hospital 1: 1 of 4 pairs won, 1 tied; hospital 2: all won."""
    interval = probability_of_improvement([[1.0, 5.0], [3.0, 6.0]], [[1.0, 1.0], [4.0, 2.0]], rng(), n_resamples=199)
    assert interval.value == pytest.approx(((1 + 0.5) / 4 + 1) / 2)
    mannwhitney = stats.mannwhitneyu(X, Y).statistic / 25
    assert probability_of_improvement(X, Y, rng(), n_resamples=99).value == pytest.approx(mannwhitney)
    assert probability_of_improvement(Y, X, rng(), n_resamples=99).value == pytest.approx(1 - mannwhitney)


def test_uncertainty_split_by_hand() -> None:
    """Trainings 1, 3 and 5 +- 1 (two episodes each): mean square between 8, within 2, so (8 - 2) / 2 = 3 and 2."""
    split = split_uncertainty([[0.0, 2.0], [2.0, 4.0], [4.0, 6.0]], common_episodes=False)
    assert (split.epistemic**2, split.aleatoric**2) == pytest.approx((3.0, 2.0))
    assert split.epistemic_share == pytest.approx(0.6) and not split.truncated
    assert (split.mean.value, split.n_seeds, split.n_episodes) == (3.0, 3, 2)
    # Common episodes: the episodes' own effect (0 and 2 everywhere) is no noise in the trainings' order.
    common = split_uncertainty([[0.0, 2.0], [2.0, 4.0], [4.0, 6.0]])
    assert (common.epistemic**2, common.aleatoric**2) == pytest.approx((4.0, 2.0))


def test_uncertainty_split_equals_anova() -> None:
    table = rng(8).normal(size=(4, 6)) + np.arange(4)[:, None]
    split = split_uncertainty(table, common_episodes=False)
    f = stats.f_oneway(*table).statistic
    assert split.epistemic**2 == pytest.approx((f - 1) * split.aleatoric**2 / 6)


def test_negative_variance_counts_as_zero_and_is_marked() -> None:
    split = split_uncertainty([[0.0, 2.0], [2.0, 0.0]], common_episodes=False)
    assert split.truncated and split.epistemic == 0 and split.epistemic_share == 0


def test_pareto_front_by_hand() -> None:
    """(0.9, 0.5) and (0.8, 0.7) and its twin stay; (0.8, 0.6) is beaten. Area 0.9 x 0.5 + 0.8 x 0.2."""
    front = pareto_front([[0.9, 0.5], [0.8, 0.7], [0.8, 0.6], [0.8, 0.7], [np.nan, 1.0]])
    assert front.members.tolist() == [True, True, False, True, False]
    assert front.hypervolume == pytest.approx(0.45 + 0.16) and front.reference == (0.0, 0.0)
    assert pareto_front([[0.9, 0.5]], (0.5, 0.6)).hypervolume == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=7))
def test_pareto_front_properties(points: list[tuple[float, float]]) -> None:
    """Somebody is on it; every policy off it is beaten by one on it; the area is that of all policies, on a fine grid."""
    front, xy = pareto_front(points), np.array(points)
    assert front.members.any()
    for point in xy[~front.members]:
        assert any((member >= point).all() and (member > point).any() for member in xy[front.members])
    grid = (np.arange(100) + 0.5) / 100
    covered = ((grid[:, None, None] <= xy[:, 0]) & (grid[None, :, None] <= xy[:, 1])).any(axis=2)
    assert front.hypervolume == pytest.approx(covered.mean(), abs=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([], rng()), r"values: got shape \(0,\)"),
        (lambda: mean_interval([1.0, np.nan], rng()), r"values\[1\]: got nan"),
        (lambda: mean_interval(X, rng(), "patient"), "unit: got 'patient', expected one of .*not independent"),  # type: ignore[arg-type]
        (lambda: mean_interval(X, rng(), method="magic"), "method: got 'magic'"),
        (lambda: mean_interval(X, rng(), confidence=95), "confidence: got 95"),
        (lambda: paired_t_test(X, Y[:4]), "second: got 4 values, expected 5"),
        (lambda: welch_test(X[:1], Y), r"first: got shape \(1,\), expected \(n >= 2,\)"),
        (lambda: sign_flip_test(X, Y, rng(), n_resamples=0), "n_resamples: got 0"),
        (lambda: adjust_p_values([0.1, 1.2]), "p_values: got"),
        (lambda: adjust_p_values([0.1], "none"), "correction: got 'none'"),
        (lambda: split_uncertainty([[1.0, 2.0]]), r"values: got shape \(1, 2\)"),
        (lambda: probability_of_improvement([[1.0, 2.0]], [1.0], rng()), "second: got 1 hospitals, expected 2"),
        (lambda: pareto_front([1.0, 2.0]), r"points: got shape \(2,\)"),
        (lambda: pareto_front([[1.0, 2.0]], (np.nan, 0.0)), "reference: got"),
    ],
)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
