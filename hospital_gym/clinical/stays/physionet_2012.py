"""PhysioNet/CinC Challenge 2012, set A: the first 48 hours of 4,000 stays, hour by hour, in five modalities."""

import itertools
import os
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.case_table import UNKNOWN
from hospital_gym.clinical.icu_stays import Channel, Floats, IcuStays
from hospital_gym.clinical.tables.icu_mortality import AGE_BANDS, PHYSIONET_2012, UNITS

HOURS: Final = 48
"""Hours of every stay. Shorter stays are not part of the challenge, later hours not of its files."""


class Series(NamedTuple):
    """
    A parameter of the files that is measured again and again.

    :param channel: what it becomes; its name is that of the file
    :param low: smallest value that is believed
    :param high: largest value that is believed
    """

    channel: Channel
    low: float
    high: float


def _series(modality: str, *rows: tuple[str, str, float, float]) -> tuple[Series, ...]:
    return tuple(Series(Channel(name, modality, unit), low, high) for name, unit, low, high in rows)


# Units are those of the challenge's variable list. The limits are ours and wide: beyond them lie zeros of a line that was off,
# degrees Fahrenheit, a pH of 735, not patients
SERIES: Final[tuple[Series, ...]] = (
    *_series(
        "vitals",
        ("HR", "1/min", 10, 300),
        ("SysABP", "mmHg", 20, 300),
        ("DiasABP", "mmHg", 5, 200),
        ("MAP", "mmHg", 10, 250),
        ("NISysABP", "mmHg", 20, 300),
        ("NIDiasABP", "mmHg", 5, 200),
        ("NIMAP", "mmHg", 10, 250),
        ("RespRate", "1/min", 2, 80),
        ("Temp", "degrees Celsius", 25, 44),
        ("GCS", "3-15", 3, 15),
    ),
    *_series(
        "blood_gas",
        ("pH", "", 6.5, 8.0),
        ("PaCO2", "mmHg", 5, 200),
        ("PaO2", "mmHg", 10, 700),
        ("SaO2", "%", 20, 100),
        ("FiO2", "share", 0.2, 1.0),
        ("MechVent", "1 = ventilated", 1, 1),
        ("Lactate", "mmol/l", 0.1, 50),
    ),
    *_series(
        "chemistry",
        ("BUN", "mg/dl", 1, 300),
        ("Creatinine", "mg/dl", 0.1, 30),
        ("Na", "mmol/l", 90, 200),
        ("K", "mmol/l", 1, 15),
        ("HCO3", "mmol/l", 2, 70),
        ("Mg", "mg/dl", 0.2, 15),
        ("Glucose", "mg/dl", 5, 2000),
        ("ALP", "IU/l", 5, 5000),
        ("ALT", "IU/l", 1, 20000),
        ("AST", "IU/l", 1, 30000),
        ("Bilirubin", "mg/dl", 0.05, 80),
        ("Albumin", "g/dl", 0.5, 7),
        ("Cholesterol", "mg/dl", 10, 800),
        ("TroponinI", "ug/l", 0.0, 200),
        ("TroponinT", "ug/l", 0.0, 100),
    ),
    *_series("haematology", ("HCT", "%", 5, 75), ("Platelets", "1000/ul", 1, 2500), ("WBC", "1000/ul", 0.05, 500)),
    *_series("fluids", ("Urine", "ml in the hour", 0, 3000), ("Weight", "kg", 25, 350)),
)
"""Every series of the files."""

STATIC: Final = ("age", "male", "height", "weight", *(f"unit {name}" for name in UNITS.values()))
"""What is known at admission: years, 1 for men, cm, kg, and 1 for the kind of unit."""

_HEIGHTS: Final = (120.0, 230.0)  # a height of 13 or 431 cm is none


