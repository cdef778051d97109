"""What runs in a worker process: training one model, evaluating one policy."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callbacks.progress import ProgressCallback
from sb3_grpo.cli.options import Hospital
from sb3_grpo.cli.rules import make_rule
from sb3_grpo.common.evaluation import EpisodeSet
from sb3_grpo.common.hyperparameters import TrainingSettings
from sb3_grpo.fairness.evaluate import play_numbers
from sb3_grpo.fairness.players import statistics_path
from sb3_grpo.training import make_model


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
        env_kwargs = self.hospital.env_kwargs
        model = make_model("group_robust_ppo", self.settings, self.changes, self.hospital.env_id, env_kwargs, self.seed)
        progress = ProgressCallback(report, stopped, every=max(1, self.steps // 200))
        model.learn(self.steps, callback=[*self.settings.make_callbacks(), progress])
        if stopped():
            raise Stopped
        unfinished = self.path.with_suffix(".unfinished.zip")
        model.save(unfinished)
        normalize = model.get_vec_normalize_env()
        if normalize is not None and normalize.norm_obs:  # a policy needs nothing of normalised rewards
            normalize.save(str(statistics_path(self.path)))
        os.replace(unfinished, self.path)
        env = model.get_env()
        assert env is not None
        env.close()
        return time.perf_counter() - began


@dataclass(frozen=True)
class EvaluateJob:
    """Play a policy through the evaluation's episodes; ``run`` returns what happened and the seconds it took.

    :param hospital: where to play
    :param policy: name of a rule, or the path of a model
    :param n_episodes: number of episodes
    :param seed: seed of the episodes, and of the actions that a model draws, in a stream for each episode
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

        def progress(finished: int, total: int) -> None:
            report(finished)
            if stopped():
                raise Stopped

        began = time.perf_counter()
        policy = self.policy if isinstance(self.policy, Path) else make_rule(self.policy, self.hospital.make_env())
        numbers = range(self.n_episodes)
        evaluation = play_numbers(
            policy, str(self.policy), self.hospital.make_env, numbers, self.seed, self.deterministic, progress=progress
        )
        if evaluation.episodes is None:
            raise ValueError(f"{self.hospital.env_id}: the environment records no patients, so nothing can be compared")
        return evaluation.episodes, time.perf_counter() - began
