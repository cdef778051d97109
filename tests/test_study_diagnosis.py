"""The task ``diagnosis``: its grid is the comparison that was fixed, its runs and its report are those of ``diagnose``."""

import inspect
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.metrics import confusion_matrix, f1_score

from sb3_grpo.cli import main
from sb3_grpo.diagnosis.benchmark import BENCHMARKS, Benchmark
from sb3_grpo.diagnosis.cross_validation import plan
from sb3_grpo.diagnosis.folds import POOLED, SOURCES
from sb3_grpo.diagnosis.methods import METHODS, Training
from sb3_grpo.study.grid import read_study
from sb3_grpo.study.runs import StudyError
from sb3_grpo.study.tasks import diagnosis
from tests.clinical_tables import small_table, write_heart_disease
from tests.tiny_study import results, study

TINY: dict[str, Any] = {
    "task": "diagnosis",
    "tables": ["heart-disease"],
    "folds": 2,
    "seeds": {POOLED: [0], SOURCES: [0]},
    "training": {"updates": 1},
    "methods": ["logistic", "grpo", "fair-grpo"],
}
SAME_IN_DIAGNOSE = ["--methods", "logistic,grpo,fair-grpo", "--seeds", "1", "--folds", "2", "--updates", "1"]


def written(folder: Path, changes: dict[str, Any] | None = None) -> Path:
    path = folder / "tiny.yml"
    content = {key: value for key, value in {**TINY, **(changes or {})}.items() if value is not None}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_heart_disease(folder, n=120)
    return folder