def read_physionet_2012(data: str | os.PathLike[str] | None = None) -> IcuStays:
    """
    All 4,000 stays of 48 hours.

    Several measurements in one hour are their mean, urine their sum. Minute 2880, the last of the files, counts to the last
    hour. ``attributes``: ``sex``, ``age_band`` and ``unit`` (the kind of intensive care).

    :param data: the data directory; None for the environment variable ``HOSPITAL_GYM_DATA``
    :raises hospital_gym.clinical.data_directory.MissingDataError: if the file is not there
    :raises ValueError: if the file is not what it must be
    """
    path = PHYSIONET_2012.path("set_a_long.npz", data)
    with np.load(path) as arrays:
        needed = {"record", "minute", "param", "value", "param_names", "outcomes", "outcome_names"}
        if not needed <= set(arrays.files):
            raise ValueError(f"{path}: lacks {sorted(needed - set(arrays.files))}. {PHYSIONET_2012.how}")
        stored = {name: arrays[name] for name in needed}
    names = stored["param_names"].astype(str).tolist()
    outcome = dict(zip(stored["outcome_names"].astype(str).tolist(), stored["outcomes"].T, strict=True))
    order = np.argsort(outcome["RecordID"], kind="stable")
    ids, died = outcome["RecordID"][order], outcome["In-hospital_death"][order]
    stay = np.searchsorted(ids, stored["record"])
    if not np.isin(stored["record"], ids).all():
        raise ValueError(f"{path}: has records without outcome, expected one row of `outcomes` for each")
    values, refused, total = _hourly(stay, stored["minute"], stored["param"], stored["value"], names, len(ids))
    static, attributes = _static(stay, stored["param"], stored["value"], names, len(ids))
    return IcuStays(
        values=values,
        offsets=np.arange(len(ids) + 1) * HOURS,
        static=static,
        died=died,
        stay_ids=ids,
        channels=tuple(series.channel for series in SERIES),
        static_names=STATIC,
        attributes=attributes,
        notes=(
            "A value of -1 is taken as missing.",
            f"{refused} of {total} measurements lie outside the limits of their series and are taken as missing.",
        ),
    )


def _hourly(
    stay: npt.NDArray[np.int64],
    minute: npt.NDArray[np.uint16],
    param: npt.NDArray[np.uint8],
    value: Floats,
    names: list[str],
    n: int,
) -> tuple[Floats, int, int]:
    """
    :return: (n * HOURS, C) values; how many measurements were refused, and of how many
    """
    place, low, high = (np.full(len(names), fill) for fill in (-1, np.inf, -np.inf))
    for column, series in enumerate(SERIES):
        if series.channel.name in names:
            number = names.index(series.channel.name)
            place[number], low[number], high[number] = column, series.low, series.high
    known = (place[param] >= 0) & (value != -1)
    believed = known & (value >= low[param].astype(np.float32)) & (value <= high[param].astype(np.float32))
    hour = np.minimum(minute[believed] // 60, HOURS - 1).astype(np.int64)
    cells = (stay[believed] * HOURS + hour) * len(SERIES) + place[param[believed]].astype(np.int64)
    size = n * HOURS * len(SERIES)
    counts = np.bincount(cells, minlength=size).reshape(-1, len(SERIES))
    sums = np.bincount(cells, value[believed].astype(np.float64), minlength=size).reshape(-1, len(SERIES))
    is_sum = np.array([series.channel.name == "Urine" for series in SERIES])
    with np.errstate(invalid="ignore"):
        values = np.where(counts > 0, np.where(is_sum, sums, sums / counts), np.nan)
    return values.astype(np.float32), int((known & ~believed).sum()), int(known.sum())


def _static(
    stay: npt.NDArray[np.int64], param: npt.NDArray[np.uint8], value: Floats, names: list[str], n: int
) -> tuple[Floats, dict[str, npt.NDArray[np.str_]]]:
    """
    :return: (n, S) as :data:`STATIC`, and the attributes
    """

    def first(name: str) -> npt.NDArray[np.float64]:
        """The first value of each stay, the descriptor; NaN where missing."""
        found = np.full(n, np.nan)
        rows = np.flatnonzero((param == names.index(name)) & (value != -1))
        stays, places = np.unique(stay[rows], return_index=True)
        found[stays] = value[rows[places]]
        return found

    age, sex, height, weight, unit = map(first, ("Age", "Gender", "Height", "Weight", "ICUType"))
    height[(height < _HEIGHTS[0]) | (height > _HEIGHTS[1])] = np.nan
    limits = next(series for series in SERIES if series.channel.name == "Weight")
    weight[(weight < limits.low) | (weight > limits.high)] = np.nan
    kinds = np.stack([np.where(np.isnan(unit), np.nan, unit == number) for number in UNITS], axis=1)
    bands = [f"<{AGE_BANDS[0]}", *(f"{a}-{b - 1}" for a, b in itertools.pairwise(AGE_BANDS))]
    bands += [f"{AGE_BANDS[-1]}+", UNKNOWN]
    attributes = {
        "sex": np.select([sex == 0, sex == 1], ["female", "male"], UNKNOWN),
        "age_band": np.array(bands)[np.where(np.isnan(age), -1, np.searchsorted(AGE_BANDS, age, side="right"))],
        "unit": np.select([unit == number for number in UNITS], list(UNITS.values()), UNKNOWN),
    }
    return np.column_stack([age, sex, height, weight, kinds]).astype(np.float32), attributes
