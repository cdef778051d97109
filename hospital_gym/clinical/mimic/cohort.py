"""Who is in the data: stays in intensive care with what is known at admission, and how they ended."""

import itertools
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.case_table import UNKNOWN, Ints
from hospital_gym.clinical.icu_stays import Floats
from hospital_gym.clinical.mimic.tables import fetch
from hospital_gym.clinical.tables.icu_mortality import AGE_BANDS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

COHORT_TABLES: Final = {
    "PATIENTS": {"subject_id": "BIGINT", "gender": "VARCHAR", "dob": "TIMESTAMP"},
    "ADMISSIONS": {
        "hadm_id": "BIGINT",
        "admittime": "TIMESTAMP",
        "deathtime": "TIMESTAMP",
        "admission_type": "VARCHAR",
        "ethnicity": "VARCHAR",
        "insurance": "VARCHAR",
        "hospital_expire_flag": "INTEGER",
    },
    "ICUSTAYS": {
        "subject_id": "BIGINT",
        "hadm_id": "BIGINT",
        "icustay_id": "BIGINT",
        "first_careunit": "VARCHAR",
        "intime": "TIMESTAMP",
        "outtime": "TIMESTAMP",
    },
}
"""Columns that are read of each table, and their types."""

UNITS: Final = {
    "CCU": "coronary",
    "CSRU": "cardiac surgery",
    "MICU": "medical",
    "SICU": "surgical",
    "TSICU": "surgical",  # trauma surgical
    "NICU": "neonatal",
    "NWARD": "neonatal",
}
"""Kind of the unit by FIRST_CAREUNIT; the four of adults are those of PhysioNet 2012."""

OLDEST: Final = 89
"""Who is older is 300 years old in the data."""

AGE_OF_OLDEST: Final = 91.4
"""Their median age (https://mimic.mit.edu/docs/iii/tables/patients/)."""

STATIC: Final = (
    *("age", "male", "unit coronary", "unit cardiac surgery", "unit medical", "unit surgical"),
    *("emergency", "hours in hospital before"),
)
"""What is known at admission to the unit: years; 1 for men; 1 for the unit's kind; 1 unless planned or a birth; hours."""

_ETHNICITIES: Final = (
    ("UNKNOWN%", UNKNOWN),
    ("UNABLE%", UNKNOWN),
    ("PATIENT DECLINED%", UNKNOWN),
    ("ASIAN%", "asian"),
    ("BLACK%", "black"),
    ("HISPANIC%", "hispanic"),
    ("WHITE%", "white"),
    ("%", "other"),
)


class Cohort(NamedTuple):
    """
    N stays; the table ``stays`` of the database has the same, for joins.

    :param offsets: (N + 1,) first row of each stay, then the number of rows
    :param static: (N, S) as :data:`STATIC`
    :param died: (N,) 1 for those who died in this hospital stay
    :param stay_ids: (N,) ICUSTAY_ID
    :param patient_ids: (N,) SUBJECT_ID
    :param attributes: ``sex``, ``age_band``, ``unit``, ``ethnicity`` and ``insurance``
    :param notes: what was left out
    """

    offsets: Ints
    static: Floats
    died: npt.NDArray[np.int8]
    stay_ids: Ints
    patient_ids: Ints
    attributes: dict[str, npt.NDArray[np.str_]]
    notes: tuple[str, ...]


def make_cohort(connection: "DuckDBPyConnection", queries: dict[str, str], hours: int | None, neonates: bool) -> Cohort:
    """
    Make the table ``stays`` and read it.

    A stay ends when the patient leaves the unit or dies, whichever comes first.

    :param connection: a database
    :param queries: SQL by name of table, giving the columns of :data:`COHORT_TABLES`
    :param hours: most hours of a stay; None: all
    :param neonates: whether those below one year of age are kept
    :raises ValueError: if no stay is left
    """
    connection.execute(_COHORT.format(**queries, ethnicity=_ethnicity(), oldest=OLDEST, median=AGE_OF_OLDEST))
    connection.execute(_STAYS, [neonates, hours if hours is not None else 2**31])
    read = fetch(connection, "SELECT * FROM stays ORDER BY first_row")
    total, left_out = _left_out(connection, neonates)
    if not len(read["icustay_id"]):
        raise ValueError(f"ICUSTAYS: of {total} stays none is left{left_out and f': {left_out}'}")
    rows = np.concatenate([read["first_row"], [read["first_row"][-1] + read["hours"][-1]]])
    age, sex, unit = _floats(read["age"]), _words(read["gender"]), _units(read["first_careunit"])
    male = np.select([sex == "M", sex == "F"], [1.0, 0.0], np.nan)
    kinds = [
        np.where(unit == UNKNOWN, np.nan, unit == name.removeprefix("unit ")) for name in STATIC if name.startswith("unit ")
    ]
    static = [age, male, *kinds, _floats(read["is_emergency"]), _floats(read["hours_before"])]
    attributes = {
        "sex": np.select([sex == "M", sex == "F"], ["male", "female"], UNKNOWN),
        "age_band": _age_band(age),
        "unit": unit,
        "ethnicity": _words(read["ethnicity"]),
        "insurance": np.char.lower(_words(read["insurance"])),
    }
    return Cohort(
        rows.astype(np.int64),
        np.column_stack(static).astype(np.float32),
        read["died"].astype(np.int8),
        read["icustay_id"].astype(np.int64),
        read["subject_id"].astype(np.int64),
        attributes,
        (f"Of {total} stays are left out: {left_out}.",) if left_out else (),
    )


