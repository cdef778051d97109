"""MIMIC-III: values of each hour, calculated by hand from rows of the tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("duckdb")

from benchmarks.mimic_with_pandas import read_with_pandas
from hospital_gym.clinical.icu_stays import IcuStays
from hospital_gym.clinical.mimic import read_mimic3
from hospital_gym.clinical.mimic.items import EVENT_TABLES
from hospital_gym.clinical.mimic.made_up import write_made_up_tables
from tests.mimic_tables import admission, at, patient, stay, write_table

HOLE = np.nan


def read(folder: Path, stays: list[dict[str, Any]] | None = None, **tables: list[dict[str, Any]]) -> IcuStays:
    """Stays of patient 1 from 8 to 13 o'clock, unless others are given, with rows of events."""
    folder.mkdir(exist_ok=True)
    write_table(folder, "PATIENTS", [patient(1), patient(2)])
    write_table(folder, "ADMISSIONS", [admission(1, 10), admission(2, 20)])
    write_table(folder, "ICUSTAYS", [stay(1, 10, 100)] if stays is None else stays)
    for name in EVENT_TABLES:
        write_table(folder, name, [{"subject_id": 1, **row} for row in tables.get(name, [])])
    return read_mimic3(folder)


def channel(stays: IcuStays, name: str, number: int = 0) -> list[float]:
    column = next(k for k, channel in enumerate(stays.channels) if channel.name == name)
    return stays.stay(number)[:, column].tolist()


def chart(itemid: float, clock: str, value: Any, **other: Any) -> dict[str, Any]:
    return {"itemid": itemid, "charttime": at(clock), "valuenum": value, **other}


def test_values_of_an_hour_are_averaged_and_those_outside_the_stay_dropped(tmp_path: Path) -> None:
    rows = [
        *(chart(211, clock, value) for clock, value in (("07:59:59", 200), ("13:00", 210), ("14:00", 220))),  # not in the stay
        *(chart(211, clock, value) for clock, value in (("08:00", 80), ("08:30", 84), ("08:59:59", 91))),
        *(chart(220045, clock, value) for clock, value in (("09:00", 70), ("12:59:59", 60))),
        chart(999, "10:00", 100),  # another item
        chart(211, "10:00", 100, subject_id=2),  # another patient
    ]
    stays = read(tmp_path, CHARTEVENTS=rows)
    assert channel(stays, "HR") == pytest.approx([85.0, 70.0, HOLE, HOLE, 60.0], nan_ok=True)
    others = np.delete(stays.values, [c.name for c in stays.channels].index("HR"), axis=1)
    assert np.isnan(others).all()


@pytest.mark.parametrize(
    ("table", "item", "value", "name", "expected"),
    [
        ("CHARTEVENTS", 678, 98.6, "Temp", 37.0),
        ("CHARTEVENTS", 223761, 104, "Temp", 40.0),
        ("CHARTEVENTS", 676, 38.5, "Temp", 38.5),
        ("CHARTEVENTS", 223762, 98.6, "Temp", HOLE),  # Fahrenheit in the column of Celsius
        ("CHARTEVENTS", 226531, 200, "Weight", 90.718474),
        ("CHARTEVENTS", 190, 0.4, "FiO2", 0.4),
        ("CHARTEVENTS", 3420, 60, "FiO2", 0.6),
        ("CHARTEVENTS", 223835, 50, "FiO2", 0.5),
        ("CHARTEVENTS", 223835, 0.5, "FiO2", 0.5),
        ("CHARTEVENTS", 223835, 4, "FiO2", HOLE),  # litres in the minute
        ("CHARTEVENTS", 220045, 0, "HR", HOLE),
        ("CHARTEVENTS", 220045, 300, "HR", 300.0),  # limits are believed
        ("CHARTEVENTS", 220045, 301, "HR", HOLE),
        ("LABEVENTS", 50820, 7.31, "pH", 7.31),
        ("LABEVENTS", 50820, 731, "pH", HOLE),
        ("LABEVENTS", 50816, 35, "FiO2", 0.35),
        ("LABEVENTS", 50824, 141, "Na", 141.0),
    ],
)
def test_units_and_limits(tmp_path: Path, table: str, item: int, value: float, name: str, expected: float) -> None:
    stays = read(tmp_path, **{table: [chart(item, "09:10", value)]})
    assert channel(stays, name) == pytest.approx([HOLE, expected, HOLE, HOLE, HOLE], nan_ok=True, rel=1e-6)
    refused = f"Values beyond the limits of their channel are taken as missing: {name} 1."
    assert (refused in stays.notes) == bool(np.isnan(expected))


