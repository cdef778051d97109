"""UCI Heart Disease: 920 patients of four hospitals, is a coronary artery narrowed by half or more?"""

from typing import Final

from hospital_gym.clinical.case_table import CaseTable
from hospital_gym.clinical.data_directory import DataSet

HEART_DISEASE: Final = DataSet(
    folder="heart_disease",
    title="Heart Disease, UCI Machine Learning Repository, data set 45, doi:10.24432/C52P4X",
    url="https://archive.ics.uci.edu/dataset/45/heart+disease",
    licence="CC BY 4.0",
    how="Download the archive from that page and unpack its four files processed.*.data into the folder heart_disease.",
)

SOURCES: Final = {
    "cleveland": "Cleveland",
    "hungarian": "Hungary",
    "switzerland": "Switzerland",
    "va": "VA Long Beach",
}
"""Part of the file's name, and the hospital: Cleveland Clinic, Budapest, Zurich and Basel, V.A. Medical Center Long Beach."""

COLUMNS: Final = (
    *("age", "sex", "chest_pain", "blood_pressure", "cholesterol", "fasting_sugar", "ecg", "max_heart_rate"),
    *("exercise_angina", "st_depression", "st_slope", "vessels", "thallium", "narrowing"),
)
"""The 14 columns of the files, in order; units: years, mm Hg, mg/dl, beats per minute, mm."""

ONE_HOSPITAL: Final = ("st_slope", "vessels", "thallium")
"""Measured almost in Cleveland alone: whether they are missing tells the hospital, not the disease. They are no features."""

AGE_BANDS: Final = (50, 65)


def read_heart_disease(data: str | None = None) -> CaseTable:
    """
    All 920 patients. A cholesterol of 0 mg/dl (172 patients, all 123 Swiss ones among them) and a blood pressure of 0 mm Hg
    (one) were not measured, and are missing here.

    :param data: the data directory; None for the environment variable ``HOSPITAL_GYM_DATA``
    :return: label: narrowing of 50 % or more; attributes ``sex`` (the groups) and ``age_band``; sources: the four hospitals
    :raises hospital_gym.clinical.data_directory.MissingDataError: if a file is not there
    """
    import pandas as pd

    parts = []
    for part, source in SOURCES.items():
        path = HEART_DISEASE.path(f"processed.{part}.data", data)
        rows = pd.read_csv(path, header=None, names=list(COLUMNS), na_values="?")
        parts.append(rows.assign(hospital=source))
    frame = pd.concat(parts, ignore_index=True)
    zeros = {name: int((frame[name] == 0).sum()) for name in ("cholesterol", "blood_pressure")}
    for name in zeros:
        frame[name] = frame[name].where(frame[name] != 0)
    frame["sex"] = pd.Categorical(frame["sex"].map({0.0: "female", 1.0: "male"}), categories=["female", "male"])
    for name in ("chest_pain", "ecg"):
        frame[name] = frame[name].map(lambda value: str(int(value)), na_action="ignore").astype("category")
    frame["disease"] = (frame["narrowing"] > 0).map({False: "no", True: "yes"})
    frame["age_band"] = frame["age"]
    frame["hospital"] = pd.Categorical(frame["hospital"], categories=list(SOURCES.values()))
    return CaseTable.from_frame(
        frame,
        label="disease",
        groups=["sex"],
        attributes=["age_band"],
        bands={"age_band": AGE_BANDS},
        source="hospital",
        features=[name for name in COLUMNS[:-1] if name not in ONE_HOSPITAL],
        notes=[
            f"A cholesterol of 0 ({zeros['cholesterol']} patients) and a blood pressure of 0 ({zeros['blood_pressure']}) "
            "are taken as missing.",
            f"{', '.join(ONE_HOSPITAL)} are no features: they were measured almost in Cleveland alone.",
        ],
    )
