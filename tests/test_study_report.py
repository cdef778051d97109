"""What a report says, on results written by hand, where the answers are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sb3_grpo.cli import main
from sb3_grpo.common.files import versions, write_json
from sb3_grpo.fairness.report.wording import MINUS
from sb3_grpo.study.protocol import StudyProtocol
from sb3_grpo.study.report.choice import candidates, chosen
from sb3_grpo.study.report.data import Results, read_results
from sb3_grpo.study.report.learning import pace, steps_until
from sb3_grpo.study.report.primary import against_rule, primary
from tests.tiny_study import study, written

GROUPS = ("pediatric", "adult", "elderly", "critical")
METRICS = ("wait_mean", "success")
PROTOCOL = StudyProtocol({"A": 0.3, "B": 0.3}, candidates=(0.1, 0.3), seeds=3, test_episodes=5)
WORST = {
    ("A", "lam=0"): [0.70, 0.71, 0.72],
    ("A", "lam=0.3"): [0.78, 0.79, 0.80],
    ("B", "lam=0"): [0.70, 0.70, 0.73],
    ("B", "lam=0.3"): [0.69, 0.70, 0.70],
}
BEST = {key: [0.91, 0.90, 0.89] for key in WORST} | {("B", "lam=0.3"): [0.90, 0.80, 0.79]}
EFFICIENCY = {"lam=0": [0.799, 0.800, 0.801], "lam=0.3": [0.790, 0.791, 0.793]}


def numbers(worst: float, best: float, efficiency: float) -> dict[str, Any]:
    rates = dict(zip(GROUPS, (best, best, worst, best), strict=True))
    use = {f"{bed} beds": 0.9 for bed in ("general", "paediatric", "critical")} | {"nurses": 0.8, "equipment": 0.7}
    indices = dict.fromkeys(("wait_time_cv", "wait_time_equity", "consistency", "lipschitz"), 0.5)
    indices |= dict.fromkeys(("published_demographic_parity", "published_equalized_odds"), 0.9)
    return {
        "worst": worst,
        "gap": best - worst,
        "efficiency": efficiency,
        "cost_share": 0.02,
        "rates": rates,
        "reward": 100.0,
        "groups": {group: dict.fromkeys(METRICS, 0.5) for group in GROUPS},
        "overall": {"wait_mean": 4.0},
        "indices": indices,
        "utilisation": use,
    }


def write(folder: Path, runs: dict[str, str], label: str, config: dict[str, Any], result: dict[str, Any]) -> None:
    key = label.replace("/", "-").replace(" ", "-")
    runs[key] = label
    content = {"label": label, "config": config, "versions": versions(), "arrays": {}, "result": result}
    (folder / "results").mkdir(parents=True, exist_ok=True)
    write_json(folder / "results" / f"{key}.json", content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two hospitals with three trainings of two rows."""
    folder = tmp_path_factory.mktemp("written")
    runs: dict[str, str] = {"lost": "A/lam=0.1/seed 0"}
    for (scenario, row), worsts in WORST.items():
        for seed, worst in enumerate(worsts):
            best, efficiency = BEST[scenario, row][seed], EFFICIENCY[row][seed]
            found = numbers(worst, best, efficiency)
            curve = [{"steps": 1000 * k, "drawn": numbers(worst, best, efficiency * k / 4)} for k in (1, 2, 3, 4)]
            trained = {"curve": curve, "validation": {"drawn": found}, "lam_end": 0.0}
            place, modes = f"{scenario}/{row}/seed {seed}", {"drawn": found, "most likely": found}
            write(folder, runs, place, {"kind": "train", "row": row, "seed": seed}, trained)
            write(folder, runs, f"{place}/test", {"kind": "test", "row": row, "seed": seed}, {"test": modes})
            there = {"kind": "test", "row": row, "seed": seed, "elsewhere": "tau x 2"}
            write(folder, runs, f"{place}/tau x 2/test", there, {"test": {"drawn": found}})
        rule = {"kind": "rule", "row": "triage-tuned"}
        write(folder, runs, f"{scenario}/triage-tuned/test", rule, {"test": numbers(0.75, 0.85, 0.78)})
    write_json(folder / "study.json", {"task": "hospital", "protocol": PROTOCOL.to_dict(), "runs": runs})
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return read_results([folder])


def test_the_primary_comparison_is_welchs_test_with_holm(results: Results) -> None:
    a, b = primary(results)
    old, new = (np.array(BEST["A", row]) - np.array(WORST["A", row]) for row in ("lam=0", "lam=0.3"))
    expected = stats.ttest_ind(new, old, equal_var=False)
    assert a.against.gap.statistic == pytest.approx(expected.statistic)
    assert a.against.gap.p_value == pytest.approx(expected.pvalue)
    assert a.p_corrected == pytest.approx(2 * expected.pvalue)  # the smaller of two
    assert b.p_corrected == pytest.approx(b.against.gap.p_value)
    assert a.against.reduction.value == pytest.approx(1 - 0.11 / 0.19)
    assert a.against.efficiency.value == pytest.approx(0.7913333 / 0.80)
    assert a.against.effect.value == pytest.approx(-4.0)  # 0.08 in standard deviations of 0.02
    assert (a.meets_target, b.meets_target) == (True, False)


