"""Made-up tables with the schema of MIMIC-III 1.4, as files."""

import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

COLUMNS: Final = {
    "PATIENTS": "ROW_ID SUBJECT_ID GENDER DOB DOD DOD_HOSP DOD_SSN EXPIRE_FLAG",
    "ADMISSIONS": (
        "ROW_ID SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE ADMISSION_LOCATION DISCHARGE_LOCATION "
        "INSURANCE LANGUAGE RELIGION MARITAL_STATUS ETHNICITY EDREGTIME EDOUTTIME DIAGNOSIS HOSPITAL_EXPIRE_FLAG "
        "HAS_CHARTEVENTS_DATA"
    ),
    "ICUSTAYS": (
        "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID DBSOURCE FIRST_CAREUNIT LAST_CAREUNIT FIRST_WARDID LAST_WARDID "
        "INTIME OUTTIME LOS"
    ),
    "CHARTEVENTS": (
        "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID ITEMID CHARTTIME STORETIME CGID VALUE VALUENUM VALUEUOM WARNING ERROR "
        "RESULTSTATUS STOPPED"
    ),
    "LABEVENTS": "ROW_ID SUBJECT_ID HADM_ID ITEMID CHARTTIME VALUE VALUENUM VALUEUOM FLAG",
    "INPUTEVENTS_CV": (
        "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID CHARTTIME ITEMID AMOUNT AMOUNTUOM RATE RATEUOM STORETIME CGID ORDERID "
        "LINKORDERID STOPPED NEWBOTTLE ORIGINALAMOUNT ORIGINALAMOUNTUOM ORIGINALROUTE ORIGINALRATE ORIGINALRATEUOM "
        "ORIGINALSITE"
    ),
    "INPUTEVENTS_MV": (
        "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID STARTTIME ENDTIME ITEMID AMOUNT AMOUNTUOM RATE RATEUOM STORETIME CGID ORDERID "
        "LINKORDERID ORDERCATEGORYNAME SECONDARYORDERCATEGORYNAME ORDERCOMPONENTTYPEDESCRIPTION ORDERCATEGORYDESCRIPTION "
        "PATIENTWEIGHT TOTALAMOUNT TOTALAMOUNTUOM ISOPENBAG CONTINUEINNEXTDEPT CANCELREASON STATUSDESCRIPTION "
        "COMMENTS_EDITEDBY COMMENTS_CANCELEDBY COMMENTS_DATE ORIGINALAMOUNT ORIGINALRATE"
    ),
    "OUTPUTEVENTS": (
        "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID CHARTTIME ITEMID VALUE VALUEUOM STORETIME CGID STOPPED NEWBOTTLE ISERROR"
    ),
}
"""Columns of the tables, as in the files of PhysioNet."""

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
    assert all(set(row) <= {column.lower() for column in names} for row in rows)
    lines = [",".join(f'"{column.lower() if lower else column}"' for column in names)]
    lines += [",".join(_cell(row.get(column.lower())) for column in names) for row in rows]
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
