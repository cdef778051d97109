"""MIMIC-III: who is in the data, which files are read, and what is said of those that cannot be."""

import gzip
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("duckdb")

from hospital_gym.clinical.data_directory import MissingDataError
from hospital_gym.clinical.icu_stays import IcuStays
from hospital_gym.clinical.mimic import read_mimic3
from hospital_gym.clinical.mimic.dictionary import check_items
from hospital_gym.clinical.mimic.items import DEFAULT, EVENT_TABLES, read_items
from hospital_gym.clinical.mimic.made_up import COLUMNS, write_made_up_tables
from hospital_gym.clinical.mimic.tables import database
from tests.mimic_tables import admission, at, patient, stay, write_table

HEART_RATE = {"subject_id": 1, "itemid": 211, "charttime": at("08:30"), "valuenum": 80}


def write(folder: Path, patients: Any = None, admissions: Any = None, stays: Any = None, **style: Any) -> Path:
    """Tables with one patient and one value, unless others are given."""
    folder.mkdir(exist_ok=True)
    write_table(folder, "PATIENTS", patients or [patient(1)], **style)
    write_table(folder, "ADMISSIONS", admissions or [admission(1, 10)], **style)
    write_table(folder, "ICUSTAYS", stays or [stay(1, 10, 100)], **style)
    for name in EVENT_TABLES:
        write_table(folder, name, [HEART_RATE] if name == "CHARTEVENTS" else [], **style)
    return folder


def test_one_stay(tmp_path: Path) -> None:
    stays = read_mimic3(write(tmp_path))
    assert stays.stay_ids.tolist() == [100] and stays.patient_ids is not None and stays.patient_ids.tolist() == [1]
    assert stays.died.tolist() == [0] and stays.hours.tolist() == [5] and len(stays.notes) == 4
    expected = {"age": 69, "male": 0, "unit coronary": 0, "unit cardiac surgery": 0, "unit medical": 1, "unit surgical": 0}
    expected |= {"emergency": 1, "hours in hospital before": 2}
    assert dict(zip(stays.static_names, stays.static[0].tolist(), strict=True)) == expected
    named = {"sex": "female", "age_band": "65-79", "unit": "medical", "ethnicity": "white", "insurance": "medicare"}
    assert {key: values.tolist() for key, values in stays.attributes.items()} == {key: [value] for key, value in named.items()}
    assert stays.groups("sex", "age_band")[1] == ("female & 65-79",)
    assert pickle.loads(pickle.dumps(stays)).stay_ids.tolist() == [100]


@pytest.mark.parametrize(
    ("row", "hours", "died"),
    [
        ({}, 5, 0),
        ({"deathtime": at("10:20"), "hospital_expire_flag": 1}, 3, 1),  # dies in the unit, leaves it at 13
        ({"deathtime": at("20:00"), "hospital_expire_flag": 1}, 5, 1),  # dies on the ward
        ({"deathtime": at("07:00"), "hospital_expire_flag": 1}, 5, 1),  # a wrong time
        ({"deathtime": at("20:00"), "hospital_expire_flag": None}, 5, 1),
    ],
)
def test_a_stay_ends_with_death(tmp_path: Path, row: dict[str, Any], hours: int, died: int) -> None:
    stays = read_mimic3(write(tmp_path, admissions=[admission(1, 10, **row)]), modalities="vitals")
    assert (stays.hours.tolist(), stays.died.tolist()) == ([hours], [died])


