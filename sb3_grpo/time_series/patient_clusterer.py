"""Groups of patients that are alike in what a policy sees of them."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_grpo.common.checks import check_whole, is_number
from sb3_grpo.common.clusters import Clusters, candidates, fit, most_shared, refit
from sb3_grpo.common.frozen_policy import freeze, thaw
from sb3_grpo.common.group_attributes import GroupAttribute
from sb3_grpo.time_series.embedding import embed


class PatientClusterer:
    """
    Clusters patients by k-means on standardised embeddings, such as those of :func:`~sb3_grpo.time_series.embed`. The first
    fit numbers the clusters and, without ``n_groups``, chooses how many there are: the highest silhouette. Later fits of the
    same object keep that number, and each new cluster takes the id of the old one that it shares most patients with.

    An embedding in which nothing is grouped has clusters too. Without groups, four or more features reach a silhouette of
    0.35: look at :attr:`silhouettes_` before you believe in any. And clusters are groups of patients who look alike to the
    policy, not demographic groups: compare them with known ones (:meth:`agreement`).

    :param n_groups: Number of clusters; None: chosen from 2 to ``max_groups``
    :param max_groups: Largest number of clusters to choose, at least 2
    :param min_size: Least share of the patients in each cluster when their number is chosen, in [0, 0.5]
    :param seed: Seed of the fits: the same data and ids before give the same clusters
    :raises ValueError: If an argument is not what it must be
    """

    def __init__(self, n_groups: int | None = None, max_groups: int = 20, min_size: float = 0.02, seed: int = 0):
        if n_groups is not None:
            check_whole("n_groups", n_groups, 1)
        check_whole("max_groups", max_groups, 2)
        check_whole("seed", seed, 0)
        if not (is_number(min_size) and 0 <= min_size <= 0.5):
            raise ValueError(f"min_size: got {min_size!r}, expected a share of the patients from 0 to 0.5")
        self.n_groups = n_groups
        self.max_groups = max_groups
        self.min_size = min_size
        self.seed = seed
        #: The clusters, None before the first fit
        self.clusters_: Clusters | None = None
        #: Cluster of each patient of the newest fit, (n,)
        self.labels_ = np.empty(0, dtype=np.int64)
        #: Silhouette by number of clusters, from -1 to 1: of all numbers tried in the first fit, of the newest fit
        self.silhouettes_: dict[int, float] = {}
        self._known: dict[Any, int] = {}  # cluster of each patient whose id was told

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups, ``"cluster 0"`` and so on."""
        return tuple(f"cluster {group}" for group in range(len(self._fitted().centers)))

    def fit(self, embeddings: Any, patients: Sequence[Any] | None = None) -> "PatientClusterer":
        """
        Cluster, or cluster again. If the *embedding* has changed, because the policy has learned, old and new centres cannot
        be compared; then ids can only be kept for patients who are recognised, so tell who they are both times.

        :param embeddings: Embeddings, (n, d)
        :param patients: Who they are, n hashable ids; None: patients are recognised by their embedding
        :return: The clusterer
        :raises ValueError: If embeddings are not finite numbers, too few, or of another length than before without
            ``patients``; or nobody in ``patients`` was in an earlier fit
        """
        features = self._checked(embeddings)
        if patients is not None and len(patients) != len(features):
            raise ValueError(f"patients: got {len(patients)} ids, expected one for each of the {len(features)} embeddings")
        rng = np.random.default_rng(self.seed)
        if self.clusters_ is None:
            self.clusters_ = self._first(features, rng)
        elif patients is None:
            self._check_length(features)
            self.clusters_, score = refit(features, self.clusters_, rng)
            self.silhouettes_[len(self.clusters_.centers)] = score
        else:
            self.clusters_ = self._recognised(features, patients, rng)
        self.labels_ = self.clusters_.nearest(features)
        if patients is not None:
            self._known.update(zip(patients, self.labels_.tolist(), strict=True))
        return self

    def predict(self, embeddings: Any) -> np.ndarray:
        """
        :param embeddings: Embeddings, (n, d)
        :return: Cluster of each, (n,) int64
        :raises ValueError: If there was no fit, or the embeddings have another length
        """
        clusters, features = self._fitted(), self._checked(embeddings)
        self._check_length(features)
        return clusters.nearest(features)

    def fit_predict(self, embeddings: Any, patients: Sequence[Any] | None = None) -> np.ndarray:
        """
        :param embeddings: Embeddings, (n, d)
        :param patients: Who they are, see :meth:`fit`
        :return: Cluster of each, (n,) int64
        """
        return self.fit(embeddings, patients).labels_

    def agreement(self, embeddings: Any, known: Any) -> float:
        """
        Adjusted Rand index of the clusters and known groups (https://doi.org/10.1007/BF01908075).

        :param embeddings: Embeddings, (n, d)
        :param known: Known group of each patient, (n,) integers, -1 for unknown: such patients are left out
        :return: 1 if they agree, 0 as by chance
        :raises ValueError: If fewer than two patients have a known group, or the lengths differ
        """
        from sklearn.metrics import adjusted_rand_score

        labels, known = self.predict(embeddings), np.asarray(known)
        if known.shape != labels.shape or known.dtype.kind not in "iu" or np.count_nonzero(known >= 0) < 2:
            raise ValueError(f"known: got {known!r}, expected {len(labels)} group ids, at least two of them known")
        return float(adjusted_rand_score(known[known >= 0], labels[known >= 0]))

    def _first(self, features: np.ndarray, rng: np.random.Generator) -> Clusters:
        n_groups = 2 if self.n_groups is None else self.n_groups
        if len(features) <= n_groups:
            raise ValueError(f"embeddings: got {len(features)}, expected more than the {n_groups} clusters")
        if self.n_groups is not None:
            clusters, score = fit(features, self.n_groups, rng)
            self.silhouettes_ = {self.n_groups: score}
            return clusters
        fits = candidates(features, self.max_groups, rng)
        self.silhouettes_ = {len(clusters.centers): score for clusters, score, _ in fits}
        large = [(score, clusters) for clusters, score, smallest in fits if smallest >= self.min_size * len(features)]
        large = [(score, clusters) for score, clusters in large if score == score]
        if not large:
            raise ValueError(
                f"min_size: no number of clusters from 2 to {self.max_groups} has a share of {self.min_size} of the "
                f"{len(features)} patients in each; lower it, or give n_groups"
            )
        return max(large, key=lambda entry: entry[0])[1]

    def _recognised(self, features: np.ndarray, patients: Sequence[Any], rng: np.random.Generator) -> Clusters:
        """New clusters of a new embedding, with the ids that most of their patients had."""
        n_groups = len(self._fitted().centers)
        seen = [place for place, patient in enumerate(patients) if patient in self._known]
        if not seen:
            raise ValueError("patients: nobody among them was in an earlier fit, expected some, so that ids can be kept")
        new, score = fit(features, n_groups, rng)
        self.silhouettes_ = {n_groups: score}
        before = np.array([self._known[patients[place]] for place in seen])
        order = most_shared(before, new.nearest(features[seen]), np.zeros((n_groups, n_groups)))
        return Clusters(new.centers[order], new.scale)

    def _fitted(self) -> Clusters:
        if self.clusters_ is None:
            raise ValueError("PatientClusterer: got no fit so far, expected fit(embeddings) first")
        return self.clusters_

    def _checked(self, embeddings: Any) -> np.ndarray:
        features = np.asarray(embeddings, dtype=np.float64)
        if features.ndim != 2 or not features.size or not np.isfinite(features).all():
            raise ValueError(f"embeddings: got the shape {features.shape}, expected (n, d) finite numbers")
        return features

    def _check_length(self, features: np.ndarray) -> None:
        length = self._fitted().centers.shape[1]
        if features.shape[1] != length:
            raise ValueError(f"embeddings: got {features.shape[1]} numbers for each patient, expected {length} as before")


class ClusterAttribute(GroupAttribute):
    """
    The cluster of what a policy sees, as a group for :class:`~sb3_grpo.GroupAssignment`. With ``per="episode"`` that is what
    it sees at the reset: an environment that shows little then has little to tell patients apart by. Policy and clusters are
    kept as they are now: whoever learns on or fits again changes no group.

    :param model: The algorithm whose embedding was clustered
    :param clusterer: The clusters
    """

    def __init__(self, model: BaseAlgorithm, clusterer: PatientClusterer):
        self.policy = thaw(freeze(model.policy), th.device("cpu"))
        self.clusterer = copy.copy(clusterer)
        self.names = clusterer.names

    def __call__(self, observation: Any, action: Any, info: dict[str, Any], episode: int) -> int:
        return int(self.clusterer.predict(embed(self.policy, observation))[0])
