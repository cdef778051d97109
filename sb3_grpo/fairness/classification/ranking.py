"""Area under the ROC curve, and average precision, for many samples of the same cases at once."""

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.classification.counts import FloatArray
from sb3_grpo.fairness.metrics import ratio


def area_under_curve(positive: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> FloatArray:
    """
    Probability that a random case with the condition has a higher score than one without; ties count half.

    :param positive: (N,) whether each case has the condition
    :param score: (N,) the higher, the more likely
    :param weights: (R, N) how often each case occurs in each of R samples; None: once, in one
    :return: (R,); NaN where a sample lacks one of the two
    """
    has, scores = np.asarray(positive, dtype=np.bool_), np.asarray(score)
    times = np.ones((1, len(has))) if weights is None else np.atleast_2d(np.asarray(weights, dtype=np.float64))
    order = np.argsort(scores, kind="stable")
    ranked, has = scores[order], has[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))  # of each run of equal scores
    with_condition = np.add.reduceat(times[:, order] * has, starts, axis=1)
    without = np.add.reduceat(times[:, order] * ~has, starts, axis=1)
    below = np.cumsum(without, axis=1) - 0.5 * without
    return ratio((with_condition * below).sum(axis=1), with_condition.sum(axis=1) * without.sum(axis=1))


def average_precision(positive: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> FloatArray:
    """
    Area under the curve of precision over recall, without interpolation: the mean, over the cases with the condition, of the
    share of cases with the condition among those with at least the same score.

    :param positive: (N,) whether each case has the condition
    :param score: (N,) the higher, the more likely
    :param weights: (R, N) how often each case occurs in each of R samples; None: once, in one
    :return: (R,); NaN where a sample has none with the condition
    """
    has, scores = np.asarray(positive, dtype=np.bool_), np.asarray(score)
    times = np.ones((1, len(has))) if weights is None else np.atleast_2d(np.asarray(weights, dtype=np.float64))
    order = np.argsort(-scores, kind="stable")
    ranked, has = scores[order], has[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))  # of each run of equal scores
    with_condition = np.add.reduceat(times[:, order] * has, starts, axis=1)
    everybody = np.add.reduceat(times[:, order], starts, axis=1)
    precision = ratio(np.cumsum(with_condition, axis=1), np.cumsum(everybody, axis=1))
    return ratio((with_condition * np.nan_to_num(precision)).sum(axis=1), with_condition.sum(axis=1))
