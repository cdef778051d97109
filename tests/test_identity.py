"""With constant lam=0 and a scalar critic, GroupRobustPPO is SB3's PPO, bit for bit."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_grpo.group_robust_ppo import GroupRobustPPO
from tests.toy_envs import DictEnv, SharedEnv


def cartpole() -> VecEnv:
    return make_vec_env("CartPole-v1", n_envs=1, seed=3)


def cartpoles_normalised() -> VecEnv:
    return VecNormalize(make_vec_env("CartPole-v1", n_envs=4, seed=3))


def pendulum() -> VecEnv:
    return make_vec_env("Pendulum-v1", n_envs=2, seed=3)


def with_groups() -> VecEnv:
    return make_vec_env(SharedEnv, n_envs=2, seed=3)


def dict_with_groups() -> VecEnv:
    return make_vec_env(lambda: DictEnv(SharedEnv()), n_envs=2, seed=3)


def dicts_normalised() -> VecEnv:
    return VecNormalize(make_vec_env(lambda: DictEnv(SharedEnv()), n_envs=4, seed=3), norm_obs_keys=["a"])


CASES: dict[str, tuple[Callable[[], VecEnv], dict[str, Any]]] = {
    "one environment": (cartpole, {}),
    "four, VecNormalize, every option": (
        cartpoles_normalised,
        dict(clip_range_vf=0.2, target_kl=0.005, ent_coef=0.01, learning_rate=lambda progress: 1e-2 * progress),
    ),
    "continuous actions, odd last minibatch, time limits": (pendulum, dict(batch_size=45, n_steps=101)),
    "group items": (with_groups, {}),
    "Dict observations": (dict_with_groups, dict(policy="MultiInputPolicy")),
    "Dict observations, VecNormalize, four": (dicts_normalised, dict(policy="MultiInputPolicy")),
    "no standardisation": (cartpole, dict(normalize_advantage=False)),
}


def trained(algorithm: type[PPO], make_env: Callable[[], VecEnv], **kwargs: Any) -> PPO:
    settings: dict[str, Any] = dict(policy="MlpPolicy", n_steps=64, batch_size=32, n_epochs=3, seed=7, device="cpu")
    settings = {**settings, "policy_kwargs": dict(net_arch=[16]), **kwargs}
    return algorithm(settings.pop("policy"), make_env(), **settings).learn(total_timesteps=600)


def assert_same(first: OnPolicyAlgorithm, second: OnPolicyAlgorithm) -> None:
    for (name, expected), (_, got) in zip(first.policy.named_parameters(), second.policy.named_parameters(), strict=True):
        assert th.equal(expected, got), name
    moments = [model.policy.optimizer.state_dict()["state"] for model in (first, second)]
    for index, state in moments[0].items():
        for key, expected in state.items():
            assert th.equal(th.as_tensor(expected), th.as_tensor(moments[1][index][key])), (index, key)


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size of 45")
@pytest.mark.parametrize("case", CASES)
def test_lam_zero_with_scalar_critic_is_ppo(case: str) -> None:
    make_env, kwargs = CASES[case]
    assert_same(trained(PPO, make_env, **kwargs), trained(GroupRobustPPO, make_env, lam=0, group_critic=False, **kwargs))


@pytest.mark.parametrize("case", ["group items", "Dict observations", "Dict observations, VecNormalize, four"])
def test_weights_of_one_change_nothing(case: str) -> None:
    """The path that standardises in the buffer and then weights is exact too: a schedule that is 0 now, and weights of 1."""
    make_env, kwargs = CASES[case]

    class EqualWeights(GroupRobustPPO):
        def group_weights(self) -> np.ndarray | None:
            weights = super().group_weights()
            return None if weights is None else np.ones_like(weights)

    assert_same(
        trained(PPO, make_env, **kwargs), trained(EqualWeights, make_env, lam=0.5, group_critic=False, fast=False, **kwargs)
    )


def test_one_group_with_group_critic_is_ppo() -> None:
    """One group weighs 1 whatever lam is. Its values are estimated by the same network, up to rounding in the advantages."""

    def make_env() -> VecEnv:
        return make_vec_env(lambda: gym.make("CartPole-v1"), n_envs=2, seed=3)

    expected = trained(PPO, make_env)
    got = trained(GroupRobustPPO, make_env, lam=0, group_names=("all",))
    for name, value in expected.policy.state_dict().items():
        th.testing.assert_close(got.policy.state_dict()[name], value, rtol=0, atol=1e-4)


def test_lam_above_zero_differs() -> None:
    make_env, kwargs = CASES["group items"]
    expected = trained(PPO, make_env, **kwargs)
    got = trained(GroupRobustPPO, make_env, lam=0.5, group_critic=False, **kwargs)
    pairs = zip(expected.policy.parameters(), got.policy.parameters(), strict=True)
    assert not any(th.equal(first, second) for first, second in pairs)