def test_ages(tmp_path: Path) -> None:
    births = {
        1: "2132-01-02 00:00:00",  # 18 on the next day
        2: "2132-01-01 00:00:00",  # 18 today
        3: "2105-01-01 00:00:00",
        4: "2060-06-01 00:00:00",  # 89
        5: "1850-01-01 00:00:00",  # older than 89: 300 years
        6: "1845-01-01 00:00:00",  # at a later admission
        7: None,
    }
    folder = write(
        tmp_path,
        [patient(k, "MF"[k % 2] if k < 7 else None, dob) for k, dob in births.items()],  # type: ignore[arg-type]
        [admission(k, 10 * k) for k in births],
        [
            stay(k, 10 * k, 100 * k, first_careunit=unit)
            for k, unit in zip(births, ["TSICU", "CCU", "CSRU", "SICU", "MICU", "X", "Y"], strict=True)
        ],
    )
    stays = read_mimic3(folder, modalities="vitals")
    assert stays.static[:, 0].tolist() == pytest.approx([17, 18, 45, 89, 91.4, 91.4, np.nan], nan_ok=True)
    assert stays.attributes["age_band"].tolist() == ["<45", "<45", "45-64", "80+", "80+", "80+", "unknown"]
    assert stays.attributes["sex"].tolist() == ["female", "male", "female", "male", "female", "male", "unknown"]
    kinds = ["surgical", "coronary", "cardiac surgery", "surgical", "medical", "unknown", "unknown"]
    assert stays.attributes["unit"].tolist() == kinds
    assert np.nansum(stays.static[:, 2:6], axis=1).tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert np.isnan(stays.static[5, 2:6]).all() and np.isnan(stays.static[6, 1])


def test_neonates_are_left_out_unless_wanted(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        [patient(1), patient(2, "M", at("01:00"))],
        [admission(1, 10), admission(2, 20, admission_type="NEWBORN", insurance=None, ethnicity="UNKNOWN/NOT SPECIFIED")],
        [stay(1, 10, 100), stay(2, 20, 200, first_careunit="NICU")],
    )
    without, with_them = (read_mimic3(folder, modalities="vitals", neonates=neonates) for neonates in (False, True))
    assert without.stay_ids.tolist() == [100] and without.notes == ("Of 2 stays are left out: 1 of neonates.",)
    assert with_them.stay_ids.tolist() == [100, 200] and with_them.notes == ()
    assert with_them.attributes["unit"].tolist() == ["medical", "neonatal"]
    assert with_them.attributes["ethnicity"].tolist() == ["white", "unknown"]
    assert with_them.attributes["insurance"].tolist() == ["medicare", "unknown"]
    assert with_them.static[1].tolist() == [0, 1, 0, 0, 0, 0, 0, 2]


def test_stays_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    rows = [
        stay(1, 10, 100),
        stay(1, 10, 101, outtime=None),
        stay(1, 10, 102, intime=at("13:00")),  # ends when it begins
        stay(1, 99, 103),  # no such admission
        stay(9, 10, 104),  # no such patient
        stay(1, 10, 105, intime=at("08:00", 2), outtime=at("09:30", 5)),
    ]
    folder = write(tmp_path, stays=rows)
    stays = read_mimic3(folder, modalities="vitals")
    assert stays.stay_ids.tolist() == [100, 105] and stays.hours.tolist() == [5, 48]
    reasons = "2 without a row in ADMISSIONS and PATIENTS, 2 whose times are missing or end before they begin"
    assert stays.notes == (f"Of 6 stays are left out: {reasons}.",)
    assert read_mimic3(folder, hours=None, modalities="vitals").hours.tolist() == [5, 74]
    assert read_mimic3(folder, hours=1, modalities="vitals").hours.tolist() == [1, 1]
    write_table(folder, "ICUSTAYS", rows[1:3])
    with pytest.raises(ValueError, match="ICUSTAYS: of 2 stays none is left: 2 whose times are missing"):
        read_mimic3(folder, modalities="vitals")


def test_files_in_any_case_packed_or_not(tmp_path: Path) -> None:
    first = read_mimic3(write(tmp_path / "upper"))
    packed = read_mimic3(write(tmp_path / "packed", suffix=".csv.gz"))
    lower = read_mimic3(write(tmp_path / "lower", lower=True))
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "mimic3", suffix=".csv.gz", lower=True)
    below = read_mimic3(tmp_path / "data")
    assert np.isfinite(first.values).sum() == 1
    for other in (packed, lower, below):
        np.testing.assert_array_equal(other.values, first.values)
        np.testing.assert_array_equal(other.static, first.static)
        assert other.attributes["insurance"].tolist() == ["medicare"]


