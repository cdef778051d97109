"""Stays hour by hour: what is checked, subsets and splits, and what is read from the files."""

import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hospital_gym.clinical.data_directory import MissingDataError
from hospital_gym.clinical.icu_stays import MODALITIES, SHARES, SPLITS, Channel, IcuStays
from hospital_gym.clinical.stays import load_stays
from hospital_gym.clinical.stays.physionet_2012 import HOURS, SERIES, STATIC, read_physionet_2012
from hospital_gym.clinical.stays.synthetic import synthetic_stays
from tests.clinical_stays import NAN, hand_made_stays
from tests.recorded_data import needs_data


def test_rows_and_modalities_of_a_stay() -> None:
    stays = hand_made_stays()
    assert len(stays) == 3 and stays.hours.tolist() == [4, 1, 3]
    assert {name: places.tolist() for name, places in stays.modalities.items()} == {"vitals": [0, 2], "blood_gas": [1]}
    assert np.array_equal(
        stays.stay(2), np.array([[60, NAN, NAN], [NAN, 7.2, NAN], [70, NAN, 39]], np.float32), equal_nan=True
    )
    copy = pickle.loads(pickle.dumps(stays))
    assert np.array_equal(copy.values, stays.values, equal_nan=True) and copy.groups("sex")[1] == ("female", "male")


def test_a_subset_has_its_stays_in_the_order_asked_for() -> None:
    stays = hand_made_stays()
    chosen = stays.subset([2, 0])
    assert chosen.offsets.tolist() == [0, 3, 7] and chosen.stay_ids.tolist() == [102, 100]
    for place, number in enumerate((2, 0)):
        assert np.array_equal(chosen.stay(place), stays.stay(number), equal_nan=True)
        assert np.array_equal(chosen.static[place], stays.static[number], equal_nan=True)
    assert chosen.attributes["sex"].tolist() == ["male", "female"]
    with pytest.raises(ValueError, match="named twice"):
        stays.subset([0, 0])
    with pytest.raises(ValueError, match="expected 0 to 2"):
        stays.subset([3])


def test_groups_are_combinations_and_unknown_is_one_of_its_own() -> None:
    ids, names = hand_made_stays(2).groups("sex", "age_band")
    assert names == ("female & 45-64", "male & 80+", "unknown") and ids.tolist() == [0, 1, 2, 0, 1, 2]
    assert hand_made_stays().groups()[1] == ("all",)
    bands = synthetic_stays(200).groups("age_band")[1]
    assert bands == ("<45", "45-64", "65-79", "80+")
    with pytest.raises(ValueError, match=r"groups: got \('height',\), expected different attributes"):
        hand_made_stays().groups("height")


def test_a_split_is_disjoint_stratified_and_stable() -> None:
    stays = synthetic_stays(500, hours=1)
    parts = stays.split()
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(500))
    deaths = int(stays.died.sum())
    for name, share in zip(SPLITS, SHARES, strict=True):
        assert abs(stays.died[parts[name]].sum() - share * deaths) <= 1
        assert abs(len(parts[name]) - share * 500) <= 2
    # The order of stays moves nobody to another part, another seed does
    turned = stays.subset(np.arange(500)[::-1])
    again = turned.split()
    assert {name: set(turned.stay_ids[rows].tolist()) for name, rows in again.items()} == {
        name: set(stays.stay_ids[rows].tolist()) for name, rows in parts.items()
    }
    assert parts["test"].tolist() != stays.split(seed=1)["test"].tolist()
    # Pinned: published results hang on it
    assert parts["test"][:5].tolist() == [1, 11, 13, 30, 32]


def test_a_patient_with_several_stays_is_in_one_part() -> None:
    one = synthetic_stays(300, hours=1)
    stays = IcuStays(**{**_arguments(one), "patient_ids": np.arange(300) // 3})
    owners = [set((rows // 3).tolist()) for rows in stays.split().values()]
    assert not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.5, 0.5, 0.0), (0.5, 0.3, 0.3), (0.998, 0.001, 0.001)])
def test_bad_shares_are_named(shares: Any) -> None:
    with pytest.raises(ValueError, match="shares"):
        synthetic_stays(50, hours=1).split(shares)


def _arguments(stays: IcuStays) -> dict[str, Any]:
    return {part.name: getattr(stays, part.name) for part in fields(stays)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"offsets": [0, 4, 8]}, "offsets: got int64 of shape"),
        ({"offsets": [0, 4, 4, 8]}, "expected increasing numbers from 0 to the 8 rows"),
        ({"offsets": [0, 4, 5, 7]}, "expected increasing numbers from 0 to the 8 rows"),
        ({"values": np.zeros((8, 2))}, "channels: got 3, expected one for each of 2 columns"),
        ({"values": np.full((8, 3), np.inf)}, "values: got infinite numbers"),
        ({"values": np.array([["a"] * 3] * 8)}, "values: got <U1 of shape"),
        ({"channels": (Channel("HR", "vitals"),) * 3}, "two have the same name"),
        ({"static": np.zeros((3, 1))}, r"static: got the shape \(3, 1\)"),
        ({"died": [0, 1, 2]}, "expected 3 values, 0 or 1"),
        ({"stay_ids": np.array([1, 1, 2])}, "expected one different id per stay"),
        ({"patient_ids": np.arange(2)}, "patient_ids"),
        ({"attributes": {"sex": ["female"]}}, r"attributes\['sex'\].*expected 3 texts"),
        ({"attributes": {"sex": [1, 2, 3]}}, r"attributes\['sex'\].*expected 3 texts"),
    ],
)
def test_bad_fields_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IcuStays(**{**_arguments(hand_made_stays()), **changed})


