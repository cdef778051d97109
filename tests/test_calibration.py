"""Calibration: what a simulator was given comes back from its records within the stated errors; the rest is kept."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hospital_gym.arrivals import ENGLAND_PROFILE, draw_arrival_times, hourly_rates
from hospital_gym.heuristics import HEURISTICS
from hospital_gym.hospital_env import HospitalEnv
from hospital_gym.records import AGE_BANDS, SEVERITIES, SEXES
from hospital_gym.registration import register_envs
from hospital_gym.scenarios import RURAL, SURGE, URBAN, Scenario, load_scenario
from sb3_grpo.calibration import Calibration, calibrate, read_stays, scenario_name, scenario_yaml
from sb3_grpo.calibration.arrivals import check_arrivals, daily_counts, fit_arrivals
from sb3_grpo.calibration.mix import dependence, fit_mix
from sb3_grpo.calibration.stays import LEAST_ENDS, QUANTILES, fit_stays
from sb3_grpo.cli import main
from sb3_grpo.cli.output import write_records
from sb3_grpo.common.evaluation import evaluate_episodes
from sb3_grpo.fairness.audit import ColumnMap, RecordsError, map_of

TRUTH = replace(
    URBAN,
    name="Truth",
    requests_per_day=26.0,
    day_effect_cv=0.15,
    age_mix=(0.3, 0.4, 0.3),
    male_share=0.4,
    horizon_hours=984.0,
)


def made(scenario: Scenario) -> gym.Env:
    return HospitalEnv(scenario)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What happened in a simulated hospital under triage, as the commands write it."""
    path = tmp_path_factory.mktemp("records") / "records.csv"
    episodes = evaluate_episodes(HEURISTICS["triage"](made(TRUTH)), lambda: made(TRUTH), 10, seed=3)
    write_records(path, {"triage": episodes})
    return path


@pytest.fixture(scope="module")
def found(records: Path) -> Calibration:
    return calibrate(read_stays(records, ColumnMap()), RURAL, "found")


def within(value: float, truth: float, error: float) -> bool:
    """Four standard errors: one number in 16 000 falls outside by chance."""
    return abs(value - truth) <= 4 * error


# --- there and back ---


def test_arrivals_come_back(found: Calibration) -> None:
    fit = found.arrivals
    assert fit is not None and fit.days > 300
    assert within(fit.requests_per_day, TRUTH.requests_per_day, fit.requests_error) and fit.requests_error < 0.6
    assert within(fit.day_effect_cv, TRUTH.day_effect_cv, fit.day_effect_error)
    by_hour = ENGLAND_PROFILE.sum(axis=0)
    assert np.abs(fit.profile.sum(axis=0) - by_hour).max() < 4 * np.sqrt(by_hour.max() / fit.n)
    assert found.scenario.requests_per_day == fit.requests_per_day
    assert found.arrival_check is not None and within(
        found.arrival_check.observed, found.arrival_check.expected, found.arrival_check.error
    )


def test_mix_comes_back(found: Calibration) -> None:
    for field, truth in (
        ("age_mix", TRUTH.age_mix),
        ("severity_mix", TRUTH.severity_mix),
        ("male_share", (1 - TRUTH.male_share, TRUTH.male_share)),
    ):
        mix = found.mixes[field]
        for share, true, error in zip(mix.shares, truth, mix.errors, strict=True):
            assert within(share, true, error), field
    assert found.dependence < 0.02


def test_stays_come_back(found: Calibration) -> None:
    assert len(found.stays) == 9
    for (age, severity), fit in found.stays.items():
        assert within(fit.mean_days, TRUTH.mean_stay_days[age][severity], fit.mean_error)
        assert within(fit.sigma, TRUTH.log_sigma_stay[age][severity], fit.sigma_error)
        assert fit.distance < 2 / np.sqrt(fit.n)
    beyond = [check.distance > check.by_chance for check in found.stay_checks.values()]
    assert len(beyond) >= 7 and sum(beyond) <= 2


