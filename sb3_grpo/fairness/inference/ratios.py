"""The ratio of two independent means, with Fieller's interval."""

import numpy as np
import numpy.typing as npt
from scipy import stats

from sb3_grpo.fairness.inference.results import TRAINING_SEED, Interval, Unit, check_confidence, check_unit, values_of

_METHOD = "Fieller, Welch t"


def ratio_of_means(
    first: npt.ArrayLike, second: npt.ArrayLike, unit: Unit = TRAINING_SEED, confidence: float = 0.95
) -> Interval:
    """Mean of the first sample / mean of the second, e.g. the efficiency of one algorithm relative to another's.

    The interval holds the ratios r under which mean(x) - r mean(y), whose true value is then 0, is not extreme (E. C. Fieller,
    "Some problems in interval estimation", JRSS B 16, 1954), with the degrees of freedom of Welch's test at the estimated
    ratio, since the variances may differ.

    :param first: (n,) one number per unit, n >= 2
    :param second: (m,) the same of the other sample, m >= 2
    :param unit: what was drawn independently
    :param confidence: confidence level
    :return: the ratio; "none" where the second mean is not clearly different from 0, so that no limits exist
    """
    x, y = values_of(first, "first", 2), values_of(second, "second", 2)
    check_unit(unit)
    check_confidence(confidence)
    n = len(x) + len(y)
    if y.mean() == 0:
        return Interval(np.nan, np.nan, np.nan, unit, n, "none", confidence)
    ratio = float(x.mean() / y.mean())
    vx, vy = float(x.var(ddof=1) / len(x)), float(y.var(ddof=1) / len(y))
    if vx + vy <= 1e-24 * (x.mean() ** 2 + y.mean() ** 2):
        return Interval(ratio, ratio, ratio, unit, n, "constant", confidence)
    parts = np.array([vx, ratio**2 * vy])
    df = parts.sum() ** 2 / (parts**2 / np.array([len(x) - 1, len(y) - 1])).sum()
    square = float(stats.t.ppf((1 + confidence) / 2, df)) ** 2
    # (x - r y)^2 = t^2 (vx + r^2 vy)
    a, b, c = y.mean() ** 2 - square * vy, -2 * x.mean() * y.mean(), x.mean() ** 2 - square * vx
    root = b**2 - 4 * a * c
    if a <= 0 or root < 0:
        return Interval(ratio, np.nan, np.nan, unit, n, "none", confidence)
    low, high = (float((-b + sign * np.sqrt(root)) / (2 * a)) for sign in (-1, 1))
    return Interval(ratio, low, high, unit, n, _METHOD, confidence)
