"""
Files of recorded arrivals and their replay.

Tests on recorded data need ``HOSPITAL_GYM_DATA``, a folder with ``uihc_ed_arrivals/uihc_ed_arrivals.csv.gz`` and
``mimic3_demo/TRANSFERS.csv``; without it they are skipped, and files of the same format made here stand in.
"""

import csv
import gzip
import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hospital_gym.arrivals import (
    UIHC_PROFILE,
    ArrivalFile,
    read_arrivals,
    replay_window,
)
from hospital_gym.hospital_env import HospitalEnv
from hospital_gym.replay import window_starts
from hospital_gym.scenarios import SCENARIOS
from hospital_gym.simulator.simulator import Simulator
from tests.recorded_data import needs_data, recorded, steady

# --- reading files ---


def write(folder: Path, text: str, name: str = "arrivals.csv") -> Path:
    path = folder / name
    if name.endswith(".gz"):
        with gzip.open(path, "wt", encoding="utf-8") as stream:
            stream.write(text)
    else:
        path.write_text(text, encoding="utf-8")
    return path


def hourly_file(folder: Path, begin: datetime, counts: list[int], name: str = "arrivals.csv.gz") -> Path:
    """A file of hourly counts with the columns and number formats of the recorded one."""
    lines = ["Year,Quarter,Month,Day,Hour,Arrivals,Date,Weekday,temp,game_day"]
    for i, count in enumerate(counts):
        t = begin + timedelta(hours=i)
        lines.append(f"{t.year}.0,Q1,{t.month}.0,{t.day}.0,{t.hour}.0,{count}.0,{t.date()},{t:%a},57.0,0.0")
    return write(folder, "\n".join(lines) + "\n", name)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_hourly_counts_are_read(tmp_path: Path, name: str) -> None:
    counts = [3, 0, 5] * 20
    file = read_arrivals(hourly_file(tmp_path, datetime(2024, 2, 28, 22), counts, name))
    assert file.monday == datetime(2024, 2, 26)
    assert (file.first_hour, file.n_hours) == (2 * 24 + 22, 60)
    assert file.counts is not None and file.counts.tolist() == counts
    assert file.times is None and len(file.age) == 0
    assert file.ignored_columns == ("Year", "Quarter", "Month", "Day", "Weekday", "temp", "game_day")


def test_hourly_counts_without_dates_are_read(tmp_path: Path) -> None:
    with_hours = read_arrivals(write(tmp_path, "hour,COUNT\n22,1\n23,2\n0,3\n1,4\n"))
    assert (with_hours.first_hour, with_hours.n_hours, with_hours.monday) == (22, 4, None)
    in_order = read_arrivals(write(tmp_path, "\ufeffCount\n7\n0\n2\n\n  \n"))  # byte-order mark, empty lines at the end
    assert (in_order.first_hour, in_order.n_hours) == (0, 3)
    assert in_order.counts is not None and in_order.counts.tolist() == [7, 0, 2]


def test_time_stamps_are_read(tmp_path: Path) -> None:
    text = (
        "arrival_time,Severity,age,sex,service_hours\n2024-03-05 07:30,urgent,70,F,50.5\n2024-03-05T07:30:00,,,,\n"
        "2024-03-06,2,0,male,\n2024-03-06 00:00:36,Routine,120,0.0,1e-3\n"
    )
    file = read_arrivals(write(tmp_path, text))
    assert (file.monday, file.first_hour, file.n_hours) == (datetime(2024, 3, 4), 24, 48)
    assert file.times is not None
    np.testing.assert_allclose(file.times, [31.5, 31.5, 48, 48.01], rtol=1e-14)
    np.testing.assert_array_equal(file.age, [70, np.nan, 0, 120])
    np.testing.assert_array_equal(file.sex, [0, -1, 1, 0])
    np.testing.assert_array_equal(file.severity, [1, -1, 2, 0])
    np.testing.assert_array_equal(file.service_hours, [50.5, np.nan, np.nan, 1e-3])
    with pytest.raises(ValueError, match="read-only"):
        file.age[0] = 1


def test_times_in_hours_are_on_the_simulators_clock(tmp_path: Path) -> None:
    file = read_arrivals(write(tmp_path, "arrival_time\n-1.5\n0.25\n49\n"))
    assert (file.monday, file.first_hour, file.n_hours) == (None, -24, 96)
    assert file.times is not None and file.times.tolist() == [-1.5, 0.25, 49]
    assert np.isnan(file.age).all() and (file.severity == -1).all()


