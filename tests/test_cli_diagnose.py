"""The command ``diagnose`` and what is below it: folds, finished trainings, results, page, errors in words."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hospital_gym.clinical.case_table import CaseTable
from sb3_grpo.cli import main
from sb3_grpo.diagnosis.benchmark import BENCHMARKS, REFERENCE, SUBJECTS
from sb3_grpo.diagnosis.cross_validation import collect, plan, save_answers, saved_answers
from sb3_grpo.diagnosis.dynamics import curve_plan, early_point
from sb3_grpo.diagnosis.floors import classifier_probabilities
from sb3_grpo.diagnosis.folds import POOLED, SOURCES, inner_folds, make_folds
from sb3_grpo.diagnosis.methods import METHODS, Training
from sb3_grpo.diagnosis.page import conclusion
from sb3_grpo.diagnosis.results import Results, summarise
from sb3_grpo.diagnosis.tables import estimate_text
from sb3_grpo.fairness.classification import Attribute
from sb3_grpo.fairness.inference.results import Estimate
from tests.clinical_tables import small_table
from tests.recorded_data import needs_data

SHORT = Training(updates=2, decisions=64, batch_size=32)


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    n = 200
    frame = pd.DataFrame({"x": rng.normal(size=n), "z": rng.normal(size=n), "age": rng.integers(20, 90, n)})
    frame["sex"], frame["site"] = rng.choice(["f", "m"], n), rng.choice(["A", "B"], n)
    frame["y"] = np.where(frame["x"] + 0.5 * rng.normal(size=n) > 0, "ill", "<b>well</b>")
    frame.loc[::9, "z"] = np.nan
    path = tmp_path_factory.mktemp("table") / "train.csv"
    frame.to_csv(path, index=False)
    return path


def _patients(n: int = 60) -> CaseTable:
    frame = pd.DataFrame({"x": np.arange(n), "y": np.arange(n) % 3 == 0, "p": np.arange(n) // 2, "s": np.arange(n) % 5 // 2})
    return CaseTable.from_frame(frame, "y", source="s", patient="p")


@pytest.mark.parametrize("scheme", [POOLED, SOURCES])
def test_folds_hold_out_every_case_once_and_never_split_patients(scheme: str) -> None:
    table = _patients()
    folds = make_folds(table, scheme, 4)
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == list(range(60))
    for fold in folds:
        assert not set(table.patient_id[fold.train]) & set(table.patient_id[fold.test])
        if scheme == SOURCES:
            assert len(np.unique(table.source_id[fold.test])) == 1
            assert not set(table.source_id[fold.test]) & set(table.source_id[fold.train])
    with pytest.raises(ValueError, match="folds: got 21"):
        make_folds(table, POOLED, 21)
    with pytest.raises(ValueError, match="one source only"):
        make_folds(replace(table, source_names=("all",)), SOURCES)


def test_inner_folds_stay_inside_the_training_cases() -> None:
    table = _patients()
    outer = make_folds(table, POOLED, 4)[0]
    for fold in inner_folds(table, outer.train, 3, 0):
        assert set(fold.train) | set(fold.test) == set(outer.train)


@pytest.mark.parametrize("name", ["ppo", "grpo", "grpo-resampling", "fair-grpo-published", "fair-grpo-latent", "logistic"])
def test_every_kind_of_method_answers_and_repeats_itself(name: str) -> None:
    table = small_table(120)
    task = plan(table, {name: METHODS[name]}, SHORT, {POOLED: [0]}, 2)[0]
    answers, _ = task.run(table)
    assert answers.shape == (len(task.fold.test), 2) and answers.sum(axis=1) == pytest.approx(1.0)
    assert np.array_equal(answers, task.run(table)[0])


def test_held_out_cases_change_nothing_that_is_learned() -> None:
    table = small_table(120)
    task = plan(table, {"grpo": METHODS["grpo"]}, SHORT, {POOLED: [0]}, 2)[0]
    label = table.label.copy()
    label[task.fold.test] = 1 - label[task.fold.test]
    features = table.features.copy()
    features.loc[task.fold.test[1:], "z"] = 1e6
    first, second = task.run(table)[0], task.run(replace(table, label=label, features=features))[0]
    assert np.array_equal(first[0], second[0])


def test_the_learning_rate_is_chosen_among_training_cases() -> None:
    table = small_table(120)
    task = plan(table, {"ppo": METHODS["ppo"]}, replace(SHORT, updates=8), {POOLED: [0]}, 2, rates=(1e-9, 3e-3))[0]
    seen: list[int] = []
    _, chosen = task.run(table, seen.append)
    assert chosen == {"learning_rate": 3e-3}  # the other learns nothing
    assert seen[-1] == task.updates == 8 * (1 + 3 * 2)


def test_only_the_same_training_is_taken_for_finished(tmp_path: Path) -> None:
    table = small_table(120)
    task, other = plan(table, {"logistic": METHODS["logistic"]}, SHORT, {POOLED: [0]}, 2)
    answers, chosen = task.run(table)
    save_answers(tmp_path, task, table, answers, chosen)
    found = saved_answers(tmp_path, task, table)
    assert found is not None and found == pytest.approx(answers, abs=1e-6)
    assert saved_answers(tmp_path, other, table) is None
    assert saved_answers(tmp_path, replace(task, training=replace(SHORT, sampling="label")), table) is None
    assert saved_answers(tmp_path, task, small_table(120, seed=1)) is None
    (tmp_path / task.file_name).write_bytes(b"half a file")
    assert saved_answers(tmp_path, task, table) is None


def test_a_seed_without_all_its_folds_is_left_out() -> None:
    table = small_table(120)
    tasks = plan(table, {"grpo": METHODS["grpo"]}, SHORT, {POOLED: [0, 1]}, 2)
    answers = {task.file_name: np.full((len(task.fold.test), 2), 0.5) for task in tasks[:-1]}
    assert collect(table, tasks, answers, ["sex"])[POOLED]["grpo"].probability.shape == (1, 120, 2)
    assert collect(table, tasks, {}, ["sex"]) == {}


@pytest.fixture(scope="module")
def compared() -> Results:
    table = small_table(400)
    tasks = plan(table, {name: METHODS[name] for name in ("logistic", "boosting")}, SHORT, {POOLED: [0]}, 3)
    answers = {task.file_name: task.run(table)[0] for task in tasks}
    diagnoses = collect(table, tasks, answers, ["sex", "age"])[POOLED]
    sources = Attribute(table.source_id, table.source_names)
    return summarise(POOLED, diagnoses, "logistic", ["boosting"], sources, n_resamples=99)


@pytest.mark.parametrize(
    ("value", "p", "said"),
    [
        (
            -0.1,
            0.01,
            "the gap is smaller, \u22120.100 (\u22120.200 to 0.000), corrected p = 0.010: that is more than noise. F1",
        ),
        (0.1, 0.2, "the gap is larger, +0.100 (0.000 to +0.200), corrected p = 0.200: that may be chance. F1"),
        (0.0, 1.0, "the gap is the same, 0.000 (\u22120.100 to +0.100), corrected p = 1.000: that may be chance. F1"),
        (np.nan, np.nan, "the gap cannot be compared: at least one of the two is not known. F1"),
    ],
)
def test_conclusion(compared: Results, value: float, p: float, said: str) -> None:
    change = compared.changes["boosting"]
    gap = replace(change["ppv_gap"], difference=Estimate(value, value - 0.1, value + 0.1, 0.0, "BCa"))
    results = replace(compared, changes={"boosting": {**change, "ppv_gap": gap}}, adjusted={"boosting": p})
    text = conclusion(results, {"boosting": "Boosting", "logistic": "Logistic"}, "boosting")
    assert f"Against Logistic on the same patients {said} changes by" in text


def test_results_compare_on_the_same_patients(compared: Results) -> None:
    results = compared
    assert set(results.changes) == {"boosting"} == set(results.adjusted)
    change = results.changes["boosting"]["f1"].difference.value
    f1 = [results.metrics[name].overall["f1"].value for name in ("boosting", "logistic")]
    assert change == pytest.approx(f1[0] - f1[1])
    assert set(results.source_auc["logistic"]) == {"A", "B"}
    json.dumps(results.to_dict(), allow_nan=False)


def test_command_from_a_table_to_a_page(csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["diagnose", str(csv), "--label", "y", "--groups", "sex,age", "--bands", "age=50", "--source", "site"]
    words += ["--methods", "logistic,grpo,fair-grpo", "--seeds", "1", "--folds", "2", "--updates", "1", "--resamples", "99"]
    assert main([*words, "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "FairGRPO, corrected" in said and "Each source held out by itself" in said
    page = (tmp_path / "diagnose.html").read_text(encoding="utf-8")
    assert "<b>well</b>" not in page and "&lt;b&gt;well" in page and "Predictive parity gap" in page
    content = json.loads((tmp_path / "diagnose.json").read_text(encoding="utf-8"))
    assert [each["scheme"] for each in content["results"]] == [POOLED, SOURCES]
    answers = pd.read_csv(tmp_path / "answers.csv")
    assert len(answers) == 2 * 3 * 200
    assert "| FairGRPO, corrected |" in (tmp_path / "diagnose.md").read_text(encoding="utf-8")
    # The same command again finds every training finished
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert len(times) == 3 * 4 and main([*words, "--output", str(tmp_path)]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")} == times


def test_command_draws_disparity_over_training(csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["diagnose", str(csv), "--label", "y", "--groups", "sex", "--dynamics", "--seeds", "1", "--folds", "2"]
    assert main([*words, "--updates", "2", "--output", str(tmp_path)]) == 0
    assert "from update 1 to 2" in capsys.readouterr().out
    assert (tmp_path / "dynamics.png").stat().st_size > 10_000
    curves = json.loads((tmp_path / "dynamics.json").read_text(encoding="utf-8"))["curves"]
    assert curves["GRPO"]["updates"] == [1, 2] and len(curves["GRPO"]["values"]["f1"][0]) == 2


def test_curves_end_with_what_a_cross_validation_finds() -> None:
    table = small_table(120)
    training = replace(SHORT, updates=4)
    curve = curve_plan(table, {"grpo": METHODS["grpo"]}, training, [0], 2, 2)[0]
    answers, _ = curve.run(table)
    plain, _ = plan(table, {"grpo": METHODS["grpo"]}, training, {POOLED: [0]}, 2)[0].run(table)
    half, _ = plan(table, {"grpo": METHODS["grpo"]}, SHORT, {POOLED: [0]}, 2)[0].run(table)
    assert answers.shape == (2, len(curve.fold.test), 2)
    assert np.array_equal(answers[1], plain) and np.array_equal(answers[0], half)
    assert (early_point(30), early_point(2)) == (2, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected either a CSV file or --benchmark NAME"),
        (["nowhere.csv", "--label", "y"], "No such file"),
        (["TABLE"], "--label: expected"),
        (["TABLE", "--label", "w"], "column 'w' is not in the table; it has x, z, age, sex, site, y"),
        (["TABLE", "--label", "x"], "got 200 different answers"),
        (["TABLE", "--label", "y", "--groups", "z"], "cut it with --bands z=CUT,CUT"),
        (["TABLE", "--label", "y", "--bands", "age"], "--bands: got 'age', expected a column and numbers"),
        (["TABLE", "--label", "y", "--exclude", "w"], "--exclude: column 'w'"),
        (["TABLE", "--label", "y", "--methods", "magic"], "--methods: got magic"),
        (["TABLE", "--label", "y", "--folds", "150"], "--folds: got 150"),
        (["TABLE", "--label", "y", "--dynamics", "--methods", "logistic"], "a classifier has no updates"),
        (["--benchmark", "lungs"], "--benchmark: got 'lungs'"),
        (["--benchmark", "heart-disease", "--data", "/nowhere"], "not in the data directory /nowhere"),
    ],
)
def test_errors_are_one_line(words: list[str], message: str, csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", *(str(csv) if word == "TABLE" else word for word in words)]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_the_protocol_names_methods_that_exist() -> None:
    for benchmark in BENCHMARKS.values():
        assert {REFERENCE, *SUBJECTS} <= set(benchmark.methods) <= set(METHODS)


def test_numbers_as_text() -> None:
    assert estimate_text(Estimate(-0.0121, -0.05, 0.0001, 0, "BCa"), signed=True) == "\u22120.012 (\u22120.050 to 0.000)"
    assert estimate_text(Estimate(0.5, np.nan, np.nan, 0, "none")) == "0.500 (no interval)"
    assert estimate_text(Estimate(np.nan, 0, 0, 0, "none")) == "not known"


@needs_data
def test_floors_on_recorded_heart_disease() -> None:
    """Plain logistic regression, where each hospital is held out: AUC .852, .885, .734, .733 are measured elsewhere."""
    from sklearn.metrics import roc_auc_score

    from hospital_gym.clinical.tables import load_table

    table = load_table("heart-disease")
    areas = []
    for fold in make_folds(table, SOURCES):
        found = classifier_probabilities("logistic", table, fold.train, fold.test, 0)
        areas.append(roc_auc_score(table.label[fold.test], found[:, 1]))
    assert areas == pytest.approx([0.852, 0.885, 0.734, 0.733], abs=0.005)
