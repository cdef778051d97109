"""The commands ``evaluate`` and ``compare``: files, numbers, rounds, and errors in one line."""

import csv
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO

from sb3_grpo import GroupRobustMaskablePPO
from sb3_grpo.cli import evaluation as cli
from sb3_grpo.cli import main
from sb3_grpo.cli.workers import Outcome
from sb3_grpo.common.evaluation import derived_seed
from sb3_grpo.fairness.evaluate import evaluate_policies

RURAL = "Hospital-Rural-v0"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "masked.zip"
    GroupRobustMaskablePPO("MlpPolicy", RURAL, n_steps=8, batch_size=8, seed=0, device="cpu").save(path)
    return path


class Here:
    """Workers that do jobs in this process when their outcomes are asked for; jobs and results are pickled all the same."""

    def __init__(self, *_: Any) -> None:
        self.jobs: list[tuple[Any, Any]] = []
        self.ranges: list[tuple[str, int, int]] = []

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, key: Any, job: Any, label: str) -> None:
        self.jobs.append((key, job))
        self.ranges.append((key, job.first, job.last))

    def outcomes(self) -> Iterator[Outcome]:
        while self.jobs:
            key, job = self.jobs.pop()  # as workers, in no particular order
            result = pickle.loads(pickle.dumps(job)).run(lambda done: None, lambda: False)
            yield Outcome(key, pickle.loads(pickle.dumps(result)), None)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_grpo.cli.evaluate.Workers", Here)
    monkeypatch.setattr("sb3_grpo.cli.compare.Workers", Here)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("here")
def test_evaluate_prints_and_writes_everything(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the numbers that the function gives."""
    out, page = tmp_path / "out", tmp_path / "page.html"
    words = ["evaluate", str(model), "--scenario", "Rural", "--episodes", "2", "--out", str(out), "--html", str(page)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "masked" in printed and "triage" in printed and str(page) in printed
    assert {path.name for path in out.iterdir()} == {"report.json", "report.png", "records.csv", "events.csv"}
    assert "<html" in page.read_text(encoding="utf-8")
    json.loads((out / "report.json").read_text(encoding="utf-8"))
    rows = read_rows(out / "records.csv")
    assert {row["policy"] for row in rows} == {"masked", "triage"}
    assert read_rows(out / "events.csv")
    expected = evaluate_policies(model, RURAL, 2, 0, derived_seed(0, "report")).evaluations[0]
    benefit = sum(float(row["benefit"]) for row in rows if row["policy"] == "masked" and row["counted"] == "True")
    assert benefit == pytest.approx(expected.totals.benefit.sum(), abs=0.01)


@pytest.mark.usefixtures("here")
def test_compare_refers_to_the_first_and_knows_aliases(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "other" / "masked.zip"
    copy.parent.mkdir()
    copy.write_bytes(model.read_bytes())
    out = tmp_path / "out"
    words = ["compare", "fifo", str(model), str(copy), "--scenario", "Rural", "--episodes", "2", "--out", str(out)]
    assert main(words) == 0
    capsys.readouterr()
    rows = read_rows(out / "records.csv")
    names = ["first-come", str(model.with_suffix("")), str(copy.with_suffix(""))]
    assert list(dict.fromkeys(row["policy"] for row in rows)) == names
    of = {name: [{**row, "policy": ""} for row in rows if row["policy"] == name] for name in names}
    assert of[names[1]] == of[names[2]] != of[names[0]]


def test_rounds_join_to_one_evaluation() -> None:
    """Episodes played in rounds are those of a single evaluation, utilisation included."""
    hospital, args = arguments(["--episodes", "3", "--half-width", "0.001", "--most-episodes", "5"])
    workers = Here()
    evaluator = cli.Evaluator(hospital, {"triage": "triage", "c-mu": "c-mu"}, args)
    found, others = evaluator.run(workers, {"again": ("c-mu", hospital)})  # type: ignore[arg-type]
    assert workers.ranges == [(n, a, b) for a, b in ((0, 3), (3, 5)) for n in ("triage", "c-mu")] + [("again", 0, 5)]
    assert found.precision is not None and (found.precision.looks, found.precision.met) == (2, False)
    once = evaluate_policies({"triage": "triage", "c-mu": "c-mu"}, RURAL, 5, 0, derived_seed(0, "report"))
    for one, other in ((found["c-mu"], once["c-mu"]), (found["triage"], once["triage"]), (others["again"], once["c-mu"])):
        assert one.episodes is not None and other.episodes is not None
        np.testing.assert_array_equal(one.totals.benefit, other.totals.benefit)
        np.testing.assert_array_equal(one.episodes.totals().benefit, other.totals.benefit)
        np.testing.assert_array_equal(one.episodes.records["wait"], other.episodes.records["wait"])
        for name, hours in other.episodes.utilisation.items():
            np.testing.assert_array_equal(one.episodes.utilisation[name], hours)


def arguments(words: list[str]) -> tuple[Any, Any]:
    parser = cli.argparse.ArgumentParser()
    cli.add_evaluation_options(parser, out="")
    args = parser.parse_args(["--scenario", "Rural", "--out", ".", *words])
    return cli.read_hospital(args), args


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "tirage"], "POLICY, --reference: got 'tirage', expected the file of a model"),
        (["evaluate", "triage", "--reference", "fifa"], "POLICY, --reference: got 'fifa'"),
        (["evaluate", "README.md"], "README.md'.*written by model.save"),
        (["evaluate", "triage", "--scenario", "all"], "--scenario: got 'all', expected one hospital"),
        (["evaluate", "triage", "--half-width", "0"], "--half-width: got '0', expected a number > 0"),
        (["evaluate", "triage", "--most-episodes", "9"], "--most-episodes: got 9, expected --half-width"),
        (["evaluate", "triage", "--episodes", "0"], "--episodes: got '0'"),
        (["evaluate", "triage", "--html", "README.md/page.html"], "--html: got 'README.md'"),
        (["evaluate", "cart.zip"], "policy 'cart': the model sees .* but the environment shows"),
        (["compare", "triage"], "POLICY: got 'triage' alone, expected at least two"),
        (["compare", "first-come", "fifo"], "POLICY: got 'fifo' twice"),
    ],
)
def test_errors_are_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("README.md").write_text("no model", encoding="utf-8")
    if "cart.zip" in words:
        PPO("MlpPolicy", "CartPole-v1", device="cpu").save("cart.zip")
    try:
        status = main([*words, *([] if "--scenario" in words else ["--scenario", "Rural"])])
    except SystemExit as error:
        status = int(error.code or 0)
    said = capsys.readouterr().err
    assert status == 2 and said.count("\n") == 1
    assert re.search(message, said)
