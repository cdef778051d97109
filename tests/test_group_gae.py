from typing import Any

import numpy as np
import pytest
import torch as th
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_grpo.common.group_advantages import combination_weights, combine_advantages, elapsed_discounts, group_gae
from sb3_grpo.group_robust_ppo import GroupRobustPPO
from tests.toy_envs import DictEnv, SharedEnv


def test_by_hand() -> None:
    """
    One environment, two groups, four steps; the second ends an episode, at a time limit after which group 0 is worth 8 and
    group 1 is worth 4. lambda = 1/2, discounts 1/2, 1/4, 1, 1/2.

    Backwards, group 0: A_3 = 1 + 1/2*6 - 2 = 2; A_2 = 0 + 1*2 - 4 + 1*1/2*2 = -1; A_1 = (2 + 1/4*8) - 1 = 3;
    A_0 = 1 + 1/2*1 - 2 + 1/2*1/2*3 = 1/4. Group 1: A_3 = 0 + 1/2*2 - 1 = 0; A_2 = 1 + 1 - 0 + 0 = 2;
    A_1 = (0 + 1/4*4) - 2 = -1; A_0 = 0 + 1/2*2 - 1 + 1/4*(-1) = -1/4.
    """
    discounts = np.array([[0.5], [0.25], [1.0], [0.5]])
    rewards = np.array([[[1.0, 0.0]], [[2.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]]])
    rewards[1] += discounts[1] * np.array([8.0, 4.0])
    values = np.array([[[2.0, 1.0]], [[1.0, 2.0]], [[4.0, 0.0]], [[2.0, 1.0]]])
    starts = np.array([[1.0], [0.0], [1.0], [0.0]])
    advantages, returns = group_gae(rewards, values, np.array([[6.0, 2.0]]), starts, np.array([False]), discounts, 0.5)
    expected = np.array([[[0.25, -0.25]], [[3.0, -1.0]], [[-1.0, 2.0]], [[2.0, 0.0]]])
    np.testing.assert_array_equal(advantages, expected)
    np.testing.assert_array_equal(returns, expected + values)