def test_levelling_down_and_harm_are_named(results: Results) -> None:
    a, b = (each.against for each in primary(results))
    assert not a.levels_down and not a.harms_more_than_it_helps and not a.losses
    assert b.levels_down and b.harms_more_than_it_helps  # the best fell by 0.07, the worst did not rise
    assert b.losses["pediatric"] == pytest.approx(0.07)


def test_against_a_rule_the_training_is_the_unit(results: Results) -> None:
    found = against_rule(results, "A", "lam=0.3", "triage-tuned", "worst")
    half = stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3)
    assert (found.value, found.low, found.high) == pytest.approx((0.04, 0.04 - half, 0.04 + half))
    assert against_rule(results, "A", "lam=0", "triage-tuned", "efficiency", ratio=True).value == pytest.approx(0.8 / 0.78)
    assert np.isnan(against_rule(results, "A", "lam=0", "c-mu-tuned", "worst").value)


def test_the_rule_of_choice(results: Results) -> None:
    found = candidates(results, "A")
    assert [candidate.lam for candidate in found] == [0.0, 0.3]  # 0.1 was not trained
    assert chosen(found) == found[1] and found[1].efficiency == pytest.approx(0.7913333 / 0.80)
    strict = Results(results.folders, StudyProtocol({"A": None}, least_efficiency=0.99), ["A"], results.trained)
    assert chosen(candidates(strict, "A")) is None


def test_pace_by_hand(results: Results) -> None:
    steps = np.array([1.0, 2.0, 3.0])
    assert steps_until(steps, np.array([0.0, 0.5, 1.0]), 0.75) == 2.5
    assert steps_until(steps, np.array([0.9, 0.5, 1.0]), 0.75) == 1.0
    assert np.isnan(steps_until(steps, np.array([0.0, 0.5, 0.7]), 0.75))
    found = pace(results, "A", "lam=0.3")
    assert found is not None
    assert found.baseline_steps == pytest.approx(3960, rel=1e-5)  # 99 % of straight lines to 4000
    assert found.reached == (1, 3)  # 0.792 is reached by the last training alone
    assert found.steps == pytest.approx(4000 * 0.792 / 0.793)


def test_the_report_says_it_all(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder), "--markdown", str(tmp_path / "results.md"), "--figures", str(tmp_path / "f")]) == 0
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    for heading in (
        "The comparison fixed beforehand",
        "Each group",
        "Against the tuned rules",
        "Claim by claim",
        "Every policy",
        "Changed hospitals",
        "Learning",
        "How lam was chosen",
    ):
        assert f"## {heading}\n" in text
    assert f"| A | 0.3 | 3 and 3 | 0.190 | 0.110 | {MINUS}0.080 (" in text
    assert "levelling down" in text and "1 runs of the study have no result (A/lam=0.1/seed 0)" in text
    assert "25.3 % (23.1 to 27.5) | 42.1 %" in text
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert content["hospitals"]["A"]["gap_shrunk_by"][0] == pytest.approx(1 - 0.11 / 0.19)
    assert content["hospitals"]["A"]["meets_target"] is True
    for line in capsys.readouterr().out.split():
        assert Path(line).stat().st_size > 500
    assert {path.name for path in (tmp_path / "f").glob("*.png")} == {"lam.png", "pareto.png", "groups.png", "learning.png"}


def test_before_lam_is_chosen_the_report_says_what_the_rule_chooses(tmp_path: Path) -> None:
    protocol = {"lam": {"Tiny": None}, "candidates": [0.3], "validation_episodes": 4, "least_efficiency": 0.1}
    models = [{"lam": [0, 0.3, "chosen"], "seeds": 1}]
    assert study(written(tmp_path, {"protocol": protocol, "models": models}), tmp_path / "out") == 0
    assert main(["report", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "It gives `lam: {Tiny: 0.3}`; the protocol says `lam: {Tiny: null}`" in text
    assert "no policy has played test episodes" in text and "## The comparison fixed" not in text


def test_folders_that_cannot_be_reported(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "expected one that sb3-grpo study wrote" in capsys.readouterr().err
    write_json(tmp_path / "study.json", {"task": "hospital", "protocol": PROTOCOL.to_dict(), "runs": {"x": "A/x"}})
    assert main(["report", str(tmp_path)]) == 2
    assert "no run is finished" in capsys.readouterr().err
    write_json(tmp_path / "study.json", {"task": "hospital", "protocol": {"lam": {"A": 0.5}}, "runs": {}})
    assert main(["report", str(folder), str(tmp_path)]) == 2
    assert "its protocol differs" in capsys.readouterr().err
    write_json(tmp_path / "study.json", {"task": "other", "protocol": {"lam": {}}, "runs": {}})
    assert main(["report", str(tmp_path)]) == 2
    assert "task: got 'other', expected 'hospital'" in capsys.readouterr().err