DATED = "Date,Hour,Arrivals\n2024-03-31,0,1\n2024-03-31,1,2\n"
STAMPS = "arrival_time,age,sex,severity,service_hours\n1.0,30,F,routine,9\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # hourly counts
        (
            DATED + "2024-03-31,3,1\n",
            "line 4, column 'Hour': got '2024-03-31 03:00:00'; .*2024-03-31 02:00:00.*missing before",
        ),
        (DATED + "2024-03-31,1,1\n", "line 4, column 'Hour': got '2024-03-31 01:00:00'; .*02:00:00.*was there before"),
        (DATED + "2024-03-32,2,1\n", "line 4, column 'Date': got '2024-03-32'; accepted: an ISO date"),
        (DATED + "31/03/2024,2,1\n", "line 4, column 'Date': got '31/03/2024'"),
        (DATED + "2024-03-31T00:00+01:00,2,1\n", "line 4, column 'Date': got '2024-03-31T00:00.01:00'; accepted: an ISO date"),
        (DATED + "2024-03-31,2,\n", "line 4, column 'Arrivals': got ''; accepted: a whole number from 0 to 10000"),
        (DATED + "2024-03-31,2,nan\n", "line 4, column 'Arrivals': got 'nan'"),
        (DATED + "2024-03-31,2,-1\n", "line 4, column 'Arrivals': got '-1'"),
        (DATED + "2024-03-31,2,1.5\n", "line 4, column 'Arrivals': got '1.5'"),
        (DATED + "2024-03-31,24,1\n", "line 4, column 'Hour': got '24'; accepted: a whole number from 0 to 23"),
        (DATED + "2024-03-31,2\n", "line 4: got 2 cells; accepted: 3, as in the header"),
        ("Hour,Count\n23,1\n1,1\n", "line 3, column 'Hour': got 1; accepted: 0, the hour after"),
        ("Date,Arrivals\n2024-03-31,1\n", "line 1: column 'Date' without 'Hour'"),
        ("Hour,Count\n", "holds no rows; accepted: one row for every hour"),
        # time-stamps
        (STAMPS + "0.5,,,,\n", r"line 3, column 'arrival_time': got '0.5'; accepted: times in ascending order .*'1.0'"),
        (
            "arrival_time\n2024-01-02\n2024-01-01 23:59\n",
            "line 3, column 'arrival_time': got '2024-01-01 23:59:00'; .*ascending",
        ),
        (STAMPS + ",,,,1\n", "line 3, column 'arrival_time': got ''; accepted: hours, or ISO date-times"),
        (STAMPS + "soon,,,,\n", "line 3, column 'arrival_time': got 'soon'"),
        (STAMPS + "nan,,,,\n", "line 3, column 'arrival_time': got 'nan'"),
        (STAMPS + "1711870000,,,,\n", "line 3, column 'arrival_time': got '1711870000'; accepted: hours"),
        (STAMPS + "2024-03-31 07:45,,,,\n", r"line 3, column 'arrival_time': got '2024-03-31 07:45'; .*one format .*'1.0'"),
        ("arrival_time\n2024-01-02 01:00+01:00\n", "line 2, column 'arrival_time': .*local clock"),
        (STAMPS + "2,121,,,\n", "line 3, column 'age': got '121'; accepted: years from 0 to 120, or blank"),
        (STAMPS + "2,old,,,\n", "line 3, column 'age': got 'old'"),
        (STAMPS + "2,,X,,\n", "line 3, column 'sex': got 'X'; accepted: f, female, 0, m, male, 1, or blank"),
        (
            STAMPS + "2,,,severe,\n",
            "line 3, column 'severity': got 'severe'; accepted: routine, 0, urgent, 1, critical, 2, or",
        ),
        (STAMPS + "2,,,3,\n", "line 3, column 'severity': got '3'"),
        (STAMPS + "2,,,,0\n", "line 3, column 'service_hours': got '0'; accepted: hours > 0, or blank"),
        (STAMPS + "2,,,,inf\n", "line 3, column 'service_hours': got 'inf'"),
        # empty lines, where an hour or an arrival may be missing
        ("Count\n7\n\n2\n", "line 3: got an empty line; accepted: empty lines at the end of the file only"),
        ("Hour,Count\n0,1\n,\n1,2\n", "line 3, column 'Count': got ''"),
        ("Hour,Count\n0,1\n,\n", "line 3, column 'Count': got ''"),
        ("arrival_time\n1\n  \n3\n", "line 3: got an empty line"),
        ("arrival_time\n1\n,\n3\n", "line 3: got 2 cells; accepted: 1, as in the header"),
        (STAMPS + ",,,,\n2,,,,1\n", "line 3, column 'arrival_time': got ''"),
        (STAMPS + "\n2,,,,1\n", "line 3: got an empty line"),
        ("\narrival_time\n1\n", "line 1: got an empty line"),
        # what no number or cell may be
        (DATED + "2024-03-31,2,1e30\n", "line 4, column 'Arrivals': got '1e30'; accepted: a whole number from 0 to 10000"),
        (STAMPS + '2,,,,"' + "1" * 140_000 + '"\n', "line 3: got a row that is not CSV .field larger"),
        (
            "arrival_time,race\n1,x\n",
            "line 1: unknown column 'race'; accepted: arrival_time, age, sex, severity, service_hours",
        ),
        ("arrival_time\n", "holds no rows; accepted: one row for every arrival"),
        # neither
        (
            "weekday,hour,attendances\nMonday,0,5\n",
            "line 1: got the columns weekday, hour, attendances; accepted: hourly counts",
        ),
        ("arrival_time,count\n1,5\n", "line 1: got the columns arrival_time, count"),
        ("Arrivals,arrivals\n1,5\n", "line 1: a column name occurs twice"),
        ("", r"line 1: got the columns \(none\)"),
    ],
)
def test_wrong_files_are_refused_with_line_column_and_value(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        read_arrivals(path)
    assert str(error.value).startswith("arrivals.csv")


def test_other_file_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"arrivals: got '.*arrivals\.xlsx'; accepted: the path of a \.csv or \.csv\.gz file"):
        read_arrivals(write(tmp_path, STAMPS, "arrivals.xlsx"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "arrival_time,sex\n1,F\n2,männlich\n".encode("latin-1"), "a.csv, line 3: got the byte 0xe4; .*UTF-8"),
        (
            "a.csv.gz",
            gzip.compress("arrival_time\n1\n\n\n°\n".encode("latin-1"), mtime=0),
            "a.csv.gz, line 5: got the byte 0xb0",
        ),
        ("a.csv.gz", STAMPS.encode(), "a.csv.gz: got a file that cannot be unpacked .*accepted: a whole gzip file"),
        ("a.csv.gz", gzip.compress(STAMPS.encode(), mtime=0)[:-12], "a.csv.gz: got a file that cannot be unpacked"),
        (
            "a.csv.gz",
            gzip.compress(STAMPS.encode(), mtime=0)[:12] + b"\xff" * 40,
            "a.csv.gz: got a file that cannot be unpacked",
        ),
    ],
)
def test_files_that_are_not_text_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_arrivals(tmp_path / name)


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(ValueError, match=r"arrivals: got 5; accepted: the path of a \.csv"):
        read_arrivals(5)  # type: ignore[arg-type]


