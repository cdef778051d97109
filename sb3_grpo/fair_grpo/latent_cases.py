"""Groups of cases where nobody labelled any."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from sb3_grpo.common.running_clusters import RunningClusters

#: What a case is described by
DESCRIPTIONS: Final = ("rewards", "features", "both")


class LatentCases(RunningClusters):
    """
    Groups of cases, discovered while training: FairGRPO's argument ``latent_groups``. Cases are described by the rewards of
    their answers, by what the policy sees of them, or both, and clustered by k-means.

    Clusters of *rewards* are bins of difficulty under the present policy, not demographic groups: two groups of people that
    fare alike are one bin, and a case can change its bin when the policy learns. Whether clusters of features are groups of
    people depends on the features. Where an environment tells true groups, ``group/ari`` compares both.

    Before ``min_cases`` cases have been answered there are no groups. The number of clusters is chosen once, then kept. Every
    ``refit_every`` rollouts the clusters are fitted again to the newest ``memory`` cases, beginning with the old centres; new
    clusters take the ids of the old ones that they share most cases with.

    :param n_groups: Number of clusters; None: chosen by ``choice``
    :param max_groups: Largest number of clusters to choose, at least 2
    :param description: ``"rewards"``: the rewards of the R answers, sorted, for their order means nothing (the published code
        does not sort them); ``"features"``: the observation; ``"both"``; or a function of observations, (C, D), and rewards,
        (C, R), that returns vectors, (C, F). Observations as the policy sees them, flattened in C order. Each entry is divided
        by its standard deviation
    :param choice: How the number of clusters is chosen: ``"elbow"``, one more as long as it lowers the sum of squared
        distances by at least 0.3 times what the one before did (never one cluster), or ``"silhouette"``, the highest among
        those whose clusters all have ``min_size``. Rewards that are few different numbers, such as right and wrong, mislead
        the silhouette: every number looks like a cluster
    :param min_cases: Cases before the first fit, at least 2
    :param min_size: With ``choice="silhouette"``: least size of a cluster, a share of the cases (float below 1) or a number
    :param min_silhouette: With ``choice="silhouette"``: least silhouette, from -1 to 1, that counts as more than one group
    :param refit_every: Rollouts between fits; None: fit once
    :param memory: Number of newest cases that are kept, at least ``min_cases``
    :param seed: Seed of the fits; nothing else draws from it
    :raises ValueError: If an argument is not what it must be; in use if descriptions are not
    """

    def __init__(
        self,
        n_groups: int | None = None,
        max_groups: int = 8,
        description: str | Callable[[np.ndarray, np.ndarray], Any] = "rewards",
        choice: str = "elbow",
        min_cases: int = 200,
        min_size: float = 0.05,
        min_silhouette: float = 0.5,
        refit_every: int | None = 10,
        memory: int = 2000,
        seed: int = 0,
    ):
        if not (callable(description) or description in DESCRIPTIONS):
            raise ValueError(f"`description` must be one of {DESCRIPTIONS} or a function, got {description!r}")
        super().__init__(
            n_groups=n_groups,
            max_groups=max_groups,
            least=("min_cases", min_cases),
            min_size=min_size,
            min_silhouette=min_silhouette,
            refit_every=refit_every,
            memory=memory,
            seed=seed,
            choice=choice,
        )
        self.description = description

    def label(self, observations: np.ndarray, rewards: np.ndarray, known: np.ndarray) -> np.ndarray:
        """
        Remember the cases of a rollout, fit clusters if it is time, and tell the cases' groups.

        :param observations: What the policy saw of each case, (C, D)
        :param rewards: Rewards of its answers, (C, R)
        :param known: Its true group, (C,), -1 for none; only compared with the clusters
        :return: Id of its cluster, (C,) int64; -1 before the first fit
        :raises ValueError: If descriptions are not finite, or not one vector for each case, of the same length every time
        """
        described = self._describe(observations, rewards)
        self.remember(described, known)
        self.fit_if_due()
        if self.clusters is None:
            return np.full(len(rewards), -1, dtype=np.int64)
        return self.clusters.nearest(described)

    def _describe(self, observations: np.ndarray, rewards: np.ndarray) -> np.ndarray:
        if callable(self.description):
            described = np.asarray(self.description(observations, rewards), dtype=np.float64)
        else:
            parts = {"rewards": [np.sort(rewards, axis=1)], "features": [observations]}
            parts["both"] = [*parts["rewards"], *parts["features"]]
            described = np.hstack(parts[self.description]).astype(np.float64)
        expected = described.shape[1:] if self._n_features is None else (self._n_features,)
        if described.ndim != 2 or described.shape != (len(rewards), *expected) or not np.isfinite(described).all():
            raise ValueError(
                "`description` of LatentCases must give a vector of finite numbers, of one length every time, for each of "
                f"the {len(rewards)} cases, got shape {described.shape}"
            )
        self._n_features = described.shape[1]
        return described