@pytest.fixture(autouse=True)
def _here(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSPITAL_GYM_DATA", str(data))


def test_the_shipped_grid_is_the_comparison_that_was_fixed() -> None:
    found = read_study("diagnosis")
    assert diagnosis.declared(found.grid) == BENCHMARKS
    assert found.grid["folds"] == inspect.signature(plan).parameters["n_folds"].default
    assert found.protocol is None and found.description()["protocol"] is None


def test_a_grid_says_only_what_differs() -> None:
    grid: dict[str, Any] = {"training": {"updates": 3, "net_arch": [8]}, "methods": ["grpo"]}
    grid["tables"] = ["breast-cancer", {"name": "heart-disease", "training": {"updates": 5}}]
    first, second = diagnosis.declared(grid).values()
    assert first == Benchmark("breast-cancer", Training(updates=3, net_arch=(8,)), methods=("grpo",))
    assert second == Benchmark("heart-disease", Training(updates=5, net_arch=(8,)), methods=("grpo",))


@pytest.mark.parametrize("name", ["logistic", "grpo", "fair-grpo-latent"])
def test_a_run_is_the_training_of_diagnose(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = small_table(240)
    monkeypatch.setattr(diagnosis, "load_table", lambda name: table)
    training = Training(updates=2, decisions=64, batch_size=32)
    benchmark = Benchmark("small", training, ("sex", "age"), ("sex",), methods=(name,))
    tasks = plan(table, {name: METHODS[name]}, training, {POOLED: [3], SOURCES: [3]}, 2)
    compared = diagnosis.Comparison(benchmark, 2, table, tasks)
    assert len({compared.run(task).key for task in tasks}) == len(tasks) == 4
    for task in (tasks[1], tasks[3]):
        config = json.loads(json.dumps(compared.run(task).config))
        output = diagnosis.run(config, {})
        assert output == diagnosis.run(config, {})
        answers, _ = task.run(table)
        with np.load(BytesIO(output.arrays[diagnosis.ANSWERS])) as kept:
            assert np.array_equal(kept["probability"], answers.astype(np.float32))
            assert np.array_equal(kept["rows"], task.fold.test)
        # Metrics and counts, as scikit-learn has them
        label, answer, rows = table.label[task.fold.test], answers.argmax(axis=1), task.fold.test
        assert output.result["metrics"]["f1"] == pytest.approx(f1_score(label, answer), abs=1e-5)
        for group in ("female", "male"):
            of = (table.attributes["sex"] == group).to_numpy()[rows]
            (tn, fp), (fn, tp) = confusion_matrix(label[of], answer[of], labels=[0, 1]).tolist()
            assert output.result["counts"]["sex"][group] == {"well": {"tp": tp, "fp": fp, "fn": fn, "tn": tn}}
        assert len(json.dumps(output.result)) < 4000


def test_a_run_refuses_another_table(monkeypatch: pytest.MonkeyPatch) -> None:
    table = small_table(120)
    benchmark = Benchmark("small", Training(), ("sex", "age"), ("sex",), methods=("logistic",))
    tasks = plan(table, {"logistic": METHODS["logistic"]}, Training(), {POOLED: [0]}, 2)
    config = diagnosis.Comparison(benchmark, 2, table, tasks).run(tasks[0]).config
    monkeypatch.setattr(diagnosis, "load_table", lambda name: small_table(120, seed=1))
    with pytest.raises(StudyError, match="small: the table here is not the one for which the study was declared"):
        diagnosis.run(config, {})


def test_a_study_repeats_itself_and_its_report_is_that_of_diagnose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid, first, second, other = written(tmp_path), tmp_path / "first", tmp_path / "second", tmp_path / "diagnose"
    # A part, and a report that says so
    assert study(grid, first, "--only", "heart-disease/grpo/*") == 0
    assert main(["report", str(first), "--resamples", "99"]) == 0
    facts = json.loads((first / "heart-disease" / "diagnose.json").read_text(encoding="utf-8"))["facts"]
    assert "12 of 18 are not finished" in facts["Trainings"]
    # The rest, and once more from the beginning
    before = results(first)
    assert study(grid, first) == 0 and study(grid, second) == 0
    assert "6 of 18 runs were finished before" in capsys.readouterr().out
    assert results(first) == results(second) and len(results(first)) == 2 * 18 and before.items() <= results(first).items()

    assert main(["report", str(first), "--resamples", "99"]) == 0
    words = ["diagnose", "--benchmark", "heart-disease", *SAME_IN_DIAGNOSE, "--resamples", "99", "--output", str(other)]
    assert main(words) == 0
    for name in (
        "answers.csv",
        "diagnose.json",
        "diagnose.md",
        "diagnose.html",
    ):  # the command they name is that of these tests
        assert (first / "heart-disease" / name).read_bytes() == (other / name).read_bytes()


def test_a_dry_run_says_how_long_it_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study(written(tmp_path), tmp_path / "study", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "18 of 18 runs to do, 4 s on one core" in said and "fair-grpo" in said
    assert not (tmp_path / "study").exists()


def test_nothing_finished_is_nothing_to_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study(written(tmp_path), tmp_path / "study", "--only", "*/logistic/pooled 1*") == 0
    capsys.readouterr()
    assert main(["report", str(tmp_path / "study")]) == 2
    assert "nothing to report of heart-disease yet" in capsys.readouterr().err
    assert not (tmp_path / "study" / "heart-disease").exists()
    assert main(["report", str(tmp_path / "study"), "--markdown", "x.md"]) == 2
    assert "--markdown: got 'x.md', expected none" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"tables": None}, "grid: key 'tables' is missing"),
        ({"tables": []}, "tables: got [], expected at least one"),
        ({"tables": ["lungs"]}, "tables: got 'lungs', expected each once among breast-cancer"),
        ({"tables": ["heart-disease"] * 2}, "tables: got 'heart-disease', expected each once"),
        ({"tables": [{"name": ["x"]}]}, "tables: got ['x'], expected each once"),
        ({"tables": [{"name": "heart-disease", "data": "x"}]}, "tables: unknown key 'data'; known keys are name, training"),
        ({"methods": ["magic"]}, "methods: got 'magic', expected some of logistic"),
        ({"methods": []}, "methods: got [], expected different names, at least one"),
        ({"attributes": ["weight"]}, "tables: heart-disease: "),
        ({"group_by": ["weight"]}, "tables: heart-disease: "),
        ({"group_by": "sex"}, "group_by: got 'sex', expected a list"),
        ({"folds": 1}, "folds: got 1, expected a whole number >= 2"),
        ({"folds": 200}, "tables: heart-disease: folds: got 200, expected 2 to"),
        ({"seeds": {"random": [0]}}, "seeds: unknown key 'random'; known keys are pooled, by-source"),
        ({"seeds": {POOLED: [0, 0]}}, "seeds: pooled: got [0, 0], expected different seeds"),
        ({"seeds": {POOLED: [-1]}}, "seeds: pooled: got -1, expected a whole number >= 0"),
        ({"seeds": {}}, "seeds: got {}, expected seeds for pooled or by-source"),
        ({"training": {"update": 1}}, "training: unknown key 'update'; known keys are updates"),
        ({"training": {"updates": 0}}, "training: updates: got 0, expected a whole number >= 1"),
        ({"training": {"learning_rate": "3e-4"}}, "learning_rate: got '3e-4', expected a number > 0, such as 0.0003"),
        ({"training": {"wrong_reward": 1}}, "wrong_reward: got 1, expected a number in (0, 1)"),
        ({"training": {"sampling": "often"}}, "sampling: got 'often', expected one of uniform, label"),
        ({"training": {"net_arch": 64}}, "net_arch: got 64, expected a list"),
        ({"scenarios": ["Urban"]}, "grid: unknown key 'scenarios'; known keys are tables"),
        ({"protocol": {"lam": {}}}, "protocol: got one, expected none"),
    ],
)
def test_nonsense_is_named_with_its_fix(
    changes: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study(written(tmp_path, changes), tmp_path / "study", "--dry-run") == 2
    error = capsys.readouterr().err
    assert error.startswith("sb3-grpo study: error: ") and error.count("\n") == 1
    assert said in error


def test_a_missing_data_folder_and_a_phase_too_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert study(written(tmp_path), tmp_path / "study", "--dry-run", "--phase", "validation") == 2
    assert "phase: got 'validation', expected 'test'" in capsys.readouterr().err
    monkeypatch.setenv("HOSPITAL_GYM_DATA", str(tmp_path / "nowhere"))
    assert study(written(tmp_path), tmp_path / "study", "--dry-run") == 2
    said = capsys.readouterr().err
    assert "tables: heart-disease: " in said and "HOSPITAL_GYM_DATA says: set it to the folder that holds it, not" in said
    monkeypatch.delenv("HOSPITAL_GYM_DATA")
    assert study(written(tmp_path), tmp_path / "study", "--dry-run") == 2
    said = capsys.readouterr().err
    assert "set HOSPITAL_GYM_DATA to a folder that holds it" in said and "data=" not in said