def test_a_table_that_is_not_there_is_named_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSPITAL_GYM_DATA", raising=False)
    with pytest.raises(MissingDataError, match="no data directory is known: set HOSPITAL_GYM_DATA"):
        read_mimic3()
    with pytest.raises(MissingDataError, match="nowhere is no directory"):
        read_mimic3(tmp_path / "nowhere")
    folder = write(tmp_path / "tables")
    (folder / "LABEVENTS.csv").unlink()
    (folder / "OUTPUTEVENTS.csv").unlink()
    with pytest.raises(MissingDataError) as caught:
        read_mimic3(folder)
    for word in ("LABEVENTS.csv.gz, OUTPUTEVENTS.csv.gz", str(folder), "physionet.org/content/mimiciii", "credentialed"):
        assert word in str(caught.value)
    assert "CHARTEVENTS" not in str(caught.value)
    monkeypatch.setenv("HOSPITAL_GYM_DATA", str(folder))
    vitals = read_mimic3(modalities=["vitals"])  # which need no other table of events
    assert {channel.modality for channel in vitals.channels} == {"vitals"}


def test_damaged_tables(tmp_path: Path) -> None:
    folder = write(tmp_path, suffix=".csv.gz")
    path = folder / "CHARTEVENTS.csv.gz"
    path.write_bytes(b"not packed at all")
    with pytest.raises(ValueError, match=r"CHARTEVENTS.csv.gz cannot be read"):
        read_mimic3(folder)
    path.unlink()
    (folder / "CHARTEVENTS.csv").write_text("SUBJECT_ID,ITEMID,CHARTTIME\n1,211,2150-01-01 08:30:00\n")
    with pytest.raises(ValueError, match=r"CHARTEVENTS.csv: lacks the columns error, icustay_id, valuenum; it has SUBJECT_ID"):
        read_mimic3(folder)
    (folder / "CHARTEVENTS.csv").write_text("")
    with pytest.raises(ValueError, match=r"CHARTEVENTS.csv"):
        read_mimic3(folder)
    write_table(folder, "CHARTEVENTS", [HEART_RATE])
    with (folder / "CHARTEVENTS.csv").open("a") as file:
        file.write("1,2,3\n")
    with pytest.raises(ValueError, match=r"CHARTEVENTS.csv cannot be read"):
        read_mimic3(folder)