def _left_out(connection: "DuckDBPyConnection", neonates: bool) -> tuple[int, str]:
    """
    :return: number of stays in ICUSTAYS; how many of them are left out for which reason, in words
    """
    counts = connection.execute(_COUNTS).fetchone()
    assert counts is not None
    total, strange, timeless, young = counts
    reasons = {
        "without a row in ADMISSIONS and PATIENTS": strange,
        "whose times are missing or end before they begin": timeless,
        "of neonates": 0 if neonates else young,
    }
    return total, ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)


# Seconds since 1970 as numbers: differences of times do not depend on months or time zones
_COHORT: Final = """
CREATE TABLE everybody AS
WITH patients AS ({PATIENTS}), admissions AS ({ADMISSIONS}), icustays AS ({ICUSTAYS}), joined AS (
    SELECT i.*, p.gender, a.insurance, {ethnicity} AS ethnicity,
        a.hadm_id IS NOT NULL AND p.subject_id IS NOT NULL AS known,
        coalesce(a.hospital_expire_flag, (a.deathtime IS NOT NULL)::INTEGER) AS died,
        upper(a.admission_type) IN ('EMERGENCY', 'URGENT') AS emergency,
        (epoch(i.intime) - epoch(a.admittime)) / 3600 AS since_admission,
        date_part('year', age(i.intime, p.dob)) AS years,
        CASE WHEN a.deathtime > i.intime AND a.deathtime < i.outtime THEN a.deathtime ELSE i.outtime END AS until_time
    FROM icustays i LEFT JOIN admissions a ON i.hadm_id = a.hadm_id LEFT JOIN patients p ON i.subject_id = p.subject_id
)
SELECT *, epoch(intime) AS begin, coalesce(years < 1, false) AS young, emergency::DOUBLE AS is_emergency,
    CASE WHEN years > {oldest} THEN {median} WHEN years < 0 THEN 0 ELSE years END AS age,
    CASE WHEN since_admission < 0 THEN 0 ELSE since_admission END AS hours_before,
    CASE WHEN until_time > intime THEN epoch(until_time) - epoch(intime) END AS seconds
FROM joined
"""

_COUNTS: Final = """
SELECT count(*), count(*) FILTER (NOT known), count(*) FILTER (known AND seconds IS NULL),
    count(*) FILTER (known AND seconds > 0 AND young) FROM everybody
"""

_STAYS: Final = """
CREATE TABLE stays AS
WITH kept AS (
    SELECT *, least(ceil(seconds / 3600), $2)::BIGINT AS hours FROM everybody
    WHERE known AND seconds > 0 AND ($1 OR NOT young)
)
SELECT * REPLACE (least(seconds, hours * 3600) AS seconds),
    (sum(hours) OVER (ORDER BY subject_id, intime, icustay_id ROWS UNBOUNDED PRECEDING) - hours)::BIGINT AS first_row
FROM kept
"""


def _ethnicity() -> str:
    cases = " ".join(f"WHEN upper(a.ethnicity) LIKE '{pattern}' THEN '{name}'" for pattern, name in _ETHNICITIES)
    return f"CASE {cases} END"


def _floats(column: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan)


def _words(column: npt.NDArray[Any]) -> npt.NDArray[np.str_]:
    missing, texts = np.ma.getmaskarray(column).tolist(), np.ma.getdata(column).tolist()
    return np.array([UNKNOWN if hole or not text else str(text) for hole, text in zip(missing, texts, strict=True)])


def _units(column: npt.NDArray[Any]) -> npt.NDArray[np.str_]:
    return np.array([UNITS.get(text.upper(), UNKNOWN) for text in _words(column).tolist()])


def _age_band(age: npt.NDArray[np.float64]) -> npt.NDArray[np.str_]:
    bands = [f"<{AGE_BANDS[0]}", *(f"{a}-{b - 1}" for a, b in itertools.pairwise(AGE_BANDS)), f"{AGE_BANDS[-1]}+", UNKNOWN]
    return np.array(bands)[np.where(np.isnan(age), -1, np.searchsorted(AGE_BANDS, age, side="right"))]