# Columns and kind of values of the MIMIC transfers table; the rows are made up.
TRANSFERS = (
    "row_id,subject_id,hadm_id,icustay_id,dbsource,eventtype,prev_careunit,curr_careunit,prev_wardid,curr_wardid,intime,outtime,los\n"
    "1,7,77,777,carevue,admit,,MICU,,1,2151-05-06 01:00:00,2151-05-07 05:00:00,28\n"
    "2,8,88,888,carevue,admit,,SICU,,2,2109-11-12 03:00:00,2109-11-12 09:00:00,6\n"
)


def assert_shifted_dates_refused(path: Path) -> None:
    with pytest.raises(ValueError) as error:
        read_arrivals(path)
    for words in (path.name, "different amount", "not on one calendar", "hourly counts", "arrival_time", "profile"):
        assert words in str(error.value)


def test_dates_shifted_per_patient_are_refused(tmp_path: Path) -> None:
    assert_shifted_dates_refused(write(tmp_path, TRANSFERS, "TRANSFERS.csv"))
    # The same dates without the tell-tale columns, unsorted, sorted, or all in the far future.
    assert_shifted_dates_refused(write(tmp_path, "arrival_time\n2151-05-06 01:00:00\n2109-11-12 03:00:00\n"))
    assert_shifted_dates_refused(write(tmp_path, "arrival_time\n2109-11-12 03:00:00\n2151-05-06 01:00:00\n"))
    assert_shifted_dates_refused(write(tmp_path, "arrival_time\n2151-05-06 01:00:00\n2151-05-07 01:00:00\n"))
    assert_shifted_dates_refused(write(tmp_path, "arrival_time\n1990-05-06 01:00:00\n2015-05-07 01:00:00\n"))
    # Twelve years of one hospital are fine.
    read_arrivals(write(tmp_path, "arrival_time\n2003-05-06 01:00:00\n2015-05-07 01:00:00\n"))


