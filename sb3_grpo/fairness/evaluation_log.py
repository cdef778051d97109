"""What an evaluation notes while policies play, and the totals made of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_grpo.common.evaluation import EpisodeSet, episode_results
from sb3_grpo.common.group_infos import check_reward_split, read_group_infos
from sb3_grpo.fairness.metrics import EpisodeTotals

_MAX_ERROR = 1e-4  # of a reward and the sum of its parts, relative to max(1, |reward|)


@dataclass
class _Episode:
    """One episode while it is played and afterwards."""

    rewards: npt.NDArray[np.float64]
    exposure: npt.NDArray[np.float64]
    units: npt.NDArray[np.int64]
    unassigned: float = 0.0
    total: float = 0.0
    decisions: int = 0
    invalid: int = 0
    cost: float = 0.0
    records: npt.NDArray[Any] | None = None
    ended: bool = False


@dataclass
class EvaluationLog:
    """Notes of one policy's episodes.

    :param group_names: names of the G groups
    :param reads_records: whether patient records, where there are any, tell of these groups
    """

    group_names: tuple[str, ...]
    reads_records: bool
    _episodes: dict[int, _Episode] = field(default_factory=dict)
    _has_records: bool | None = None

    @property
    def n_finished(self) -> int:
        """Number of episodes that have ended."""
        return sum(episode.ended for episode in self._episodes.values())

    def begin(self, number: int) -> None:
        """An episode begins."""
        n_groups = len(self.group_names)
        self._episodes[number] = _Episode(np.zeros(n_groups), np.zeros(n_groups), np.zeros(n_groups, dtype=np.int64))

    def step(self, number: int, reward: float, info: dict[str, Any], ended: bool, env: Any) -> None:
        """Note a step.

        :param number: number of the episode
        :param reward: the step's reward
        :param info: the step's info
        :param ended: whether the episode ended with it
        :param env: where it was played
        :raises ValueError: if the info lacks what tells of groups, or contradicts itself
        """
        episode = self._episodes[number]
        episode.total += reward
        episode.decisions += 1
        episode.invalid += bool(info.get("invalid_action", False))
        episode.ended = ended
        if not self._has_records:  # until an episode's end has shown records
            self._read_groups(episode, reward, info, env)
        if ended:
            has_records = self.reads_records and "episode_records" in info
            if self._has_records not in (None, has_records):
                raise ValueError(f"info['episode_records']: there after some episodes only, not as after number {number}")
            self._has_records = has_records
            if has_records:
                episode.records, episode.cost = episode_results(info)

    def _read_groups(self, episode: _Episode, reward: float, info: dict[str, Any], env: Any) -> None:
        step = read_group_infos([info], len(self.group_names), True, False)
        assert step.ids is not None
        group = int(step.ids[0])
        if step.rewards is not None:
            if not abs(float(step.rewards[0].sum(dtype=np.float64)) - reward) <= _MAX_ERROR * max(1.0, abs(reward)):
                check_reward_split(step.rewards, np.array([reward]), DummyVecEnv([lambda: env]))
            episode.rewards += step.rewards[0]
        elif group >= 0:
            episode.rewards[group] += reward
        else:
            episode.unassigned += reward
        exposure = np.eye(len(self.group_names))[group] * (group >= 0) if step.exposure is None else step.exposure[0]
        episode.exposure += exposure
        episode.units += exposure > 0

    def sorted_episodes(self) -> list[_Episode]:
        """The episodes in order of their numbers."""
        return [self._episodes[number] for number in sorted(self._episodes)]

    def episode_set(self) -> EpisodeSet | None:
        """The episodes with a row per patient; None where no records are kept."""
        if not self._has_records:
            return None
        episodes = self.sorted_episodes()
        return EpisodeSet(
            records=np.concatenate([episode.records for episode in episodes if episode.records is not None]),
            costs=np.array([episode.cost for episode in episodes]),
            decisions=np.array([episode.decisions for episode in episodes]),
            invalid_actions=np.array([episode.invalid for episode in episodes]),
            group_names=self.group_names,
        )


def reward_totals(episodes: Sequence[_Episode]) -> EpisodeTotals:
    """Rewards by exposure of each episode and group. A reward that concerned no group is divided as all exposure is, which
    adds the same to the rate of every group.

    :param episodes: notes of the episodes
    """
    exposure = np.stack([episode.exposure for episode in episodes])
    shares = exposure.sum(axis=0) / max(float(exposure.sum()), 1e-300)
    rewards = np.stack([episode.rewards + episode.unassigned * shares for episode in episodes])
    return EpisodeTotals(demand=exposure, benefit=rewards, counted=np.stack([episode.units for episode in episodes]))
