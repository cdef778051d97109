"""Small models on small environments, for tests of algorithms."""

from typing import Any

from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from sb3_grpo import GroupRobustPPO
from tests.toy_envs import SharedEnv

SMALL: dict[str, Any] = dict(n_steps=16, batch_size=16, n_epochs=2, policy_kwargs=dict(net_arch=[8]), seed=0, device="cpu")
ID_ONLY = ("group_id",)


def make(env: Any = None, policy: str = "MlpPolicy", **kwargs: Any) -> GroupRobustPPO:
    env = make_vec_env(SharedEnv, n_envs=2, seed=0) if env is None else env
    return GroupRobustPPO(policy, env, **{**SMALL, **kwargs})


def shared(n_envs: int = 2, **kwargs: Any) -> VecEnv:
    return make_vec_env(SharedEnv, n_envs=n_envs, seed=0, env_kwargs=kwargs)
