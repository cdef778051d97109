"""The command line as a user meets it: errors in one line, results in files, interruption without loss."""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from hospital_gym.heuristics import HEURISTICS
from sb3_grpo import GroupRobustPPO
from sb3_grpo.cli import main
from sb3_grpo.cli.demo import ALGORITHM, MODELS, HospitalDemo
from sb3_grpo.cli.masks import Counts
from sb3_grpo.cli.options import Hospital, read_hospitals, whole_number
from sb3_grpo.common.hyperparameters import load_settings

TINY = ["--scenario", "Rural", "--steps", "512", "--episodes", "2"]
RESULTS = [
    *("comparison.json", "comparison.md", "comparison.png", "group_robust_ppo.zip", "ppo.zip", "records.csv", "settings.json"),
]


def error_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that cannot work says, having checked that it is one line and that the exit status is 2."""
    try:
        status = main(words)
    except SystemExit as error:
        status = error.code  # type: ignore[assignment]
    assert status == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["demo", "--steps", "0"], ["--steps", "'0'", "a whole number >= 1"]),
        (["demo", "--steps", "many"], ["--steps", "'many'", "a whole number >= 1"]),
        (["demo", "--episodes", "2.5"], ["--episodes", "'2.5'", "a whole number >= 1"]),
        (["demo", "--seed", "-1"], ["--seed", "'-1'", "a whole number from 0 to 2147483647"]),
        (["demo", "--scenario", "Mars"], ["--scenario", "'Mars'", "'Pediatric', 'Rural', 'Surge', 'Urban'", "all"]),
        (["demo", "--scenario", "no.yml"], ["--scenario", "no.yml", "expected a YAML file"]),
        (["demo", "--scenario", "{tmp}/bad.yml"], ["--scenario", "bad.yml", "unknown key 'bedz'", "beds"]),
        (["demo", "--arrivals", "no.csv"], ["--arrivals", "'no.csv'", "a CSV file that exists"]),
        (["demo", "--arrivals", "{tmp}/bad.csv"], ["--arrivals", "bad.csv"]),
        (["demo", "--arrivals", "{tmp}/short.csv"], ["--arrivals", "short.csv: has 24 hours of arrivals", "needs 672"]),
        (["demo", "--arrivals", "{tmp}/latin.csv"], ["--arrivals", "latin.csv, line 2: got the byte 0xfc", "UTF-8"]),
        (["demo", "--arrivals", "{tmp}/fake.csv.gz"], ["--arrivals", "fake.csv.gz", "a whole gzip file"]),
        (["demo", "--scenario", "{tmp}/latin.yml"], ["--scenario", "latin.yml, line 1: got the byte 0xfc", "UTF-8"]),
        (["demo", "--scenario", "{tmp}/base.yml"], ["--scenario", "base.yml: base: got [1]"]),
        (["demo", "--out", "{tmp}/file/folder"], ["--out", "file/folder", "a folder that can be written"]),
        (["demo", "--nonsense"], ["--nonsense"]),
        (["heuristics", "--reference", "guess"], ["--reference", "'guess'", "triage"]),
        (["scenarios", "--scenario", "Mars"], ["--scenario", "'Mars'"]),
        (["masks", "--decisions", "0"], ["--decisions", "'0'", "a whole number >= 1"]),
        (["dance"], ["dance", "demo", "heuristics", "masks", "scenarios"]),
        ([], ["COMMAND"]),
    ],
)
def test_bad_options(words: list[str], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yml").write_text("bedz: [1, 2, 3]\n")
    (tmp_path / "bad.csv").write_text("arrival_time\n2\n1\n")
    (tmp_path / "file").touch()
    (tmp_path / "short.csv").write_text("arrival_time\n2\n3\n")
    (tmp_path / "latin.csv").write_bytes(b"arrival_time\n\xfc\n")
    (tmp_path / "fake.csv.gz").write_bytes(b"arrival_time\n1\n")
    (tmp_path / "latin.yml").write_bytes(b"name: Z\xfcrich\n")
    (tmp_path / "base.yml").write_text("base: [1]\n")
    message = error_of([word.replace("{tmp}", str(tmp_path)) for word in words], capsys)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("1e6", 1_000_000), ("1_000", 1000), ("2.5e1", 25)])
def test_whole_numbers(text: str, number: int) -> None:
    assert whole_number(1)(text) == number


def make_demo(folder: Path, steps: int = 512, seed: int = 0, scenario: str = "Rural") -> HospitalDemo:
    """The demo that the command line TINY means."""
    (hospital,) = hospitals(scenario)
    settings = load_settings(ALGORITHM, hospital.env_id, GroupRobustPPO)
    return HospitalDemo(hospital, settings, folder, steps, 2, seed, Console(quiet=True))


def hospitals(scenario: str, arrivals: str | None = None) -> list[Hospital]:
    return read_hospitals(argparse.Namespace(scenario=scenario, arrivals=arrivals))


def test_hospitals_by_name_id_file_and_all(tmp_path: Path) -> None:
    assert [h.env_id for h in hospitals("all")] == [f"Hospital-{name}-v0" for name in ("Urban", "Rural", "Pediatric", "Surge")]
    assert hospitals("rural") == hospitals("Hospital-Rural-v0")
    (tmp_path / "mine.yml").write_text("name: Mine\nbase: Rural\nrequests_per_day: 4\n")
    (mine,) = hospitals(str(tmp_path / "mine.yml"))
    assert (mine.name, mine.env_id, mine.scenario.requests_per_day) == ("Mine", "Hospital-v0", 4)
    assert mine.make_env().get_wrapper_attr("scenario") == mine.scenario


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a tiny demo."""
    folder = tmp_path_factory.mktemp("demo")
    assert main(["demo", *TINY, "--out", str(folder)]) == 0
    return folder


