"""One training, with the exact value of its policy along the way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from hospital_gym.clinical.registration import SEPSIS_ENVIRONMENT
from hospital_gym.clinical.sepsis.exact import Worth, policy_values
from hospital_gym.clinical.sepsis.treatment_env import SepsisTreatmentEnv
from sb3_grpo.common.hyperparameters import TrainingSettings
from sb3_grpo.common.vec_env import make_vec_env
from sb3_grpo.group_relative_ppo import GroupRelativePPO
from sb3_grpo.sepsis.policies import Table, policy_table, value_model

OBSERVED: Final[dict[str, Any]] = {"history": 1, "flat": True}
"""What policies see: the present state and the mask, so that they have tables."""


@dataclass(frozen=True)
class CurvePoint:
    """
    A policy in the middle of a training.

    :param timesteps: decisions so far
    :param episodes: patients so far
    :param drawn: exact value if actions are drawn
    :param most_likely: exact value if the most probable action is taken
    """

    timesteps: int
    episodes: int
    drawn: float
    most_likely: float


@dataclass(frozen=True, eq=False)
class Trained:
    """
    What a training left.

    :param model: the model
    :param table: its policy, (S, A)
    :param episodes: patients it was trained on
    :param drawn: what the policy is worth if actions are drawn
    :param most_likely: what it is worth if the most probable action is taken
    :param curve: its value along the way
    """

    model: GroupRelativePPO
    table: Table
    episodes: int
    drawn: Worth
    most_likely: Worth
    curve: list[CurvePoint]


class ExactValueCallback(BaseCallback):
    """
    Counts episodes, and values the policy exactly from time to time, which costs no episodes.

    :param env: treatment of sepsis with ``history=1``, observed as in training
    :param every: decisions between two values; there is one more at the end
    """

    def __init__(self, env: SepsisTreatmentEnv, every: int) -> None:
        super().__init__()
        self._env, self._every, self._next = env, every, every
        self.episodes = 0
        self.curve: list[CurvePoint] = []

    def _on_step(self) -> bool:
        self.episodes += int(np.count_nonzero(self.locals["dones"]))
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._next:
            self._next += self._every
            self._value()

    def _on_training_end(self) -> None:
        self._value()

    def _value(self) -> None:
        problem = self._env.mdp
        tables = [policy_table(self.model, self._env, most_likely) for most_likely in (False, True)]
        drawn, most_likely = (round(float(problem.first @ policy_values(problem, table)), 6) for table in tables)
        self.curve.append(CurvePoint(self.num_timesteps, self.episodes, drawn, most_likely))
        self.logger.record("sepsis/value", drawn)
        self.logger.record("sepsis/value_most_likely", most_likely)


def train(
    settings: TrainingSettings,
    changes: Mapping[str, Any],
    group_by: str,
    seed: int,
    points: int = 8,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Trained:
    """
    Train :class:`~sb3_grpo.GroupRelativePPO` on the treatment of sepsis.

    :param settings: how
    :param changes: keyword arguments of the algorithm that replace those of the settings
    :param group_by: what patients are grouped by
    :param seed: training seed; environment i gets ``seed + i``
    :param points: how many values the curve has
    :param env_kwargs: further keyword arguments of the environment, ``mdp`` for instance
    :return: what it left
    """
    given = {**OBSERVED, "group_by": group_by, **(env_kwargs or {})}
    venv = make_vec_env(SEPSIS_ENVIRONMENT, settings.n_envs, seed, env_kwargs=given)
    if settings.normalize is not None:
        venv = VecNormalize(venv, gamma=settings.algorithm.get("gamma", 0.99), **settings.normalize)
    arguments = {**settings.arguments(), **changes}
    model = GroupRelativePPO(settings.policy_argument(), venv, seed=seed, device="cpu", **arguments)
    env = SepsisTreatmentEnv(**given)
    values = ExactValueCallback(env, max(1, settings.n_timesteps // points))
    model.learn(settings.n_timesteps, callback=values)
    table = policy_table(model, env)
    return Trained(
        model, table, values.episodes, value_model(table, env), value_model(table, env, most_likely=True), values.curve
    )