@pytest.mark.parametrize(("said", "meant"), [("Query interrupted", KeyboardInterrupt), ("another error", RuntimeError)])
def test_an_interruption_is_one_and_leaves_nothing_behind(tmp_path: Path, said: str, meant: type[BaseException]) -> None:
    """Ctrl-C in a query is a RuntimeError of DuckDB."""
    with pytest.raises(meant), database(1.0, tmp_path) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1")
        assert len(list(tmp_path.iterdir())) == 1
        raise RuntimeError(said)
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_into_memory_goes_to_the_workspace(tmp_path: Path) -> None:
    write_made_up_tables(tmp_path, stays=4, events=20_000)
    first, second = (read_mimic3(tmp_path, memory=memory, workspace=tmp_path) for memory in (1.0, 0.1))
    np.testing.assert_allclose(first.values, second.values, rtol=1e-6)
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv"}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"hours": 0}, "hours: got 0, expected a whole number >= 1"),
        ({"hours": 1.5}, "hours: got 1.5"),
        ({"hours": True}, "hours: got True"),
        ({"modalities": ["vital"]}, "modalities: got .'vital'., expected some of .'vitals', 'blood_gas'"),
        ({"modalities": []}, "modalities: got .., expected some of"),
        ({"memory": 0}, "memory: got 0, expected gigabytes, at least 0.1"),
        ({"memory": "2GB"}, "memory: got '2GB'"),
        ({"workspace": "/nowhere"}, "workspace: /nowhere is no directory"),
        ({"items": "/nowhere.yml"}, "items: /nowhere.yml cannot be read"),
    ],
)
def test_arguments(tmp_path: Path, argument: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_mimic3(write(tmp_path), **argument)


PULSE = "Pulse: {modality: vitals, limits: [0, 1], CHARTEVENTS: {211: x}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping"),
        ("a: [", "cannot be read as YAML"),
        ("Pulse: 1", "Pulse: modality: got 1, expected a text"),
        ("Pulse: {modality: vitals, limits: [0, 1]}", "Pulse: has no items"),
        (
            "Pulse: {modality: vitals, limits: [0, 1], NOTEEVENTS: {1: x}}",
            "table: got 'NOTEEVENTS', expected one of CHARTEVENTS",
        ),
        ("Pulse: {modality: vitals, limits: [0, 1], CHARTEVENTS: 211}", "CHARTEVENTS: got 211, expected a mapping"),
        ("Pulse: {modality: vitals, limits: [0, 1], CHARTEVENTS: {x: y}}", "got the item 'x', expected a whole number"),
        ("Pulse: {modality: vitals, CHARTEVENTS: {211: x}}", "CHARTEVENTS 211: limits: got None"),
        (
            "Pulse: {modality: vitals, limits: [2, 1], CHARTEVENTS: {211: x}}",
            r"limits: got \[2, 1\], expected \[least, largest\]",
        ),
        ("Pulse: {modality: v, limits: [0, 1], CHARTEVENTS: {211: {conversion: stones}}}", "conversion: got 'stones'"),
        ("Pulse: {modality: v, limits: [0, 1], CHARTEVENTS: {211: {factor: 2}}}", "unknown key 'factor'"),
        ("Pulse: {modality: v, limits: [0, 1], CHARTEVENTS: {211: x, 212: {part: a}}}", "expected all or none"),
        ("Pulse: {modality: v, limits: [0, 1], combine: last, CHARTEVENTS: {211: x}}", "combine: got 'last'"),
        (f"{PULSE}\n{PULSE.replace('Pulse', 'Rate')}", "CHARTEVENTS 211 belongs to Pulse and Rate"),
    ],
)
def test_items_of_ones_own_are_checked(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "items.yml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_items(path)


def test_items_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "items.yml"
    path.write_text("Pulse: {modality: heart, unit: 1/min, limits: [0, 500], CHARTEVENTS: {211: Heart Rate}}")
    stays = read_mimic3(write(tmp_path / "tables"), items=path, modalities=["heart"])
    assert [(channel.name, channel.modality, channel.unit) for channel in stays.channels] == [("Pulse", "heart", "1/min")]
    np.testing.assert_array_equal(stays.values[:, 0], [80, np.nan, np.nan, np.nan, np.nan])


def test_items_are_checked_against_the_dictionary(tmp_path: Path) -> None:
    items = tmp_path / "items.yml"
    items.write_text(
        "Pulse: {modality: v, limits: [0, 500], CHARTEVENTS: {211: Heart-Rate, 212: Heart Rhythm, 213: x}}\n"
        "Acid: {modality: v, limits: [0, 14], LABEVENTS: {50820: PH, 211: pH}}"
    )
    (tmp_path / "D_ITEMS.csv").write_text('ROW_ID,ITEMID,LABEL\n1,211,Heart Rate\n2,212,"Respiratory, set"\n')
    (tmp_path / "D_LABITEMS.csv").write_text("ROW_ID,ITEMID,LABEL\n1,50820,pH\n")
    assert check_items(tmp_path, items) == ((212, "Heart Rhythm", "Respiratory, set"), (213, "x", None), (211, "pH", None))
    (tmp_path / "D_LABITEMS.csv").unlink()
    with pytest.raises(MissingDataError, match="D_LABITEMS"):
        check_items(tmp_path, items)


def test_items_of_the_package() -> None:
    table = read_items(DEFAULT)
    assert {channel.modality for channel in table.channels} == {"vitals", "blood_gas", "chemistry", "haematology", "fluids"}
    assert table.tables == EVENT_TABLES
    # Numbers of CareVue lie below 220000 and numbers of MetaVision above; each input table has one of the two
    assert all((item.itemid < 220_000) == (item.table == "INPUTEVENTS_CV") for item in table.items if "INPUT" in item.table)
    assert all(50_800 <= item.itemid <= 51_600 for item in table.items if item.table == "LABEVENTS")
    summed = {channel.name for channel, combine in zip(table.channels, table.combine, strict=True) if combine == "sum"}
    assert summed == {channel.name for channel in table.channels if channel.unit == "ml in the hour"}


def test_made_up_tables(tmp_path: Path) -> None:
    """The same seed makes the same tables, packed or not; another seed makes others."""
    write_made_up_tables(tmp_path / "a", stays=3, events=300, seed=1)
    write_made_up_tables(tmp_path / "b", stays=3, events=300, seed=1, suffix=".csv.gz")
    write_made_up_tables(tmp_path / "c", stays=3, events=300, seed=2)
    for name in COLUMNS:
        text = (tmp_path / "a" / f"{name}.csv").read_bytes()
        assert sorted(gzip.decompress((tmp_path / "b" / f"{name}.csv.gz").read_bytes()).splitlines()) == sorted(
            text.splitlines()
        )
        assert (tmp_path / "c" / f"{name}.csv").read_bytes() != text
        assert text.splitlines()[0].decode().lower().split(",") == COLUMNS[name].split()
    for argument in ({"stays": 0}, {"events": -1}, {"seed": 1.5}, {"suffix": ".zip"}):
        with pytest.raises(ValueError, match=next(iter(argument))):
            write_made_up_tables(tmp_path, **argument)


DEMO = Path(os.environ.get("HOSPITAL_GYM_DATA", "/nowhere")) / "mimic3_demo"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> IcuStays:
    """Stays of the demo, with made-up events: a heart rate in the first hour of every stay."""
    if not DEMO.is_dir():
        pytest.skip("HOSPITAL_GYM_DATA names no folder with mimic3_demo")
    import pandas as pd

    folder = tmp_path_factory.mktemp("demo")
    for name in ("PATIENTS", "ADMISSIONS", "ICUSTAYS"):
        shutil.copy(DEMO / f"{name}.csv", folder)
    rows = pd.read_csv(DEMO / "ICUSTAYS.csv")
    events = [
        {"subject_id": row.subject_id, "itemid": 211, "charttime": row.intime, "valuenum": 60 + number % 60}
        for number, row in enumerate(rows.itertuples())
    ]
    write_table(folder, "CHARTEVENTS", events)
    return read_mimic3(folder, modalities="vitals")


def test_demo(demo: IcuStays) -> None:
    """Numbers of the demo: 136 stays of 100 patients, of whom 55 are women."""
    assert len(demo) == 136 and demo.patient_ids is not None
    patients, first = np.unique(demo.patient_ids, return_index=True)
    assert len(patients) == 100 and (demo.attributes["sex"][first] == "female").sum() == 55
    assert demo.static[:, 0].min() >= 15 and demo.static[:, 0].max() == np.float32(91.4)
    assert set(demo.attributes["unit"].tolist()) == {"coronary", "cardiac surgery", "medical", "surgical"}
    assert np.isfinite(demo.values[:, 0]).sum() == 136 and np.isfinite(demo.values[demo.offsets[:-1], 0]).all()
    assert np.isfinite(demo.values).sum() == 136
    assert demo.hours.max() == 48
    parts = demo.split()
    owners = [set(demo.patient_ids[stays].tolist()) for stays in parts.values()]
    assert not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]


def test_demo_agrees_with_pandas(demo: IcuStays) -> None:
    """Hours, deaths and ages by another way."""
    import pandas as pd

    rows = pd.read_csv(DEMO / "ICUSTAYS.csv", parse_dates=["intime", "outtime"])
    admissions = pd.read_csv(DEMO / "ADMISSIONS.csv", parse_dates=["deathtime"])
    table = rows.merge(admissions[["hadm_id", "deathtime", "hospital_expire_flag"]], on="hadm_id").set_index("icustay_id")
    table = table.loc[demo.stay_ids]
    until = table["outtime"].where(
        ~((table["deathtime"] > table["intime"]) & (table["deathtime"] < table["outtime"])), table["deathtime"]
    )
    hours = np.minimum(np.ceil((until - table["intime"]).dt.total_seconds().to_numpy() / 3600), 48)
    np.testing.assert_array_equal(demo.hours, hours)
    np.testing.assert_array_equal(demo.died, table["hospital_expire_flag"])
