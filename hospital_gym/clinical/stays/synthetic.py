"""Made-up stays with the form of PhysioNet 2012: for tests, and to play without data. They say nothing about patients."""

from typing import Final

import numpy as np

from hospital_gym.clinical.icu_stays import IcuStays
from hospital_gym.clinical.stays.physionet_2012 import HOURS, SERIES, STATIC
from hospital_gym.clinical.tables.icu_mortality import UNITS

# Usual value, deviation, change with one unit of severity, share of hours in which it is measured: assumed, near the medians
# and the frequencies of set A
_MEASURED: Final[dict[str, tuple[float, float, float, float]]] = {
    "HR": (86, 12, 6, 0.9),
    "SysABP": (118, 15, -6, 0.54),
    "DiasABP": (59, 8, -3, 0.54),
    "MAP": (78, 10, -5, 0.54),
    "NISysABP": (118, 15, -6, 0.42),
    "NIDiasABP": (57, 8, -3, 0.42),
    "NIMAP": (76, 10, -5, 0.42),
    "RespRate": (19, 4, 2, 0.24),
    "Temp": (37.1, 0.6, -0.1, 0.37),
    "GCS": (12, 1.5, -1.5, 0.32),
    "pH": (7.38, 0.05, -0.03, 0.12),
    "PaCO2": (40, 6, 0, 0.12),
    "PaO2": (125, 35, -8, 0.12),
    "SaO2": (97, 1.5, -0.5, 0.04),
    "FiO2": (0.5, 0.12, 0.05, 0.16),
    "MechVent": (1, 0, 0, 0.15),
    "Lactate": (2.1, 0.8, 0.9, 0.04),
    "BUN": (22, 8, 6, 0.07),
    "Creatinine": (1.1, 0.4, 0.3, 0.07),
    "Urine": (85, 40, -18, 0.69),
    "Weight": (81, 15, 0, 0.53),
    "HCT": (31, 4, -0.5, 0.09),
    "Platelets": (185, 70, -15, 0.07),
    "WBC": (12, 4, 1, 0.07),
}
_OTHERS: Final = 0.04  # share of hours in which any other series is measured, with values in the middle of its limits
_AGES: Final = (44.0, 16.0)  # youngest + spread x draws in [0, 3)


def synthetic_stays(n: int = 400, seed: int = 0, hours: int = HOURS) -> IcuStays:
    """
    Every stay has a severity, a normal variable that drifts by the hour up for those who will die and down for the others.
    Measurements follow it, and who dies is drawn by it: so that can be foretold, better later than early, never surely.

    :param n: number of stays, at least 1
    :param seed: of everything
    :param hours: of every stay, at least 1
    :return: channels, static values and attributes are those of
        :func:`~hospital_gym.clinical.stays.physionet_2012.read_physionet_2012`
    :raises ValueError: if there is no stay or no hour
    """
    for key, value in (("n", n), ("hours", hours)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{key}: got {value!r}, expected a whole number >= 1")
    rng = np.random.default_rng(seed)
    start = rng.standard_normal(n)
    age = np.clip(_AGES[0] + _AGES[1] * rng.uniform(-1.5, 3.0, n), 16, 90).round()
    male, unit = rng.random(n) < 0.56, rng.integers(1, 1 + len(UNITS), n)
    died = rng.random(n) < 1 / (1 + np.exp(2.6 - 1.4 * start - 0.02 * (age - 65)))
    drift = np.where(died, 1.5, -0.5)[:, None] * np.arange(1, hours + 1) / hours
    severity = start[:, None] + drift + 0.2 * rng.standard_normal((n, hours))
    values = np.full((n, hours, len(SERIES)), np.nan)
    for place, series in enumerate(SERIES):
        middle = (series.low + series.high) / 2
        usual, spread, slope, often = _MEASURED.get(series.channel.name, (middle, 0.05 * middle, 0.0, _OTHERS))
        drawn = usual + slope * severity + spread * rng.standard_normal((n, hours))
        seen = rng.random((n, hours)) < often
        values[seen, place] = np.clip(drawn, series.low, series.high)[seen]
    kinds = unit[:, None] == np.arange(1, 1 + len(UNITS))
    height, weight = 171 + 9 * rng.standard_normal(n), 81 + 15 * rng.standard_normal(n)
    height[rng.random(n) < 0.4] = np.nan
    return IcuStays(
        values=values.reshape(n * hours, -1).astype(np.float32),
        offsets=np.arange(n + 1) * hours,
        static=np.column_stack([age, male, height, weight, kinds]).astype(np.float32),
        died=died.astype(np.int8),
        stay_ids=np.arange(n),
        channels=tuple(series.channel for series in SERIES),
        static_names=STATIC,
        attributes={
            "sex": np.where(male, "male", "female"),
            "age_band": np.array(["<45", "45-64", "65-79", "80+"])[np.searchsorted((45, 65, 80), age, side="right")],
            "unit": np.array(list(UNITS.values()))[unit - 1],
        },
        notes=("Made up: no patient is behind these numbers.",),
    )
