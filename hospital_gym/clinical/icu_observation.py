"""From stays with holes to observations: standardised windows of hours with masks, and running summaries."""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from hospital_gym.clinical.case_table import Ints
from hospital_gym.clinical.icu_stays import Floats, IcuStays
from hospital_gym.clinical.preprocessing import LIMIT

Observe = Literal["window", "summary", "both"]

OBSERVE: Final = ("window", "summary", "both")
"""What is seen: the hours as measured, running summaries of all hours so far, or both."""

SUMMARIES: Final = ("last", "min", "max", "mean", "count")
"""What ``"summary"`` says of each channel."""

_SKEWED: Final = 2.0  # channels without negative values and with more skewness than this are taken by their logarithm


@dataclass(frozen=True)
class Scale:
    """
    What training stays say about the size of values: means and deviations of what was measured, over all hours.

    Channels and static values that are never negative and whose skewness exceeds 2 (enzymes, troponin, urine) are taken as
    log(1 + x) first. A value that never varies has the deviation 1.

    :param log: (C,) which channels are taken by their logarithm
    :param mean: (C,)
    :param deviation: (C,), positive
    """

    log: npt.NDArray[np.bool_]
    mean: Floats
    deviation: Floats

    @classmethod
    def of(cls, values: Floats) -> "Scale":
        """
        :param values: (rows, C), NaN where not measured; a column may be NaN throughout
        """
        wide = values.astype(np.float64)
        counts = np.maximum(np.isfinite(wide).sum(axis=0), 1)
        mean, deviation = _moments(wide, counts)
        skewness = np.nansum(((wide - mean) / deviation) ** 3, axis=0) / counts
        log = (np.nan_to_num(wide, nan=0.0).min(axis=0, initial=0.0) >= 0) & (skewness > _SKEWED)
        wide[:, log] = np.log1p(wide[:, log])
        mean, deviation = _moments(wide, counts)
        return cls(log, mean.astype(np.float32), deviation.astype(np.float32))

    def apply(self, values: Floats) -> Floats:
        """
        :param values: (rows, C)
        :return: standardised, within +-:data:`~hospital_gym.clinical.preprocessing.LIMIT`; NaN stays NaN
        """
        taken = values.copy()
        taken[:, self.log] = np.log1p(np.maximum(taken[:, self.log], 0.0))
        return np.clip((taken - self.mean) / self.deviation, -LIMIT, LIMIT).astype(np.float32)


def _moments(values: npt.NDArray[np.float64], counts: Ints) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    mean = np.nansum(values, axis=0) / counts
    deviation = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / counts)
    return mean, np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1.0), deviation, 1.0)


@dataclass(frozen=True)
class Scales:
    """
    How values become observations; learned from training stays alone.

    :param channels: of the channels
    :param static: of the static values
    :param holes: (S,) static values that are unknown for some training stay: a column of 0 and 1 says where
    """

    channels: Scale
    static: Scale
    holes: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, stays: IcuStays) -> "Scales":
        """
        :param stays: the training stays
        """
        return cls(Scale.of(stays.values), Scale.of(stays.static), np.asarray(np.isnan(stays.static).any(axis=0)))


