"""Made-up tables with the schema of MIMIC-III 1.4, as files."""

import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hospital_gym.clinical.mimic.made_up import COLUMNS

Rows = Iterable[Mapping[str, Any]]


def write_table(folder: Path, name: str, rows: Rows = (), suffix: str = ".csv", lower: bool = False) -> Path:
    """
    Write a table. What a row does not name is empty.

    :param folder: where to
    :param name: of the table
    :param rows: values by name of the column, in lower case
    :param suffix: ``".csv"`` or ``".csv.gz"``
    :param lower: names of the file and of the columns in lower case, as in the demo
    """
    names = COLUMNS[name].split()
    assert all(set(row) <= set(names) for row in rows)
    lines = [",".join(f'"{column if lower else column.upper()}"' for column in names)]
    lines += [",".join(_cell(row.get(column)) for column in names) for row in rows]
    text = "\n".join(lines) + "\n"
    path = folder / ((name.lower() if lower else name) + suffix)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if suffix == ".csv.gz" else data)
    return path


def _cell(value: Any) -> str:
    return "" if value is None else f'"{value}"' if isinstance(value, str) else str(value)


def at(clock: str, day: int = 1) -> str:
    """A time in January 2150."""
    return f"2150-01-{day:02d} {clock}" + (":00" if clock.count(":") == 1 else "")


def patient(subject: int, gender: str = "F", dob: str = "2080-06-01 00:00:00") -> dict[str, Any]:
    """A row of PATIENTS: a woman of 69."""
    return {"subject_id": subject, "gender": gender, "dob": dob}


def admission(subject: int, hadm: int, **other: Any) -> dict[str, Any]:
    """A row of ADMISSIONS: an emergency, admitted at 6 o'clock, who survives."""
    row = {"subject_id": subject, "hadm_id": hadm, "admittime": at("06:00"), "dischtime": at("12:00", 9)}
    row |= {"admission_type": "EMERGENCY", "insurance": "Medicare", "ethnicity": "WHITE", "hospital_expire_flag": 0}
    return row | other


def stay(subject: int, hadm: int, icustay: int, **other: Any) -> dict[str, Any]:
    """A row of ICUSTAYS: medical intensive care from 8 to 13 o'clock."""
    row = {"subject_id": subject, "hadm_id": hadm, "icustay_id": icustay, "first_careunit": "MICU"}
    return row | {"intime": at("08:00"), "outtime": at("13:00")} | other
