"""The mixture of individual and group advantage, the sources of the group's, and the value of group and time, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sb3_grpo.common.group_advantages import group_gae
from sb3_grpo.group_relative_ppo import Mixture, batch_mean, concerned_group, shape
from sb3_grpo.group_relative_ppo.time_values import add_returns, initial_time_values, step_ages, time_values

PAPER = Mixture(alpha_1=1.0, alpha_2=0.5, alpha_3=0.1, beta=1.0)


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


def test_mixture_by_hand() -> None:
    """A_i + 0.5 A_g - 0.1 |A_i - A_g| is (0.95, 1.35, 2.8, -1.15), with group means 1.15 and 0.825."""
    individual, group = column(1.0, 1.0, 2.0, -1.0), column(0.0, 0.5 / 0.6, 2.0 - 1 / 3, -0.5 / 0.6)
    mixed = individual + 0.5 * group - 0.1 * np.abs(individual - group)
    ids = np.array([[0], [0], [1], [1]])
    shaped, weights = shape(individual, group, ids, PAPER)
    assert weights is None
    expected = mixed - np.array([mixed[:2].mean()] * 2 + [mixed[2:].mean()] * 2)[:, None]
    np.testing.assert_allclose(shaped, expected, atol=1e-6)
    uncentred, _ = shape(individual, group, ids, PAPER, centred=False)
    np.testing.assert_allclose(uncentred[:1], [[0.9]], atol=1e-6)  # 1 + 0 - 0.1


def test_power_counts_the_distance_in_deviations() -> None:
    """A_i = (2, -2) has the deviation 2, and the distance to A_g = (0, 2) is (1, 2) deviations: squared (1, 4), times 2."""
    mixture = Mixture(1.0, 0.5, 0.1, beta=2.0)
    shaped, _ = shape(column(2.0, -2.0), column(0.0, 2.0), np.zeros((2, 1), dtype=int), mixture, centred=False)
    np.testing.assert_allclose(shaped, column(2.0 - 0.1 * 2 * 1, -2.0 + 1.0 - 0.1 * 2 * 4), atol=1e-6)


@given(st.floats(0.01, 100.0), st.floats(1.0, 3.0))
def test_unit_of_rewards_does_not_matter(unit: float, beta: float) -> None:
    rng = np.random.default_rng(0)
    individual, group = rng.normal(size=(2, 6, 3))
    ids = rng.integers(-1, 2, (6, 3))
    mixture = Mixture(1.0, 0.5, 0.1, beta)
    expected, _ = shape(individual, group, ids, mixture)
    got, _ = shape(unit * individual, unit * group, ids, mixture)
    np.testing.assert_allclose(got, unit * expected, rtol=1e-4, atol=1e-5 * unit)


def test_without_groups_it_is_the_individual_advantage_to_the_bit() -> None:
    individual = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    shaped, _ = shape(individual, individual * 0, np.zeros((5, 2), dtype=int), Mixture(1.0, 0.0, 0.0, 1.0))
    np.testing.assert_array_equal(shaped, individual)


# -- Risk aversion ---------------------------------------------------------------------------------------------------------


def test_distance_reverses_the_order_from_alpha_1_on() -> None:
    """With alpha_3 = 1.5 the advantages 0, 1, 2 over a group advantage of 0 become 0, -0.5, -1."""
    mixture = Mixture(alpha_1=1.0, alpha_2=0.5, alpha_3=1.5, beta=1.0)
    shaped, _ = shape(column(0.0, 1.0, 2.0), column(0.0, 0.0, 0.0), np.zeros((3, 1), dtype=int), mixture, centred=False)
    np.testing.assert_allclose(shaped, column(0.0, -0.5, -1.0), atol=1e-6)


@given(st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=8), st.floats(0.0, 0.99))
def test_below_alpha_1_the_order_is_kept(values: list[float], alpha_3: float) -> None:
    individual = column(*sorted(values))
    ids = np.zeros(individual.shape, dtype=int)
    shaped, _ = shape(individual, np.zeros_like(individual), ids, Mixture(1.0, 0.5, alpha_3, 1.0))
    assert (np.diff(shaped[:, 0]) >= -1e-5).all()


def test_group_mean_makes_the_distance_risk_averse() -> None:
    """
    A safe action always has advantage 0.05, a risky one +1 or -1 with equal odds. Over a group mean of 0 a gain counts 0.8 of
    itself and a loss 1.2: the risky action falls behind by 0.2 and the safe one by 0.01. Even where the risky action pays
    0.05 more than the safe one, it is avoided.
    """
    individual = column(0.05, 0.05, 1.1, -0.9)
    shaped, _ = shape(individual, np.zeros_like(individual), np.zeros((4, 1), dtype=int), Mixture(1.0, 0.0, 0.2, 1.0), False)
    safe, risky = shaped[:2].mean(), shaped[2:].mean()
    assert individual[2:].mean() > individual[:2].mean()
    assert safe == pytest.approx(0.05 * 0.8)
    assert risky == pytest.approx((1.1 * 0.8 - 0.9 * 1.2) / 2)
    assert safe > risky


# -- Sources of the group's advantage --------------------------------------------------------------------------------------


def test_batch_mean_leaves_the_step_out() -> None:
    """Group 0 has eight steps with sum 36; group 1 two, so that all ten with sum 66 stand for it; -1 has its own."""
    individual = column(1, 2, 3, 4, 5, 6, 7, 8, 10, 20, 99)
    ids = np.array([[0]] * 8 + [[1]] * 2 + [[-1]])
    means = batch_mean(individual, ids)
    np.testing.assert_allclose(means[:8, 0], (36 - np.arange(1, 9)) / 7)
    np.testing.assert_allclose(means[8:, 0], [(66 - 10) / 9, (66 - 20) / 9, 99])


def test_batch_mean_of_one_step_is_its_own() -> None:
    np.testing.assert_array_equal(batch_mean(column(3.0), np.zeros((1, 1), dtype=int)), column(3.0))


def test_concerned_group() -> None:
    advantages = np.array([[[1.0, 2.0]], [[3.0, 5.0]], [[7.0, 11.0]]])
    np.testing.assert_array_equal(concerned_group(advantages, np.array([[1], [0], [-1]])), column(2.0, 3.0, 18.0))


def test_centring_hides_which_group_to_serve() -> None:
    """Why it is off with the group critic: where the action is the choice of a group, nothing remains of its advantage."""
    individual, ids = column(1.0, 1.0, -1.0, -1.0), np.array([[0], [0], [1], [1]])
    assert not shape(individual, individual, ids, PAPER)[0].any()
    np.testing.assert_allclose(shape(individual, individual, ids, PAPER, centred=False)[0], 1.5 * individual)


@pytest.mark.parametrize("gae_lambda", [1.0, 0.9])
def test_distance_to_the_time_head_is_that_of_the_two_values(gae_lambda: float) -> None:
    """
    With D_t = V(s_t) - V(g, t) the difference A_i - A_g is -D_t + gamma (1 - lambda) sum_k (gamma lambda)^(k-1) D_(t+k): with
    lambda = 1 no later state, and so no action, has a part in it.
    """
    rng = np.random.default_rng(0)
    rewards, value, common = rng.normal(size=(3, 6, 1, 1))
    starts, done, gamma = np.eye(6)[0][:, None], np.ones(1), 0.95

    def gae(values: np.ndarray) -> np.ndarray:
        return group_gae(rewards, values, np.zeros((1, 1)), starts, done, gamma, gae_lambda)[0][:, 0, 0]

    d = (value - common)[:, 0, 0]
    later = [
        sum((gamma * gae_lambda) ** (k - 1) * d[step + k] for k in range(1, 6 - step)) * gamma * (1 - gae_lambda)
        for step in range(6)
    ]
    np.testing.assert_allclose(gae(value) - gae(common), -d + later, atol=1e-5)


# -- Value of group and time -----------------------------------------------------------------------------------------------


def test_ages_go_on_from_rollout_to_rollout() -> None:
    starts = np.array([[0, 1], [0, 0], [1, 0]])
    np.testing.assert_array_equal(step_ages(starts, np.array([4, 9])), [[4, 0], [5, 1], [0, 2], [1, 3]])


def test_time_values_recover_a_line_for_each_group() -> None:
    """Returns 10 - 0.5 t and 2 + t, a thousand steps at each age: the prior of one step is worth 0.1 %."""
    n_steps = 1000
    ages = np.tile(np.arange(13)[:, None], (1, n_steps * 2))
    ids = np.repeat([[0, 1]], n_steps, axis=1) * np.ones((12, 1), dtype=int)
    returns = np.where(ids == 0, 10 - 0.5 * ages[:-1], 2.0 + ages[:-1])
    state = add_returns(initial_time_values(2, 2 * n_steps), ids, ages, returns, smoothing=0.1)
    # 10 is between the knots 8 and 11
    got = time_values(state, np.array([0, 0, 0, 1, 1, 1]), np.array([0, 4, 10, 0, 4, 10]))
    np.testing.assert_allclose(got, [10, 8, 5, 2, 6, 12], atol=0.1)
    assert time_values(state, np.array(-1), np.array(4)) == pytest.approx(7.0, abs=0.1)  # everybody's


def test_time_values_know_nothing_at_first_and_draw_rare_groups_to_the_rest() -> None:
    state = initial_time_values(2, 1)
    assert time_values(state, np.array([0, -1]), np.array([0, 7])).tolist() == [0.0, 0.0]
    ids, ages = np.array([[0]] * 99 + [[1]]), np.zeros((101, 1), dtype=int)
    state = add_returns(state, ids, ages, np.where(ids == 0, 0.0, 4.0), smoothing=0.1)
    often, rare = time_values(state, np.array([0, 1]), np.array([0, 0]))
    assert abs(often) < 0.01
    assert 1.9 < rare < 2.2  # one step of its own, and one of everybody's
    later = time_values(state, np.array(0), np.array(500))  # nobody has been there: the mean of all
    assert later == pytest.approx(0.04, abs=0.01)
