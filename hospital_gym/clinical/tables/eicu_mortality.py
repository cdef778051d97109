"""eICU demo: who dies in hospital, by what was known on the first day in intensive care? 186 hospitals of four US regions."""

from typing import Final

from hospital_gym.clinical.case_table import CaseTable
from hospital_gym.clinical.data_directory import DataSet

EICU_DEMO: Final = DataSet(
    folder="eicu_demo",
    title="eICU Collaborative Research Database Demo 2.0.1, doi:10.13026/4mxk-na84",
    url="https://physionet.org/content/eicu-crd-demo/2.0.1/",
    licence="ODbL 1.0",
    how=(
        "Download patient.csv.gz, hospital.csv.gz and apachePatientResult.csv.gz, left-join patient with hospital on "
        "hospitalid and with the APACHE IV rows of apachePatientResult on patientunitstayid, and write the result to "
        "eicu_demo/eicu_demo_patient_joined.csv."
    ),
)

FEATURES: Final = (
    *("age", "gender", "ethnicity", "admissionheight", "admissionweight", "primarydiagnosis"),
    *("acutephysiologyscore", "hours_before_unit", "numbedscategory"),
)
"""What is known on the first day. Not APACHE's own predictions, which are the answer of another model."""

AGE_BANDS: Final = (45, 65, 80)


def read_eicu_mortality(data: str | None = None) -> CaseTable:
    """
    The first intensive-care stay of every hospital stay whose outcome was recorded.

    :param data: the data directory; None for the environment variable ``HOSPITAL_GYM_DATA``
    :return: label: died in hospital; attributes ``sex`` (the groups), ``age_band`` and ``ethnicity``; sources: regions
    :raises hospital_gym.clinical.data_directory.MissingDataError: if the file is not there
    """
    import pandas as pd

    frame = pd.read_csv(EICU_DEMO.path("eicu_demo_patient_joined.csv", data))
    first = frame["unitvisitnumber"] == 1
    later = int((~first).sum())
    frame = frame.loc[first].copy()
    for name in ("admissionheight", "admissionweight"):
        frame[name] = frame[name].where(frame[name] > 0)
    frame["acutephysiologyscore"] = frame["acutephysiologyscore"].where(frame["acutephysiologyscore"] >= 0)
    # From minutes after admission to the unit (negative: before it); a year at most, as some dates are wrong
    frame["hours_before_unit"] = (-frame["hospitaladmitoffset"] / 60).clip(0, 24 * 365)
    frame["sex"] = frame["gender"].str.lower()
    frame["age_band"] = frame["age"]
    frame["died"] = frame["actualhospitalmortality"].map({"ALIVE": "no", "EXPIRED": "yes"})
    return CaseTable.from_frame(
        frame,
        label="died",
        groups=["sex"],
        attributes=["age_band", "ethnicity"],
        bands={"age_band": AGE_BANDS},
        source="region",
        features=FEATURES,
        case="patientunitstayid",
        patient="uniquepid",
        unlabelled="drop",
        notes=[f"{later} later stays of the same hospital stay are left out: they have the same outcome."],
    )
