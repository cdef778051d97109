"""``sb3-grpo target``: what is promised, how it is judged, and that the command does it all."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hospital_gym.records import RECORD_DTYPE
from sb3_grpo import GroupRobustPPO
from sb3_grpo.cli import main
from sb3_grpo.cli.options import UsageError
from sb3_grpo.cli.target import SMOOTHING, read_target
from sb3_grpo.cli.target_report import GroupResult, ModelResult, Target, findings, model_result
from sb3_grpo.common.evaluation import EpisodeSet
from sb3_grpo.fairness.inference import Estimate
from tests.small_models import make

NAMES = ("pediatric", "adult", "elderly", "critical")
NAN = float("nan")


def exactly(value: float) -> Estimate:
    return Estimate(value, value, value, 0.0, "constant")


def group(margin: float, high: float, infeasible: bool = False) -> GroupResult:
    return GroupResult(exactly(0.7), 0.7 - margin, Estimate(margin, margin - 0.01, high, 0.0, "BCa"), exactly(0.8), infeasible)


def test_targets_by_hand() -> None:
    performance = np.array([0.5, 0.9, NAN])
    np.testing.assert_array_equal(Target(dict(a=0.6, b=0.7, c=0.8), None).of(performance), [0.6, 0.7, 0.8])
    np.testing.assert_allclose(Target(None, 0.3).of(performance), [0.6, 0.6, 0.6])
    both = Target(dict(a=0.4, b=0.7, c=0.8), 0.3).of(np.stack([performance, performance - 0.2], axis=1))
    np.testing.assert_allclose(both, [[0.6, 0.4], [0.7, 0.7], [0.8, 0.8]])
    assert str(Target(dict(a=0.4, b=0.4, c=0.8), 0.3)) == (
        "every group at least 0.4, c at least 0.8 and no group more than 0.3 below the best"
    )


def test_reading_targets() -> None:
    assert read_target(["0.7"], None, NAMES) == Target(dict.fromkeys(NAMES, 0.7), None)
    assert read_target(["elderly=0.8", "0.7"], 0.1, NAMES) == Target({**dict.fromkeys(NAMES, 0.7), "elderly": 0.8}, 0.1)
    assert read_target(None, 0.1, NAMES) == Target(None, 0.1)


@pytest.mark.parametrize(
    ("words", "max_gap", "parts"),
    [
        (None, None, ["--min-benefit", "--max-gap", "at least one"]),
        (None, -0.1, ["--max-gap", "-0.1", ">= 0"]),
        (["much"], None, ["--min-benefit", "'much'", "a finite number", "elderly"]),
        (["elderly=nan"], None, ["--min-benefit", "'nan'", "a finite number"]),
        (["old=0.8"], None, ["--min-benefit", "'old=0.8'", "pediatric, adult, elderly, critical"]),
        (["elderly=0.8"], None, ["--min-benefit", "nothing for pediatric, adult, critical"]),
    ],
)
def test_targets_that_cannot_be(words: list[str] | None, max_gap: float | None, parts: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        read_target(words, max_gap, NAMES)
    assert all(part in str(error.value) for part in parts), error.value


def episode_set(benefits: Any, costs: Any) -> EpisodeSet:
    """Episodes in which 20 patients of demand 2 of each group receive the same benefit, (E, G)."""
    n_episodes, n_groups = np.shape(benefits)
    records = np.zeros((n_episodes, n_groups, 20), dtype=RECORD_DTYPE)
    records["episode"], records["group"] = np.arange(n_episodes)[:, None, None], np.arange(n_groups)[:, None]
    records["demand"], records["benefit"], records["counted"] = 2.0, np.asarray(benefits)[..., None], True
    zeros = np.zeros(n_episodes, dtype=int)
    return EpisodeSet(records.ravel(), np.asarray(costs, dtype=float), zeros, zeros, ("left", "right"))


def test_performance_is_what_training_measures() -> None:
    """
    Demand 80 of each group in two episodes. Benefit rates (1 + 1) / 4 = 0.5 and (1.6 + 2) / 4 = 0.9. Of the cost of 16 the
    groups bear 3/4 and 1/4: performance 0.5 - 12 / 80 = 0.35 and 0.9 - 4 / 80 = 0.85, efficiency (112 - 16) / 160 = 0.6.
    """
    model = make(lam="auto", min_benefit=0.4, max_gap=0.6).learn(32)
    episodes, shares = episode_set([[1.0, 1.6], [1.0, 2.0]], [4.0, 12.0]), np.array([0.75, 0.25])
    target = Target(dict(left=0.4, right=0.4), 0.6)
    result = model_result(model, "mine", episodes, shares, target, np.random.default_rng(0))
    left, right = result.groups
    assert (left.performance.value, right.performance.value) == pytest.approx((0.35, 0.85))
    assert (left.rate.value, right.rate.value) == pytest.approx((0.5, 0.9))
    assert (left.target, left.margin.value, right.margin.value) == pytest.approx((0.4, -0.05, 0.45))
    assert (left.rate.low, left.rate.high) == pytest.approx((0.5, 0.5)) and right.rate.low < 0.9 < right.rate.high
    assert result.efficiency.value == pytest.approx(0.6)
    assert (result.label, result.lam) == ("mine", model.current_lam()) and result.steady_lam is not None
    constant = model_result(make(lam=0.3).learn(32), "constant", episodes, shares, target, np.random.default_rng(0))
    assert (constant.lam, constant.steady_lam, constant.groups[0].margin) == (0.3, None, left.margin)


def test_verdicts() -> None:
    assert group(0.0, 0.01).verdict == "met"
    assert group(-0.02, 0.01).verdict == "missed within its interval"
    assert group(-0.02, -0.01).verdict == "MISSED"
    assert group(-0.02, -0.01, infeasible=True).verdict == "MISSED, infeasible"
    assert group(-0.02, NAN).verdict == "missed, no interval"
    assert group(NAN, NAN).verdict == "insufficient"


def test_findings_say_what_is_infeasible() -> None:
    groups = group(0.1, 0.2), group(-0.02, 0.01), group(-0.2, -0.1, infeasible=True), group(NAN, NAN)
    reference = ModelResult("reference", 0.0, None, groups, exactly(0.8))
    counted, infeasible = findings([ModelResult("seed-3", 0.9, 0.5, groups, exactly(0.75)), reference], NAMES)
    assert counted.startswith("Of 3 targets 1 are met, 1 are missed by less than the interval tells apart, and 1 are missed.")
    assert infeasible.startswith("seed-3: INFEASIBLE") and "for elderly: at the largest lam" in infeasible
    assert counted.endswith("seed-3: 0.750 (0.750 to 0.750), reference: 0.800 (0.800 to 0.800).")


def test_command_trains_reports_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["target", "--scenario", "Rural", "--steps", "512", "--episodes", "2", "--seeds", "2", "--processes", "1"]
    words += [
        "--min-benefit",
        "0.5",
        "critical=0.99",
        "--out",
        str(tmp_path / "out"),
        "--markdown",
        str(tmp_path / "table.md"),
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "Rural: every group at least 0.5, critical at least 0.99 (512 time steps)" in said and "MISSED" in said
    names = ["seed-0.zip", "seed-16.zip", "settings.json", "target.json", "target.md"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    rows = [line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 2 * 4 and rows[2].startswith("| seed-0 | ") and " | pediatric | " in rows[2]
    result = json.loads((tmp_path / "out" / "target.json").read_text())
    assert [entry["model"] for entry in result["results"]] == ["seed-0", "seed-16"] and result["seeds"]["evaluation"] >= 2**32
    critical = result["results"][0]["groups"]["critical"]
    assert critical["target"] == 0.99 and critical["performance"]["value"] < critical["benefit_rate"]["value"] < 0.99
    model = GroupRobustPPO.load(tmp_path / "out" / "seed-0.zip", device="cpu")
    assert (model.lam, model.smoothing) == ("auto", SMOOTHING)
    assert model.min_benefit == {"pediatric": 0.5, "adult": 0.5, "elderly": 0.5, "critical": 0.99}

    kept = (tmp_path / "out" / "seed-0.zip").read_bytes()
    (tmp_path / "out" / "seed-16.zip").write_bytes(b"damaged")
    reference = tmp_path / "reference.zip"
    reference.write_bytes(kept)
    assert main([*words, "--reference", str(reference)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "seed-0.zip: finished before with these settings" in said and "seed-16.zip: saved after" in said
    *_, again = json.loads((tmp_path / "out" / "target.json").read_text())["results"]
    assert again["model"] == "reference" and again["groups"] == result["results"][0]["groups"]
    assert (tmp_path / "out" / "seed-0.zip").read_bytes() == kept


def test_command_without_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["target", "--steps", "512"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "--min-benefit" in captured.err
    assert main(["target", "--min-benefit", "0.5", "--reference", "no.zip"]) == 2
    assert "--reference: got 'no.zip'" in capsys.readouterr().err
