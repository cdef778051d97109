"""How outcomes of two groups differ at equal covariates: standardisation (g-formula) and a doubly robust estimate.

Elderly patients may fare worse because they are elderly, or because more of them arrive in a worse state. Standardisation
predicts every patient's outcome as a member of either group and averages over all patients (J. Robins, "A new approach to
causal inference in mortality studies", Mathematical Modelling 7, 1986). The doubly robust estimate adds to the predictions
their errors, weighted by the inverse probability of belonging to the group (augmented inverse probability weighting: J. M.
Robins, A. Rotnitzky and L. P. Zhao, JASA 89, 1994); it is right if either model is. Intervals sum each patient's influence by
episode (sandwich), so that patients of one episode may depend on each other as they like.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from sb3_grpo.fairness.inference.outcome_models import FitError, fit_outcome, fit_propensity
from sb3_grpo.fairness.inference.overlap import Overlap, overlap_of
from sb3_grpo.fairness.inference.results import EPISODE, Interval, check_confidence
from sb3_grpo.fairness.metrics import FloatArray

ESTIMATORS: Final = ("aipw", "g-formula", "cells")
"""Doubly robust; regression standardised over all patients; means of cells of equal covariates standardised likewise."""

ASSUMPTIONS: Final = (
    "This is the difference between the groups among patients alike in the listed covariates, averaged over all patients. It "
    "is an effect of belonging to the group only if everything that drives both group and outcome is listed, nothing listed "
    "is itself a consequence of how the group is treated (waits, beds), and both groups occur at all values of the "
    "covariates. Data cannot show the first two."
)


@dataclass(frozen=True)
class AdjustedEffect:
    """Difference in mean outcome, first group - second group.

    :param unadjusted: difference of the groups' means
    :param adjusted: difference at equal covariates; "none" where it is refused for want of overlap
    :param estimator: one of :data:`ESTIMATORS`
    :param overlap: how far the groups can be compared
    :param n_patients: number of patients; the intervals' unit is the episode
    :param assumptions: under what this is more than a description
    """

    unadjusted: Interval
    adjusted: Interval
    estimator: str
    overlap: Overlap
    n_patients: int
    assumptions: str = ASSUMPTIONS


def covariate_table(columns: Mapping[str, npt.ArrayLike]) -> FloatArray:
    """Covariates as numbers: categories (anything but floats) as 0/1 columns without the first, numbers standardised.

    :param columns: per covariate (N,) values
    :return: (N, k)
    """
    parts: list[FloatArray] = []
    for name, column in columns.items():
        values = np.asarray(column)
        if values.ndim != 1:
            raise ValueError(f"{name}: got shape {values.shape}, expected (patients,)")
        if np.issubdtype(values.dtype, np.floating):
            if not np.isfinite(values).all():
                raise ValueError(f"{name}: got values that are not finite, expected a number for every patient")
            spread = float(values.std())
            parts.append((values[:, None] - values.mean()) / (spread if spread > 0 else 1.0))
        else:
            levels = np.unique(values)
            parts.append((values[:, None] == levels[1:]).astype(np.float64))
    if not parts:
        raise ValueError("columns: got none, expected at least one covariate")
    return np.concatenate(parts, axis=1)


def adjusted_difference(
    outcome: npt.ArrayLike,
    first: npt.ArrayLike,
    covariates: npt.ArrayLike,
    episode: npt.ArrayLike,
    estimator: str = "aipw",
    folds: int = 1,
    rng: np.random.Generator | None = None,
    confidence: float = 0.95,
) -> AdjustedEffect:
    """Difference of an outcome between two groups at equal covariates.

    :param outcome: (N,) 0 or 1 (logistic regression), else any number (linear regression)
    :param first: (N,) whether the patient belongs to the first group (else to the second: leave out all others)
    :param covariates: (N, k) numbers, see :func:`covariate_table`; known at arrival, or they hide what is looked for
    :param episode: (N,) which episode the patient belongs to: the unit
    :param estimator: one of :data:`ESTIMATORS`
    :param folds: above 1, models are fitted on the episodes outside the patient's fold (cross-fitting; ``"aipw"`` only)
    :param rng: assigns episodes to folds; needed for folds
    :param confidence: confidence level
    :return: unadjusted and adjusted difference
    :raises ValueError: if shapes do not match, a group is empty or an option unknown
    """
    y, z, x, number = _inputs(outcome, first, covariates, episode, estimator, folds, rng)
    check_confidence(confidence)
    clusters = np.unique(number, return_inverse=True)[1]
    share = z.mean()
    plain = y[z].mean() - y[~z].mean()
    influence = np.where(z, (y - y[z].mean()) / share, -(y - y[~z].mean()) / (1 - share))
    unadjusted = _interval(float(plain), influence, clusters, "difference of means, sandwich", confidence)
    none = Interval(np.nan, np.nan, np.nan, EPISODE, unadjusted.n, "none", confidence)
    cells = np.unique(x, axis=0, return_inverse=True)[1].ravel() if estimator == "cells" else None
    try:
        propensity = fit_propensity(x, z)(x) if cells is None else cell_means(z.astype(np.float64), cells)
    except FitError as error:
        return AdjustedEffect(unadjusted, none, estimator, _refused(z, str(error)), len(y))
    overlap = overlap_of(propensity, z)
    if not overlap.sufficient:
        return AdjustedEffect(unadjusted, none, estimator, overlap, len(y))
    try:
        if cells is not None:
            values = _doubly_robust(y, z, propensity, *(_arm_cell_means(y, cells, arm) for arm in (z, ~z)))
        elif estimator == "aipw":
            values = _aipw(y, z, x, propensity, clusters, folds, rng)
        else:
            values = _standardised(y, z, x)
    except FitError as error:
        return AdjustedEffect(unadjusted, none, estimator, _refused(z, str(error)), len(y))
    mean = float(values.mean())
    method = f"{estimator}, {f'{folds} folds, ' if folds > 1 else ''}sandwich"
    return AdjustedEffect(unadjusted, _interval(mean, values - mean, clusters, method, confidence), estimator, overlap, len(y))


def cell_means(values: FloatArray, cells: npt.NDArray[np.intp]) -> FloatArray:
    """Mean of the values in each patient's cell.

    :param values: (N,)
    :param cells: (N,) number of each patient's cell
    """
    return (np.bincount(cells, weights=values) / np.bincount(cells))[cells]


def _arm_cell_means(y: FloatArray, cells: npt.NDArray[np.intp], arm: npt.NDArray[np.bool_]) -> FloatArray:
    """Mean outcome of one group in each patient's cell; where the group has nobody there (few: overlap), its overall mean."""
    n_cells = int(cells.max()) + 1
    size = np.bincount(cells[arm], minlength=n_cells)
    total = np.bincount(cells[arm], weights=y[arm], minlength=n_cells)
    return np.divide(total, size, out=np.full(n_cells, y[arm].mean()), where=size > 0)[cells]


