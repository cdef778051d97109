"""Made-up files with the schema of the clinical data sets, and small tables of cases."""

from pathlib import Path

import numpy as np
import pandas as pd

from hospital_gym.clinical.case_table import CaseTable
from hospital_gym.clinical.tables.heart_disease import COLUMNS, SOURCES
from hospital_gym.clinical.tables.icu_mortality import DESCRIPTORS


def small_table(n: int = 120, seed: int = 0, holes: bool = True) -> CaseTable:
    """Cases with numbers, a category, holes, two attributes and two sources; the label follows the first number."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "z": rng.normal(2.0, 3.0, n),
            "colour": rng.choice(["red", "green"], n),
            "sex": rng.choice(["female", "male"], n),
            "age": rng.integers(20, 90, n),
            "site": rng.choice(["A", "B"], n),
        }
    )
    frame["y"] = np.where(frame["x"] + 0.3 * rng.normal(size=n) > 0, "ill", "well")
    if holes:
        frame.loc[::7, "z"] = np.nan
        frame.loc[3, "colour"] = None
    return CaseTable.from_frame(frame, "y", groups=["sex", "age"], source="site", bands={"age": (50,)})


def write_heart_disease(folder: Path, n: int = 30) -> None:
    """Four files without header; missing is ``?``, cholesterol 0 in one hospital."""
    rng = np.random.default_rng(0)
    (folder / "heart_disease").mkdir(parents=True)
    for part in SOURCES:
        rows = pd.DataFrame(rng.integers(1, 4, (n, len(COLUMNS))).astype(float), columns=list(COLUMNS)).astype(object)
        rows["age"], rows["sex"] = rng.integers(30, 80, n), rng.integers(0, 2, n).astype(float)
        rows["cholesterol"] = 0 if part == "switzerland" else rng.integers(150, 300, n)
        rows["narrowing"] = rng.integers(0, 5, n)
        rows.loc[0, "blood_pressure"] = "?"
        rows.to_csv(folder / "heart_disease" / f"processed.{part}.data", header=False, index=False)


def write_eicu(folder: Path, n: int = 80) -> None:
    """Stays, of which some are later stays and some have no outcome."""
    rng = np.random.default_rng(1)
    (folder / "eicu_demo").mkdir(parents=True)
    frame = pd.DataFrame(
        {
            "patientunitstayid": np.arange(1000, 1000 + n),
            "uniquepid": [f"p{k // 2}" for k in range(n)],
            "unitvisitnumber": np.where(np.arange(n) % 10 == 9, 2, 1),
            "hospitaladmitoffset": -rng.integers(0, 5000, n),
            "gender": rng.choice(["Male", "Female"], n),
            "age": rng.integers(20, 90, n).astype(float),
            "ethnicity": rng.choice(np.array(["Caucasian", "Asian", None]), n),
            "admissionheight": rng.normal(170, 10, n),
            "admissionweight": np.where(np.arange(n) % 5 == 0, 0.0, 80.0),
            "primarydiagnosis": rng.choice(["Diseases of the Circulatory System", "Injury and Poisoning"], n),
            "acutephysiologyscore": np.where(np.arange(n) % 7 == 0, -1.0, 40.0),
            "numbedscategory": rng.choice(["<100", ">= 500"], n),
            "region": rng.choice(np.array(["South", "West", None]), n),
            "actualhospitalmortality": rng.choice(np.array(["ALIVE", "EXPIRED", None]), n, p=[0.6, 0.3, 0.1]),
        }
    )
    frame.to_csv(folder / "eicu_demo" / "eicu_demo_patient_joined.csv", index=False)


def write_physionet(folder: Path, n: int = 40) -> None:
    """Descriptors at minute 0, two series, -1 where missing."""
    rng = np.random.default_rng(2)
    (folder / "physionet2012_set_a").mkdir(parents=True)
    names = np.array([*DESCRIPTORS, "Weight", "HR", "Lactate"])
    rows: list[tuple[int, int, int, float]] = []
    for record in range(n):
        age = int(rng.integers(20, 90))
        values = (record, age, record % 2, -1, record % 4 + 1, -1 if record == 0 else 70)
        rows += [(record, 0, place, float(value)) for place, value in enumerate(values)]
        rows += [(record, 60 * hour, 6, 60.0 + hour + record) for hour in range(1, 4)]
        rows += [(record, 90, 7, 2.0)] if record % 3 else []
    columns = np.array(rows)
    outcomes = np.zeros((n, 6), dtype=np.int32)
    outcomes[:, 0], outcomes[:, 5] = np.arange(n), np.arange(n) % 5 == 0
    np.savez(
        folder / "physionet2012_set_a" / "set_a_long.npz",
        record=columns[:, 0].astype(np.int32),
        minute=columns[:, 1].astype(np.uint16),
        param=columns[:, 2].astype(np.uint8),
        value=columns[:, 3].astype(np.float32),
        param_names=names,
        outcomes=outcomes,
        outcome_names=np.array(["RecordID", "SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death"]),
    )