@needs_data
def test_recorded_transfers_are_refused(tmp_path: Path) -> None:
    path = recorded("mimic3_demo/TRANSFERS.csv")
    assert_shifted_dates_refused(path)
    with path.open() as stream:
        times = [row["intime"] for row in csv.DictReader(stream) if row["intime"]]
    assert_shifted_dates_refused(write(tmp_path, "arrival_time\n" + "\n".join(times)))
    assert_shifted_dates_refused(write(tmp_path, "arrival_time\n" + "\n".join(sorted(times))))


# --- replay ---


def per_hour(times: NDArray[np.float64], start_hour: int, n_hours: int) -> list[int]:
    return np.bincount(np.floor(times).astype(int) - start_hour, minlength=n_hours).tolist()


@steady
@given(
    st.integers(0, 167), st.integers(-400, 400), st.integers(1, 400), st.integers(0, 400), st.integers(0, 7), st.integers(0, 9)
)
def test_replayed_counts_are_those_of_the_same_hours_of_the_week(
    first_hour: int, start_hour: int, n_hours: int, spare: int, episode: int, seed: int
) -> None:
    total = n_hours + 168 + spare  # always long enough for one aligned window
    counts = np.random.default_rng(seed).integers(0, 3, size=total)
    empty, code = np.empty(0), np.empty(0, dtype=np.int8)
    file = ArrivalFile("a.csv", first_hour, total, None, counts, None, empty, code, code, empty)
    rng, twin = np.random.default_rng(seed), np.random.default_rng(seed)
    starts = window_starts(file, start_hour, n_hours)
    start = starts[episode % len(starts)]
    assert (start - start_hour) % 168 == 0
    assert first_hour <= start and start + n_hours <= first_hour + total
    replayed = replay_window(file, start_hour, n_hours, rng, episode)
    part = counts[start - first_hour : start - first_hour + n_hours]
    assert per_hour(replayed.times, start_hour, n_hours) == part.tolist()
    assert (np.diff(replayed.times) >= 0).all()
    twin.random(part.sum())  # exactly one number per arrival was consumed
    assert rng.random() == twin.random()


def test_windows_follow_each_other_from_monday_to_monday(tmp_path: Path) -> None:
    # Five weeks and two days from a Thursday 05:00: the first Monday is 91 hours later.
    file = read_arrivals(hourly_file(tmp_path, datetime(2024, 2, 29, 5), [1] * (37 * 24)))
    assert list(window_starts(file, 0, 168)) == [168, 336, 504, 672]
    assert list(window_starts(file, -168, 336)) == [168, 504]
    assert list(window_starts(file, 0, 169)) == [168, 504]  # 169 hours, then 167 skipped up to the next Monday
    assert list(window_starts(file, 3 * 24 + 5, 24)) == [77, 245, 413, 581, 749, 917]


