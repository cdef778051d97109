"""Control charts: limits by hand, rates of false alarms, alarms where something changed, the command and its exit status."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sb3_grpo.cli import main
from sb3_grpo.fairness.audit import RecordsError, read_map
from sb3_grpo.fairness.audit.monitor import GAP, WORST, Chart, Plan, control_charts, monitor_records, per_limit
from tests.hospital_log import visits, write, write_map

GROUPS = ("a", "b")


def charts(top: Any, bottom: Any, n_baseline: int, **options: Any) -> dict[str, Chart]:
    bottom = np.asarray(bottom, dtype=np.float64)
    plan = Plan(("sex",), **options)
    found, _ = control_charts(GROUPS, np.asarray(top, dtype=np.float64), bottom, bottom.astype(np.int64), n_baseline, plan)
    return {chart.name: chart for chart in found}


def simulated(rng: np.random.Generator, windows: int, rate: Any, spread: float = 0.0, n: float = 120.0) -> tuple[Any, Any]:
    """Patients in time and patients by window and group; rates differ between windows by ``spread``."""
    bottom = rng.poisson(n, (windows, 2))
    rates = np.clip(np.asarray(rate) + rng.normal(0, spread, (windows, 1)), 0, 1)
    return rng.binomial(bottom, rates * np.ones((windows, 2))), bottom


def test_limits_by_hand() -> None:
    """Eight windows of 100 patients, 80 or 84 of them in time (mean 0.82), less spread than binomial: binomial limits."""
    top = np.array([[80, 82], [84, 82]] * 4 + [[60, 82]])
    bottom = np.full((9, 2), 100)
    found = charts(top, bottom, 8, smoothing=1.0)
    risk = 1 - 0.95 ** (1 / 4)  # four charts, one window
    assert per_limit(per_limit(0.05, 4), 1) == pytest.approx(risk)
    expected = 0.82 - stats.t.ppf(1 - risk, 7) * np.sqrt(0.82 * 0.18 * (1 / 100 + 1 / 800))
    assert found["a"].centre == pytest.approx(0.82) and found["a"].limit[8] == pytest.approx(expected)
    assert np.isnan(found["a"].limit[:8]).all()
    gap = np.array([0.02] * 8)
    assert found[GAP].centre == pytest.approx(gap.mean()) and found[GAP].value[8] == pytest.approx(0.22)
    assert found["a"].passed.tolist() == [False] * 8 + [True]
    assert found[WORST].passed[8] and not found["b"].passed[8]
    # Windows that differ more than binomially: their own spread.
    top = np.array([[60, 82], [100, 82]] * 4 + [[60, 82]])
    spread = np.sqrt(8 * 20**2 / 100 / 7)
    limit = 0.8 - stats.t.ppf(1 - risk, 7) * spread * np.sqrt(1 / 100 + 1 / 800)
    assert charts(top, bottom, 8)["a"].limit[8] == pytest.approx(limit)


def test_moving_average_by_hand() -> None:
    """The average begins at the baseline's mean; its limits widen towards their final width."""
    top = np.array([[80, 90], [84, 90]] * 4 + [[70, 90], [70, 90]])
    found = charts(top, np.full((10, 2), 100), 8, smoothing=0.2)[WORST]
    assert found.value[8:].tolist() == pytest.approx([0.82 + 0.2 * (0.7 - 0.82), 0.796 + 0.2 * (0.7 - 0.796)])
    spread = np.std([0.80, 0.84] * 4, ddof=1)
    away = []
    for k, window in ((1, 8), (2, 9)):
        own = 0.2**2 * sum(0.8 ** (2 * j) for j in range(k)) + (0.2 * sum(0.8**j for j in range(k))) ** 2 / 8
        away.append((0.82 - found.limit[window]) / (spread * np.sqrt(own)))
    # One factor for all windows: beyond that of a single limit, below Bonferroni's with a spread of four windows' freedom.
    assert away[0] == pytest.approx(away[1]) and stats.norm.ppf(1 - 0.05 / 4) < away[0] < stats.t.ppf(1 - 0.05 / 8, 4)


