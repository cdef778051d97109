import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sb3_grpo.common.group_performance import (
    PerformanceState,
    exposure_shares,
    forget_unfinished,
    grow,
    initial_performance,
    pooled_performance,
    running_scale,
    update_performance,
)


def update(
    state: PerformanceState,
    rewards: np.ndarray,
    exposure: np.ndarray,
    dones: np.ndarray | None = None,
    smoothing: float = 0.1,
    shrinkage: float = 0.0,
) -> PerformanceState:
    dones = np.zeros(rewards.shape[:2], dtype=bool) if dones is None else dones
    return update_performance(state, rewards, exposure, dones, smoothing, shrinkage)


def one_step(*groups: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and exposure of one step of one environment, from pairs."""
    pairs = np.array(groups)
    return pairs[None, None, :, 0], pairs[None, None, :, 1]


def test_ratio_of_averages_by_hand() -> None:
    state = update(initial_performance(2, 1), *one_step((3.0, 4.0), (1.0, 4.0)))
    np.testing.assert_allclose(state["value"], [0.75, 0.25])
    state = update(state, *one_step((1.0, 1.0), (4.0, 4.0)))
    # U = 0.9 U + u, B = 0.9 B + b
    np.testing.assert_allclose(state["value"], [(2.7 + 1) / (3.6 + 1), (0.9 + 4) / (3.6 + 4)])
    np.testing.assert_allclose(exposure_shares(state), np.array([4.6, 7.6]) / 12.2)
    assert pooled_performance(state) == pytest.approx((3.7 + 4.9) / 12.2)


def test_absent_group_keeps_its_value() -> None:
    state = update(initial_performance(2, 1), *one_step((3.0, 4.0), (1.0, 4.0)), shrinkage=5.0)
    value = state["value"][1]
    for _ in range(50):
        state = update(state, *one_step((9.0, 9.0), (0.0, 0.0)), shrinkage=5.0)
    assert state["value"][1] == value
    assert exposure_shares(state)[1] < 0.01


def test_group_never_seen_has_no_value() -> None:
    state = update(initial_performance(2, 1), *one_step((3.0, 4.0), (0.0, 0.0)))
    np.testing.assert_array_equal(state["value"], [0.75, np.nan])


def test_shrinkage_counts_units_not_exposure() -> None:
    # Two steps, so two units a group, of exposure 10 each
    rewards, exposure = (np.repeat(array, 2, axis=0) for array in one_step((10.0, 10.0), (0.0, 10.0)))
    state = update(initial_performance(2, 1), rewards, exposure, shrinkage=2.0)
    np.testing.assert_allclose(state["value"], [(2 * 1.0 + 2 * 0.5) / 4, (2 * 0.0 + 2 * 0.5) / 4])


def test_shrinkage_fades_with_units() -> None:
    rewards, exposure = (np.repeat(array, 10_000, axis=0) for array in one_step((1.0, 1.0), (0.0, 1.0)))
    state = update(initial_performance(2, 1), rewards, exposure, shrinkage=20.0)
    np.testing.assert_allclose(state["value"], [1.0, 0.0], atol=2e-3)


def test_reward_waits_for_its_unit() -> None:
    """An episode of return 3 over two rollouts: nothing is known after the first, the whole return after the second."""
    state = initial_performance(1, 1)
    state = update(state, np.array([[[1.0]], [[1.0]]]), np.zeros((2, 1, 1)))
    assert np.isnan(state["value"]).all() and state["pending"] == 2.0 and state["benefit"] == 0.0
    state = update(state, np.array([[[1.0]], [[5.0]]]), np.array([[[1.0]], [[0.0]]]), np.array([[True], [False]]))
    assert state["value"] == 3.0 and state["pending"] == 5.0


def test_reset_drops_what_was_running() -> None:
    state = update(initial_performance(2, 2), np.ones((3, 2, 2)), np.zeros((3, 2, 2)))
    state = forget_unfinished(state, np.array([True, False]))
    np.testing.assert_array_equal(state["pending"], [[0.0, 0.0], [3.0, 3.0]])
    np.testing.assert_array_equal(state["episode"], [[0.0, 0.0], [6.0, 0.0]])
    assert forget_unfinished(state, np.zeros(5, dtype=bool))["pending"].shape == (5, 2)


@given(seed=st.integers(0, 10_000), cut=st.integers(1, 11))
def test_where_a_rollout_is_cut_does_not_matter(seed: int, cut: int) -> None:
    """Without forgetting, two rollouts count as one."""
    rng = np.random.default_rng(seed)
    rewards, exposure = rng.normal(size=(12, 3, 2)), rng.integers(0, 2, size=(12, 3, 2)).astype(float)
    dones = rng.random((12, 3)) < 0.25
    whole = update(initial_performance(2, 3), rewards, exposure, dones, smoothing=0.0)
    parts = update(initial_performance(2, 3), rewards[:cut], exposure[:cut], dones[:cut], smoothing=0.0)
    parts = update(parts, rewards[cut:], exposure[cut:], dones[cut:], smoothing=0.0)
    for key in ("benefit", "exposure", "units", "pending", "episode", "episode_moments"):
        np.testing.assert_allclose(parts[key], whole[key], atol=1e-12)


def test_running_scale_is_the_deviation_of_episodes() -> None:
    rng = np.random.default_rng(0)
    rewards, exposure = rng.random((40, 2, 3)), rng.random((40, 2, 3)) + 0.1
    dones = np.zeros((40, 2), dtype=bool)
    dones[[9, 24], 0] = True
    dones[[4, 39], 1] = True
    state = update(initial_performance(3, 2), rewards, exposure, dones)
    rates = [
        rewards[start:end, env].sum() / exposure[start:end, env].sum()
        for env, start, end in [(0, 0, 10), (0, 10, 25), (1, 0, 5), (1, 5, 40)]
    ]
    assert running_scale(state) == pytest.approx(np.std(rates))
    np.testing.assert_allclose(state["episode"][0], [rewards[25:, 0].sum(), exposure[25:, 0].sum()])
    np.testing.assert_allclose(state["episode"][1], [0.0, 0.0], atol=1e-12)


def test_scale_is_unknown_before_two_episodes_and_never_zero() -> None:
    state = initial_performance(1, 1)
    assert np.isnan(running_scale(state))
    state = update(state, np.full((3, 1, 1), 7.0), np.ones((3, 1, 1)), np.ones((3, 1), dtype=bool))
    assert running_scale(state) == pytest.approx(7e-3)


def test_update_leaves_the_old_state_alone() -> None:
    state = update(initial_performance(2, 2), np.ones((3, 2, 2)), np.ones((3, 2, 2)))
    before = {key: np.array(value) for key, value in state.items()}
    update(state, np.ones((3, 2, 2)), np.zeros((3, 2, 2)), np.ones((3, 2), dtype=bool))
    for key, value in state.items():
        np.testing.assert_array_equal(value, before[key])


def test_grow_keeps_what_is_known() -> None:
    state = update(initial_performance(1, 2), np.ones((3, 2, 1)), np.ones((3, 2, 1)), np.ones((3, 2), dtype=bool))
    grown = grow(state, 3)
    np.testing.assert_array_equal(grown["value"], [1.0, np.nan, np.nan])
    np.testing.assert_array_equal(exposure_shares(grown), [1.0, 0.0, 0.0])
    assert grown["pending"].shape == (2, 3) and grown["episode_moments"] is state["episode_moments"]
