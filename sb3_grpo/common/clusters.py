"""Clusters of episodes: how many there are, where, and which is which after a new fit.

scikit-learn, slow to import, is imported where it is used.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

#: Silhouettes are computed on this many episodes: their cost grows with the square
SILHOUETTE_SAMPLE = 500


#: A further cluster must lower the inertia by this share of what the one before did. Three equally distant clusters of equal
#: size give 1/3; rewards of two groups that succeed with probability .9 and .3, 16 answers each, give 0.2
ELBOW_DROP = 0.3


class Clusters(NamedTuple):
    """Centres of k clusters. An episode belongs to the nearest, with features measured in units of ``scale``."""

    centers: np.ndarray  # (k, F)
    scale: np.ndarray  # (F,)

    def nearest(self, features: np.ndarray) -> np.ndarray:
        """
        :param features: Features of M episodes, (M, F)
        :return: Number of the nearest centre of each, (M,) int64
        """
        return cdist(features / self.scale, self.centers / self.scale).argmin(axis=1).astype(np.int64)


def fit(features: np.ndarray, n_clusters: int, rng: np.random.Generator) -> tuple[Clusters, float]:
    """
    Cluster episodes by mini-batch k-means on standardised features. Clusters are numbered by the first feature of their
    centres, the lowest first, so that neither the order of episodes nor chance numbers them.

    :param features: Features of M episodes, (M, F)
    :param n_clusters: Number of clusters, at most M
    :param rng: Where seeds come from
    :return: The clusters and their silhouette
    """
    from sklearn.cluster import MiniBatchKMeans

    mean, scale = _standardisation(features)
    means = MiniBatchKMeans(n_clusters, n_init=10, random_state=int(rng.integers(2**31)))
    centers = means.fit((features - mean) / scale).cluster_centers_
    clusters = Clusters(centers[centers[:, 0].argsort()] * scale + mean, scale)
    return clusters, silhouette(features, clusters, rng)


def choose(
    features: np.ndarray, max_clusters: int, min_size: float, min_silhouette: float, rng: np.random.Generator
) -> tuple[Clusters, float]:
    """
    Choose the number of clusters by silhouette (P. J. Rousseeuw, "Silhouettes", 1987).

    :param features: Features of M episodes, (M, F)
    :param max_clusters: Largest number of clusters
    :param min_size: Least number of episodes in each cluster
    :param min_silhouette: Least silhouette
    :param rng: Where seeds come from
    :return: From 2 to ``max_clusters`` clusters of at least that size with the highest silhouette, and the silhouette; one
        cluster and NaN if there are none, or theirs is lower than it must be
    """
    fits = candidates(features, max_clusters, rng)
    good = [(clusters, score) for clusters, score, smallest in fits if smallest >= min_size and score >= min_silhouette]
    return max(good, key=lambda candidate: candidate[1]) if good else fit(features, 1, rng)


def candidates(features: np.ndarray, max_clusters: int, rng: np.random.Generator) -> list[tuple[Clusters, float, int]]:
    """
    :param features: Features of M episodes, (M, F)
    :param max_clusters: Largest number of clusters
    :param rng: Where seeds come from
    :return: From 2 to ``max_clusters`` clusters, fewer than episodes: the clusters, their silhouette, and the size of the
        smallest
    """
    fits = []
    for n_clusters in range(2, min(max_clusters, len(features) - 1) + 1):
        clusters, score = fit(features, n_clusters, rng)
        fits.append((clusters, score, int(np.bincount(clusters.nearest(features), minlength=n_clusters).min())))
    return fits


def elbow(features: np.ndarray, max_clusters: int, rng: np.random.Generator) -> tuple[Clusters, float]:
    """
    Choose the number of clusters by the elbow of the inertia (the sum of squared distances to the nearest centre): one more as
    long as it lowers the inertia by at least :data:`ELBOW_DROP` times what the one before did. It never finds one cluster,
    unless all units are alike.

    :param features: Features of M units, (M, F)
    :param max_clusters: Largest number of clusters
    :param rng: Where seeds come from
    :return: The clusters, and their silhouette
    """
    fits = [fit(features, 1, rng)]
    inertias = [inertia(features, fits[0][0])]
    distinct = len(np.unique(features, axis=0))
    for n_clusters in range(2, min(max_clusters, distinct) + 1):
        fits.append(fit(features, n_clusters, rng))
        inertias.append(inertia(features, fits[-1][0]))
        drops = -np.diff(inertias)
        if n_clusters > 2 and drops[-1] < ELBOW_DROP * drops[-2]:
            return fits[-2]
    return fits[-1]


def inertia(features: np.ndarray, clusters: Clusters) -> float:
    """
    :param features: Features of M units, (M, F)
    :param clusters: The clusters
    :return: Sum of the squared distances to the nearest centre, in units of the clusters' scale
    """
    distances = cdist(features / clusters.scale, clusters.centers / clusters.scale, "sqeuclidean")
    return float(distances.min(axis=1).sum())


def refit(features: np.ndarray, old: Clusters, rng: np.random.Generator) -> tuple[Clusters, float]:
    """
    Fit clusters to newer episodes, beginning with the old centres. A cluster without episodes keeps its centre.

    :param features: Features of M episodes, (M, F)
    :param old: The clusters so far
    :param rng: Where seeds come from
    :return: As many clusters, with the ids of those they come from (:func:`matched`), and their silhouette
    """
    from sklearn.cluster import MiniBatchKMeans

    mean, scale = _standardisation(features)
    means = MiniBatchKMeans(
        len(old.centers),
        init=(old.centers - mean) / scale,
        n_init=1,
        reassignment_ratio=0.0,
        random_state=int(rng.integers(2**31)),
    )
    centers = means.fit((features - mean) / scale).cluster_centers_ * scale + mean
    clusters = matched(features, old, Clusters(centers, scale))
    return clusters, silhouette(features, clusters, rng)


def matched(features: np.ndarray, old: Clusters, new: Clusters) -> Clusters:
    """
    Order new clusters such that cluster k shares its episodes with old cluster k (:func:`most_shared`); among equals the
    closest centres are matched.

    :param features: Features of M episodes, (M, F)
    :param old: Old clusters
    :param new: As many new ones
    :return: The new clusters in that order
    """
    distance = cdist(old.centers / new.scale, new.centers / new.scale)
    order = most_shared(old.nearest(features), new.nearest(features), distance)
    return Clusters(new.centers[order], new.scale)


def most_shared(old: np.ndarray, new: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """
    The one-to-one assignment (Hungarian algorithm) of new clusters to old ones with the most shared episodes.

    :param old: Old cluster of each episode, (M,)
    :param new: New cluster of each, (M,)
    :param distance: Between old and new clusters, which decides among equals, (k, k)
    :return: Number of the new cluster that takes the place of each old one, (k,)
    """
    shared = np.zeros(distance.shape)
    np.add.at(shared, (old, new), 1.0)
    # All distances together count less than one episode
    closeness = 1.0 - distance / (distance.max() or 1.0)
    return linear_sum_assignment(shared + closeness / (len(distance) + 1), maximize=True)[1]


def silhouette(features: np.ndarray, clusters: Clusters, rng: np.random.Generator) -> float:
    """
    :param features: Features of M episodes, (M, F)
    :param clusters: The clusters
    :param rng: Draws the episodes to look at if there are many
    :return: Mean silhouette, from -1 to 1; NaN unless at least two clusters, and one episode more, are there
    """
    from sklearn.metrics import silhouette_score

    chosen = np.sort(rng.permutation(len(features))[:SILHOUETTE_SAMPLE])
    labels = clusters.nearest(features[chosen])
    if not 2 <= len(np.unique(labels)) < len(labels):
        return float("nan")
    return float(silhouette_score(features[chosen] / clusters.scale, labels))


def _standardisation(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)  # the scale of a constant feature is 1
    return scaler.mean_, scaler.scale_