@pytest.mark.parametrize(
    ("rate", "spread", "n"), [((0.7, 0.8), 0.0, 120.0), ((0.7, 0.8), 0.05, 120.0), ((0.97, 0.98), 0.0, 40.0)]
)
def test_false_alarms_are_as_rare_as_promised(
    rate: tuple[float, float], spread: float, n: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing changes in 120 logs of 26 + 26 windows: 5 % may raise any alarm, more than 10 % would 6 times in 1000."""
    monkeypatch.setattr("sb3_grpo.fairness.audit.monitor.QUIET_LOGS", 500)
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(120):
        found = charts(*simulated(rng, 52, rate, spread, n), 26, min_patients=15)
        alarms += any(chart.passed.any() for chart in found.values())
    assert alarms <= 12


def test_a_change_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One group falls by 12 points after the baseline: found in nearly every log, by its own chart, worst and gap."""
    monkeypatch.setattr("sb3_grpo.fairness.audit.monitor.QUIET_LOGS", 500)
    rng = np.random.default_rng(1)
    found = {"a": 0, "b": 0, WORST: 0, GAP: 0}
    for _ in range(50):
        top, bottom = simulated(rng, 26, (0.8, 0.8), 0.01)
        later, of = simulated(rng, 12, (0.68, 0.8), 0.01)
        for name, chart in charts(np.concatenate([top, later]), np.concatenate([bottom, of]), 26).items():
            found[name] += bool(chart.passed.any())
    assert found["a"] >= 40 and found[WORST] >= 45 and found[GAP] >= 45 and found["b"] <= 3


def test_better_is_no_alarm() -> None:
    rng = np.random.default_rng(2)
    top, bottom = simulated(rng, 26, (0.6, 0.6))
    later, of = simulated(rng, 12, (0.9, 0.9))
    found = charts(np.concatenate([top, later]), np.concatenate([bottom, of]), 26)
    assert not any(chart.passed.any() for chart in found.values())


def test_few_patients_are_not_judged() -> None:
    bottom = np.full((12, 2), 100)
    bottom[9] = [5, 100]
    bottom[:, 1] = 10
    top = (0.8 * bottom).astype(int)
    found, others = control_charts(GROUPS, top, bottom, bottom, 8, Plan(("sex",)))
    assert [chart.name for chart in found] == ["a"] and others == {"b": 10.0}
    assert np.isnan(found[0].value[9]) and not found[0].passed.any()
    with pytest.raises(RecordsError, match=r"group: no group has 200 patients in 80 % .* in a window: a 92.1, b 10.0"):
        control_charts(GROUPS, top, bottom, bottom, 8, Plan(("sex",), min_patients=200))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "month"}, "window: got 'month', expected one of day, week"),
        ({"baseline": 3}, "baseline: got 3, expected at least 8 windows"),
        ({"false_alarms": 0.0}, r"false_alarms: got 0.0, expected a chance inside \(0, 1\)"),
        ({"smoothing": 1.5}, r"smoothing: got 1.5, expected a weight in \(0, 1\]"),
        ({"min_patients": 0}, "min_patients: got 0, expected at least 1"),
    ],
)
def test_bad_plans(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan(("sex",), **options)


# --- a log ---


def changed_log(weeks: int = 30) -> pd.DataFrame:
    """From week 20 on people of ethnicity B wait three times as long."""
    before, after = visits(weeks=weeks, n=200 * weeks), visits(weeks=weeks, n=200 * weeks, slower=3.0)
    late = pd.to_datetime(before["Arrived"]) >= pd.Timestamp("2024-01-01") + pd.Timedelta(weeks=20)
    return before.where(~late, after)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("logs")
    return write(folder, changed_log()), write(folder, visits(6000), "same.csv"), write_map(folder)


def run(*words: Any) -> int:
    return main(["monitor", *map(str, words)])


def test_exit_status_and_files(logs: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed, same, columns = logs
    words = ["--columns", columns, "--group", "ethnicity", "--outcome", "in_time", "--output", tmp_path / "out"]
    assert run(changed, *words, "--baseline", "18") == 3
    text = capsys.readouterr().out
    assert "Week of 2024-05-" in text and "B is " in text and "below its limit of" in text and "4 charts x 12 windows" in text
    content = json.loads((tmp_path / "out" / "monitor.json").read_text(encoding="utf-8"))
    assert {alarm["chart"] for alarm in content["alarms"]} >= {"B", WORST, GAP}
    assert min(alarm["window"] for alarm in content["alarms"]) >= "2024-05-20"  # week 20
    assert set(content["not_watched"]) == {"Ünsal", "(missing)"}
    table = pd.read_csv(tmp_path / "out" / "monitor.csv")
    assert len(table) == 30 * 4 and table["passed"].sum() == len(content["alarms"])
    assert (tmp_path / "out" / "monitor.png").read_bytes().startswith(b"\x89PNG")
    assert run(same, *words, "--window", "day", "--min-patients", "5", "--smoothing", "1") == 0
    assert "No limit was passed." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--group", "sex", "--baseline", "30"], "holds 30 windows (week), expected a baseline of at least 8 and one more"),
        (["--group", "sex", "--baseline", "3"], "--baseline: got 3, expected at least 8 windows"),
        (["--group", "sex", "--false-alarms", "2"], "--false-alarms: got 2.0, expected a chance"),
        (["--group", "Ward", "--min-patients", "1000"], "group: no group has 1000 patients"),
        (["--group", "nothing"], "no column 'nothing'"),
    ],
)
def test_errors_are_one_line(
    logs: tuple[Path, Path, Path], tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(logs[1], "--columns", logs[2], *words, "--outcome", "in_time", "--output", tmp_path) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("sb3-grpo monitor: error: ") and error.count("\n") == 1


def test_windows_without_anybody(tmp_path: Path) -> None:
    """A week in which nobody came is a window like the others, with nothing to judge."""
    table = visits(4000, weeks=20)
    arrived = pd.to_datetime(table["Arrived"])
    empty = (arrived >= pd.Timestamp("2024-04-01")) & (arrived < pd.Timestamp("2024-04-08"))
    path = write(tmp_path, table[~empty])
    watched = monitor_records(path, Plan(("sex",), outcome="in_time"), read_map(write_map(tmp_path)))
    assert len(watched.begins) == 20 and watched.charts[0].patients[13] == 0 and np.isnan(watched.charts[0].value[13])