@given(seed=st.integers(0, 10_000), gae_lambda=st.floats(0, 1), gamma=st.floats(0, 1))
def test_one_group_and_constant_discount_is_sb3(seed: int, gae_lambda: float, gamma: float) -> None:
    rng = np.random.default_rng(seed)
    space = SharedEnv.observation_space
    buffer = RolloutBuffer(9, space, SharedEnv.action_space, "cpu", gae_lambda=gae_lambda, gamma=gamma, n_envs=3)
    buffer.rewards = rng.normal(size=(9, 3)).astype(np.float32)
    buffer.values = rng.normal(size=(9, 3)).astype(np.float32)
    buffer.episode_starts = (rng.random((9, 3)) < 0.3).astype(np.float32)
    last_values, dones = rng.normal(size=3).astype(np.float32), rng.random(3) < 0.3
    buffer.compute_returns_and_advantage(th.as_tensor(last_values), dones)
    arrays = (buffer.rewards[..., None], buffer.values[..., None], last_values[:, None])
    advantages, returns = group_gae(*arrays, buffer.episode_starts, dones, gamma, gae_lambda)
    np.testing.assert_allclose(advantages[..., 0], buffer.advantages, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(returns[..., 0], buffer.returns, rtol=1e-5, atol=1e-5)


class Recorder(BaseCallback):
    """What happened in a rollout, as the environment told it."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[dict[str, Any]] = []

    def _on_step(self) -> bool:
        infos = [dict(info) for info in self.locals["infos"]]
        factor = 1.0
        if (normalizer := self.model.get_vec_normalize_env()) is not None:
            factor = float(1.0 / np.sqrt(normalizer.ret_rms.var + normalizer.epsilon))
        self.steps.append(dict(infos=infos, dones=self.locals["dones"], factor=factor))
        return True


def group_return(model: GroupRobustPPO, steps: list[dict[str, Any]], step: int, env: int, last: np.ndarray) -> np.ndarray:
    """Discounted sum of the groups' rewards from a step on (lambda = 1), by the definition: one reward after the other."""
    total, discount = np.zeros(last.shape[1]), 1.0
    for now in steps[step:]:
        info = now["infos"][env]
        rewards = np.asarray(info["group_rewards"]) * now["factor"]
        total += discount * (rewards if model.group_critic else rewards.sum())
        discount *= float(np.exp(-info["elapsed"] / 2.0))
        if now["dones"][env]:
            assert info["TimeLimit.truncated"]
            with th.no_grad():
                tensor = model.policy.obs_to_tensor(info["terminal_observation"])[0]
                return total + discount * model.policy.predict_values(tensor).numpy()[0]
    return total + discount * last[env]


@pytest.mark.parametrize("group_critic", [True, False])
@pytest.mark.parametrize("kind", ["Box", "Dict", "VecNormalize"])
def test_returns_of_a_rollout_with_time_limits(group_critic: bool, kind: str) -> None:
    """The whole path from infos to returns, against the definition; group returns per group, the scalar ones summed."""
    env = make_vec_env(lambda: DictEnv(SharedEnv()) if kind == "Dict" else SharedEnv(), n_envs=3, seed=0)
    env = VecNormalize(env, norm_obs=False, clip_reward=np.inf) if kind == "VecNormalize" else env
    policy = "MultiInputPolicy" if kind == "Dict" else "MlpPolicy"
    model = GroupRobustPPO(
        policy,
        env,
        n_steps=20,
        batch_size=60,
        group_critic=group_critic,
        gae_lambda=1.0,
        discount_time=2.0,
        seed=1,
        device="cpu",
    )
    recorder = Recorder()
    _, callback = model._setup_learn(60, recorder)
    model.collect_rollouts(env, callback, model.rollout_buffer, n_rollout_steps=20)
    assert model._last_obs is not None
    with th.no_grad():
        last = model.policy.predict_values(model.policy.obs_to_tensor(model._last_obs)[0]).numpy()
    returns = model.rollout_buffer.returns.reshape(20, 3, -1)
    for step in range(20):
        for index in range(3):
            expected = group_return(model, recorder.steps, step, index, last)
            np.testing.assert_allclose(returns[step, index], expected, rtol=1e-4, atol=1e-5)


def test_elapsed_discounts_by_hand() -> None:
    np.testing.assert_allclose(elapsed_discounts(np.array([0.0, 8.0, 16.0]), 8.0), [1.0, np.exp(-1), np.exp(-2)], rtol=1e-6)


def test_combination_weights_by_hand() -> None:
    coefficients, shares = np.array([0.25, 0.75]), np.array([0.5, 0.5])
    np.testing.assert_allclose(combination_weights(coefficients, shares, 0.0), [1.0, 1.0])
    np.testing.assert_allclose(combination_weights(coefficients, shares, 0.4), [0.6 + 0.4 * 0.5, 0.6 + 0.4 * 1.5])
    np.testing.assert_allclose(combination_weights(np.array([1.0]), np.array([1.0]), 0.7), [1.0])


def test_relative_weights_are_capped() -> None:
    rare = combination_weights(np.array([0.5, 0.5, -0.5, 0.0]), np.array([0.99, 0.01, 0.0, 0.0]), 1.0)
    np.testing.assert_allclose(rare, [0.5 / 0.99, 10.0, -10.0, 0.0])


@given(seed=st.integers(0, 10_000), lam=st.floats(0, 1))
def test_objective_equal_to_the_shares_is_the_average(seed: int, lam: float) -> None:
    shares = np.random.default_rng(seed).dirichlet(np.ones(4))
    np.testing.assert_allclose(combination_weights(shares, shares, lam), np.ones(4))


def test_combine_advantages_by_hand() -> None:
    combined = combine_advantages(np.array([[[1.0, 2.0]], [[-1.0, 0.5]]], dtype=np.float32), np.array([0.5, 2.0]))
    np.testing.assert_array_equal(combined, [[4.5], [0.5]])
    assert combined.dtype == np.float32


def test_samples_are_weighted_after_they_are_standardised() -> None:
    """Weights before SB3's standardisation would give samples of weight zero an advantage of minus mean over deviation."""
    env = make_vec_env(SharedEnv, n_envs=2)
    model = GroupRobustPPO("MlpPolicy", env, n_steps=8, batch_size=16, group_critic=False, seed=0, device="cpu")
    buffer = model.rollout_buffer
    rng = np.random.default_rng(0)
    for _ in range(8):
        buffer.add(np.zeros((2, 3)), np.zeros(2), rng.normal(size=2), np.zeros(2), th.zeros(2), th.zeros(2))
    buffer.compute_returns_and_advantage(th.zeros(2), np.zeros(2))
    weights = rng.integers(0, 3, size=(8, 2))
    advantages = buffer.swap_and_flatten(buffer.advantages)
    standard = (advantages - advantages.mean()) / advantages.std(ddof=1)
    buffer.weight_samples(weights, normalize=True)
    samples = next(buffer.get())
    order = np.argsort(samples.returns.numpy())
    expected = (standard * buffer.swap_and_flatten(weights))[:, 0][np.argsort(buffer.returns[:, 0])]
    np.testing.assert_allclose(samples.advantages.numpy()[order], expected, rtol=1e-4, atol=1e-6)
    # SB3's own setting is untouched once training is over
    model.learn(16)
    assert model.normalize_advantage is True
