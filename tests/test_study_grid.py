"""What a grid declares, and what is said about grids that cannot be used."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from sb3_grpo.cli import main
from sb3_grpo.study.grid import SHIPPED, read_study
from sb3_grpo.study.protocol import read_protocol
from sb3_grpo.study.runs import StudyError
from sb3_grpo.study.tasks.hospital.expand import SEEDS_APART, expand, training_seed
from tests.tiny_study import TINY, study, written

CHOSEN = {"lam": {"Urban": 0.2, "Rural": 0.3, "Pediatric": 0.3, "Surge": 0.4}}


def test_the_core_grid_is_the_one_that_was_promised() -> None:
    core = read_study("core")
    runs = {run.key: run for run in expand(core.grid, read_protocol(CHOSEN, "here"), "test")}
    trainings = [run.config for run in runs.values() if run.config["kind"] == "train"]
    n = Counter((config["place"]["name"], config["row"]) for config in trainings)
    for scenario, lam in CHOSEN["lam"].items():
        assert n[scenario, "lam=0"] == n[scenario, f"lam={lam:g}"] == 10
        others = [0.1, 0.2, 0.3, 0.4, 0.5]
        others.remove(lam)
        rows = [*(f"lam={value:g}" for value in others), "lam=auto", "group critic, lam=0", "SB3 PPO, lam=0"]
        assert [n[scenario, row] for row in rows] == [5] * 7
    for config in trainings:
        arguments = {**config["settings"]["algorithm"], **config["changes"]}
        assert (config["settings"]["n_envs"], config["settings"]["n_timesteps"]) == (16, 500_000)
        assert config["settings"]["callback"] == [{"callbacks.WarmStartCallback": {"rule": "c-mu-tuned"}}]
        if config["row"] == "SB3 PPO, lam=0":
            assert (arguments["lam"], arguments["group_critic"], arguments["discount_time"]) == (0.0, False, False)
        elif config["row"] == "lam=0":
            assert arguments["group_critic"] is False and "discount_time" not in arguments
        elif config["row"] == "group critic, lam=0":
            assert arguments["group_critic"] is True


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in ("diagnosis", "sepsis")])
def test_shipped_grids_can_be_used_and_no_two_trainings_share_patients(name: str) -> None:
    found = read_study(name)
    protocol = found.protocol if found.protocol and found.protocol.is_chosen else read_protocol(CHOSEN, "here")
    trainings = [run for run in expand(found.grid, protocol, "test") if run.config["kind"] == "train"]
    blocks = {run.config["training_seed"] // SEEDS_APART: run.hash for run in trainings}
    assert len(blocks) == len({run.hash for run in trainings})
    assert all(run.config["training_seed"] % SEEDS_APART == 0 for run in trainings)


def test_training_seeds_stay_what_they_are() -> None:
    assert training_seed("Urban", "lam=0", 0) == 873_916_544
    assert training_seed("Urban", "lam=0", 1) != training_seed("Urban", "lam=0.3", 0)


def test_every_purpose_has_its_own_episodes() -> None:
    found = read_study("quick")
    runs = found.runs("test")
    spans = {
        (each["seed"], each["first"], each["first"] + each["n"])
        for run in runs
        for key in ("checkpoint_episodes", "validation_episodes", "episodes")
        if (each := run.config.get(key)) is not None
    }
    assert len(spans) == 3  # checkpoints, choice of lam, test
    for seed, first, last in spans:
        assert seed >= 2**32  # no training seed
        assert all(
            other == (seed, first, last) or other[0] != seed or last <= other[1] or other[2] <= first for other in spans
        )


def test_nobody_plays_test_episodes_before_lam_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = written(tmp_path, {"protocol": {"lam": {"Tiny": None}}})
    assert study(grid, tmp_path / "study", "--phase", "test") == 2
    said = capsys.readouterr().err
    assert "lam: got no value for Tiny" in said and "--phase validation" in said
    assert not (tmp_path / "study" / "results").exists()
    kinds = {run.config["kind"] for run in read_study(str(grid)).runs("validation")}
    assert kinds == {"train", "rule"}
    assert all(run.config.get("phase", "validation") == "validation" for run in read_study(str(grid)).runs("validation"))


def test_the_protocol_cannot_change_once_test_episodes_were_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = {"models": [], "rules": ["triage"], "elsewhere": []}
    assert study(written(tmp_path, few), tmp_path / "study") == 0
    other = {**TINY["protocol"], "lam": {"Tiny": 0.5}}
    assert study(written(tmp_path, {**few, "protocol": other}), tmp_path / "study") == 2
    assert "protocol: differs from that" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study(written(tmp_path), tmp_path / "study", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "lam=0.3" in said and "0/6" in said  # 2 trainings, their tests, and those with tau x 2
    n = len(read_study(str(tmp_path / "tiny.yml")).runs("test"))
    assert f"{n} of {n} runs to do" in said
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"task": "hospitl"}, "task: got 'hospitl', expected one of hospital"),
        ({"task": "no.such.module"}, "task: got 'no.such.module', which cannot be imported"),
        ({"task": "json.decoder"}, "expected a module with the functions expand and run"),
        ({"protocol": None}, "key 'protocol' is missing"),
        ({"protocol": "nowhere.yml"}, "nowhere.yml', expected a file that exists"),
        ({"protocol": {"lam": {"Tiny": 0}}}, "lam: got {'Tiny': 0}, expected a number in (0, 1]"),
        ({"protocol": {"lam": {"Tiny": 0.3}, "mode": "best"}}, "mode: got 'best', expected one of drawn, most likely"),
        ({"protocol": {"lam": {"Tiny": 0.3}, "sedes": 3}}, "unknown key 'sedes'; known keys are lam"),
        ({"protocol": {"lam": {"Tiny": 0.3}, "seeds": 1}}, "seeds: got 1, expected a whole number >= 2"),
        ({"protocol": {"lam": {"Tiny": 0.3}, "alpha": 5}}, "alpha: got 5, expected a number in (0, 1]"),
        ({"protocol": {"lam": {"Tiny": 0.3}, "candidates": 0.3}}, "candidates: got 0.3, expected a list"),
        ({"scenarios": None}, "key 'scenarios' is missing"),
        ({"scenarios": "Urban"}, "scenarios: got 'Urban', expected a list"),
        ({"scenarios": ["Urbn"]}, "scenarios: got 'Urbn'"),
        ({"scenarios": ["Urban", "Urban"]}, "scenarios: got ['Urban', 'Urban'], expected different names"),
        ({"scenarios": [{"base": "Urban", "set": {"bedz": 3}}]}, "bedz"),
        ({"scenarios": [{"base": "Urban", "set": {"absence": 3}}]}, "absence: got 3"),
        ({"models": [{"lam": [2]}]}, "models: lam: got 2, expected a number in [0, 1], auto or chosen"),
        ({"models": [{"lam": 0}]}, "models: lam: got 0, expected a list"),
        ({"models": [{"seeds": 3}]}, "models: key 'lam' is missing"),
        ({"models": [{"lam": [0], "sedes": 3}]}, "models: unknown key 'sedes'"),
        ({"models": [{"lam": [0], "seeds": 0}]}, "models: seeds: got 0, expected a whole number >= 1"),
        ({"models": [{"lam": [0], "algorithm": "dqn"}]}, "models: algorithm: got 'dqn', expected one of group_robust_ppo"),
        ({"models": [{"lam": [0], "hyperparameters": "x"}]}, "there is no zoo_configs/x/default.yml"),
        ({"models": [{"lam": [0], "set": {"clip_range": 0.1}}]}, "models: name: missing"),
        ({"models": [{"name": "a", "lam": [0], "set": {"x": 1}}]}, "models: set: unknown key 'x'"),
        ({"models": [{"name": "a", "lam": [0], "scale": {"clip": 2}}]}, "models: scale: got 'clip', expected one of"),
        ({"models": [{"name": "a", "lam": [0], "scale": {"policy": 2}}]}, "models: scale: policy: got 'MaskedMlpPolicy'"),
        (
            {"models": [{"name": "a", "lam": [0], "scale": {"gamma": -1}}]},
            "models: scale: gamma: got -1, expected a number > 0",
        ),
        ({"models": [{"lam": ["auto"]}]}, "auto: missing, expected min_benefit or max_gap"),
        ({"auto": {"max_gab": 0.1}}, "auto: unknown key 'max_gab'"),
        ({"rules": ["triag"]}, "rules: got 'triag', expected all or some of first-come"),
        ({"training": {"n_epoch": 3}}, "training: unknown key 'n_epoch'"),
        ({"training": {"n_envs": 1000}}, "n_envs: got 1000, expected at most 128"),
        ({"elsewhere": [{"name": "x", "multiply": {"name": 2}}]}, "multiply: got 'name', expected a number"),
        ({"elsewhere": [{"name": "x", "multiply": {"absence": 99}}]}, "elsewhere: x: absence"),
        ({"checkpoints": 0}, "checkpoints: got 0, expected a whole number >= 1"),
        ({"checkpoint": 3}, "grid: unknown key 'checkpoint'; known keys are scenarios"),
    ],
)
def test_nonsense_is_named_with_its_fix(
    changes: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study(written(tmp_path, changes), tmp_path / "study", "--dry-run") == 2
    error = capsys.readouterr().err
    assert error.startswith("sb3-grpo study: error: ") and error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize(
    "text, said", [("a: [", "is not YAML"), ("- 1", "expected a mapping"), (None, "expected one of core")]
)
def test_files_that_are_no_grids(text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "grid.yml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert main(["study", str(path), "--out", str(tmp_path / "study")]) == 2
    assert said in capsys.readouterr().err


def test_two_rows_with_one_name_are_refused(tmp_path: Path) -> None:
    rows = [{"name": "a", "lam": [0], "set": {"clip_range": clip}} for clip in (0.1, 0.2)]
    with pytest.raises(StudyError, match="two different rows are called 'a, lam=0'"):
        read_study(str(written(tmp_path, {"models": rows}))).runs("validation")


def test_options_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study(written(tmp_path), tmp_path / "study", "--only", "Nowhere/*") == 2
    assert (
        "--only: got 'Nowhere/*', expected a pattern that fits a run, such as 'Tiny/lam=0/seed 0'" in capsys.readouterr().err
    )
    assert study(written(tmp_path), tmp_path / "study", "--address", "auto") == 2
    assert "--address: got 'auto' with --backend loky" in capsys.readouterr().err


def test_a_protocol_names_everything_that_it_fixes() -> None:
    protocol = read_protocol(yaml.safe_load("lam: {Urban: 0.3, Rural: null}"), "here")
    assert protocol.lam == {"Urban": 0.3, "Rural": None} and not protocol.is_chosen
    assert read_protocol(protocol.to_dict(), "here") == protocol