def _doubly_robust(
    y: FloatArray, z: npt.NDArray[np.bool_], propensity: FloatArray, in_first: FloatArray, in_second: FloatArray
) -> FloatArray:
    """Each patient's contribution, (N,); their mean is the estimate."""
    residual = np.where(
        z, (y - in_first) / np.maximum(propensity, 1e-12), -(y - in_second) / np.maximum(1 - propensity, 1e-12)
    )
    return in_first - in_second + residual


def _aipw(
    y: FloatArray,
    z: npt.NDArray[np.bool_],
    x: FloatArray,
    propensity: FloatArray,
    clusters: npt.NDArray[np.intp],
    folds: int,
    rng: np.random.Generator | None,
) -> FloatArray:
    if folds == 1 or rng is None:
        return _doubly_robust(y, z, propensity, *(fit_outcome(x[arm], y[arm]).predict(x) for arm in (z, ~z)))
    fold = rng.permutation(np.arange(int(clusters.max()) + 1) % folds)
    values = np.empty(len(y))
    for k in range(folds):
        inside = fold[clusters] == k
        chance = fit_propensity(x[~inside], z[~inside])(x[inside])
        predicted = (fit_outcome(x[~inside & arm], y[~inside & arm]).predict(x[inside]) for arm in (z, ~z))
        values[inside] = _doubly_robust(y[inside], z[inside], chance, *predicted)
    return values


def _standardised(y: FloatArray, z: npt.NDArray[np.bool_], x: FloatArray) -> FloatArray:
    """Contributions whose mean is the g-formula's estimate and whose spread includes that of the fitted coefficients."""
    values = np.zeros(len(y))
    for arm, sign in ((z, 1.0), (~z, -1.0)):
        model = fit_outcome(x[arm], y[arm])
        values += sign * model.predict(x)
        # How the mean prediction moves with the coefficients, times what each patient's score says about them.
        slope = model.gradient(x).mean(axis=0)
        values[arm] += sign * model.scores(x[arm], y[arm]) @ (model.inverse_information @ slope) * len(y)
    return values


def _interval(value: float, influence: FloatArray, clusters: npt.NDArray[np.intp], method: str, confidence: float) -> Interval:
    """Student's t over episodes of the summed influence of each episode's patients."""
    sums = np.bincount(clusters, weights=influence)
    n = len(sums)
    if n < 2:
        return Interval(value, np.nan, np.nan, EPISODE, n, "none", confidence)
    error = np.sqrt(n / (n - 1) * (sums**2).sum()) / len(influence)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * error)
    return Interval(value, value - half, value + half, EPISODE, n, method, confidence)


def _refused(z: npt.NDArray[np.bool_], reason: str) -> Overlap:
    nan = float("nan")
    return Overlap(nan, nan, nan, nan, nan, int(z.sum()), int((~z).sum()), False, f"refused: {reason}")


def _inputs(
    outcome: npt.ArrayLike,
    first: npt.ArrayLike,
    covariates: npt.ArrayLike,
    episode: npt.ArrayLike,
    estimator: str,
    folds: int,
    rng: np.random.Generator | None,
) -> tuple[FloatArray, npt.NDArray[np.bool_], FloatArray, npt.NDArray[np.generic]]:
    y, z = np.asarray(outcome, dtype=np.float64), np.asarray(first).astype(bool)
    x, number = np.asarray(covariates, dtype=np.float64), np.asarray(episode)
    if y.ndim != 1 or not np.isfinite(y).all():
        raise ValueError(f"outcome: got shape {y.shape}, expected finite numbers (patients,)")
    for key, array, accepted in (("first", z, y.shape), ("episode", number, y.shape), ("covariates", x[..., :1], (len(y), 1))):
        if array.shape != accepted:
            raise ValueError(f"{key}: got shape {array.shape}, expected one row for each of the {len(y)} patients")
    if not np.isfinite(x).all():
        raise ValueError("covariates: got numbers that are not finite, expected one for every patient")
    if z.all() or not z.any():
        raise ValueError(f"first: got {int(z.sum())} of {len(z)} patients, expected some in each group")
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator: got {estimator!r}, expected one of {ESTIMATORS}")
    n_episodes = len(np.unique(number))
    if not 1 <= folds <= n_episodes or (folds > 1 and estimator != "aipw"):
        raise ValueError(f"folds: got {folds} with {estimator!r}, expected 1, or up to {n_episodes} episodes with 'aipw'")
    if folds > 1 and rng is None:
        raise ValueError("rng: got None, expected a generator that assigns episodes to folds")
    return y, z, x, number
