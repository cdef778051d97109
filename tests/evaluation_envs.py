"""Small environments whose evaluation can be computed by hand."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from hospital_gym.records import RECORD_DTYPE


class CoinEnv(gym.Env[np.ndarray, int]):
    """Three steps; action 1 pays the episode's value, drawn at reset. No groups of its own: for ``GroupAssignment``.

    :param masked: whether action 0 alone is valid at odd steps, by ``action_masks()``
    """

    observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space: spaces.Discrete = spaces.Discrete(2)  # type: ignore[assignment]

    def __init__(self, masked: bool = False) -> None:
        self.masked = masked

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.value, self.count = float(self.np_random.random()), 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert not (self.masked and self.count % 2 == 1 and action == 1)
        self.count += 1
        return self._observe(), self.value * int(action), False, self.count == 3, {}

    def action_masks(self) -> np.ndarray:
        return np.array([True, not self.masked or self.count % 2 == 0])

    def _observe(self) -> np.ndarray:
        return np.array([self.value, self.count / 3], dtype=np.float32)


class PatientEnv(gym.Env[np.ndarray, int]):
    """Numbered episodes of ten patients, by turns of two groups; action g treats group g and costs the other its benefit.

    :param names: names of the groups
    """

    observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space: spaces.Discrete = spaces.Discrete(2)  # type: ignore[assignment]
    numbers_episodes = True

    def __init__(self, names: Sequence[str] = ("even", "odd")) -> None:
        self.group_names = tuple(names)
        self.episode = -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode = self.episode + 1 if options is None else options["episode"]
        self.records = np.zeros(10, dtype=RECORD_DTYPE)
        self.records["episode"], self.records["counted"] = self.episode, True
        self.records["quintile"] = 1
        self.records["target_wait"] = 1.0
        self.records["demand"] = 1.0 + self.episode % 3
        self.records["patient_id"] = np.arange(10)
        self.records["group"] = np.arange(10) % 2
        self.count = 0
        return np.zeros(1, dtype=np.float32), {"episode": self.episode}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        row = self.records[self.count]
        row["benefit"] = row["demand"] * (row["group"] == action)
        rewards = np.zeros(2, dtype=np.float32)
        rewards[row["group"]] = row["benefit"]
        info: dict[str, Any] = {
            "group_id": int(row["group"]),
            "group_rewards": rewards,
            "group_exposure": np.eye(2, dtype=np.float32)[row["group"]] * row["demand"],
        }
        self.count += 1
        if self.count == 10:
            info.update(episode_records=self.records.copy(), episode_cost=0.5)
        return np.zeros(1, dtype=np.float32), float(rewards.sum()), False, self.count == 10, info
