"""What each group got in the newest episodes of a training run."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_grpo.common.checks import checked_names
from sb3_grpo.common.group_infos import env_attribute
from sb3_grpo.fairness.evaluation_log import EvaluationLog, NotedEpisode, reward_totals
from sb3_grpo.fairness.metrics import EpisodeTotals, Metrics, episode_totals, policy_metrics


class TrainingGroups:
    """Follows the episodes of a training run and keeps totals of the newest. Rewards are those before ``VecNormalize``.

    With patient records in ``info["episode_records"]`` the totals are demand and benefit, without them exposure and reward.

    :param model: the model that trains
    :param vec_env: its environments
    :param window: number of episodes that are kept
    :raises ValueError: if nobody names the groups
    """

    def __init__(self, model: BaseAlgorithm, vec_env: VecEnv, window: int) -> None:
        names = env_attribute(vec_env, "group_names") or getattr(model, "group_names", None)
        if names is None:
            raise ValueError(
                "group_names: nobody names the groups of the training environments; give them an attribute group_names, wrap "
                "them in GroupAssignment(env, fn, group_names=(...)), or pass group_names= to the algorithm"
            )
        self.group_names = checked_names(names)
        self.n_finished = 0
        self._model, self._vec_env = model, vec_env
        self._newest: deque[tuple[EpisodeTotals, float]] = deque(maxlen=window)
        self._log = EvaluationLog(self.group_names, reads_records=True)
        for env in range(vec_env.num_envs):
            self._log.begin(env)

    def step(self, rewards: npt.NDArray[Any], dones: npt.NDArray[Any], infos: Sequence[dict[str, Any]]) -> None:
        """Take a step of all environments into account.

        :param rewards: (N,), as the algorithm gets them
        :param dones: (N,), whether episodes ended
        :param infos: one for each environment; empty ones are skipped
        :raises ValueError: if an info lacks what tells of groups
        """
        if not infos:
            return
        normalised = self._model.get_vec_normalize_env()
        raw = rewards if normalised is None else normalised.get_original_reward()
        for env, info in enumerate(infos):
            self._log.step(env, float(raw[env]), info, bool(dones[env]), lambda: self._vec_env)
            if dones[env]:
                episode = self._log.forget(env)
                self._log.begin(env)
                self._newest.append((_totals(episode, len(self.group_names)), episode.cost))
                self.n_finished += 1

    def totals(self) -> EpisodeTotals:
        """Totals of the newest episodes, (E, G) each."""
        rows = [totals for totals, _ in self._newest]
        return EpisodeTotals(*(np.concatenate(part) for part in zip(*rows, strict=True)))

    def metrics(self, min_patients: int) -> Metrics | None:
        """Metrics pooled over the newest episodes; None before the first.

        :param min_patients: groups with fewer counted patients (steps with exposure) have no rate
        """
        if not self._newest:
            return None
        return policy_metrics(self.totals(), [cost for _, cost in self._newest], min_patients)


def _totals(episode: NotedEpisode, n_groups: int) -> EpisodeTotals:
    """Totals of one episode, (1, G) each."""
    if episode.records is None:
        return reward_totals([episode])
    rows = episode_totals(episode.records, n_groups)  # numbers of episodes repeat in other environments
    return EpisodeTotals(*(part.sum(axis=0, keepdims=True) for part in rows))