def test_entries_that_do_not_count(tmp_path: Path) -> None:
    saline = {"itemid": 225158, "starttime": at("08:00"), "endtime": at("09:00"), "amountuom": "ml"}
    stays = read(
        tmp_path,
        CHARTEVENTS=[chart(211, "08:10", 80, error=0), chart(211, "08:20", 200, error=1), chart(211, "08:30", 90)],
        OUTPUTEVENTS=[
            {"itemid": 40055, "charttime": at("08:10"), "value": 100, "iserror": 1},
            {"itemid": 40055, "charttime": at("08:20"), "value": 30},
        ],
        INPUTEVENTS_MV=[
            saline | {"amount": 500, "statusdescription": "Rewritten"},
            saline | {"amount": 60, "statusdescription": "FinishedRunning"},
        ],
    )
    assert channel(stays, "HR")[0] == 85.0
    assert channel(stays, "Urine")[0] == 30.0
    assert channel(stays, "Crystalloids")[0] == 60.0
    silent = "none of its entries is a value of a channel in one of the stays."
    assert stays.notes == (f"LABEVENTS: {silent}", f"INPUTEVENTS_CV: {silent}")


def test_whole_numbers_that_a_program_wrote_as_decimals(tmp_path: Path) -> None:
    """As pandas does where a column has holes."""
    rows = [chart(211.0, "08:10", 80.0, error="1.0"), chart(211.0, "08:20", 90.0, error="0.0", icustay_id=100.0)]
    rows += [chart(211.0, "08:30", 70.0, subject_id=1.0)]
    assert channel(read(tmp_path, CHARTEVENTS=rows), "HR")[0] == 80.0


def test_what_is_no_number_or_no_time_is_missing(tmp_path: Path) -> None:
    rows = [chart(211, "08:10", "eighty"), chart(211, "08:20", None), chart(211, "08:30", 70)]
    rows += [{"itemid": 211, "charttime": "yesterday", "valuenum": 120}, {"itemid": 211, "valuenum": 120}]
    assert channel(read(tmp_path, CHARTEVENTS=rows), "HR")[0] == 70.0


def test_coma_scale_needs_its_three_parts_in_the_hour(tmp_path: Path) -> None:
    rows = [
        # 8 o'clock: eyes 3 and 4, verbal 1 (a tube), motor 5; 9: no motor response charted; 10: MetaVision
        *(chart(*row) for row in ((184, "08:00", 3), (184, "08:30", 4), (723, "08:00", 1), (454, "08:00", 5))),
        *(chart(*row) for row in ((184, "09:00", 4), (723, "09:00", 5))),
        *(chart(*row) for row in ((220739, "10:00", 4), (223900, "10:00", 5), (223901, "10:00", 6))),
        *(chart(*row) for row in ((184, "11:00", 4), (723, "11:00", 6), (454, "11:00", 6))),  # no verbal response is 6
    ]
    stays = read(tmp_path, CHARTEVENTS=rows)
    assert channel(stays, "GCS") == pytest.approx([9.5, HOLE, 15.0, HOLE, HOLE], nan_ok=True)


def test_entries_without_stay_belong_to_the_one_of_that_time(tmp_path: Path) -> None:
    second = stay(1, 10, 101, intime=at("15:00"), outtime=at("17:00"), first_careunit="SICU")
    rows = [
        chart(211, "08:30", 80, icustay_id=100),
        chart(211, "08:40", 90),
        chart(211, "14:00", 200),  # between the stays
        chart(211, "15:30", 60),
        chart(211, "16:30", 200, icustay_id=100),  # says that it belongs to the first stay
    ]
    labs = [chart(51006, "09:30", 20, hadm_id=10), chart(51006, "16:59", 30)]  # an entry without an admission
    stays = read(tmp_path, [second, stay(1, 10, 100)], CHARTEVENTS=rows, LABEVENTS=labs)
    assert stays.stay_ids.tolist() == [100, 101] and stays.hours.tolist() == [5, 2]
    assert channel(stays, "HR", 0)[:2] == pytest.approx([85.0, HOLE], nan_ok=True)
    assert channel(stays, "HR", 1) == pytest.approx([60.0, HOLE], nan_ok=True)
    assert channel(stays, "BUN", 0)[:2] == pytest.approx([HOLE, 20.0], nan_ok=True)
    assert channel(stays, "BUN", 1) == pytest.approx([HOLE, 30.0], nan_ok=True)


def test_volumes_are_summed(tmp_path: Path) -> None:
    out = [
        {"itemid": 226559, "charttime": at("09:00"), "value": 50, "valueuom": "mL"},  # known at 9: of the hour that begins
        {"itemid": 40069, "charttime": at("09:45"), "value": 25},
        {"itemid": 227488, "charttime": at("10:10"), "value": 100},  # irrigation that went in, and came out again
        {"itemid": 227489, "charttime": at("10:50"), "value": 160},
    ]
    poured = [
        {"itemid": 30018, "charttime": at("11:00"), "amount": 100, "amountuom": "ml"},
        {"itemid": 30021, "charttime": at("11:30"), "amount": 50, "amountuom": "ml"},
        {"itemid": 30018, "charttime": at("11:40"), "amount": 9, "amountuom": "mg"},  # no volume
        {"itemid": 30018, "charttime": at("11:50"), "rate": 9, "rateuom": "cc/hr"},  # a rate was set, nothing given yet
        {"itemid": 30001, "charttime": at("12:00"), "amount": 350, "amountuom": "ml"},
    ]
    stays = read(tmp_path, OUTPUTEVENTS=out, INPUTEVENTS_CV=poured)
    assert channel(stays, "Urine") == pytest.approx([HOLE, 75.0, 60.0, HOLE, HOLE], nan_ok=True)
    assert channel(stays, "Crystalloids") == pytest.approx([HOLE, HOLE, HOLE, 150.0, HOLE], nan_ok=True)
    assert channel(stays, "BloodProducts") == pytest.approx([HOLE, HOLE, HOLE, HOLE, 350.0], nan_ok=True)


