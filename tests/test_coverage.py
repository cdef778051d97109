"""The coverage study: its worlds have the truth they claim, it finds what misses, and its command writes the table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sb3_grpo.cli import main
from sb3_grpo.fairness.coverage import (
    CORRELATION,
    EQUAL,
    MEAN,
    OUTCOMES,
    PATIENTS,
    TIED,
    Case,
    Check,
    adjusted_case,
    bands_case,
    cases,
    mean_case,
    paired_case,
    paired_totals,
    run_case,
)


@pytest.mark.parametrize(("outcome", "variance"), [("Bernoulli", 0.21), ("log-normal", 0.49 * np.expm1(0.8))])
def test_worlds_have_the_truth_and_the_design_effect_they_claim(outcome: str, variance: float) -> None:
    """20,000 episodes: the mean is known to 0.0018 at most (one standard error), the design effect to some 2 % (10 % allowed).

    Five groups of tests at four standard errors fail with probability 0.03 %; the seed is fixed.
    """
    total, patients = OUTCOMES[outcome]((0.7, 0.7), 20_000, np.random.default_rng(1))
    means = total / patients
    assert total.sum(axis=0) / patients.sum(axis=0) == pytest.approx([0.7, 0.7], abs=0.0072)
    assert patients.mean() == pytest.approx(PATIENTS, abs=0.2)
    effect = np.asarray(means.var(axis=0)) / (variance / PATIENTS)
    assert effect == pytest.approx([1 + (PATIENTS - 1) * CORRELATION] * 2, rel=0.1)
    assert 0.3 < np.corrcoef(means[:, 0], means[:, 1])[0, 1] < 0.6  # luck is half common


def test_paired_policies_meet_the_same_patients() -> None:
    """20,000 episodes: means known to 0.0013; two policies' episodes correlate as in the hospitals, 0.65 to 0.97."""
    first, second = paired_totals((0.6, 0.8), (0.65, 0.8), 20_000, np.random.default_rng(2))
    assert (first.demand == second.demand).all()
    assert first.benefit.mean(axis=0) / PATIENTS == pytest.approx([0.6, 0.8], abs=0.0055)
    assert second.benefit.mean(axis=0) / PATIENTS == pytest.approx([0.65, 0.8], abs=0.0055)
    assert 0.65 < np.corrcoef(first.benefit[:, 0], second.benefit[:, 0])[0, 1] < 0.97


def test_counting_by_hand() -> None:
    """Four intervals of known place: two hold the truth 1, one by touching it."""
    intervals = iter([(0.9, 0.5, 1.5), (2.0, 1.0, 3.0), (3.0, 2.0, 4.0), (0.1, 0.0, 0.2)])
    case = Case("four", 1, (Check("number", "given", 1.0, MEAN),), lambda rng: np.array([next(intervals)]))
    (row,) = run_case(case, 4, np.random.default_rng(0))
    assert (row.covered, row.bias, row.width) == pytest.approx((0.5, 0.5, 1.3))
    assert row.error == pytest.approx(np.sqrt(0.95 * 0.05 / 4)) and row.verdict == "misses"
    assert [replace(row, covered=c, replications=2000).verdict for c in (0.93, 0.95, 0.925, 0.90, 0.99)] == [
        *("holds", "holds", "within error", "misses", "misses")
    ]


@pytest.mark.parametrize("n", [30, 100])
def test_means_cover_between_93_and_97(n: int) -> None:
    """The small study. 250 samples of clustered, skewed outcomes.

    Coverage of 0.95 is found outside 0.91 to 0.98 with probability 0.9 % (binomial). Fixed seed. Patients as units fail.
    """
    rows = run_case(mean_case("log-normal", n, 199), 250, np.random.default_rng(3))
    covered = {row.check.method: row.covered for row in rows}
    assert 0.91 <= covered["studentised bootstrap"] <= 0.98
    assert covered["t over patients, episodes ignored"] < 0.7


@pytest.mark.parametrize("truth", [EQUAL, TIED], ids=["all equal", "two tied worst"])
def test_extremes_cover_at_least_95(truth: tuple[float, ...]) -> None:
    """150 samples: below 0.90 with probability 0.9 % for an interval that covers 0.95. Fixed seed."""
    rows = run_case(bands_case("Bernoulli", truth, "", 30, 199), 150, np.random.default_rng(4))
    rows += run_case(paired_case(truth, truth, "", 30, 199), 60, np.random.default_rng(5))
    for row in rows:
        if row.check.target is not None:
            assert row.covered >= 0.90, row


def test_adjusted_effect_is_unbiased_and_the_unadjusted_is_not() -> None:
    """60 samples of 30 episodes: the mean estimate has standard error 0.0018; 0.008 is exceeded with probability 0.001 %."""
    rows = run_case(adjusted_case(30), 60, np.random.default_rng(6))
    bias = {row.check.method: row.bias for row in rows}
    assert max(abs(bias[name]) for name in ("cells", "g-formula", "aipw")) < 0.008
    assert bias["unadjusted"] < -0.06


def test_every_case_can_be_simulated() -> None:
    for case in cases(n_resamples=39):
        sample = case.simulate(np.random.default_rng(7))
        assert sample.shape == (len(case.checks), 3) and np.isfinite(sample).all()
        assert (sample[:, 1] <= sample[:, 2]).all()


def test_command_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "coverage.md"
    words = ["coverage", "--replications", "1", "--resamples", "39"]
    assert main([*words, "--markdown", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert text.startswith("1 samples of each setting")
    assert text.count("max-t, paired") >= 12 and "unadjusted" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {10}
    assert main(words) == 0
    assert capsys.readouterr().out == text
