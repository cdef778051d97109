"""Groups where nobody labelled any: clusters of whole episodes."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from sb3_grpo.common.episode_features import NO_LABEL, EpisodeSummary, flat_observations
from sb3_grpo.common.group_buffers import GroupBufferMixin
from sb3_grpo.common.running_clusters import RunningClusters


class LatentGroups(RunningClusters):
    """
    Groups of whole episodes, discovered while training: an argument ``latent_groups=`` of algorithms whose environments name
    no groups. Episodes are described by features and clustered by k-means. After each rollout every step gets the cluster of
    its episode, a step of an unfinished episode the cluster that the episode has *so far*. Every finished episode is one unit
    of exposure with its whole return, so a group's performance is the mean return of its episodes.

    Before ``min_episodes`` episodes have finished there are no groups. The number of clusters is chosen once, then kept. Every
    ``refit_every`` rollouts the clusters are fitted again to the newest ``memory`` episodes, beginning with the old centres;
    new clusters take the ids of the old ones that they share most episodes with.

    :param n_groups: Number of clusters; None: between 2 and ``max_groups`` with the highest silhouette among those whose
        clusters all have ``min_size``, or 1 if that silhouette is below ``min_silhouette``
    :param max_groups: Largest number of clusters to choose
    :param features: ``features(observations, rewards) -> vector``, with the observations of an episode so far, (L, D), as the
        policy sees them, flattened in C order (the parts of Dict observations side by side, sorted by key), and its raw
        rewards, (L,). The vector is finite and always of one length. None: mean and standard deviation over the episode of
        each entry of the observation
    :param min_episodes: Finished episodes before the first fit, at least 2
    :param min_size: Least size of a cluster when their number is chosen: a share of the episodes (float below 1) or a number
        of them (int)
    :param min_silhouette: Least silhouette, from -1 to 1, that counts as more than one group. Without any clusters, one
        feature reaches 0.7, two 0.5, four or more 0.35; features that do not differ between groups lower it
    :param refit_every: Rollouts between fits; None: fit once
    :param memory: Number of newest episodes that are kept, at least ``min_episodes``
    :param seed: Seed of the fits; nothing else draws from it
    :raises ValueError: If an argument is not what it must be; in use if the features are not
    """

    def __init__(
        self,
        n_groups: int | None = None,
        max_groups: int = 8,
        features: Callable[[np.ndarray, np.ndarray], Any] | None = None,
        min_episodes: int = 100,
        min_size: float = 0.05,
        min_silhouette: float = 0.5,
        refit_every: int | None = 10,
        memory: int = 2000,
        seed: int = 0,
    ):
        if not (features is None or callable(features)):
            raise ValueError(f"`features` must be a function (observations, rewards) -> vector, got {features!r}")
        super().__init__(
            n_groups=n_groups,
            max_groups=max_groups,
            least=("min_episodes", min_episodes),
            min_size=min_size,
            min_silhouette=min_silhouette,
            refit_every=refit_every,
            memory=memory,
            seed=seed,
        )
        self.features = features
        self.min_episodes = min_episodes
        self._running: list[EpisodeSummary] = []  # of each environment, what it has seen of its episode

    def relabel(self, buffer: GroupBufferMixin, rollout_starts: np.ndarray) -> None:
        """
        Give every step of a complete rollout the group of its episode. The ids that the environments told, if any, are taken
        as known labels of whole episodes, to be compared with the clusters.

        :param buffer: The buffer; its group ids, raw rewards and exposure are replaced
        :param rollout_starts: Whether each environment began the rollout with a new episode, (N,). An episode that was running
            is then dropped, and so are all if the number of environments changed
        :raises ValueError: If features are not finite, or not of the length that they had
        """
        kept = self._running if len(self._running) == len(rollout_starts) else [EpisodeSummary() for _ in rollout_starts]
        self._running = [EpisodeSummary() if starts else episode for starts, episode in zip(rollout_starts, kept, strict=True)]

        observations = _observations(buffer)
        returns, exposure = np.zeros(buffer.dones.shape), np.zeros(buffer.dones.shape)
        pieces: list[tuple[slice, int]] = []  # steps and environment of every stretch of an episode
        described: list[np.ndarray] = []
        finished: list[tuple[int, int, int]] = []  # last step, number of the piece, known label
        for env in range(buffer.n_envs):
            for steps in _episodes(buffer.dones[:, env]):
                episode, last = self._running[env], steps.stop - 1
                rewards, ids = buffer.raw_rewards[steps, env], buffer.group_ids[steps, env]
                episode.extend(observations[steps, env], rewards, ids, self.features)
                described.append(self.checked(episode.features(self.features)))
                if buffer.dones[last, env]:
                    returns[last, env], exposure[last, env] = episode.total, 1.0
                    finished.append((last, len(pieces), episode.label))
                    self._running[env] = EpisodeSummary()
                pieces.append((steps, env))

        ended = sorted(finished)
        if ended:
            self.remember(np.array([described[piece] for _, piece, _ in ended]), np.array([label for *_, label in ended]))
        self.fit_if_due()
        groups = np.full(buffer.dones.shape, -1, dtype=np.int64)
        if self.clusters is not None:
            for (steps, env), group in zip(pieces, self.clusters.nearest(np.array(described)).tolist(), strict=True):
                groups[steps, env] = group
        buffer.replace_groups(groups, returns, exposure)

    def label(self, observations: Any, rewards: np.ndarray) -> int:
        """
        The group of one whole episode, for example of an evaluation.

        :param observations: Observations of the episode, (L, ...), or a dict of such, as the algorithm received them
        :param rewards: Raw rewards, (L,)
        :return: Id of its cluster; -1 before the first fit
        """
        if self.clusters is None:
            return -1
        episode, rewards = EpisodeSummary(), np.asarray(rewards)
        flat = flat_observations(observations, leading=1)
        episode.extend(flat, rewards, np.full(len(rewards), NO_LABEL), self.features)
        return int(self.clusters.nearest(self.checked(episode.features(self.features))[None])[0])


def _observations(buffer: GroupBufferMixin) -> np.ndarray:
    """(T, N, D). The first minibatch that is drawn, perhaps by a callback, joins the axes of steps and environments."""
    if not buffer.generator_ready:
        return flat_observations(buffer.observations)
    joined = flat_observations(buffer.observations, leading=1)
    return joined.reshape(buffer.n_envs, buffer.buffer_size, -1).swapaxes(0, 1)


def _episodes(dones: np.ndarray) -> list[slice]:
    """Steps of each stretch of an episode in the rollout of one environment, (T,)."""
    bounds: list[int] = [0, *(np.flatnonzero(dones) + 1).tolist(), len(dones)]
    return [slice(start, end) for start, end in itertools.pairwise(bounds) if start < end]
