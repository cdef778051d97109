"""Small environments with groups, for tests of algorithms."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

GROUP_NAMES = ("left", "right")


class SharedEnv(gym.Env[np.ndarray, int]):
    """
    Every step serves one of two groups, and what it pays is split between both. Observations are noise.

    :param length: Steps until the episode is truncated
    :param keys: Group items of the info
    :param names: Value of the attribute ``group_names``; without names there is no such attribute
    :param attributes: Further attributes of the environment
    """

    observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
    action_space: spaces.Discrete = spaces.Discrete(2)  # type: ignore[assignment]

    def __init__(
        self,
        length: int = 7,
        keys: Sequence[str] = ("group_id", "group_rewards", "group_exposure", "elapsed"),
        names: Sequence[str] | None = GROUP_NAMES,
        **attributes: Any,
    ):
        self.length = length
        self.keys = tuple(keys)
        if names is not None:
            self.group_names = tuple(names)
        for name, value in attributes.items():
            setattr(self, name, value)
        self.overrides: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        group = int(self.np_random.integers(2))
        rewards = np.array([1.0 - action, 0.5 * action], dtype=np.float32) + 0.25 * group
        info = {
            "group_id": group,
            "group_rewards": rewards,
            "group_exposure": np.eye(2, dtype=np.float32)[group] * 2.0,
            "elapsed": float(self.np_random.exponential()),
        }
        info = {**{key: info[key] for key in self.keys}, **self.overrides}
        return self._observe(), float(rewards.sum()), False, self._step >= self.length, info

    def _observe(self) -> np.ndarray:
        return self.np_random.uniform(-1.0, 1.0, 3).astype(np.float32)


class DictEnv(gym.ObservationWrapper):
    """The same with Dict observations."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.observation_space = spaces.Dict({"a": env.observation_space, "b": spaces.Discrete(2)})

    def observation(self, observation: np.ndarray) -> dict[str, Any]:
        return {"a": observation, "b": int(observation[0] > 0)}


class BanditVecEnv(VecEnv):
    """
    One-step episodes of a bandit whose policy cannot see which group (context) it serves. All environments in one array.

    :param payoffs: Mean reward of each action in each group, (G, actions)
    :param shares: Probability of each group, (G,)
    :param num_envs: Number of environments
    :param seed: Seed of groups and noise
    :param noise: Standard deviation of rewards
    :param names: Value of the attribute ``group_names``; None: no such attribute
    :param performance_scale: Value of the attribute of that name; None: no such attribute
    """

    def __init__(
        self,
        payoffs: np.ndarray,
        shares: np.ndarray,
        num_envs: int,
        seed: int,
        noise: float = 0.3,
        names: Sequence[str] | None = None,
        performance_scale: float | None = None,
    ):
        self.payoffs, self.shares, self.noise = np.asarray(payoffs), np.asarray(shares), noise
        self.rng = np.random.default_rng(seed)
        self.attributes = {"group_names": names, "performance_scale": performance_scale}
        super().__init__(num_envs, spaces.Box(-1.0, 1.0, (1,), np.float32), spaces.Discrete(self.payoffs.shape[1]))

    def reset(self) -> np.ndarray:
        return np.ones((self.num_envs, 1), dtype=np.float32)

    def step_async(self, actions: np.ndarray) -> None:
        self.actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        groups = self.rng.choice(len(self.shares), self.num_envs, p=self.shares)
        rewards = self.payoffs[groups, self.actions] + self.noise * self.rng.standard_normal(self.num_envs)
        infos = [{"group_id": group} for group in groups.tolist()]
        return self.reset(), rewards.astype(np.float32), np.ones(self.num_envs, dtype=bool), infos

    def has_attr(self, attr_name: str) -> bool:
        return self.attributes.get(attr_name) is not None

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [self.attributes.get(attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        raise NotImplementedError

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        return [False] * self.num_envs

    def close(self) -> None:
        pass


class SemiMarkovEnv(gym.Env[np.ndarray, int]):
    """
    One state, two actions: action 0 pays 1 and takes 1 hour, action 1 pays 2 and takes 8 hours. Episodes are cut off.

    Discounted per hour with time constant tau, always taking action a is worth r_a / (1 - exp(-t_a / tau)): for tau = 8
    this is 8.51 for action 0 and 3.16 for action 1. Discounted per decision, it is r_a / (1 - gamma): action 1 is worth
    twice as much.

    :param group_names: Names of two groups that take turns
    :param length: Decisions until the episode is truncated
    """

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space: spaces.Discrete = spaces.Discrete(2)  # type: ignore[assignment]
    rewards = (1.0, 2.0)
    hours = (1.0, 8.0)

    def __init__(self, group_names: Sequence[str] | None = None, length: int = 16):
        self.length = length
        self.group_names = group_names

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return np.ones(1, dtype=np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        info = {"elapsed": self.hours[action], "group_id": self._step % 2}
        return np.ones(1, dtype=np.float32), self.rewards[action], False, self._step >= self.length, info