@pytest.mark.parametrize(
    ("begin", "end", "amount", "unit", "expected"),
    [
        ("09:30", "11:15", 105, "ml", [HOLE, 30, 60, 15, HOLE]),  # one millilitre a minute
        ("07:00", "09:00", 120, "ml", [60, HOLE, HOLE, HOLE, HOLE]),  # half of it before the stay
        ("12:30", "14:30", 240, "ml", [HOLE, HOLE, HOLE, HOLE, 60]),  # three quarters after it
        ("06:00", "16:00", 600, "ml", [60, 60, 60, 60, 60]),
        ("10:00", "10:01", 0.25, "L", [HOLE, HOLE, 250, HOLE, HOLE]),  # a bolus
        ("10:59:30", "11:00:30", 100, "ml", [HOLE, HOLE, 50, 50, HOLE]),
        ("10:00", "10:00", 70, "ml", [HOLE, HOLE, 70, HOLE, HOLE]),
        ("10:00", "09:00", 70, "ml", [HOLE, HOLE, 70, HOLE, HOLE]),  # ends before it begins
        ("10:00", None, 70, "ml", [HOLE, HOLE, 70, HOLE, HOLE]),
        ("05:00", "08:00", 90, "ml", [HOLE] * 5),
        ("13:00", "14:00", 90, "ml", [HOLE] * 5),
        ("09:00", "10:00", 90, "mg", [HOLE] * 5),
        ("09:00", "12:00", 6000, "ml", [HOLE] * 5),  # beyond the limits
    ],
)
def test_what_is_given_over_a_period_is_spread(
    tmp_path: Path, begin: str, end: str | None, amount: float, unit: str, expected: list[float]
) -> None:
    row = {
        "itemid": 225158,
        "starttime": at(begin),
        "endtime": None if end is None else at(end),
        "amount": amount,
        "amountuom": unit,
    }
    stays = read(tmp_path, INPUTEVENTS_MV=[row])
    assert channel(stays, "Crystalloids") == pytest.approx(expected, nan_ok=True)
    assert any("Crystalloids 1." in note for note in stays.notes) == (amount == 6000)


def test_made_up_tables_agree_with_pandas(tmp_path: Path) -> None:
    """Everything at once, read in another way: every channel, two systems of units, periods, errors, entries without stay."""
    write_made_up_tables(tmp_path, stays=6, events=40_000, seed=3)
    stays = read_mimic3(tmp_path, hours=None)
    ids, values = read_with_pandas(tmp_path)
    np.testing.assert_array_equal(stays.stay_ids, ids)
    np.testing.assert_allclose(stays.values, values, rtol=1e-6)
    assert np.isfinite(stays.values).any(axis=0).all()  # every channel was read
    assert 0.01 < np.isfinite(stays.values).mean() < 0.9
    first = read_mimic3(tmp_path, hours=30)
    for number, hours in enumerate(first.hours.tolist()):
        assert hours == min(stays.hours[number], 30)
        is_mean = [channel.unit != "ml in the hour" for channel in stays.channels]
        np.testing.assert_array_equal(first.stay(number)[:, is_mean], stays.stay(number)[:hours, is_mean])


@settings(max_examples=10, deadline=None)
@given(
    first=st.integers(0, 10 * 60),
    minutes=st.integers(1, 8 * 60),
    out=st.integers(61, 5 * 60),
)
def test_nothing_is_lost_in_spreading(tmp_path_factory: pytest.TempPathFactory, first: int, minutes: int, out: int) -> None:
    """What was given in the stay is the share of the period that lies in it: one millilitre a minute."""

    def clock(minute: int) -> str:
        return f"{minute // 60:02d}:{minute % 60:02d}"

    row = {"itemid": 225158, "starttime": at(clock(first)), "endtime": at(clock(first + minutes)), "amount": minutes}
    stays = read(
        tmp_path_factory.mktemp("tables"),
        [stay(1, 10, 100, outtime=at(clock(480 + out)))],
        INPUTEVENTS_MV=[row | {"amountuom": "ml"}],
    )
    given_in_stay = max(0, min(first + minutes, 480 + out) - max(first, 480))
    amounts = np.array(channel(stays, "Crystalloids"))
    assert np.nansum(amounts) == pytest.approx(given_in_stay, abs=1e-3)
    assert np.nanmax(amounts, initial=0.0) <= 60 + 1e-4
    assert np.isfinite(amounts).any() == (given_in_stay > 0)
