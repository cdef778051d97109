"""Clusters of units that go by while training: which are remembered, and when clusters are fitted."""

from typing import Any, Final

import numpy as np

from sb3_grpo.common.checks import is_number
from sb3_grpo.common.clusters import Clusters, choose, elbow, fit, refit

#: How the number of clusters is chosen
CHOICES: Final = ("silhouette", "elbow")


class RunningClusters:
    """
    Keeps the newest units (episodes, cases) as vectors, clusters them by k-means and refits the clusters now and then. Before
    the least number of units there are no clusters. Their number is chosen once, then kept; new clusters take the ids of the
    old ones that they share most units with.

    :param n_groups: Number of clusters; None: chosen between 1 and ``max_groups``
    :param max_groups: Largest number of clusters to choose
    :param least: Name, for messages, and value of the number of units before the first fit
    :param min_size: Least size of a cluster when their number is chosen: a share of the units (float below 1) or a number
    :param min_silhouette: Least silhouette, from -1 to 1, that counts as more than one group
    :param refit_every: Rollouts between fits; None: fit once
    :param memory: Number of newest units that are kept
    :param seed: Seed of the fits; nothing else draws from it
    :param choice: ``"silhouette"`` or ``"elbow"``, which does not look at ``min_size`` and ``min_silhouette``
    :raises ValueError: If an argument is not what it must be
    """

    def __init__(
        self,
        n_groups: int | None,
        max_groups: int,
        least: tuple[str, int],
        min_size: float,
        min_silhouette: float,
        refit_every: int | None,
        memory: int,
        seed: int,
        choice: str = "silhouette",
    ):
        _check_integer("n_groups", n_groups, 1, optional=True)
        _check_integer("max_groups", max_groups, 2)
        _check_integer(*least, max(2, n_groups or 0))
        _check_integer("refit_every", refit_every, 1, optional=True)
        _check_integer("memory", memory, least[1])
        _check_integer("seed", seed, 0)
        is_share = isinstance(min_size, (float, np.floating)) and 0 < min_size < 1
        if not is_share and not (_is_integer(min_size) and min_size >= 1):
            raise ValueError(f"`min_size` must be a share between 0 and 1, or an integer, at least 1, got {min_size!r}")
        if not (is_number(min_silhouette) and -1 <= min_silhouette <= 1):
            raise ValueError(f"`min_silhouette` must be in [-1, 1], got {min_silhouette!r}")
        if choice not in CHOICES:
            raise ValueError(f"`choice` must be one of {CHOICES}, got {choice!r}")
        self.n_groups = n_groups
        self.max_groups = max_groups
        self.min_size = min_size
        self.min_silhouette = min_silhouette
        self.refit_every = refit_every
        self.choice = choice
        #: The clusters, None before the first fit
        self.clusters: Clusters | None = None
        self.silhouette = float("nan")
        self._least, self._memory_size = least[1], memory
        self._rng = np.random.default_rng(seed)
        self._memory = np.empty((0, 0))  # features of the newest units, (M, F)
        self._labels = np.empty(0, dtype=np.int64)  # their known labels, -1 for none
        self._n_features: int | None = None
        self._rollouts_since_fit = 0

    def remember(self, features: np.ndarray, labels: np.ndarray) -> None:
        """
        :param features: Features of new units, the newest last, (m, F)
        :param labels: Their known labels, (m,), -1 for none
        """
        kept = features if not len(self._memory) else np.concatenate([self._memory, features])
        self._memory = kept[-self._memory_size :]
        self._labels = np.concatenate([self._labels, labels])[-self._memory_size :]

    def checked(self, features: np.ndarray) -> np.ndarray:
        """
        :param features: Features of one unit
        :return: The same, (F,)
        :raises ValueError: If they are not finite, or not as many as those of other units
        """
        if self._n_features is None:
            self._n_features = features.size
        if features.shape != (self._n_features,) or not features.size or not np.isfinite(features).all():
            raise ValueError(
                f"`features` of {type(self).__name__} must give a vector of finite numbers, of the same length every time "
                f"({self._n_features}), got {features!r}"
            )
        return features

    def fit_if_due(self) -> None:
        """Comes once per rollout, when its units are remembered."""
        if self.clusters is None:
            due = len(self._memory) >= self._least
        else:
            self._rollouts_since_fit += 1
            due = self.refit_every is not None and self._rollouts_since_fit >= self.refit_every
        if not due:
            return
        features, self._rollouts_since_fit = self._memory, 0
        if self.clusters is not None:
            self.clusters, self.silhouette = refit(features, self.clusters, self._rng)
        elif self.n_groups is not None:
            self.clusters, self.silhouette = fit(features, self.n_groups, self._rng)
        elif self.choice == "elbow":
            self.clusters, self.silhouette = elbow(features, self.max_groups, self._rng)
        else:
            min_size = self.min_size if self.min_size >= 1 else self.min_size * len(features)
            self.clusters, self.silhouette = choose(features, self.max_groups, min_size, self.min_silhouette, self._rng)

    def log(self) -> dict[str, float]:
        """
        ====================  ================================================================================================
        ``group/clusters``    number of clusters; 0 before the first fit
        ``group/silhouette``  mean silhouette of the newest fit, from -1 to 1; absent with one cluster
        ``group/ari``         adjusted Rand index of the clusters and the known labels, over the units in memory that have
                              one: 1 if they agree, 0 as by chance; absent if there are fewer than two
        ====================  ================================================================================================

        The label of an episode is the one group that its environment told during all of it.

        :return: Values by key
        """
        log = {"group/clusters": 0.0 if self.clusters is None else float(len(self.clusters.centers))}
        if not np.isnan(self.silhouette):
            log["group/silhouette"] = self.silhouette
        labelled = self._labels >= 0
        if self.clusters is not None and np.count_nonzero(labelled) > 1:
            from sklearn.metrics import adjusted_rand_score

            groups = self.clusters.nearest(self._memory[labelled])
            log["group/ari"] = float(adjusted_rand_score(self._labels[labelled], groups))
        return log


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _check_integer(key: str, value: Any, least: int, optional: bool = False) -> None:
    if not (optional and value is None) and not (_is_integer(value) and value >= least):
        raise ValueError(f"`{key}` must be an integer, at least {least}{', or None' if optional else ''}, got {value!r}")
