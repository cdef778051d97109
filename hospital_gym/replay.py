"""Replaying recorded arrivals episode by episode."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hospital_gym.arrival_files import ATTRIBUTES, HOURS_PER_WEEK, ArrivalFile


class ReplayedArrivals(NamedTuple):
    """One episode's arrivals out of a file: ``times`` ascending on the simulator's clock, the rest as in ``ArrivalFile``."""

    times: NDArray[np.float64]
    age: NDArray[np.float64]
    sex: NDArray[np.int8]
    severity: NDArray[np.int8]
    service_hours: NDArray[np.float64]


def replay_window(
    arrival_file: ArrivalFile, start_hour: int, n_hours: int, rng: np.random.Generator, episode: int
) -> ReplayedArrivals:
    """
    The stretch of a file that an episode plays.

    The file is cut into windows of ``n_hours``, one after the other; each begins at the hour of the week at which the
    simulator's clock begins, so that weekdays and hours stay what they were (with ``n_hours`` not a multiple of 168, the hours
    up to the next such moment are skipped). Episode k plays window k modulo their number.

    :param arrival_file: What :func:`read_arrivals` returned.
    :param start_hour: Simulator hour at which the window begins; 0 is a Monday 00:00.
    :param n_hours: Length of the window in hours.
    :param rng: Places hourly counts uniformly within their hour: one number per arrival of the window; unused by time-stamps.
    :param episode: Number of the episode, >= 0.
    :return: Arrival times on the simulator's clock in [start_hour, start_hour + n_hours), and the recorded attributes.
    :raises ValueError: If the file does not hold one whole window, or an argument is outside its range.
    """
    if episode < 0:
        raise ValueError(f"episode: got {episode}; accepted: an integer >= 0.")
    starts = window_starts(arrival_file, start_hour, n_hours)
    start = starts[episode % len(starts)]
    if arrival_file.counts is not None:
        offset = start - arrival_file.first_hour
        counts = arrival_file.counts[offset : offset + n_hours]
        times = np.sort(np.repeat(np.arange(n_hours), counts) + rng.random(counts.sum()))
        blank, code = np.full(len(times), np.nan), np.full(len(times), -1, dtype=np.int8)
        return ReplayedArrivals(times + start_hour, blank, code, code.copy(), blank.copy())
    assert arrival_file.times is not None
    part = slice(*np.searchsorted(arrival_file.times, (start, start + n_hours)))
    return ReplayedArrivals(
        arrival_file.times[part] - start + start_hour, *(getattr(arrival_file, name)[part].copy() for name in ATTRIBUTES)
    )


def window_starts(arrival_file: ArrivalFile, start_hour: int, n_hours: int) -> range:
    """
    The hours, on the file's clock, at which the windows of :func:`replay_window` begin.

    :param arrival_file: What :func:`read_arrivals` returned.
    :param start_hour: Simulator hour at which a window begins.
    :param n_hours: Length of a window in hours, > 0.
    :return: At least one hour.
    :raises ValueError: If the file does not hold one whole window.
    """
    if n_hours <= 0:
        raise ValueError(f"n_hours: got {n_hours}; accepted: an integer > 0.")
    skipped = (start_hour - arrival_file.first_hour) % HOURS_PER_WEEK
    first = arrival_file.first_hour + skipped
    last = arrival_file.first_hour + arrival_file.n_hours - n_hours
    if first > last:
        usable = max(arrival_file.n_hours - skipped, 0)
        raise ValueError(
            f"{Path(arrival_file.path).name}: has {arrival_file.n_hours} hours of arrivals, {usable} of them from the first "
            f"{_moment(start_hour)} on; one episode needs {n_hours} (its warm-up included)."
        )
    return range(first, last + 1, math.ceil(n_hours / HOURS_PER_WEEK) * HOURS_PER_WEEK)


def _moment(hour: int) -> str:
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    return f"{names[hour % HOURS_PER_WEEK // 24]} {hour % 24:02d}:00"
