"""Metrics from patient records against values computed by hand."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hospital_gym.records import RECORD_DTYPE
from sb3_grpo.fairness.metrics import EpisodeTotals, benefit_rates, episode_totals, policy_metrics


def make_records(rows: list[tuple[int, int, float, float, bool]]) -> npt.NDArray[Any]:
    """Records from (episode, group, demand, benefit, counted)."""
    records = np.zeros(len(rows), dtype=RECORD_DTYPE)
    for field, values in zip(("episode", "group", "demand", "benefit", "counted"), zip(*rows, strict=True), strict=True):
        records[field] = values
    return records


def test_episode_totals_by_hand() -> None:
    records = make_records(
        [
            (7, 1, 4.0, 3.0, True),
            (3, 0, 1.0, 0.5, True),
            (3, 0, 2.0, 2.0, True),
            (3, 1, 4.0, 4.0, False),  # outside the counted window
            (7, 0, 1.0, 0.0, True),  # left without treatment
        ]
    )
    totals = episode_totals(records, 2)
    np.testing.assert_array_equal(totals.demand, [[3, 0], [1, 4]])
    np.testing.assert_array_equal(totals.benefit, [[2.5, 0], [0, 3]])
    np.testing.assert_array_equal(totals.counted, [[2, 0], [1, 1]])
    # An episode in which nobody came keeps its row; rows follow the order asked for.
    asked = episode_totals(records, 2, episodes=[7, 5, 3])
    np.testing.assert_array_equal(asked.demand, [[1, 4], [0, 0], [3, 0]])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((0, 2, 1.0, 0.5, True), r"records\[1\]: group: got .*2.*, expected 0 to 1"),
        ((0, -1, 1.0, 0.5, True), r"records\[1\]: group: got .*-1.*, expected 0 to 1"),
        ((0, 0, -1.0, 0.0, True), r"records\[1\]: demand: got .*-1.0.*, expected a finite number >= 0"),
        ((0, 0, np.nan, 0.0, True), r"records\[1\]: demand: got .*nan"),
        ((0, 0, 1.0, 1.5, True), r"records\[1\]: benefit: got .*1.5.*, expected 0 to the patient's demand"),
        ((0, 0, 1.0, np.nan, False), r"records\[1\]: benefit: got .*nan"),
        ((4, 0, 1.0, 1.0, True), r"records\[1\]: episode: got .*4.*, expected one of the episodes asked for"),
    ],
)
def test_bad_records_are_named(row: tuple[int, int, float, float, bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        episode_totals(make_records([(0, 0, 1.0, 1.0, True), row]), 2, episodes=[0])


def test_repeated_episode_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="every number may occur once"):
        episode_totals(make_records([(0, 0, 1.0, 1.0, True)]), 1, episodes=[0, 0])


def test_metrics_by_hand() -> None:
    totals = EpisodeTotals(
        demand=np.array([[10.0, 40.0], [30.0, 20.0]]),
        benefit=np.array([[9.0, 20.0], [21.0, 16.0]]),
        counted=np.array([[15, 20], [15, 20]]),
    )
    metrics = policy_metrics(totals, [1.0, 3.0])
    np.testing.assert_allclose(metrics.rates, [30 / 40, 36 / 60])
    assert metrics.worst == pytest.approx(0.6)
    assert metrics.gap == pytest.approx(0.15)
    assert metrics.benefit_share == pytest.approx(66 / 100)
    assert metrics.cost_share == pytest.approx(4 / 100)
    assert metrics.efficiency == pytest.approx(62 / 100)
    with pytest.raises(ValueError, match=r"costs: got shape \(3,\), expected one for each of the 2 episodes"):
        policy_metrics(totals, [1.0, 2.0, 3.0])


def test_rates_are_pooled_before_the_gap_is_taken() -> None:
    """Two episodes with opposite gaps of 0.4: the mean of the gaps is 0.4, the gap of the pooled rates is 0."""
    demand = np.full((2, 2), 50.0)
    benefit = np.array([[45.0, 25.0], [25.0, 45.0]])
    totals = EpisodeTotals(demand, benefit, np.full((2, 2), 50))
    each = [policy_metrics(totals.of_episodes([e]), [0.0]) for e in (0, 1)]
    assert np.mean([metrics.gap for metrics in each]) == pytest.approx(0.4)
    pooled = policy_metrics(totals, [0.0, 0.0])
    assert pooled.gap == pytest.approx(0.0)
    assert pooled.worst == pytest.approx(0.7)


def test_pooling_weighs_by_demand() -> None:
    """A rate is a ratio of sums, not a mean of ratios: 1/10 and 90/90 give 91/100, not 0.55."""
    totals = EpisodeTotals(np.array([[10.0], [90.0]]), np.array([[1.0], [90.0]]), np.array([[10], [90]]))
    assert benefit_rates(totals)[0] == pytest.approx(0.91)


def test_insufficient_groups_have_no_rate() -> None:
    """Group 1 has 29 patients, group 2 no demand: neither is 0, neither is the worst, both count for efficiency."""
    totals = EpisodeTotals(
        demand=np.array([[40.0, 29.0, 0.0, 31.0]]),
        benefit=np.array([[32.0, 2.9, 0.0, 31.0]]),
        counted=np.array([[40, 29, 35, 30]]),
    )
    metrics = policy_metrics(totals, [0.0])
    np.testing.assert_allclose(metrics.rates, [0.8, np.nan, np.nan, 1.0])
    assert metrics.worst == pytest.approx(0.8)
    assert metrics.gap == pytest.approx(0.2)
    assert metrics.efficiency == pytest.approx(65.9 / 100)
    one_patient_more = totals._replace(counted=np.array([[40, 30, 35, 30]]))
    assert policy_metrics(one_patient_more, [0.0]).worst == pytest.approx(0.1)


@pytest.mark.parametrize(("counted", "worst"), [([[29, 30]], 0.6), ([[29, 29]], np.nan)])
def test_a_gap_needs_two_groups(counted: list[list[int]], worst: float) -> None:
    totals = EpisodeTotals(np.array([[40.0, 50.0]]), np.array([[20.0, 30.0]]), np.array(counted))
    metrics = policy_metrics(totals, [0.0])
    np.testing.assert_allclose([metrics.worst, metrics.gap], [worst, np.nan])


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), n_episodes=st.integers(1, 5), n_groups=st.integers(1, 5), scale=st.floats(0.01, 100))
def test_properties(seed: int, n_episodes: int, n_groups: int, scale: float) -> None:
    """Rates lie in [0, 1]; order of episodes and unit of demand do not matter; a permuted group keeps its rate."""
    rng = np.random.default_rng(seed)
    demand = rng.uniform(0.1, 10, (n_episodes, n_groups))
    totals = EpisodeTotals(demand, demand * rng.uniform(0, 1, demand.shape), rng.integers(0, 60, demand.shape))
    costs = rng.uniform(0, 1, n_episodes)
    metrics = policy_metrics(totals, costs)
    known = metrics.rates[~np.isnan(metrics.rates)]
    assert np.all((known >= 0) & (known <= 1))
    if len(known):
        assert metrics.worst == known.min()

    episodes, groups = rng.permutation(n_episodes), rng.permutation(n_groups)
    permuted = totals.of_episodes(episodes)
    permuted = EpisodeTotals(permuted.demand[:, groups], permuted.benefit[:, groups], permuted.counted[:, groups])
    moved = policy_metrics(permuted, costs[episodes])
    np.testing.assert_allclose(moved.rates, metrics.rates[groups])
    scaled = policy_metrics(EpisodeTotals(demand * scale, totals.benefit * scale, totals.counted), costs * scale)
    for other in (moved, scaled):
        np.testing.assert_allclose([*other[1:]], [*metrics[1:]], atol=1e-12)
