"""Runs of a study of hospitals: what they find is what single commands would find, and the same every time."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sb3_grpo.common.evaluation import derived_seed
from sb3_grpo.common.model_files import load_model
from sb3_grpo.fairness.hospital_play import play_hospitals
from sb3_grpo.fairness.metrics import policy_metrics
from sb3_grpo.study.grid import read_study
from sb3_grpo.study.store import Store
from sb3_grpo.study.tasks.hospital import run as perform
from sb3_grpo.study.tasks.hospital.measure import measured, packed, unpacked
from sb3_grpo.study.tasks.hospital.places import place_of
from sb3_grpo.study.tasks.hospital.train import score_of
from tests.tiny_study import results, study, written


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished study, with the grid in it."""
    folder = tmp_path_factory.mktemp("study")
    assert study(written(folder), folder / "out") == 0
    return folder


def test_two_studies_give_the_same_bytes_and_a_finished_one_is_left_alone(finished: Path, tmp_path: Path) -> None:
    assert study(written(tmp_path), tmp_path / "out") == 0
    assert results(tmp_path / "out") == results(finished / "out")
    times = [path.stat().st_mtime_ns for path in sorted((tmp_path / "out" / "results").iterdir())]
    assert study(written(tmp_path), tmp_path / "out") == 0
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "out" / "results").iterdir())] == times


def test_a_test_is_an_evaluation_of_the_kept_model(finished: Path) -> None:
    runs = read_study(str(finished / "tiny.yml")).runs("test")
    run = next(run for run in runs if run.label == "Tiny/lam=0.3/seed 1/test")
    content = Store(finished / "out").result(run)
    assert content is not None
    scenario = place_of(run.config["place"]).scenario
    for mode, deterministic in (("drawn", False), ("most likely", True)):
        need = run.needs[mode]
        model = load_model(finished / "out" / "models" / f"{need.key}.{need.file}")
        evaluation = play_hospitals(model, "m", scenario, range(6), derived_seed(0, "test"), deterministic)
        expected = policy_metrics(evaluation.totals, evaluation.costs)
        found = content["result"]["test"][mode]
        assert (found["worst"], found["gap"], found["efficiency"]) == (expected.worst, expected.gap, expected.efficiency)
        file = finished / "out" / "results" / f"{run.key}.episodes.npz"
        np.testing.assert_array_equal(unpacked(file, mode, "demand"), evaluation.totals.demand)
        np.testing.assert_allclose(unpacked(file, mode, "benefit"), evaluation.totals.benefit, atol=0.005)
        np.testing.assert_allclose(unpacked(file, mode, "cost"), evaluation.costs, atol=0.005)


def test_changed_hospitals_and_rules(finished: Path) -> None:
    runs = {run.label: run for run in read_study(str(finished / "tiny.yml")).runs("test")}
    place = place_of(runs["Tiny/triage/tau x 2/test"].config["place"])
    home = place_of(runs["Tiny/triage/test"].config["place"]).scenario
    assert place.scenario.benefit_tau == tuple(2 * tau for tau in home.benefit_tau)
    assert (place.scenario.name, place.scenario.horizon_hours) == ("Tiny", 96)
    store = Store(finished / "out")
    gentle, plain = (store.result(runs[f"Tiny/triage/{name}test"]) for name in ("tau x 2/", ""))
    assert gentle is not None and plain is not None
    assert gentle["result"]["test"]["efficiency"] > plain["result"]["test"]["efficiency"]
    evaluation = play_hospitals("triage", "t", home, range(6), derived_seed(0, "test"))
    assert plain["result"]["test"] == json.loads(json.dumps(measured(evaluation)[0]))


def test_looking_at_a_training_does_not_change_it(finished: Path) -> None:
    run = next(run for run in read_study(str(finished / "tiny.yml")).runs("validation") if run.config["kind"] == "train")
    often, once = (perform({**run.config, "checkpoints": looks}, {}).result for looks in (2, 1))
    assert [look["steps"] for look in often["curve"]] == [256, 512]
    assert often["curve"][-1] == once["curve"][-1]


def test_the_checkpoint_is_the_best_look(finished: Path) -> None:
    store = Store(finished / "out")
    for run in read_study(str(finished / "tiny.yml")).runs("validation"):
        content = store.result(run)
        if content is not None and run.config["kind"] == "train":
            for mode, best in content["result"]["checkpoints"].items():
                scores = {look["steps"]: score_of(look[mode], run.config["changes"]) for look in content["result"]["curve"]}
                assert scores[best["steps"]] == best["score"] == max(score for score in scores.values() if score is not None)


RATES = {"a": 0.8, "b": 0.6}


@pytest.mark.parametrize(
    "changes, score",
    [
        ({"lam": 0.0}, 0.7),
        ({"lam": 0.3}, 0.7 * 0.7 + 0.3 * 0.6),
        ({"lam": "lin_0.3"}, 0.7 * 0.7 + 0.3 * 0.6),
        ({"lam": "auto", "max_gap": 0.25}, 0.7),
        ({"lam": "auto", "max_gap": 0.1}, -1.1),
        ({"lam": "auto", "min_benefit": 0.5}, 0.7),
        ({"lam": "auto", "min_benefit": 0.65}, -1.05),
        ({"lam": "auto", "min_benefit": {"a": 0.9, "b": 0.5}}, -1.1),
    ],
)
def test_scores_by_hand(changes: dict[str, Any], score: float) -> None:
    assert score_of({"worst": 0.6, "efficiency": 0.7, "rates": RATES}, changes) == pytest.approx(score)
    assert score_of({"worst": None, "efficiency": 0.7, "rates": RATES}, changes) is None


def test_packed_sums_keep_hundredths(tmp_path: Path) -> None:
    same = {"n": np.array([[3.0, 4.0]]), "demand": np.array([[5.0, 400.0]])}
    sums = {**same, "benefit": np.array([[4.128, 399.994]]), "treated": same["n"], "wait_treated": same["n"] / 3}
    path = tmp_path / "x.npz"
    path.write_bytes(packed({"rule": {**sums, "cost": np.array([1.005001])}}))
    assert packed({"rule": {**sums, "cost": np.array([1.005001])}}) == path.read_bytes()
    np.testing.assert_allclose(unpacked(path, "rule", "benefit"), [[4.13, 399.99]])
    np.testing.assert_allclose(unpacked(path, "rule", "cost"), [1.01])
    np.testing.assert_allclose(unpacked(path, "rule", "demand"), same["demand"])


@pytest.mark.slow
def test_a_study_killed_three_times_gives_the_results_of_an_undisturbed_one(finished: Path, tmp_path: Path) -> None:
    grid, out = written(tmp_path), tmp_path / "out"
    command = [sys.executable, "-m", "sb3_grpo", "study", str(grid), "--out", str(out), "--processes"]
    rng, kept = np.random.default_rng(0), 0
    for processes in ("1", "2", "1"):
        began = subprocess.Popen([*command, processes], start_new_session=True, stdout=subprocess.DEVNULL)
        while began.poll() is None and len(list(out.glob("results/*.json"))) <= kept:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.4))  # in the middle of whatever it does then
        began.send_signal(signal.SIGKILL)
        assert began.wait() == -signal.SIGKILL
        before = {path: path.stat().st_mtime_ns for path in out.glob("results/*.json")}
        kept = len(before)
    assert 3 <= kept < len(list((finished / "out").glob("results/*.json")))
    assert study(grid, out) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before  # none was done again
    assert results(out) == results(finished / "out")
