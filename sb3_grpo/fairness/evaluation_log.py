"""What an evaluation notes while policies play, and the totals made of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv

from sb3_grpo.common.evaluation import EpisodeSet, PlayedEpisode, collect_episodes
from sb3_grpo.common.group_infos import REWARD_TOLERANCE, check_reward_split, read_group_infos
from sb3_grpo.fairness.metrics import EpisodeTotals


@dataclass(kw_only=True)
class NotedEpisode(PlayedEpisode):
    """One episode and what its steps gave to each group.

    :param rewards: (G,) sum of each group's rewards
    :param exposure: (G,) sum of each group's exposure
    :param units: (G,) number of steps with exposure
    :param unassigned: sum of the rewards that concerned no group
    :param total: sum of all rewards
    """

    rewards: npt.NDArray[np.float64]
    exposure: npt.NDArray[np.float64]
    units: npt.NDArray[np.int64]
    unassigned: float = 0.0
    total: float = 0.0


@dataclass
class EvaluationLog:
    """Notes of one policy's episodes.

    :param group_names: names of the G groups
    :param reads_records: whether patient records, where there are any, tell of these groups
    """

    group_names: tuple[str, ...]
    reads_records: bool
    _episodes: dict[int, NotedEpisode] = field(default_factory=dict)
    _has_records: bool | None = None

    def begin(self, number: int) -> None:
        """An episode begins."""
        n_groups = len(self.group_names)
        self._episodes[number] = NotedEpisode(
            rewards=np.zeros(n_groups), exposure=np.zeros(n_groups), units=np.zeros(n_groups, dtype=np.int64)
        )

    def step(self, number: int, reward: float, info: dict[str, Any], ended: bool, vec_env: Callable[[], VecEnv]) -> None:
        """Note a step.

        :param number: number of the episode
        :param reward: the step's reward
        :param info: the step's info
        :param ended: whether the episode ended with it
        :param vec_env: makes or gives the environments, to say which wrapper changed a reward
        :raises ValueError: if the info lacks what tells of groups, or contradicts itself
        """
        episode = self._episodes[number]
        episode.total += reward
        episode.note(info)
        if not self._has_records:  # until an episode's end has shown records
            self._read_groups(episode, reward, info, vec_env)
        if ended:
            has_records = self.reads_records and "episode_records" in info
            if self._has_records not in (None, has_records):
                raise ValueError(f"info['episode_records']: there after some episodes only, not as after number {number}")
            self._has_records = has_records
            if has_records:
                episode.note_patients(info)

    def whole(self, number: int, decisions: int, invalid: int, total: float, last: dict[str, Any]) -> None:
        """Note an episode that somebody else has counted, with patient records.

        :param number: number of the episode
        :param decisions: number of its steps
        :param invalid: how many of their actions were invalid
        :param total: sum of its rewards
        :param last: the info of its last step
        """
        self.begin(number)
        episode = self._episodes[number]
        episode.decisions, episode.invalid, episode.total = decisions, invalid, total
        episode.note_patients(last)
        self._has_records = True

    def _read_groups(self, episode: NotedEpisode, reward: float, info: dict[str, Any], vec_env: Callable[[], VecEnv]) -> None:
        step = read_group_infos([info], len(self.group_names), True, False)
        assert step.ids is not None
        group = int(step.ids[0])
        if step.rewards is not None:
            if not abs(float(step.rewards[0].sum(dtype=np.float64)) - reward) <= REWARD_TOLERANCE * max(1.0, abs(reward)):
                check_reward_split(step.rewards, np.array([reward]), vec_env())
            episode.rewards += step.rewards[0]
        elif group >= 0:
            episode.rewards[group] += reward
        else:
            episode.unassigned += reward
        exposure = np.eye(len(self.group_names))[group] * (group >= 0) if step.exposure is None else step.exposure[0]
        episode.exposure += exposure
        episode.units += exposure > 0

    def forget(self, number: int) -> NotedEpisode:
        """Take an episode's notes out."""
        return self._episodes.pop(number)

    @property
    def numbers(self) -> list[int]:
        """Numbers of the episodes, ascending."""
        return sorted(self._episodes)

    def sorted_episodes(self) -> list[NotedEpisode]:
        """The episodes in order of their numbers."""
        return [self._episodes[number] for number in self.numbers]

    def episode_set(self) -> EpisodeSet | None:
        """The episodes with a row per patient; None where no records are kept."""
        return collect_episodes(self.sorted_episodes(), self.group_names) if self._has_records else None


def reward_totals(episodes: Sequence[NotedEpisode]) -> EpisodeTotals:
    """Rewards by exposure of each episode and group. A reward that concerned no group is divided as all exposure is, which
    adds the same to the rate of every group.

    :param episodes: notes of the episodes
    """
    exposure = np.stack([episode.exposure for episode in episodes])
    shares = exposure.sum(axis=0) / max(float(exposure.sum()), 1e-300)
    rewards = np.stack([episode.rewards + episode.unassigned * shares for episode in episodes])
    return EpisodeTotals(demand=exposure, benefit=rewards, counted=np.stack([episode.units for episode in episodes]))
