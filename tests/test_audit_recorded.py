"""The commands on real records of two demonstration databases, and the examples of the documentation."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from hospital_gym.scenarios import load_scenario
from sb3_grpo.cli import main
from tests.recorded_data import needs_data, recorded

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def audit(path: Path, columns: Path, out: Path, groups: list[str], *words: str) -> Any:
    options = [word for group in groups for word in ("--group", group)]
    command = ["audit", str(path), "--columns", str(columns), *options, *words, "--output", str(out)]
    assert main(command) == 0
    assert (out / "audit.html").stat().st_size > 10_000 and (out / "audit.png").is_file()
    return json.loads((out / "audit.json").read_text(encoding="utf-8"))


def test_the_made_up_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The walk-through: the area that waits longer is found, by the audit, and by the monitor from the week it began."""
    log, columns = tmp_path / "visits.csv", tmp_path / "visits.yml"
    monkeypatch.setattr("sys.argv", ["audit_log.py", str(log), str(columns)])
    runpy.run_path(str(EXAMPLES / "audit_log.py"), run_name="__main__")
    content = audit(log, columns, tmp_path / "out", ["area", "sex"], "--outcome", "in_time")
    area, sex = content["groups"]
    assert area["worst"]["group"] == "north" and area["gap_shown"] and not sex["gap_shown"]
    assert area["mean_stay_hours"]["north"]["value"] == pytest.approx(2.8, abs=0.2)
    words = ["--columns", str(columns), "--outcome", "in_time", "--group", "area", "--output", str(tmp_path / "monitor")]
    assert main(["monitor", str(log), *words, "--baseline", "30"]) == 3
    alarms = json.loads((tmp_path / "monitor" / "monitor.json").read_text(encoding="utf-8"))["alarms"]
    assert {alarm["chart"] for alarm in alarms} == {"north", "worst", "gap"}
    assert min(alarm["window"] for alarm in alarms) >= "2024-10-07"  # week 40
    assert main(["monitor", str(log), *words[:4], "--group", "sex", *words[6:], "--keep", "area=south"]) == 0
    capsys.readouterr()


@needs_data
def test_eicu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mortality by age as known of these records: 1.4, 6.1, 8.6 and 16.7 %, which rises with age beyond noise."""
    path = recorded("eicu_demo") / "eicu_demo_patient_joined.csv"
    groups = ["sex", "age_band", "ethnicity"]
    words = ["--outcome", "success", "--cluster", "hospitalid", "--bad-rows", "20"]
    content = audit(path, EXAMPLES / "audit_eicu.yml", tmp_path, groups, *words)
    sex, age, ethnicity = content["groups"]
    assert content["unit"]["n"] == 186 and content["label"] == "left hospital alive"
    deaths = {band: 100 * (1 - rate["value"]) for band, rate in age["rates"].items() if rate["value"] is not None}
    assert list(deaths) == ["18-44", "45-64", "65-79", "80+"]
    assert list(deaths.values()) == pytest.approx([1.4, 6.1, 8.6, 16.7], abs=0.5)
    assert age["gap_shown"] and not sex["gap_shown"]
    assert set(age["insufficient"]) == {"0-17", "(missing)"} and "Native American" in ethnicity["insufficient"]
    assert 0 < content["records"] < 2520 and "bad rows were left out: hospitaladmitoffset" in content["left_out"][0]
    assert 24 * 4 < age["mean_stay_hours"]["18-44"]["value"] < age["mean_stay_hours"]["65-79"]["value"] < 24 * 8
    assert "in_time: not available: column target_wait" in age["metrics"]["messages"]
    capsys.readouterr()


@needs_data
def test_mimic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """129 stays of 100 patients; the unit is the patient, and that is said."""
    log = tmp_path / "records.csv"
    monkeypatch.setattr("sys.argv", ["audit_mimic3.py", str(recorded("mimic3_demo")), str(log)])
    runpy.run_path(str(EXAMPLES / "audit_mimic3.py"), run_name="__main__")
    groups = ["sex", "age_band", "ethnicity", "insurance"]
    words = ["--outcome", "success", "--cluster", "patient", "--bad-rows", "30"]
    content = audit(log, EXAMPLES / "audit_mimic3.yml", tmp_path / "out", groups, *words)
    assert 100 < content["records"] <= 129
    everybody = content["groups"][0]["metrics"]["overall"]["success"]
    assert everybody == pytest.approx(0.69, abs=0.04)  # 31 % of the demo's stays ended in death
    assert "too narrow" in capsys.readouterr().out
    # Dates are shifted by patient: arrivals cannot be fitted, and are refused.
    words = ["--columns", str(EXAMPLES / "audit_mimic3.yml"), "--bad-rows", "30", "--output", str(tmp_path / "fit")]
    assert main(["calibrate", str(log), "--column", "arrival=admittime", *words]) == 2
    assert "dates were shifted" in capsys.readouterr().err


@needs_data
def test_stays_of_eicu_are_fitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stays in intensive care by APACHE score: the published fit of this table for 41 to 60 is log mu 0.51, sigma 0.86."""
    import pandas as pd

    table = pd.read_csv(recorded("eicu_demo") / "eicu_demo_patient_joined.csv")
    score = table["apachescore"]
    table = table[score.between(41, 60)].assign(severity="critical", days=table["unitdischargeoffset"] / 1440)
    table = table.assign(years=pd.to_numeric(table["age"].replace("> 89", "90")))
    path = tmp_path / "stays.csv"
    table[["years", "gender", "severity", "days"]].to_csv(path, index=False)
    fields = ("age=years", "sex=gender", "severity_arrival=severity", "service_time=days in days")
    words = [word for text in fields for word in ("--column", text)]
    assert main(["calibrate", str(path), *words, "--output", str(tmp_path / "out")]) == 0
    content = json.loads((tmp_path / "out" / "calibration.json").read_text(encoding="utf-8"))
    fitted = [content["stays"][f"{band} critical"] for band in ("adult", "elderly")]
    assert sum(stay["n"] for stay in fitted) > 500
    for stay in fitted:
        assert stay["log_sigma"] == pytest.approx(0.86, abs=0.15) and stay["mean_days"] == pytest.approx(2.5, abs=0.5)
    assert content["kept"]["requests_per_day"] == "not available: column arrival"
    assert load_scenario(str(tmp_path / "out" / "scenario.yml")).requests_per_day == 28.5
    capsys.readouterr()