class StayObservations:
    """
    What is seen of stays at any of their hours.

    An observation is a dict of float32 arrays. With ``observe="window"``, for each modality m:

    ============== ==================== =============================================================================
    ``m``          (window, channels)   values of the newest hours, standardised, 0 where not measured or padding
    ``m_observed`` (window, channels)   1 where measured in that hour, else 0
    ============== ==================== =============================================================================

    With ``observe="summary"`` one array ``summary`` in their place: each of :data:`SUMMARIES` of each channel, of all hours so
    far, standardised, 0 where it was not measured yet; counts as log(1 + count) / log(49). ``"both"`` has all. And always:

    ============== ==================== =============================================================================
    ``hours``      (window,)            1 where the row is an hour of the stay, 0 where it is padding; the last row is now
    ``static``     (n_static,)          static values, standardised, 0 where unknown; then 1 where unknown
    ============== ==================== =============================================================================

    :param stays: N stays
    :param scales: learned from the training stays
    :param window: number of hours that are seen, at least 1
    :param observe: one of :data:`OBSERVE`
    :raises ValueError: naming the argument, its value and what is accepted
    """

    def __init__(self, stays: IcuStays, scales: Scales, window: int = 48, observe: Observe = "window") -> None:
        if isinstance(window, bool) or not isinstance(window, (int, np.integer)) or window < 1:
            raise ValueError(f"window: got {window!r}, expected a whole number of hours >= 1")
        if observe not in OBSERVE:
            raise ValueError(f"observe: got {observe!r}, expected one of {OBSERVE}")
        self.stays, self.scales, self.window, self.observe = stays, scales, int(window), observe
        self._padding = len(stays.values)  # the row behind the last: zeros, nothing measured
        self._static = _static(stays, scales)

    @cached_property
    def _scaled(self) -> Floats:
        return self.scales.channels.apply(self.stays.values)

    @cached_property
    def _columns(self) -> dict[str, Floats]:
        """By key, (rows + 1, channels)."""
        padded = np.vstack([self._scaled, np.full((1, len(self.stays.channels)), np.nan, dtype=np.float32)])
        columns = {}
        for name, places in self.stays.modalities.items():
            chosen = padded[:, places]
            columns[name] = np.nan_to_num(chosen, nan=0.0)
            columns[f"{name}_observed"] = np.isfinite(chosen).astype(np.float32)
        return columns

    @cached_property
    def _summaries(self) -> Floats:
        """(rows, len(SUMMARIES) * C)"""
        return np.concatenate([_running(self._scaled[a:b]) for a, b in itertools.pairwise(self.stays.offsets.tolist())])

    @property
    def space(self) -> spaces.Dict:
        """The observations' space."""
        parts: dict[str, spaces.Space] = {}
        if self.observe != "summary":
            for name, places in self.stays.modalities.items():
                parts[name] = spaces.Box(-LIMIT, LIMIT, (self.window, len(places)), dtype=np.float32)
                parts[f"{name}_observed"] = spaces.Box(0.0, 1.0, (self.window, len(places)), dtype=np.float32)
        if self.observe != "window":
            n_summaries = len(SUMMARIES) * len(self.stays.channels)
            parts["summary"] = spaces.Box(-LIMIT, LIMIT, (n_summaries,), dtype=np.float32)
        parts["hours"] = spaces.Box(0.0, 1.0, (self.window,), dtype=np.float32)
        parts["static"] = spaces.Box(-LIMIT, LIMIT, self._static.shape[1:], dtype=np.float32)
        return spaces.Dict(parts)

    def at(self, stays: Ints, hours: Ints) -> dict[str, Floats]:
        """
        :param stays: (n,) numbers of stays
        :param hours: (n,) the newest hour that is seen, from 0
        :return: observations, n of each array of the class's tables
        """
        steps = hours[:, None] - np.arange(self.window - 1, -1, -1)
        rows = np.where(steps >= 0, self.stays.offsets[stays][:, None] + steps, self._padding)
        found = {}
        if self.observe != "summary":
            found = {key: column[rows] for key, column in self._columns.items()}
        if self.observe != "window":
            found["summary"] = self._summaries[self.stays.offsets[stays] + hours]
        found["hours"] = (steps >= 0).astype(np.float32)
        found["static"] = self._static[stays]
        return {key: found[key] for key in sorted(found)}


def _static(stays: IcuStays, scales: Scales) -> Floats:
    known = scales.static.apply(stays.static)
    return np.hstack([np.nan_to_num(known, nan=0.0), np.isnan(stays.static[:, scales.holes]).astype(np.float32)])


def _running(values: Floats) -> Floats:
    """
    Summaries of the hours 0 to t, for every t.

    :param values: (hours, C) of one stay, NaN where not measured
    :return: (hours, len(SUMMARIES) * C), 0 where a channel was not measured yet
    """
    seen = np.isfinite(values)
    counts = np.cumsum(seen, axis=0)
    newest = np.maximum.accumulate(np.where(seen, np.arange(len(values))[:, None], 0), axis=0)
    last = np.take_along_axis(values, newest, axis=0)
    mean = np.cumsum(np.where(seen, values, 0.0), axis=0, dtype=np.float64) / np.maximum(counts, 1)
    least, most = np.fmin.accumulate(values, axis=0), np.fmax.accumulate(values, axis=0)
    share = np.minimum(np.log1p(counts) / np.log(49.0), LIMIT)
    return np.nan_to_num(np.hstack([last, least, most, mean, share]), nan=0.0).astype(np.float32)