def test_open_stays_come_back_too(records: Path, tmp_path: Path) -> None:
    """Discharges after the end of observation are not in the file: without them the stays would look shorter than they are."""
    table = pd.read_csv(records)
    end = table["arrival"] + table["wait"] + table["service_time"]
    last = TRUTH.horizon_hours - 700.0
    table = table[(table["arrival"] + table["wait"] < last) & table["service_time"].notna() & table["matched"]]
    table = table.assign(admitted=table["arrival"] + table["wait"], discharged=end.where(end < last))
    table = table.drop(columns="service_time")
    path = tmp_path / "open.csv"
    table.to_csv(path, index=False)
    content = {"columns": {"service_time": {"from": "admitted", "to": "discharged"}}, "observed_until": str(last)}
    found = calibrate(read_stays(path, map_of(content)), URBAN, "open", parts=("stays",))
    assert sum(fit.n - fit.ended for fit in found.stays.values()) > 300
    for (age, severity), fit in found.stays.items():
        assert within(fit.mean_days, TRUTH.mean_stay_days[age][severity], fit.mean_error)
    dropped = calibrate(read_stays(_ended(path), map_of(content)), URBAN, "dropped", parts=("stays",))
    assert all(dropped.stays[cell].mean_days < fit.mean_days for cell, fit in found.stays.items() if fit.n > fit.ended + 20)
    # Without a stated end of observation, the last moment in the file stands for it, and that is said.
    assumed = calibrate(read_stays(path, map_of({"columns": content["columns"]})), URBAN, "assumed", parts=("stays",))
    assert any("names no observed_until" in sentence for sentence in assumed.sentences)
    assert assumed.stays[1, 0].mean_days == pytest.approx(found.stays[1, 0].mean_days, rel=0.02)


def _ended(path: Path) -> Path:
    other = path.with_name("ended.csv")
    pd.read_csv(path).dropna(subset="discharged").to_csv(other, index=False)
    return other


