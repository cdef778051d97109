"""PhysioNet/CinC Challenge 2012, set A: who dies in hospital, by the first 48 hours in one of four kinds of intensive care?"""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hospital_gym.clinical.case_table import CaseTable
from hospital_gym.clinical.data_directory import DataSet

if TYPE_CHECKING:
    import pandas as pd

PHYSIONET_2012: Final = DataSet(
    folder="physionet2012_set_a",
    title="Predicting Mortality of ICU Patients: the PhysioNet/Computing in Cardiology Challenge 2012, version 1.0.0, set A",
    url="https://physionet.org/content/challenge-2012/1.0.0/",
    licence="ODC-By 1.0",
    how=(
        "Download set-a.zip and Outcomes-a.txt and write them to physionet2012_set_a/set_a_long.npz: `record` (int32), "
        "`minute` (uint16), `param` (uint8, index into `param_names`) and `value` (float32), one entry for each line of the "
        "4,000 files in order, and `outcomes` (int32, 4000 x 6) with `outcome_names` from Outcomes-a.txt."
    ),
)

UNITS: Final = {1: "coronary", 2: "cardiac surgery", 3: "medical", 4: "surgical"}
"""ICUType of the files."""

DESCRIPTORS: Final = ("RecordID", "Age", "Gender", "Height", "ICUType")
"""Parameters that are no time series. Weight is both; its first value is the descriptor."""

SUMMARIES: Final = ("min", "mean", "max", "last")
"""What is kept of the first 48 hours of each series, beside the number of measurements."""

AGE_BANDS: Final = (45, 65, 80)


def read_icu_mortality(data: str | None = None) -> CaseTable:
    """
    All 4,000 stays. Of each of 37 series: least, mean, largest and last value, and how often it was measured.

    :param data: the data directory; None for the environment variable ``HOSPITAL_GYM_DATA``
    :return: label: died in hospital; attributes ``sex`` (the groups) and ``age_band``; sources: the four kinds of unit
    :raises hospital_gym.clinical.data_directory.MissingDataError: if the file is not there
    """
    import pandas as pd

    with np.load(PHYSIONET_2012.path("set_a_long.npz", data)) as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    outcomes = pd.DataFrame(stored["outcomes"], columns=stored["outcome_names"].astype(str)).set_index("RecordID")
    series = pd.DataFrame(
        {
            "record": stored["record"],
            "name": pd.Categorical.from_codes(stored["param"], categories=stored["param_names"].astype(str)),
            "value": stored["value"].astype(np.float64),
        }
    )
    series = series.loc[series["value"] != -1.0]  # -1 stands for missing
    first = series.drop_duplicates(["record", "name"]).pivot(index="record", columns="name", values="value")
    first = first.reindex(index=outcomes.index, columns=list(DESCRIPTORS))
    frame = pd.concat([_descriptors(first), _summaries(series)], axis=1).loc[outcomes.index]
    frame["died"] = outcomes["In-hospital_death"].map({0: "no", 1: "yes"})
    frame["age_band"] = frame["age"]
    features = [name for name in frame.columns if name not in ("unit", "died", "age_band")]
    return CaseTable.from_frame(
        frame.rename_axis("record").reset_index(),
        label="died",
        groups=["sex"],
        attributes=["age_band"],
        bands={"age_band": AGE_BANDS},
        source="unit",
        features=features,
        case="record",
        notes=["A value of -1 is taken as missing."],
    )


def _descriptors(first: "pd.DataFrame") -> "pd.DataFrame":
    """
    :param first: (N, descriptors) value of each descriptor
    """
    import pandas as pd

    return pd.DataFrame(
        {
            "age": first["Age"],
            "sex": pd.Categorical(first["Gender"].map({0.0: "female", 1.0: "male"}), categories=["female", "male"]),
            "height": first["Height"],
            "unit": pd.Categorical(first["ICUType"].map(UNITS), categories=list(UNITS.values())),
        },
        index=first.index,
    )


def _summaries(series: "pd.DataFrame") -> "pd.DataFrame":
    """
    :param series: one row per measurement, in the order of time: record, name, value
    """
    measured: Any = series.loc[~series["name"].isin(DESCRIPTORS)]
    measured = measured.assign(name=measured["name"].cat.remove_unused_categories())
    grouped = measured.groupby(["record", "name"], observed=True)["value"]
    table = grouped.agg([*SUMMARIES, "count"]).unstack("name")
    table["count"] = table["count"].fillna(0.0)
    table.columns = [f"{name}_{summary}" for summary, name in table.columns]
    return table.astype(np.float64).sort_index(axis=1)
