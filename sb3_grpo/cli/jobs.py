"""What runs in a worker process: training one model, evaluating one policy."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from callbacks.progress import ProgressCallback
from sb3_grpo.cli.options import Hospital
from sb3_grpo.cli.rules import make_rule
from sb3_grpo.common.evaluation import EpisodeSet, Policy, evaluate_episodes
from sb3_grpo.common.hyperparameters import TrainingSettings
from sb3_grpo.fairness.players import statistics_path
from sb3_grpo.group_robust_ppo import GroupRobustPPO


class Stopped(Exception):
    """The user asked to stop; what was begun is dropped."""


@dataclass(frozen=True)
class TrainJob:
    """Train a :class:`GroupRobustPPO` and save it; ``run`` returns the seconds it took.

    :param hospital: where to train
    :param settings: how to train
    :param changes: keyword arguments of the algorithm that replace those of the settings
    :param steps: time steps of all environments together
    :param seed: training seed
    :param path: where the model is saved, at once and only when it is finished
    """

    hospital: Hospital
    settings: TrainingSettings
    changes: dict[str, Any]
    steps: int
    seed: int
    path: Path

    @property
    def total(self) -> int:
        """What ``report`` counts up to."""
        return self.steps

    def run(self, report: Callable[[int], None], stopped: Callable[[], bool]) -> float:
        """Train and save.

        :param report: called with the time steps done
        :param stopped: whether the user asked to stop
        :return: seconds
        :raises Stopped: if the user asked to stop
        """
        began = time.perf_counter()
        venv: VecEnv = make_vec_env(self.hospital.make_env, n_envs=self.settings.n_envs, seed=self.seed)
        if self.settings.normalize is not None:
            venv = VecNormalize(venv, gamma=self.settings.algorithm.get("gamma", 0.99), **self.settings.normalize)
        arguments = {**self.settings.arguments(), **self.changes}
        model = GroupRobustPPO(self.settings.policy, venv, seed=self.seed, device="cpu", **arguments)
        callback = ProgressCallback(report, stopped, every=max(1, self.steps // 200))
        model.learn(self.steps, callback=callback)
        if stopped():
            raise Stopped
        unfinished = self.path.with_suffix(".unfinished.zip")
        model.save(unfinished)
        if isinstance(venv, VecNormalize) and venv.norm_obs:  # a policy needs nothing of normalised rewards
            venv.save(str(statistics_path(self.path)))
        os.replace(unfinished, self.path)
        venv.close()
        return time.perf_counter() - began


@dataclass(frozen=True)
class EvaluateJob:
    """Play a policy through the evaluation's episodes; ``run`` returns what happened and the seconds it took.

    :param hospital: where to play
    :param policy: name of a rule, or the path of a model
    :param n_episodes: number of episodes
    :param seed: seed of the episodes, and of the actions that a model draws
    :param deterministic: whether a model takes its most likely action; if not, it draws from its distribution
    """

    hospital: Hospital
    policy: str | Path
    n_episodes: int
    seed: int
    deterministic: bool = True

    @property
    def total(self) -> int:
        """What ``report`` counts up to."""
        return self.n_episodes

    def run(self, report: Callable[[int], None], stopped: Callable[[], bool]) -> tuple[EpisodeSet, float]:
        """Play.

        :param report: called with the number of finished episodes
        :param stopped: whether the user asked to stop
        :return: the episodes and seconds
        :raises Stopped: if the user asked to stop
        """

        def progress(finished: int) -> None:
            report(finished)
            if stopped():
                raise Stopped

        began = time.perf_counter()
        if isinstance(self.policy, Path):
            policy = load_policy(self.policy, self.hospital)
        else:
            env = self.hospital.make_env()
            policy = make_rule(self.policy, env)
        th.manual_seed(self.seed)  # a worker process has nothing else to draw
        episodes = evaluate_episodes(
            policy, self.hospital.make_env, self.n_episodes, self.seed, progress=progress, deterministic=self.deterministic
        )
        return episodes, time.perf_counter() - began


def load_policy(path: Path, hospital: Hospital) -> Policy:
    """A saved model, together with its observation statistics if it was trained with them."""
    model = GroupRobustPPO.load(path, device="cpu")
    if not statistics_path(path).is_file():
        return model
    statistics = VecNormalize.load(str(statistics_path(path)), DummyVecEnv([hospital.make_env]))
    return _NormalizedPolicy(model, statistics)


class _NormalizedPolicy:
    """A model that sees observations as it saw them in training."""

    def __init__(self, model: GroupRobustPPO, statistics: VecNormalize):
        self.model = model
        self.statistics = statistics

    def predict(self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False) -> Any:
        """As the model's, on normalised observations."""
        normalized = self.statistics.normalize_obs(observation)
        return self.model.predict(normalized, state=state, episode_start=episode_start, deterministic=deterministic)
