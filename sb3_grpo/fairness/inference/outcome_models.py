"""Regressions behind adjusted differences: logistic for 0/1, linear else, with what their uncertainty needs."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.metrics import FloatArray


class FitError(Exception):
    """A regression that has no finite solution; the message says so in words."""


@dataclass(frozen=True, eq=False)
class OutcomeModel:
    """A regression with an intercept.

    :param coefficients: (k + 1,) the intercept first
    :param inverse_information: (k + 1, k + 1) inverse of the sum of the patients' information
    :param logistic: whether predictions are probabilities
    """

    coefficients: FloatArray
    inverse_information: FloatArray
    logistic: bool

    def predict(self, x: FloatArray) -> FloatArray:
        """Mean outcome at covariates (N, k)."""
        linear = _design(x) @ self.coefficients
        return 1 / (1 + np.exp(-linear)) if self.logistic else linear

    def gradient(self, x: FloatArray) -> FloatArray:
        """Derivatives of the predictions by the coefficients, (N, k + 1)."""
        mean = self.predict(x)
        return _design(x) * (mean * (1 - mean))[:, None] if self.logistic else _design(x)

    def scores(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Each patient's score, (N, k + 1): design times residual, for both kinds of regression."""
        return _design(x) * (y - self.predict(x))[:, None]


def fit_outcome(x: FloatArray, y: FloatArray) -> OutcomeModel:
    """Fit an outcome.

    :param x: (N, k) covariates
    :param y: (N,) outcome
    :raises FitError: if the outcome is perfectly predicted
    """
    design = _design(x)
    logistic = bool(np.isin(y, (0.0, 1.0)).all()) and 0.0 < y.mean() < 1.0
    if not logistic:
        inverse: FloatArray = np.linalg.pinv(design.T @ design).astype(np.float64)
        return OutcomeModel(inverse @ (design.T @ y), inverse, False)
    coefficients = _logistic(design, y, "the outcome")
    mean = 1 / (1 + np.exp(-design @ coefficients))
    information = design.T @ (design * (mean * (1 - mean))[:, None])
    return OutcomeModel(coefficients, np.linalg.pinv(information).astype(np.float64), True)


def fit_propensity(x: FloatArray, z: npt.NDArray[np.bool_]) -> Callable[[FloatArray], FloatArray]:
    """Fit the probability of belonging to the first group.

    :param x: (N, k) covariates
    :param z: (N,) whether the patient belongs to it
    :return: maps covariates (N', k) to probabilities (N',)
    :raises FitError: if the covariates tell the groups apart perfectly
    """
    if z.all() or not z.any():
        raise FitError("a fold of episodes has patients of one group only")
    coefficients = _logistic(_design(x), z.astype(np.float64), "the group")
    return OutcomeModel(coefficients, np.empty((0, 0)), True).predict


def _design(x: FloatArray) -> FloatArray:
    return np.column_stack([np.ones(len(x)), x])


def _logistic(design: FloatArray, y: FloatArray, what: str) -> FloatArray:
    from statsmodels.discrete.discrete_model import Logit
    from statsmodels.tools.sm_exceptions import PerfectSeparationError

    problem = f"the covariates determine {what} of some patients, which leaves nothing to compare them with"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # separation is found below, whatever its warning
        try:
            fit = Logit(y, design).fit(disp=False, maxiter=50)
        except (PerfectSeparationError, np.linalg.LinAlgError):
            raise FitError(problem) from None
    coefficients = np.asarray(fit.params, dtype=np.float64)
    if not fit.mle_retvals["converged"] or not np.isfinite(coefficients).all() or np.abs(design @ coefficients).max() > 20:
        raise FitError(problem)
    return coefficients
