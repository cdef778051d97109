"""Groups where nobody labelled any: clusters of whole episodes."""

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from sb3_grpo.common.checks import is_number
from sb3_grpo.common.clusters import Clusters, choose, fit, refit
from sb3_grpo.common.episode_features import NO_LABEL, EpisodeSummary, flat_observations
from sb3_grpo.common.group_buffers import GroupBufferMixin


class LatentGroups:
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
        _check_integer("n_groups", n_groups, 1, optional=True)
        _check_integer("max_groups", max_groups, 2)
        _check_integer("min_episodes", min_episodes, max(2, n_groups or 0))
        _check_integer("refit_every", refit_every, 1, optional=True)
        _check_integer("memory", memory, min_episodes)
        _check_integer("seed", seed, 0)
        if not (features is None or callable(features)):
            raise ValueError(f"`features` must be a function (observations, rewards) -> vector, got {features!r}")
        is_share = isinstance(min_size, (float, np.floating)) and 0 < min_size < 1
        if not is_share and not (_is_integer(min_size) and min_size >= 1):
            raise ValueError(f"`min_size` must be a share between 0 and 1, or an integer, at least 1, got {min_size!r}")
        if not (is_number(min_silhouette) and -1 <= min_silhouette <= 1):
            raise ValueError(f"`min_silhouette` must be in [-1, 1], got {min_silhouette!r}")
        self.n_groups = n_groups
        self.max_groups = max_groups
        self.features = features
        self.min_episodes = min_episodes
        self.min_size = min_size
        self.min_silhouette = min_silhouette
        self.refit_every = refit_every
        #: The clusters, None before the first fit
        self.clusters: Clusters | None = None
        self.silhouette = float("nan")
        self._rng = np.random.default_rng(seed)
        self._memory: deque[tuple[np.ndarray, int]] = deque(maxlen=memory)  # features and known label
        self._n_features: int | None = None
        self._running: list[EpisodeSummary] = []  # of each environment, what it has seen of its episode
        self._rollouts_since_fit = 0

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
                described.append(self._checked(episode.features(self.features)))
                if buffer.dones[last, env]:
                    returns[last, env], exposure[last, env] = episode.total, 1.0
                    finished.append((last, len(pieces), episode.label))
                    self._running[env] = EpisodeSummary()
                pieces.append((steps, env))

        for _, piece, label in sorted(finished):
            self._memory.append((described[piece], label))
        self._fit_if_due()
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
        return int(self.clusters.nearest(self._checked(episode.features(self.features))[None])[0])

    def log(self) -> dict[str, float]:
        """
        ====================  ================================================================================================
        ``group/clusters``    number of clusters; 0 before the first fit
        ``group/silhouette``  mean silhouette of the newest fit, from -1 to 1; absent with one cluster
        ``group/ari``         adjusted Rand index of the clusters and the known labels, over the episodes in memory that have
                              one: 1 if they agree, 0 as by chance; absent if there are fewer than two
        ====================  ================================================================================================

        An episode's label is the one group that its environment told during all of it.

        :return: Values by key
        """
        log = {"group/clusters": 0.0 if self.clusters is None else float(len(self.clusters.centers))}
        if not np.isnan(self.silhouette):
            log["group/silhouette"] = self.silhouette
        labelled = [(features, label) for features, label in self._memory if label >= 0]
        if self.clusters is not None and len(labelled) > 1:
            from sklearn.metrics import adjusted_rand_score

            features, labels = zip(*labelled, strict=True)
            log["group/ari"] = float(adjusted_rand_score(labels, self.clusters.nearest(np.array(features))))
        return log

    def _checked(self, features: np.ndarray) -> np.ndarray:
        if self._n_features is None:
            self._n_features = features.size
        if features.shape != (self._n_features,) or not features.size or not np.isfinite(features).all():
            raise ValueError(
                "`features` of LatentGroups must give a vector of finite numbers, of the same length for every episode "
                f"({self._n_features}), got {features!r}"
            )
        return features

    def _fit_if_due(self) -> None:
        if self.clusters is None:
            due = len(self._memory) >= self.min_episodes
        else:
            self._rollouts_since_fit += 1
            due = self.refit_every is not None and self._rollouts_since_fit >= self.refit_every
        if not due:
            return
        features = np.array([features for features, _ in self._memory])
        self._rollouts_since_fit = 0
        if self.clusters is not None:
            self.clusters, self.silhouette = refit(features, self.clusters, self._rng)
            return
        if self.n_groups is not None:
            self.clusters, self.silhouette = fit(features, self.n_groups, self._rng)
            return
        min_size = self.min_size if self.min_size >= 1 else self.min_size * len(features)
        self.clusters, self.silhouette = choose(features, self.max_groups, min_size, self.min_silhouette, self._rng)


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


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _check_integer(key: str, value: Any, least: int, optional: bool = False) -> None:
    if not (optional and value is None) and not (_is_integer(value) and value >= least):
        raise ValueError(f"`{key}` must be an integer, at least {least}{', or None' if optional else ''}, got {value!r}")
