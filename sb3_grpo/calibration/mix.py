"""Fitting who comes: shares of age bands, severities and sexes."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LEAST: Final = 100
"""Patients below which shares are not fitted."""


@dataclass(frozen=True, eq=False)
class MixFit:
    """Shares of the values of one attribute.

    :param n: patients whose attribute is known
    :param unknown: patients whose attribute is not known
    :param shares: (K,) sum 1
    :param errors: (K,) standard errors, patients taken as independent
    """

    n: int
    unknown: int
    shares: FloatArray
    errors: FloatArray


def fit_mix(codes: npt.NDArray[np.int8], k: int) -> MixFit | None:
    """Shares of K values.

    :param codes: (N,) index of the value, -1 where not known
    :param k: number of values
    :return: the shares; None with fewer than 100 known patients
    """
    counts = np.bincount(codes[codes >= 0], minlength=k).astype(np.float64)
    n = int(counts.sum())
    if n < LEAST:
        return None
    shares = counts / n
    return MixFit(n, len(codes) - n, shares, np.sqrt(shares * (1 - shares) / n))


def dependence(one: npt.NDArray[np.int8], other: npt.NDArray[np.int8], k: int) -> float:
    """Largest difference between the joint shares of two attributes and the product of their shares, in [0, 1].

    The simulator draws age band and severity independently of each other.

    :param one: (N,) index into K values, -1 where not known
    :param other: likewise
    :param k: number of values of each
    """
    known = (one >= 0) & (other >= 0)
    if not known.any():
        return 0.0
    cells = np.bincount(one[known].astype(np.int64) * k + other[known], minlength=k * k).reshape(k, k)
    joint = cells / cells.sum()
    return float(np.abs(joint - np.outer(joint.sum(axis=1), joint.sum(axis=0))).max())
