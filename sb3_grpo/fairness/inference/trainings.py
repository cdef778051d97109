"""Several trainings of an algorithm: interquartile mean, probability of improvement, and where the uncertainty comes from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from sb3_grpo.fairness.inference.results import TRAINING_SEED, Interval, check_confidence
from sb3_grpo.fairness.metrics import FloatArray

_PERCENTILE = "stratified percentile bootstrap"


@dataclass(frozen=True)
class UncertaintySplit:
    """How much trainings differ, and how much episodes of one training differ.

    :param mean: mean over trainings; its interval is Student's t over trainings
    :param epistemic: standard deviation between trainings, of what each would score over infinitely many episodes
    :param aleatoric: standard deviation between episodes within a training
    :param epistemic_share: epistemic variance / (epistemic + aleatoric variance); NaN if both are 0
    :param truncated: whether the estimated variance between trainings was negative and counts as 0
    :param n_seeds: number of trainings
    :param n_episodes: number of episodes of each
    """

    mean: Interval
    epistemic: float
    aleatoric: float
    epistemic_share: float
    truncated: bool
    n_seeds: int
    n_episodes: int


def interquartile_mean(
    scores: npt.ArrayLike, rng: np.random.Generator, n_resamples: int = 9999, confidence: float = 0.95
) -> Interval:
    """Mean of the middle half of all scores (R. Agarwal and others, "Deep reinforcement learning at the edge of the
    statistical precipice", NeurIPS 2021), with an interval from resampling trainings within each hospital.

    With five trainings the bootstrap knows 126 different samples of a hospital: its interval is coarse and rather narrow.

    :param scores: (seeds, hospitals) one number per training and hospital, or (seeds,)
    :param rng: source of the resamples
    :param n_resamples: number of resamples
    :param confidence: confidence level
    """
    table = _scores(scores, "scores")

    def statistic(samples: FloatArray) -> FloatArray:
        return np.asarray(stats.trim_mean(samples.reshape(len(samples), -1), 0.25, axis=1))

    value = float(statistic(table[None])[0])
    return _percentile(value, lambda: statistic(_resampled(table, n_resamples, rng)), len(table), n_resamples, confidence)


def probability_of_improvement(
    first: npt.ArrayLike, second: npt.ArrayLike, rng: np.random.Generator, n_resamples: int = 9999, confidence: float = 0.95
) -> Interval:
    """Probability that a training of the first algorithm beats one of the second, ties half, averaged over hospitals.

    :param first: (seeds, hospitals) or (seeds,), larger is better
    :param second: (seeds', hospitals) or (seeds',)
    :param rng: source of the resamples, of both algorithms' trainings within each hospital
    :param n_resamples: number of resamples
    :param confidence: confidence level
    """
    x, y = _scores(first, "first"), _scores(second, "second")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"second: got {y.shape[1]} hospitals, expected {x.shape[1]} as in first")

    def statistic(ours: FloatArray, theirs: FloatArray) -> FloatArray:
        difference = ours[:, :, None, :] - theirs[:, None, :, :]
        return (0.5 * (1 + np.sign(difference))).mean(axis=(1, 2, 3))

    def resampled() -> FloatArray:
        return statistic(_resampled(x, n_resamples, rng), _resampled(y, n_resamples, rng))

    value = float(statistic(x[None], y[None])[0])
    return _percentile(value, resampled, min(len(x), len(y)), n_resamples, confidence)


def split_uncertainty(values: npt.ArrayLike, common_episodes: bool = True, confidence: float = 0.95) -> UncertaintySplit:
    """Variance between trainings (epistemic) and between episodes within one (aleatoric), by analysis of variance.

    One-way random effects: values = mean + training + rest; the variance between trainings is (mean square between - mean
    square within) / episodes. Where every training met the same episodes, an episode's own effect is common to all: it does
    not enter differences between trainings, so the mean square of the interaction takes the place of that within. A negative
    estimate counts as 0 and is marked.

    :param values: (seeds, episodes) one number per training and episode; for rates :func:`linearised_rates`
    :param common_episodes: whether column e is the same episode for every training
    :param confidence: of the mean's interval
    :raises ValueError: with fewer than two trainings or episodes
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise ValueError(f"values: got shape {table.shape}, expected finite numbers for (seeds >= 2, episodes >= 2)")
    check_confidence(confidence)
    n_seeds, n_episodes = table.shape
    by_seed = table.mean(axis=1)
    between = n_episodes * by_seed.var(ddof=1)
    within = table.var(axis=1, ddof=1).mean()
    rest = within
    if common_episodes:
        interaction = table - by_seed[:, None] - table.mean(axis=0) + table.mean()
        rest = (interaction**2).sum() / ((n_seeds - 1) * (n_episodes - 1))
    estimate = (between - rest) / n_episodes
    epistemic, aleatoric = max(float(estimate), 0.0), float(within)
    mean, half = float(by_seed.mean()), float(stats.t.ppf((1 + confidence) / 2, n_seeds - 1) * stats.sem(by_seed))
    total = epistemic + aleatoric
    return UncertaintySplit(
        mean=Interval(mean, mean - half, mean + half, TRAINING_SEED, n_seeds, "t", confidence),
        epistemic=float(np.sqrt(epistemic)),
        aleatoric=float(np.sqrt(aleatoric)),
        epistemic_share=epistemic / total if total > 0 else float("nan"),
        truncated=bool(estimate < 0),
        n_seeds=n_seeds,
        n_episodes=n_episodes,
    )


def _scores(scores: npt.ArrayLike, key: str) -> FloatArray:
    table = np.asarray(scores, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise ValueError(f"{key}: got shape {np.shape(scores)}, expected finite numbers for (seeds >= 1, hospitals >= 1)")
    return table


def _resampled(table: FloatArray, n_resamples: int, rng: np.random.Generator) -> FloatArray:
    """Trainings drawn with replacement within each hospital: (R, seeds, hospitals)."""
    rows = rng.integers(len(table), size=(n_resamples, *table.shape))
    return table[rows, np.arange(table.shape[1])]


def _percentile(value: float, resampled: Callable[[], FloatArray], n: int, n_resamples: int, confidence: float) -> Interval:
    check_confidence(confidence)
    if n_resamples < 1:
        raise ValueError(f"n_resamples: got {n_resamples}, expected at least 1")
    if n < 2:
        return Interval(value, np.nan, np.nan, TRAINING_SEED, n, "none", confidence)
    low, high = np.quantile(resampled(), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high), TRAINING_SEED, n, _PERCENTILE, confidence)