def test_the_scenario_loads_and_runs(found: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "scenario.yml"
    path.write_text(scenario_yaml(found), encoding="utf-8")
    scenario = load_scenario(str(path))
    assert scenario.name == "found" and scenario.beds == RURAL.beds and scenario.nurses == RURAL.nurses
    assert np.allclose(scenario.mean_stay_days, found.scenario.mean_stay_days, rtol=1e-6)
    assert np.allclose(scenario.profile, found.scenario.profile, atol=1e-7)
    register_envs()
    env = gym.make("Hospital-v0", scenario=str(path), disable_env_checker=True)
    observation, info = env.reset(seed=0)
    env.step(int(np.flatnonzero(info["action_mask"])[0]))
    assert np.isfinite(observation).all()
    env.close()
    text = path.read_text(encoding="utf-8")
    assert "base: Rural" in text and "# fitted: " in text and "nurses" not in text


def test_a_base_of_ones_own_is_written_out(found: Calibration, tmp_path: Path) -> None:
    own = replace(RURAL, name="Own", beds=(10, 5, 5))
    text = scenario_yaml(replace(found, scenario=replace(found.scenario, beds=own.beds), base="Own"), "own.yml")
    path = tmp_path / "scenario.yml"
    path.write_text(text, encoding="utf-8")
    assert load_scenario(str(path)).beds == (10, 5, 5) and "base:" not in text and "kept from own.yml" in text


# --- parts ---


def test_arrivals_are_where_waits_begin(tmp_path: Path) -> None:
    """A log that names the wait by its two moments names the arrival too."""
    rows = [f"2024-01-{day:02d} 12:00,2024-01-{day:02d} 13:30" for day in range(1, 29)]
    (tmp_path / "log.csv").write_text("\n".join(["arrived,seen", *rows]) + "\n", encoding="utf-8")
    stays = read_stays(tmp_path / "log.csv", map_of({"columns": {"wait": {"from": "arrived", "to": "seen"}}}))
    assert stays.arrival is not None
    np.testing.assert_allclose(np.diff(stays.arrival), 24.0)


def test_arrivals_of_two_years() -> None:
    rates = hourly_rates(20.0, "england", start_hour=0, n_hours=24 * 728)
    times = draw_arrival_times(rates, 0.2, np.random.default_rng(0), 0)
    weekday, counts = daily_counts(times, np.zeros(len(times), dtype=np.int64))
    assert len(weekday) == 726 and weekday[:3].tolist() == [1, 2, 3]  # the first and the last day may not be whole
    assert counts.sum() == np.sum((times >= 24) & (times < 24 * 727))
    fit = fit_arrivals(weekday, counts)
    assert fit is not None
    assert within(fit.requests_per_day, 20.0, fit.requests_error)
    assert within(fit.day_effect_cv, 0.2, fit.day_effect_error) and fit.day_effect_error < 0.02
    # Drawn towards weekday x hour, the shares are nearer to the truth than as counted.
    far = [np.abs(shares - ENGLAND_PROFILE).sum() for shares in (fit.profile, fit.observed)]
    assert far[0] < 0.7 * far[1]
    assert fit.profile.sum() == pytest.approx(1.0)


def test_arrivals_without_a_day_effect() -> None:
    times = draw_arrival_times(hourly_rates(50.0, "flat", start_hour=0, n_hours=24 * 200), 0.0, np.random.default_rng(1), 0)
    fit = fit_arrivals(*daily_counts(times, np.zeros(len(times), dtype=np.int64)))
    assert fit is not None and fit.day_effect_cv < 0.05
    assert np.abs(168 * fit.profile - 1).max() < 0.35 < np.abs(168 * fit.observed - 1).max()


def test_held_out_days_show_a_change() -> None:
    rng = np.random.default_rng(2)
    calm, busy = (hourly_rates(rate, "england", start_hour=0, n_hours=24 * 70) for rate in (30.0, 40.0))
    early, same, more = _days(calm, rng), _days(calm, rng), _days(busy, rng)
    fit = fit_arrivals(*early)
    assert fit is not None
    quiet, loud = check_arrivals(fit, *same), check_arrivals(fit, *more)
    assert within(quiet.observed, quiet.expected, quiet.error) and not within(loud.observed, loud.expected, loud.error)
    assert quiet.hours < 2.5
    night = check_arrivals(fit, same[0], np.roll(same[1], 6, axis=1))
    assert night.hours > 10


def _days(rates: np.ndarray, rng: np.random.Generator) -> tuple[Any, Any]:
    times = draw_arrival_times(rates, 0.1, rng, 0)
    return daily_counts(times, np.zeros(len(times), dtype=np.int64))


@pytest.mark.parametrize("share_open", [0.0, 0.4])
def test_log_normal_stays(share_open: float) -> None:
    """Censored at a time of one's own, the fit finds the law; without censoring it is the mean and deviation of the logs."""
    rng = np.random.default_rng(3)
    stay = rng.lognormal(4.0, 0.8, 4000)
    limit = np.exp(rng.normal(4.2, 0.8, 4000)) if share_open else np.full(4000, np.inf)
    fit = fit_stays(np.minimum(stay, limit), stay <= limit)
    assert fit is not None and (fit.ended < fit.n) == bool(share_open)
    assert within(fit.mu, 4.0, 0.8 / np.sqrt(fit.ended)) and within(fit.sigma, 0.8, fit.sigma_error)
    assert within(fit.mean_days, np.exp(4.0 + 0.32) / 24, fit.mean_error)
    assert fit.fitted == pytest.approx(np.exp(fit.mu + fit.sigma * stats.norm.ppf(QUANTILES)))
    assert fit.observed[2] == pytest.approx(np.exp(4.0), rel=0.06) and fit.distance < 0.03
    if not share_open:
        assert (fit.mu, fit.sigma) == pytest.approx((np.log(stay).mean(), np.log(stay).std()))
        assert fit.distance == pytest.approx(stats.kstest(np.log(stay), "norm", args=(fit.mu, fit.sigma)).statistic)


def test_stays_of_another_law_are_seen() -> None:
    rng = np.random.default_rng(4)
    fit = fit_stays(np.where(rng.random(1000) < 0.5, 5.0, 50.0) * rng.uniform(0.95, 1.05, 1000), np.ones(1000, dtype=bool))
    assert fit is not None and fit.distance > 0.15
    assert fit_stays(np.arange(1.0, LEAST_ENDS), np.ones(LEAST_ENDS - 1, dtype=bool)) is None
    assert fit_stays(np.full(100, 3.0), np.ones(100, dtype=bool)) is None


def test_mix_by_hand() -> None:
    codes = np.array([0] * 50 + [1] * 30 + [2] * 20 + [-1] * 7, dtype=np.int8)
    fit = fit_mix(codes, 3)
    assert fit is not None and fit.shares.tolist() == [0.5, 0.3, 0.2] and (fit.n, fit.unknown) == (100, 7)
    assert fit.errors[0] == pytest.approx(0.05) and fit_mix(codes[:99], 3) is None
    assert dependence(np.array([0, 1, 0, 1], dtype=np.int8), np.array([0, 1, 0, 1], dtype=np.int8), 3) == 0.25


# --- what is not there, and what is wrong ---


def log(folder: Path, n: int = 400, **columns: Any) -> Path:
    rng = np.random.default_rng(5)
    table = {
        "age": rng.uniform(0, 90, n),
        "sex": rng.choice(SEXES, n),
        "severity_arrival": rng.choice(SEVERITIES, n),
        "service_time": rng.lognormal(4, 0.5, n),
        **columns,
    }
    path = folder / "log.csv"
    pd.DataFrame({name: values for name, values in table.items() if values is not None}).to_csv(path, index=False)
    return path


def test_what_the_log_does_not_say_is_kept(tmp_path: Path) -> None:
    found = calibrate(read_stays(log(tmp_path, sex=None), ColumnMap()), SURGE, "some")
    assert found.kept["requests_per_day"] == "not available: column arrival"
    assert found.kept["male_share"] == "too few patients with a known value (n=0)"
    assert found.scenario.requests_per_day == SURGE.requests_per_day and found.scenario.ramp == SURGE.ramp
    assert "child critical (n=" in found.kept["mean_stay_days, log_sigma_stay"]
    kept = [cell for cell in np.ndindex(3, 3) if cell not in found.stays]
    assert kept and all(found.scenario.mean_stay_days[a][s] == SURGE.mean_stay_days[a][s] for a, s in kept)
    assert "# kept: male_share: too few" in scenario_yaml(found)
    few = calibrate(read_stays(log(tmp_path, arrival=np.linspace(0, 200, 400)), ColumnMap()), URBAN, "few")
    assert few.kept["profile"].startswith("too few whole days (n=7)")
    alone = calibrate(read_stays(log(tmp_path), ColumnMap()), URBAN, "alone", parts=("mix",))
    assert (
        set(alone.fitted) == {"age_mix", "severity_mix", "male_share"}
        and alone.scenario.log_sigma_stay == URBAN.log_sigma_stay
    )


def test_a_ramp_goes_where_arrivals_are_fitted(tmp_path: Path) -> None:
    found = calibrate(
        read_stays(log(tmp_path, arrival=np.sort(np.random.default_rng(6).uniform(0, 24 * 40, 400))), ColumnMap()), SURGE, "x"
    )
    assert found.scenario.ramp == () and "ramp" in found.fitted


def test_stays_of_no_length_are_left_out(tmp_path: Path) -> None:
    stays = np.random.default_rng(7).lognormal(4, 0.5, 400)
    stays[:3] = 0.0
    read = read_stays(log(tmp_path, service_time=stays), ColumnMap())
    assert np.isnan(read.stay[:3]).all() and not read.ended[:3].any()
    assert read.sentences == ("3 stays of 0 hours are not fitted: a log-normal law has none.",)


def test_stays_are_of_the_severity_and_the_bed_that_they_were_in(tmp_path: Path) -> None:
    severe = ["critical"] * 400
    read = read_stays(log(tmp_path, severity_decision=severe, matched=[1] * 390 + [0] * 10), ColumnMap())
    assert set(read.severity_stay) == {2} and set(read.severity) == {0, 1, 2}
    assert np.isnan(read.stay[390:]).all() and not np.isnan(read.stay[:390]).any()
    assert read.sentences[0].startswith("10 stays in a bed of another type")


def test_day_effect_by_hand() -> None:
    """Two weeks of 60 and 100 arrivals a day: m = 80, (20^2 x 14 / 7 - 80) / 80^2 is the square of the day effect."""
    counts = np.zeros((14, 24), dtype=np.int64)
    counts[:7, 12], counts[7:, 12] = 60, 100
    fit = fit_arrivals(np.arange(14) % 7, counts)
    assert fit is not None and fit.day_effect_cv == pytest.approx(np.sqrt((20**2 * 2 - 80) / 80**2))
    assert fit.requests_per_day == 80.0 and fit.requests_error == pytest.approx(np.sqrt(20**2 * 14 / 7 / 14))
    assert fit_arrivals(np.arange(13) % 7, counts[:13]) is None


def test_bad_logs(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(RecordsError, match=r"log.csv, line 1: nothing to fit: .* the columns are a, b"):
        read_stays(path, ColumnMap())
    with pytest.raises(RecordsError, match="arrivals span 97 years, as where each patient's dates were shifted"):
        read_stays(log(tmp_path, arrival=np.linspace(0, 850_000, 400)), ColumnMap())
    with pytest.raises(ValueError, match="parts: got 'beds', expected some of arrivals, mix, stays"):
        calibrate(read_stays(log(tmp_path), ColumnMap()), URBAN, "x", parts=("beds",))
    assert scenario_name("a b/Ünit 3 (x).csv.gz") == "Ünit-3--x-"


# --- the command ---


@pytest.fixture
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield


def run(*words: Any) -> int:
    return main(["calibrate", *map(str, words)])


@pytest.mark.usefixtures("_in_folder")
def test_the_command(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(records, "--base", "Rural", "--name", "North Wing") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "North Wing, fitted to records.csv" in text and "Arrivals held out" in text and "Kept as assumed" not in text
    assert "Played under triage" in text and "do not go with these patients" in text  # three times Rural's requests
    folder = Path("runs/calibrate/records")
    assert load_scenario(str(folder / "scenario.yml")).name == "North Wing"
    content = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    assert content["stays"]["adult routine"]["held_out"]["n"] > 100
    assert set(content["mix"]["age_mix"]["shares"]) == set(AGE_BANDS)
    assert (folder / "calibration.png").read_bytes().startswith(b"\x89PNG")
    # Its own result is a base like any other.
    assert run(records, "--base", folder / "scenario.yml", "--fit", "mix", "--output", "again") == 0
    assert "kept from" in Path("again/scenario.yml").read_text(encoding="utf-8")


@pytest.mark.usefixtures("_in_folder")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fit", "beds"], "--fit: got 'beds', expected some of arrivals, mix, stays"),
        (["--base", "Moon"], "--base: scenario: got 'Moon'"),
        (["--name", "../up"], "name: got '../up'"),
        (["--column", "age=sex"], "log.csv, line 2, column 'sex': got "),
    ],
)
def test_errors_are_one_line(tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(log(tmp_path), *words) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("sb3-grpo calibrate: error: ") and error.count("\n") == 1