def _write(folder: Path, rows: list[tuple[int, int, str, float]], deaths: dict[int, int]) -> None:
    """A file of the form of PhysioNet 2012 set A, with these measurements: record, minute, parameter, value."""
    names = ["Age", "Gender", "Height", "ICUType", "Weight", "HR", "Temp", "Urine", "pH", "RecordID"]
    (folder / "physionet2012_set_a").mkdir(parents=True)
    outcomes = np.zeros((len(deaths), 6), dtype=np.int32)
    outcomes[:, 0], outcomes[:, 5] = list(deaths), list(deaths.values())
    np.savez(
        folder / "physionet2012_set_a" / "set_a_long.npz",
        record=np.array([row[0] for row in rows], np.int32),
        minute=np.array([row[1] for row in rows], np.uint16),
        param=np.array([names.index(row[2]) for row in rows], np.uint8),
        value=np.array([row[3] for row in rows], np.float32),
        param_names=np.array(names),
        outcomes=outcomes,
        outcome_names=np.array(["RecordID", "SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death"]),
    )


def test_the_hourly_table_of_a_file(tmp_path: Path) -> None:
    descriptors = [("Age", 70), ("Gender", 0), ("Height", 13), ("ICUType", 3), ("Weight", 80)]
    rows = [(7, 0, name, float(value)) for name, value in descriptors]
    rows += [(5, 0, name, value) for name, value in [("Age", 44.0), ("Gender", -1.0), ("Height", -1.0), ("ICUType", 1.0)]]
    rows += [
        (7, 59, "HR", 60.0),  # hour 0: mean of 60 and 80
        (7, 0, "HR", 80.0),
        (7, 60, "HR", 0.0),  # outside its limits: not measured
        (7, 61, "Urine", 30.0),  # urine is added up
        (7, 119, "Urine", 45.0),
        (7, 2880, "HR", 100.0),  # the last minute counts to hour 47
        (7, 2879, "HR", 110.0),
        (7, 200, "pH", 735.0),
        (7, 300, "Temp", -1.0),  # missing, not refused
        (5, 30, "Temp", 37.5),
    ]
    _write(tmp_path, rows, {7: 1, 5: 0})
    stays = read_physionet_2012(tmp_path)
    assert stays.stay_ids.tolist() == [5, 7] and stays.died.tolist() == [0, 1] and stays.hours.tolist() == [48, 48]
    names = [channel.name for channel in stays.channels]
    first, second = stays.stay(0), stays.stay(1)
    heart = second[:, names.index("HR")]
    assert heart[0] == 70.0 and np.isnan(heart[1]) and heart[47] == 105.0 and np.isfinite(heart).sum() == 2
    assert second[1, names.index("Urine")] == 75.0 and second[0, names.index("Weight")] == 80.0
    assert np.isfinite(first).sum() == 1 and first[0, names.index("Temp")] == 37.5
    assert np.isfinite(second).sum() == 4
    assert stays.static[1].tolist()[:2] == [70.0, 0.0] and np.isnan(stays.static[1, 2])
    assert stays.static[1, 3:].tolist() == [80.0, 0.0, 0.0, 1.0, 0.0] and np.isnan(stays.static[0, 1:4]).all()
    assert stays.attributes["sex"].tolist() == ["unknown", "female"]
    assert stays.attributes["age_band"].tolist() == ["<45", "65-79"]
    assert stays.attributes["unit"].tolist() == ["coronary", "medical"]
    assert "2 of 10 measurements" in stays.notes[1]


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"set_a_long.npz.*physionet.org/content/challenge-2012.*Download set-a.zip"):
        load_stays(tmp_path)
    _write(tmp_path, [(1, 0, "HR", 60.0)], {2: 0})
    with pytest.raises(ValueError, match="records without outcome"):
        read_physionet_2012(tmp_path)
    np.savez(tmp_path / "physionet2012_set_a" / "set_a_long.npz", record=np.zeros(1))
    with pytest.raises(ValueError, match=r"lacks \['minute'"):
        read_physionet_2012(tmp_path)
    with pytest.raises(ValueError, match="data: got 3, expected a data directory"):
        load_stays(3)  # type: ignore[arg-type]


def test_made_up_stays_have_the_form_of_the_recorded_ones() -> None:
    stays = load_stays("synthetic")
    assert stays is load_stays("synthetic") and len(stays) == 400 and stays.hours.tolist() == [HOURS] * 400
    assert stays.channels == tuple(series.channel for series in SERIES) and stays.static_names == STATIC
    assert tuple(stays.modalities) == MODALITIES
    assert 0.05 < stays.died.mean() < 0.25
    assert np.array_equal(stays.values, synthetic_stays().values, equal_nan=True)
    for place, series in enumerate(SERIES):
        measured = stays.values[:, place][np.isfinite(stays.values[:, place])]
        assert len(measured) and series.low <= measured.min() and measured.max() <= np.float32(series.high)
    for arguments in ({"n": 0}, {"hours": 1.5}, {"n": True}):
        with pytest.raises(ValueError, match="expected a whole number >= 1"):
            synthetic_stays(**arguments)


@needs_data
def test_the_recorded_stays_are_those_of_the_challenge() -> None:
    stays = load_stays()
    assert len(stays) == 4000 and int(stays.died.sum()) == 554
    ids, names = stays.groups("unit")
    assert names == ("cardiac surgery", "coronary", "medical", "surgical")
    assert np.bincount(ids).tolist() == [874, 577, 1481, 1068]
    assert np.bincount(ids, stays.died).round().tolist() == [43.0, 81.0, 275.0, 155.0]
    ids, names = stays.groups("sex")
    assert names == ("female", "male", "unknown") and np.bincount(ids).tolist() == [1751, 2246, 3]
    assert np.bincount(stays.groups("age_band")[0]).tolist() == [572, 1247, 1301, 880]