def test_demo_writes_everything(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == RESULTS
    assert (finished / "comparison.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads((finished / "comparison.json").read_text())
    assert result["episodes"] == 2 and result["seeds"]["training"] == 0 and result["seeds"]["evaluation"] >= 2**32
    assert result["hospital"]["environment"] == "Hospital-Rural-v0" and result["arrival_windows"] is None
    comparison = result["comparison"]
    names = [policy["name"] for policy in comparison["policies"]]
    variants = [*MODELS, *(f"{name}-most-likely" for name in MODELS)]
    assert names[:4] == variants and set(names) <= {*variants, *HEURISTICS}
    assert {"first-come", "triage", "c-mu"} <= set(names)
    assert comparison["reference"] == "ppo" and comparison["n_episodes"] == 2
    for policy in comparison["policies"]:
        for estimate in (*policy["rates"], policy["worst"], policy["gap"], policy["efficiency"]):
            assert set(estimate) == {"value", "low", "high", "bias", "method"}
        assert (policy["paired"] is None) == (policy["name"] == "ppo")
    assert set(result["attainable"]) == set(comparison["group_names"]) == {"pediatric", "adult", "elderly", "critical"}
    best = [max(p["rates"][g]["value"] or 0 for p in comparison["policies"]) for g in range(4)]
    assert all((result["attainable"][name]["rate"] or 0) >= best[g] for g, name in enumerate(comparison["group_names"]))
    assert {"command", "versions", "machine", "seconds", "models"} <= set(result)
    with (finished / "records.csv").open(newline="") as file:
        assert {row["policy"] for row in csv.DictReader(file)} == {"ppo", "group_robust_ppo", "triage"}


def test_demo_trains_what_it_says(finished: Path) -> None:
    """Same data, same discount, the only difference is lam and the group critic; both can be loaded and used."""
    models = {name: GroupRobustPPO.load(finished / f"{name}.zip", device="cpu") for name in MODELS}
    assert (models["ppo"].lam, models["group_robust_ppo"].lam) == (0.0, 0.3)
    discount_times = {model.adopted_discount_time for model in models.values()}
    assert discount_times == {hospitals("Rural")[0].scenario.discount_time}
    assert {model.num_timesteps for model in models.values()} == {4096}  # 512 is rounded up to one rollout of 16 x 256


def test_only_the_same_settings_are_used_again(finished: Path, tmp_path: Path) -> None:
    assert all(make_demo(finished).is_finished(name) for name in MODELS)
    for other in ({"steps": 513}, {"seed": 1}, {"scenario": "Urban"}):
        assert not any(make_demo(finished, **other).is_finished(name) for name in MODELS)
    for name in ("settings.json", "ppo.zip", "group_robust_ppo.zip"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    with (tmp_path / "ppo.zip").open("ab") as file:
        file.write(b"damaged")
    assert [make_demo(tmp_path).is_finished(name) for name in MODELS] == [False, True]
    (tmp_path / "settings.json").write_text("no JSON")
    assert not any(make_demo(tmp_path).is_finished(name) for name in MODELS)


def test_interruption_and_going_on(tmp_path: Path) -> None:
    """Ctrl-C after the first model: it is kept, and the same command goes on with the second. Two processes would train both
    at once, so one does; the signal goes to all processes of the command, as a terminal sends it."""
    command = [sys.executable, "-m", "sb3_grpo", "demo", *TINY, "--out", str(tmp_path), "--processes", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "ppo.zip: saved" in line:
                os.killpg(process.pid, signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == 130, rest
    said = " ".join(rest.split())
    assert "finished: ppo.zip; not finished: group_robust_ppo.zip; not compared yet" in said and "Interrupted" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ppo.zip", "settings.json"]
    kept = (tmp_path / "ppo.zip").read_bytes()
    assert main(command[3:]) == 0
    assert (tmp_path / "ppo.zip").read_bytes() == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == RESULTS


def test_replayed_arrivals_repeat_and_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three episodes of a file with two windows (Rural plays seven weeks): the third replays the hours of the first."""
    file = tmp_path / "fourteen_weeks.csv"
    file.write_text("Count\n" + "1\n0\n" * (7 * 168))
    words = ["--scenario", "Rural", "--episodes", "3", "--arrivals", str(file)]
    assert main(["heuristics", *words]) == 0
    note = "Rural: fourteen_weeks.csv holds 2 different windows of arrivals; episodes beyond that number, and training, repeat"
    said = capsys.readouterr().out
    assert (
        note in said and "12 arrivals a day, each a patient who needs a bed, are an offered load of 1.44 of all beds" in said
    )
    out = tmp_path / "out"
    assert main(["demo", *words, "--steps", "512", "--out", str(out)]) == 0
    assert note in capsys.readouterr().out
    assert json.loads((out / "comparison.json").read_text())["arrival_windows"] == 2
    with (out / "records.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["policy"] == "triage" and float(row["arrival"]) >= 0]
    episodes = [[row for row in rows if row["episode"] == str(number)] for number in range(3)]
    hours = [sorted(int(float(row["arrival"])) for row in rows_of_one) for rows_of_one in episodes]
    assert hours[0] == hours[2] == list(range(0, 1008, 2))
    assert [row["age"] for row in episodes[0]] != [row["age"] for row in episodes[2]]  # drawn anew


def test_heuristics_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tables.md"
    assert main(["heuristics", "--scenario", "Rural", "--episodes", "2", "--degenerate", "--markdown", str(file)]) == 0
    assert "first-come" in capsys.readouterr().out
    text = file.read_text()
    assert text.startswith("### Rural: 2 episodes")
    assert "| always-wait |" in text and "| attainable |" in text and "Difference to triage" in text


def test_scenarios_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios", "--scenario", "Rural", "--episodes", "2"]) == 0
    text = capsys.readouterr().out
    assert "Rural: 40 beds, 25 nurses a day, 8.6 requests a day" in text
    assert all(word in text for word in ("general", "paediatric", "critical", "evening", "decisions", "1.08", "1.00", "0.80"))


def test_masks_counts_invalid_actions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """None in 2048 decisions: the upper limit of their share is 1 - 0.05^(1/2048) = 1.46e-3."""
    file = tmp_path / "masks.md"
    words = ["masks", "--scenario", "Rural", "--decisions", "2000", "--processes", "1", "--markdown", str(file)]
    assert main(words) == 0
    assert "invalid actions" in capsys.readouterr().out
    header, _, row, *_ = file.read_text().splitlines()
    cells = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert cells["| hospital"] == "| Rural" and cells["decisions"] == "2,048" and cells["invalid actions"] == "0"
    assert cells["at most |"] == "1.5e-03 |"
    with_choice = int(cells["of which with more than one valid action"].replace(",", ""))
    assert 1024 < with_choice < 2048
    assert Counts(2048, with_choice, 0).upper_limit == pytest.approx(1 - 0.05 ** (1 / 2048))
    assert Counts(10, 10, 10).upper_limit == 1.0
