"""Cases that are decided in one step, for tests of algorithms that compare answers."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from hospital_gym.clinical.case_table import CaseTable
from hospital_gym.clinical.diagnosis_vector_env import DiagnosisVectorEnv


def planted_table(n: int = 1000, seed: int = 0, rare: float = 0.1, noise: float = 0.4) -> CaseTable:
    """
    Cases with two answers. Two features tell the right one, except in the rare group 1, where it is right with probability
    ``1 - noise`` only; a third feature tells the group. A second attribute, ``sex``, means nothing.
    """
    rng = np.random.default_rng(seed)
    group = (rng.random(n) < rare).astype(np.int64)
    label = rng.integers(0, 2, n)
    seen = np.where((group == 1) & (rng.random(n) < noise), 1 - label, label)
    features = np.column_stack(
        [2.0 * seen - 1 + 0.1 * rng.normal(size=n), rng.normal(size=n), 4.0 * group + 0.2 * rng.normal(size=n)]
    )
    return CaseTable.from_arrays(features, label, group, ("common", "rare"), rng.integers(0, 2, n), ("here", "there"))


def planted_env(n_cases: int = 16, answers: int = 4, **kwargs: Any) -> Any:
    return DiagnosisVectorEnv(n_cases * answers, planted_table(), subset="all", answers=answers, **kwargs)


class DosesVectorEnv(gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """
    A dose in [-1, 1] for each case; the observation says which is best, and the reward is minus the squared distance. Infos
    come without Gymnasium's masks.

    :param num_envs: Number of environments, a multiple of ``answers``
    :param answers: Number of answers to each case
    :param broken: What to do wrong: ``"case_id"`` (none), ``"order"``, ``"goes on"``, ``"observation"``, ``"group_id"``,
        ``"nan"``
    """

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # type: ignore[misc]
    single_observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    single_action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, num_envs: int = 8, answers: int = 4, broken: str = "", spread: float = 1.0):
        self.num_envs, self.answers, self.broken, self.spread = num_envs, answers, broken, spread
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.n_seen = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self._present(), {}

    def _present(self) -> np.ndarray:
        n_cases = self.num_envs // self.answers
        self.ids = np.repeat(self.n_seen + np.arange(n_cases), self.answers)
        self.n_seen += n_cases
        self.best = np.repeat(self.np_random.uniform(-0.5, 0.5, n_cases), self.answers)
        observations = self.best[:, None].astype(np.float32)
        if self.broken == "observation":
            observations[1] += 0.1
        return observations

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        rewards = -self.spread * np.square(actions[:, 0] - self.best)
        infos: dict[str, Any] = {"case_id": self.ids, "group_id": self.ids % 2}
        if self.broken == "case_id":
            del infos["case_id"]
        elif self.broken == "order":
            infos["case_id"] = np.roll(self.ids, 1)
        elif self.broken == "group_id":
            infos["group_id"] = np.arange(self.num_envs) % 2
        elif self.broken == "nan":
            rewards[3] = np.nan
        ended = np.ones(self.num_envs, dtype=bool)
        if self.broken == "goes on":
            ended[2] = False
        return self._present(), rewards, ended, ~np.ones(self.num_envs, dtype=bool), infos
