"""Patients as Dict observations of series by modality, for tests of what reads them."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces

CHANNELS = {"chemistry": 3, "vitals": 2}  # in the order that Gymnasium gives the keys of a Dict
WINDOW, N_STATIC = 6, 2


def series_space(window: int = WINDOW, static: bool = True, hours: bool = True) -> spaces.Dict:
    parts: dict[str, Any] = {}
    for key, n in CHANNELS.items():
        parts[key] = spaces.Box(-np.inf, np.inf, (window, n), np.float32)
        parts[f"{key}_observed"] = spaces.Box(0, 1, (window, n), np.float32)
    if hours:
        parts["hours"] = spaces.Box(0, 1, (window,), np.float32)
    if static:
        parts["static"] = spaces.Box(-np.inf, np.inf, (N_STATIC,), np.float32)
    return spaces.Dict(parts)


def patients(n: int, seed: int = 0, window: int = WINDOW, stay: int | None = None) -> dict[str, np.ndarray]:
    """
    :param n: Number of observations
    :param stay: Hours of every stay; None: from 1 to the window
    """
    rng = np.random.default_rng(seed)
    length = rng.integers(1, window + 1, n) if stay is None else np.full(n, stay)
    hours = (np.arange(window) >= window - length[:, None]).astype(np.float32)
    parts = {"hours": hours, "static": rng.standard_normal((n, N_STATIC)).astype(np.float32)}
    for key, channels in CHANNELS.items():
        observed = (rng.random((n, window, channels)) < 0.6) * hours[:, :, None]
        parts[f"{key}_observed"] = observed.astype(np.float32)
        parts[key] = (rng.standard_normal(observed.shape) * observed).astype(np.float32)
    return parts


def tensors(observations: dict[str, np.ndarray]) -> dict[str, th.Tensor]:
    return {key: th.as_tensor(part) for key, part in observations.items()}


class PatientEnv(gym.Env[dict[str, np.ndarray], Any]):
    """
    Stays of some hours. The first vital sign is about +1 or -1, which is the group; the action that agrees is paid 1.

    :param length: Hours of a stay
    :param hidden: Whether the vital sign is measured only in the first hour
    """

    group_names = ("low", "high")

    def __init__(self, length: int = 4, hidden: bool = False):
        self.length, self.hidden = length, hidden
        self.observation_space: Any = series_space()
        self.action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self._group, self._hour = int(self.np_random.integers(2)), 1
        self._stay = patients(1, seed=int(self.np_random.integers(2**31)), window=self.length, stay=self.length)
        vital, observed = self._stay["vitals"][0], self._stay["vitals_observed"][0]
        observed[:, 0] = 1.0 if not self.hidden else np.arange(self.length) == 0
        vital[:, 0] = (2 * self._group - 1 + 0.1 * self.np_random.standard_normal(self.length)) * observed[:, 0]
        return self._observe(), {"group_id": self._group}

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        self._hour += 1
        done = self._hour > self.length
        exposure = np.eye(2, dtype=np.float32)[self._group] * done
        info = {"group_id": self._group, "group_exposure": exposure}
        return self._observe(), float(action == self._group), False, done, info

    def action_masks(self) -> np.ndarray:
        return np.ones(2, dtype=bool)

    def _observe(self) -> dict[str, np.ndarray]:
        """The last rows are the hours so far."""
        seen = min(self._hour, self.length)
        observation: dict[str, np.ndarray] = {"static": self._stay["static"][0]}
        for key in (*CHANNELS, *(f"{key}_observed" for key in CHANNELS), "hours"):
            rows = self._stay[key][0][:seen]
            observation[key] = np.concatenate([np.zeros((WINDOW - seen, *rows.shape[1:]), np.float32), rows])
        return {key: observation[key] for key in self.observation_space.spaces}
