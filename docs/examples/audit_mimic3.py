"""Join three tables of the MIMIC-III demo to one row per hospital stay, for ``sb3-grpo audit`` with audit_mimic3.yml.

python audit_mimic3.py FOLDER records.csv
"""

import sys
from pathlib import Path

import pandas as pd

TOP_CODED = 89  # beyond this age dates of birth are shifted to 300 years before


def join(folder: Path) -> pd.DataFrame:
    """One row per hospital stay with intensive care: times, age, sex and outcome.

    :param folder: where ADMISSIONS.csv, PATIENTS.csv and ICUSTAYS.csv are
    """
    admissions = pd.read_csv(folder / "ADMISSIONS.csv", parse_dates=["admittime"])
    patients = pd.read_csv(folder / "PATIENTS.csv", parse_dates=["dob"])
    first = pd.read_csv(folder / "ICUSTAYS.csv").sort_values("intime").drop_duplicates("hadm_id")
    table = admissions.merge(patients[["subject_id", "gender", "dob"]], on="subject_id", validate="many_to_one")
    table = table.merge(first[["hadm_id", "intime"]], on="hadm_id", validate="one_to_one")
    years = table["admittime"].dt.year - table["dob"].dt.year  # differences of 300 years do not fit pandas' nanoseconds
    birthday = table["dob"].dt.month * 100 + table["dob"].dt.day
    today = table["admittime"].dt.month * 100 + table["admittime"].dt.day
    table["age"] = (years - (today < birthday)).clip(upper=TOP_CODED + 1)
    columns = ["hadm_id", "subject_id", "admittime", "intime", "dischtime", "age", "gender", "ethnicity", "insurance"]
    return table[[*columns, "hospital_expire_flag"]]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python audit_mimic3.py FOLDER records.csv")
    join(Path(sys.argv[1])).to_csv(sys.argv[2], index=False)
