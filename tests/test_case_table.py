"""Tables of cases: what is checked, what is missing, what the preprocessing learns from whom."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hospital_gym.clinical.case_table import UNKNOWN, CaseTable
from hospital_gym.clinical.cases import split_rows
from hospital_gym.clinical.data_directory import MissingDataError
from hospital_gym.clinical.preprocessing import LIMIT, Preprocessing
from hospital_gym.clinical.tables import READERS, load_table
from hospital_gym.clinical.tables.eicu_mortality import read_eicu_mortality
from hospital_gym.clinical.tables.heart_disease import read_heart_disease
from hospital_gym.clinical.tables.icu_mortality import read_icu_mortality
from tests.clinical_tables import small_table, write_eicu, write_heart_disease, write_physionet
from tests.recorded_data import needs_data


def _frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": [0, 1, 0, 1], **columns})


def test_groups_are_combinations_that_occur() -> None:
    table = CaseTable.from_frame(_frame(sex=["f", "m", "m", None], site=["b", "a", "b", "a"]), "y", ["sex", "site"])
    assert table.group_names == ("f & b", "m & a", "m & b", "unknown & a")
    assert table.group_id.tolist() == [0, 1, 2, 3]
    assert table.grouped_by("sex").group_names == ("f", "m", UNKNOWN)
    assert table.grouped_by().group_names == ("all",)
    assert table.take([3, 1]).group_names == ("m & a", "unknown & a")


def test_bands_are_named_as_people_say() -> None:
    table = CaseTable.from_frame(_frame(age=[49, 50, 64, np.nan]), "y", ["age"], bands={"age": (50, 65)})
    assert table.attributes["age"].tolist() == ["<50", "50-64", "50-64", UNKNOWN]
    fractional = CaseTable.from_frame(_frame(age=[0.2, 0.5, 1.5, 2.0]), "y", ["age"], bands={"age": (0.5, 1.5)})
    assert fractional.attributes["age"].tolist() == ["<0.5", "0.5-1.5", "1.5+", "1.5+"]


def test_missing_features_stay_missing() -> None:
    frame = _frame(z=[1.0, np.nan, np.inf, 2.0], c=["a", None, "b", "a"])
    table = CaseTable.from_frame(frame, "y")
    assert np.isnan(table.features["z"]).tolist() == [False, True, True, False]  # an infinite measurement is none
    assert table.features["c"].isna().tolist() == [False, True, False, False]
    assert len(table) == 4


def test_cases_without_label_are_an_error_or_counted() -> None:
    frame = _frame().assign(y=np.array([0, np.nan, 1, 1]))
    with pytest.raises(ValueError, match=r"1 of 4 cases have no label, the first in row 1.*unlabelled='drop'"):
        CaseTable.from_frame(frame, "y")
    table = CaseTable.from_frame(frame, "y", unlabelled="drop")
    assert len(table) == 3 and table.notes == ("1 of 4 cases have no label in column 'y' and are left out.",)


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        ({}, {"label": "w"}, "column 'w' is not in the table; it has x, y"),
        ({}, {"groups": ["sex"]}, "column 'sex' is not in the table"),
        ({"y": [1, 1, 1, 1]}, {}, "at least two different answers"),
        ({}, {"features": ["y"]}, "not the label"),
        ({}, {"groups": ["x"], "bands": {"x": (3, 2)}}, "expected increasing numbers"),
        ({"c": list("abcd")}, {"groups": ["c"], "bands": {"c": (3,)}}, "expected numbers"),
        ({"p": [1, None, 2, 3]}, {"patient": "p"}, "patient is missing in row 1"),
        ({}, {"unlabelled": "ignore"}, "expected 'error' or 'drop'"),
        ({}, {"groups": ["x", "x"]}, "different attributes"),
    ],
)
def test_bad_tables_are_named(columns: dict[str, Any], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CaseTable.from_frame(_frame(**columns), **{"label": "y", **arguments})


def test_too_many_values_are_no_groups() -> None:
    frame = pd.DataFrame({"age": np.arange(100) / 7, "y": np.arange(100) % 2})
    with pytest.raises(ValueError, match="100 different values, expected at most 50; cut it with bands"):
        CaseTable.from_frame(frame, "y", ["age"])


def test_arrays() -> None:
    table = CaseTable.from_arrays([[1.0, np.nan], [2.0, 3.0]], [0, 2], [1, 0], ["a", "b"], [0, 1])
    assert (table.n_classes, table.group_names, table.source_names) == (3, ("a", "b"), ("source 0", "source 1"))
    assert table.group_id.tolist() == [1, 0]
    bad: dict[str, Any]
    for bad in ({"label": [0, -1]}, {"group": [0, 5], "group_names": ["a", "b"]}, {"features": [1.0]}, {"source": [0]}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            arguments: dict[str, Any] = {"features": [[1.0], [2.0]], "label": [0, 1], **bad}
            CaseTable.from_arrays(**arguments)


def test_preprocessing_learns_from_the_training_cases_alone() -> None:
    train = pd.DataFrame({"z": [0.0, 2.0, np.nan, 4.0, 2.0]})
    fitted = Preprocessing(train)
    assert fitted.names == ("z", "missingindicator_z")
    seen = fitted.observations(train)
    assert seen[:, 0].mean() == pytest.approx(0.0, abs=1e-6) and seen[:, 0].std() == pytest.approx(1.0)
    # mean 2 and deviation sqrt(8 / 5) with the hole filled by the median, 2
    others = fitted.observations(pd.DataFrame({"z": [2.0, np.nan, 1e9]}))
    assert others[:, 0].tolist() == pytest.approx([0.0, 0.0, LIMIT])
    assert others[0, 1] != others[1, 1]


def test_features_that_are_missing_together_share_an_indicator() -> None:
    holes = [1.0, np.nan, 3.0, 2.0]
    fitted = Preprocessing(pd.DataFrame({"a": holes, "b": holes, "c": [1.0, 2.0, 3.0, np.nan], "d": [1.0, 2.0, 3.0, 4.0]}))
    assert fitted.names == ("a", "b", "c", "d", "missingindicator_a", "missingindicator_c")


def test_categories_of_other_cases() -> None:
    table = small_table()
    fitted = Preprocessing(table.features)
    other = table.features.iloc[:2].assign(colour=pd.Categorical(["blue", None]))
    assert np.isfinite(fitted.observations(other)).all()  # a value nobody had shares a column, and is no error
    empty = pd.DataFrame({"a": [np.nan, np.nan], "b": [1.0, 2.0]})
    assert np.isfinite(Preprocessing(empty).observations(empty)).all()


def test_split_is_stratified_and_never_splits_patients() -> None:
    n = 400
    frame = pd.DataFrame({"x": np.arange(n), "y": np.arange(n) % 4 == 0, "p": np.arange(n) // 2})
    table = CaseTable.from_frame(frame, "y", patient="p")
    train, test = split_rows(table, 0.25, seed=3)
    assert sorted([*train, *test]) == list(range(n))
    assert not set(table.patient_id[train]) & set(table.patient_id[test])
    assert len(test) == 100 and table.label[test].mean() == pytest.approx(0.25)
    assert split_rows(table, 0.25, seed=3)[1].tolist() == test.tolist() != split_rows(table, 0.25, seed=4)[1].tolist()
    for share in (0.0, 1.0, 0.0001, "a"):
        with pytest.raises(ValueError, match="test_share"):
            split_rows(table, share)  # type: ignore[arg-type]


# -- The public tables ----------------------------------------------------------------------------------------------------


def test_heart_disease_zeros_are_missing(tmp_path: Path) -> None:
    write_heart_disease(tmp_path)
    table = read_heart_disease(str(tmp_path))
    swiss = table.source_id == table.source_names.index("Switzerland")
    assert table.features["cholesterol"][swiss].isna().all() and table.features["cholesterol"][~swiss].notna().all()
    assert table.features["blood_pressure"].isna().sum() == 4
    assert table.label_names == ("no", "yes") and set(table.group_names) == {"female", "male"}
    assert set(table.grouped_by("age_band").group_names) <= {"<50", "50-64", "65+"}


def test_eicu_leaves_out_what_it_says(tmp_path: Path) -> None:
    write_eicu(tmp_path)
    raw = pd.read_csv(tmp_path / "eicu_demo" / "eicu_demo_patient_joined.csv")
    first = raw[raw["unitvisitnumber"] == 1]
    table = read_eicu_mortality(str(tmp_path))
    assert len(table) == first["actualhospitalmortality"].notna().sum()
    assert f"{len(raw) - len(first)} later stays" in table.notes[0] and "have no label" in table.notes[1]
    assert table.features["admissionweight"].min() > 0 and table.features["acutephysiologyscore"].min() >= 0
    assert UNKNOWN in table.source_names and UNKNOWN in table.grouped_by("ethnicity").group_names
    assert len(np.unique(table.patient_id)) < len(table)
    assert not {"predictedhospitalmortality", "actualhospitalmortality"} & set(table.features)


def test_icu_summaries_by_hand(tmp_path: Path) -> None:
    write_physionet(tmp_path)
    table = read_icu_mortality(str(tmp_path))
    features: Any = table.features
    assert features.loc[5, ["HR_min", "HR_mean", "HR_max", "HR_last", "HR_count"]].tolist() == [66, 67, 68, 68, 3]
    assert np.isnan(features.loc[0, "Lactate_mean"]) and features.loc[0, "Lactate_count"] == 0
    assert features["height"].isna().all() and np.isnan(features.loc[0, "Weight_mean"])
    assert table.source_names == ("coronary", "cardiac surgery", "medical", "surgical")
    assert table.label.sum() == 8 and table.case_ids.tolist() == list(range(40))


@pytest.mark.parametrize("name", ["heart-disease", "eicu-mortality", "icu-mortality"])
def test_missing_data_say_where_to_get_them(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingDataError, match=r"not in the data directory .*https://.*[Dd]ownload"):
        READERS[name](str(tmp_path))
    monkeypatch.delenv("HOSPITAL_GYM_DATA", raising=False)
    with pytest.raises(MissingDataError, match="set HOSPITAL_GYM_DATA"):
        load_table(name)


def test_no_download_is_needed_for_breast_cancer() -> None:
    table = load_table("breast-cancer")
    assert (len(table), table.features.shape[1], int(table.label.sum())) == (569, 30, 212)
    assert "no groups of people" in table.notes[0]
    assert load_table("breast-cancer") is table  # read once
    with pytest.raises(ValueError, match="expected a CaseTable or one of"):
        load_table("lungs")


@needs_data
def test_recorded_tables_have_their_published_numbers() -> None:
    heart = load_table("heart-disease")
    assert [int((heart.source_id == k).sum()) for k in range(4)] == [303, 294, 123, 200]
    assert heart.label.sum() == 509 and heart.features["cholesterol"].isna().sum() == 172 + 30
    eicu = load_table("eicu-mortality")
    assert (len(eicu), int(eicu.label.sum()), len(np.unique(eicu.patient_id))) == (1697, 136, 1461)
    icu = load_table("icu-mortality")
    assert [int((icu.source_id == k).sum()) for k in range(4)] == [577, 874, 1481, 1068]
    assert icu.label.sum() == 554 and len(icu) == 4000