def test_episodes_play_the_windows_in_turn(tmp_path: Path) -> None:
    file = read_arrivals(hourly_file(tmp_path, datetime(2024, 3, 4), [1] * 168 + [2] * 168 + [3] * 168))
    sizes = [len(replay_window(file, 0, 168, np.random.default_rng(0), episode).times) for episode in range(5)]
    assert sizes == [168, 336, 504, 168, 336]
    first, again = (replay_window(file, 0, 168, np.random.default_rng(5), 0).times for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_replayed_time_stamps_keep_their_attributes(tmp_path: Path) -> None:
    monday = datetime(2024, 3, 4)
    hours = np.sort(np.append(np.random.default_rng(6).uniform(0, 504, size=200), [168, 335.9, 336]))
    rows = [f"{(monday + timedelta(hours=h)).isoformat()},{i % 100},{'FM'[i % 2]},{i % 3}" for i, h in enumerate(hours)]
    file = read_arrivals(write(tmp_path, "arrival_time,age,sex,severity\n" + "\n".join(rows)))
    rng = np.random.default_rng(0)
    replayed = replay_window(file, -168, 168, rng, 1)
    inside = np.flatnonzero((hours >= 168) & (hours < 336))
    np.testing.assert_allclose(replayed.times, hours[inside] - 336, atol=1e-8)
    np.testing.assert_array_equal(replayed.age, inside % 100)
    np.testing.assert_array_equal(replayed.sex, inside % 2)
    np.testing.assert_array_equal(replayed.severity, inside % 3)
    assert np.isnan(replayed.service_hours).all() and len(replayed.service_hours) == len(inside)
    assert rng.random() == np.random.default_rng(0).random()
    replayed.age[0] = 1  # a copy: the file stays as it is
    assert file.age[inside[0]] == inside[0] % 100


def test_a_file_without_one_episode_is_refused_at_once(tmp_path: Path) -> None:
    """Rural plays 168 hours of warm-up and 1008 of control; the file's first Monday is 144 hours after its beginning."""
    begin = datetime(2024, 3, 5)
    short = hourly_file(tmp_path, begin, [1] * (144 + 1176 - 1), "short.csv")
    message = r"short\.csv: has 1319 hours of arrivals, 1175 of them from the first Monday 00:00 on; one episode needs 1176"
    with pytest.raises(ValueError, match=message):
        HospitalEnv("Rural", arrivals=str(short))
    with pytest.raises(ValueError, match="one episode needs 1176"):
        Simulator(SCENARIOS["Rural"], arrivals=read_arrivals(short))
    for n_windows in (1, 2):
        file = hourly_file(tmp_path, begin, [1] * (144 + n_windows * 1176))
        assert HospitalEnv("Rural", arrivals=str(file)).arrival_windows == n_windows
    # Hours are counted as the episode plays them: half an hour of warm-up or control needs the whole hour.
    longer = replace(SCENARIOS["Rural"], burn_in_hours=167.5, horizon_hours=1008.5)
    with pytest.raises(ValueError, match="one episode needs 1177"):
        HospitalEnv(longer, arrivals=str(hourly_file(tmp_path, begin, [1] * (144 + 1176))))
    assert HospitalEnv("Rural").arrival_windows is None
    with pytest.raises(ValueError, match="arrivals: got 5"):
        HospitalEnv("Rural", arrivals=5)  # type: ignore[arg-type]


def test_too_short_a_file_is_refused(tmp_path: Path) -> None:
    file = read_arrivals(hourly_file(tmp_path, datetime(2024, 3, 5), [1] * 200))
    message = "arrivals.csv.gz: has 200 hours of arrivals, 56 of them from the first Monday 00:00 on; one episode needs 168"
    with pytest.raises(ValueError, match=re.escape(message)):
        replay_window(file, 0, 168, np.random.default_rng(0), 0)
    with pytest.raises(
        ValueError, match=r"has 200 hours of arrivals, 200 of them from the first Tuesday 00:00 on; .*needs 201"
    ):
        replay_window(file, 24, 201, np.random.default_rng(0), 0)
    with pytest.raises(ValueError, match="episode: got -1; accepted: an integer >= 0"):
        replay_window(file, 24, 10, np.random.default_rng(0), -1)
    with pytest.raises(ValueError, match="n_hours: got 0; accepted: an integer > 0"):
        replay_window(file, 24, 0, np.random.default_rng(0), 0)


@needs_data
def test_recorded_hourly_counts_are_replayed() -> None:
    path = recorded("uihc_ed_arrivals/uihc_ed_arrivals.csv.gz")
    file = read_arrivals(path)
    assert (file.n_hours, file.first_hour, file.monday) == (41_640, 0, datetime(2013, 7, 1))
    assert file.counts is not None
    by_hour = file.counts.reshape(-1, 24)
    np.testing.assert_allclose(by_hour.mean(axis=0), 7 * by_hour.sum(axis=1).mean() * UIHC_PROFILE[0], atol=0.006)
    assert by_hour.sum(axis=1).var(ddof=1) / by_hour.sum(axis=1).mean() == pytest.approx(1.95, abs=0.005)
    # Episode 2 of an Urban week of warm-up and three of control: 12 weeks, of which 8 are over.
    with gzip.open(path, "rt") as stream:
        rows = list(csv.DictReader(stream))
    first = next(i for i, row in enumerate(rows) if row["Date"] == "2013-08-26")
    assert rows[first]["Weekday"] == "Mon"
    replayed = replay_window(file, -168, 672, np.random.default_rng(0), 2)
    assert per_hour(replayed.times, -168, 672) == [int(float(row["Arrivals"])) for row in rows[first : first + 672]]
    assert len(window_starts(file, -168, 672)) == 61
