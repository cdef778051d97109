"""Adjusted differences, control variates, pairing and negative controls: hand-computed values, known truth, refusals."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from statsmodels.genmod.cov_struct import Independence
from statsmodels.genmod.families import Gaussian
from statsmodels.genmod.generalized_estimating_equations import GEE

from hospital_gym.groups import Grouping
from hospital_gym.records import RECORD_DTYPE
from hospital_gym.scenarios import load_scenario
from hospital_gym.simulator.draws import draw_episode
from sb3_grpo.fairness.inference import (
    Estimate,
    Interval,
    adjusted_difference,
    control_variates,
    controlled_bands,
    covariate_table,
    draw_controls,
    group_bands,
    markdown_table,
    match_patients,
    mean_interval,
    negative_control,
    paired_patient_means,
    paired_t_test,
    table_row,
)
from sb3_grpo.fairness.inference.adjusted import ESTIMATORS
from sb3_grpo.fairness.metrics import EpisodeTotals


def confounded(rng: np.random.Generator, n_episodes: int, effect: float = -0.05) -> tuple[npt.NDArray[Any], ...]:
    """Outcome, group, severity and episode of 40 patients per episode: the group is more severe, severity lowers success."""
    episode = np.repeat(np.arange(n_episodes), 40)
    severity = rng.integers(0, 3, len(episode))
    group = rng.random(len(episode)) < np.array([0.25, 0.5, 0.75])[severity]
    luck = rng.uniform(-0.15, 0.15, n_episodes)[episode]
    success = rng.random(len(episode)) < 0.80 - 0.15 * severity + effect * group + luck
    return success.astype(np.float64), group, severity, episode


def test_standardisation_by_hand() -> None:
    """Severe: first group 1/2, second 0 of 1; mild: 1 of 1 and 1/2. Cells of 3 and 3 patients: (1/2 x 3 + 1/2 x 3) / 6.

    Everything thirty times over, so that the groups are large enough; the raw difference is (2 - 1) / 3.
    """
    outcome, first, severe = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]] * 30).T
    effect = adjusted_difference(outcome, first, severe[:, None], np.repeat(np.arange(30), 6), "cells")
    assert effect.adjusted.value == pytest.approx(0.5)
    assert effect.unadjusted.value == pytest.approx(1 / 3)
    assert (effect.adjusted.unit, effect.adjusted.n, effect.n_patients) == ("episode", 30, 180)
    assert (effect.overlap.low, effect.overlap.high) == pytest.approx((1 / 3, 2 / 3))
    assert "Data cannot show" in effect.assumptions


def test_saturated_estimators_agree() -> None:
    """With one category all of them are cell means: the same number, and the same interval to first order."""
    y, z, severity, episode = confounded(np.random.default_rng(1), 25)
    x = covariate_table({"severity": severity.astype(int)})
    cells, others = adjusted_difference(y, z, x, episode, "cells").adjusted, ("aipw", "g-formula")
    for estimator in others:
        effect = adjusted_difference(y, z, x, episode, estimator).adjusted
        assert (effect.value, effect.low, effect.high) == pytest.approx((cells.value, cells.low, cells.high), abs=1e-6)


def test_unadjusted_interval_is_the_clustered_sandwich() -> None:
    """Against statsmodels' estimating equations, whose factor n / (n - 1) we add and whose normal quantile we replace."""
    y, z, _, episode = confounded(np.random.default_rng(2), 15)
    ours = adjusted_difference(y, z, np.zeros((len(y), 1)), episode, "cells").unadjusted
    design = np.column_stack([np.ones(len(y)), z])
    fit = GEE(y, design, groups=episode, family=Gaussian(), cov_struct=Independence()).fit()
    half = stats.t.ppf(0.975, 14) * fit.bse[1] * np.sqrt(15 / 14)
    assert (ours.low, ours.high) == pytest.approx((fit.params[1] - half, fit.params[1] + half))


def test_adjustment_removes_confounding_and_nothing_else_does() -> None:
    """True difference -0.05; severity alone makes the raw one about -0.15.

    120 samples of 30 episodes. The mean of the estimates has standard error 0.0025: off by 0.01 with probability 0.006 %.
    An interval that covers with probability 0.95 covers fewer than 103 of 120 with probability 0.02 %. Seed fixed.
    """
    rng = np.random.default_rng(3)
    effects = []
    for _ in range(120):
        y, z, severity, episode = confounded(rng, 30)
        effects.append(adjusted_difference(y, z, covariate_table({"severity": severity.astype(int)}), episode, "cells"))
    assert np.mean([e.adjusted.value for e in effects]) == pytest.approx(-0.05, abs=0.01)
    assert sum(not e.adjusted.excludes(-0.05) for e in effects) >= 103
    assert np.mean([e.unadjusted.value for e in effects]) < -0.11
    assert sum(not e.unadjusted.excludes(-0.05) for e in effects) < 40


def test_doubly_robust() -> None:
    """The outcome is not linear in the covariate: regression alone is off, the true propensity model repairs it.

    One sample of 40,000 patients: the doubly robust estimate has standard error 0.021, so it is off by 0.08 with probability
    0.01 %; the regression's bias is about -0.17. Seed fixed.
    """
    rng = np.random.default_rng(4)
    x = rng.uniform(-2, 2, 40_000)
    z = rng.random(len(x)) < 1 / (1 + np.exp(-1.2 * x))
    y = x**3 + 0.5 * z + rng.normal(0, 1, len(x))
    episode = np.arange(len(x)) // 100
    estimates = {e: adjusted_difference(y, z, x[:, None], episode, e).adjusted for e in ("aipw", "g-formula")}
    assert abs(estimates["aipw"].value - 0.5) < 0.08
    assert abs(estimates["g-formula"].value - 0.5) > 0.1
    folded = adjusted_difference(y, z, x[:, None], episode, "aipw", folds=5, rng=rng).adjusted
    assert abs(folded.value - 0.5) < 0.08 and folded.method == "aipw, 5 folds, sandwich"


def test_no_overlap_is_refused() -> None:
    """Groups told apart by the covariate: no estimate, and a reason."""
    y, z, _, episode = confounded(np.random.default_rng(5), 10)
    for estimator in ESTIMATORS:
        effect = adjusted_difference(y, z, z[:, None].astype(float), episode, estimator)
        assert effect.adjusted.method == "none" and np.isnan(effect.adjusted.value)
        assert not effect.overlap.sufficient and effect.overlap.message.startswith("refused: ")
        assert np.isfinite(effect.unadjusted.value)
    few = adjusted_difference(y[:40], z[:40], np.zeros((40, 1)), episode[:40], "cells")
    assert not few.overlap.sufficient and "fewer than 30" in few.overlap.message


def test_covariate_table() -> None:
    table = covariate_table({"severity": np.array(["a", "c", "b", "c"]), "age": np.array([1.0, 3.0, 1.0, 3.0])})
    assert table.tolist() == [[0, 0, -1], [0, 1, 1], [1, 0, -1], [0, 1, 1]]


def test_control_variates_by_hand() -> None:
    """Line through (0, 1), (2, 5), (1, 3.6): slope 2, at the mean 1 the height is 3.2; known expectation 0.5: 2.2."""
    expected = np.array([[0.0], [1.0]] * 5000)
    result = control_variates([1.0, 5.0, 3.6], [[0.0], [2.0], [1.0]], expected)
    assert result.adjusted[0].value == pytest.approx(2.2) and result.raw[0].value == pytest.approx(3.2)
    assert (result.df, result.n_controls) == (1, 1)
    # Residuals -0.2, -0.2, 0.4: variance 0.24 / 1; at distance 0.5 from the mean 1/3 + 0.25/2; slope's share 4 x 0.25 / M.
    variance = 0.24 * (1 / 3 + 0.125) + 4 * (0.25 * 10000 / 9999) / 10000
    assert result.errors[0] ** 2 == pytest.approx(variance)
    assert result.variance_ratio[0] == pytest.approx(variance / (np.var([1, 5, 3.6], ddof=1) / 3))


def test_control_variates_cover_and_narrow() -> None:
    """Values follow a control with correlation 0.8: variance ratio near 0.36, coverage kept with and without.

    300 samples of 15: an interval that covers with probability 0.95 covers fewer than 0.91 with probability 0.2 %. Seed fixed.
    """
    rng = np.random.default_rng(6)
    hits, ratios = np.zeros(2), []
    for _ in range(300):
        control = rng.normal(3.0, 1.0, (15, 1))
        values = 0.8 * (control[:, 0] - 3.0) + 0.6 * rng.normal(size=15)
        result = control_variates(values, control, rng.normal(3.0, 1.0, (1500, 1)))
        hits += [not result.adjusted[0].excludes(0.0), not result.raw[0].excludes(0.0)]
        ratios.append(result.variance_ratio[0])
    assert (hits / 300 >= 0.91).all()
    assert 0.3 < np.median(ratios) < 0.5


def test_redundant_controls_cost_nothing() -> None:
    rng = np.random.default_rng(7)
    controls, expected, values = rng.normal(size=(20, 2)), rng.normal(size=(500, 2)), rng.normal(size=20)
    more, draws = (np.column_stack([c, c[:, :1] + c[:, 1:], np.full(len(c), 7.0)]) for c in (controls, expected))
    plain, redundant = control_variates(values, controls, expected), control_variates(values, more, draws)
    assert redundant.n_controls == 2 and redundant.df == plain.df == 17
    assert redundant.adjusted[0].low == pytest.approx(plain.adjusted[0].low)
    nothing = control_variates(values, np.ones((20, 1)), np.ones((9, 1)))
    assert (nothing.adjusted[0].low, nothing.adjusted[0].high) == pytest.approx((nothing.raw[0].low, nothing.raw[0].high))


def test_controlled_bands() -> None:
    """Rates that follow a control get narrower bands; a control without any relation leaves them nearly as they were."""
    rng = np.random.default_rng(8)
    busy, idle = rng.normal(size=(2, 60, 1))
    demand = np.full((60, 2), 50.0)
    totals = EpisodeTotals(demand, demand * (0.7 - 0.1 * busy + rng.normal(0, 0.02, (60, 2))), np.full((60, 2), 50))
    draws = rng.normal(size=(2000, 1))
    plain = group_bands(totals, "ab", np.random.default_rng(0), 499)
    narrow = controlled_bands(totals, "ab", busy, draws, np.random.default_rng(0), 499)
    same = controlled_bands(totals, "ab", idle, draws, np.random.default_rng(0), 499)
    width = [b.worst.high - b.worst.low for b in (plain, narrow, same)]
    assert width[1] < 0.4 * width[0] and 0.8 < width[2] / width[0] < 1.2
    assert narrow.worst.low <= 0.7 <= narrow.worst.high


def test_draw_controls_count_what_was_drawn() -> None:
    """Bed-hours asked for are those of the arrivals, and they are the same whatever is played: nothing is played."""
    scenario = load_scenario("Rural")
    grouping = Grouping(scenario)
    controls = draw_controls(scenario, grouping, 5, range(3))
    assert controls.shape == (3, 9)
    patients = draw_episode(scenario, grouping, 5, 1).patients
    arrived = patients[np.isnan(patients["decided"]) & (patients["bed"] < 0)]
    hours = arrived["service_hours"][np.arange(len(arrived)), arrived["severity_arrival"]].sum() / 1000
    assert controls[1, :3].sum() == pytest.approx(hours)
    assert controls[:, 3:6] == pytest.approx(controls[:, :3] ** 2)
    assert controls[1, 6:].sum() == pytest.approx(patients["stay"].sum() / 1000)


def make_records(rng: np.random.Generator, n_episodes: int = 30, n_patients: int = 40) -> np.ndarray:
    records = np.zeros(n_episodes * n_patients, dtype=RECORD_DTYPE)
    records["episode"] = np.repeat(np.arange(n_episodes), n_patients)
    records["patient_id"] = np.tile(np.arange(n_patients), n_episodes)
    records["sex"] = rng.integers(0, 2, len(records))
    records["quintile"] = rng.integers(1, 6, len(records))
    records["demand"], records["counted"] = 1.0, True
    luck = rng.uniform(0.5, 0.9, n_episodes)[records["episode"]]
    records["benefit"] = rng.random(len(records)) < luck
    return records


def test_negative_controls_say_so() -> None:
    """Sex and quintile matter to nobody here; then women lose a tenth of what they got, and the check finds it."""
    rng = np.random.default_rng(9)
    records = make_records(rng)
    for attribute, names in (("sex", ("female", "male")), ("quintile", tuple(f"quintile {k}" for k in range(1, 6)))):
        check = negative_control(records, 30, rng, attribute)
        assert check.compatible and check.bands.group_names == names
        assert check.message.endswith("30 episodes), compatible with 0")
    records["benefit"] *= np.where(records["sex"] == 0, 0.7, 1.0)
    check = negative_control(records, 30, rng, "sex")
    assert not check.compatible and "NOT compatible with 0" in check.message and check.bands.worst_group == "female"
    assert not negative_control(records[:20], 1, rng).compatible  # too few to say anything is not a pass
    with pytest.raises(ValueError, match="attribute: got 'shoe size'"):
        negative_control(records, 30, rng, "shoe size")


def test_patients_are_found_again() -> None:
    rng = np.random.default_rng(10)
    records = make_records(rng, 5, 4)
    shuffled = rng.permutation(records)
    rows = match_patients(records, shuffled)
    assert (shuffled[rows] == records).all()
    with pytest.raises(ValueError, match="patient 3 of episode 4 occurs under one policy only"):
        match_patients(records, records[:-1])
    with pytest.raises(ValueError, match="reference: patient 0 of episode 0 occurs twice"):
        match_patients(records, np.concatenate([records, records[:1]]))


def test_paired_patients_by_hand() -> None:
    """Waits 1 and 3 hours shorter in one episode, 2 longer in another, three times: mean -2/3 of nine patients."""
    records = make_records(np.random.default_rng(11), 6, 2)
    records["group"] = 1
    records["counted"][[3, 7, 11]] = False
    old = np.arange(12.0)
    new = old + np.tile([-1.0, -3.0, 2.0, np.nan], 3)
    rows = np.arange(12)[::-1]
    nobody, change = paired_patient_means(records, new, records[rows], old[rows], ("a", "b"), 6, np.random.default_rng(0))
    assert nobody.method == "none" and change.value == pytest.approx(-2 / 3)
    assert (change.unit, change.n) == ("episode", 6)
    # Residuals (sum + 2/3 patients) of the episodes: -4 + 4/3 and 2 + 2/3, +-8/3; over the mean of 1.5 patients.
    half = 2.570582 * np.sqrt(6 * (8 / 3) ** 2 / 6 / 1.5**2 / 5)
    assert change.high - change.value == pytest.approx(half, rel=1e-6)
    with pytest.raises(ValueError, match=r"values: got shape \(12,\), expected \(12,\), finite for every counted patient"):
        paired_patient_means(records, np.full(12, np.nan), records, old, ("a", "b"), 6, np.random.default_rng(0))


def test_rows_state_unit_number_and_method() -> None:
    x = np.array([0.1, 0.2, 0.4])
    rows = [
        table_row("mean | all", mean_interval(x, np.random.default_rng(0), "training seed")),
        table_row("change", paired_t_test(x, [0.0, 0.0, 0.0])),
        table_row("worst", Estimate(0.5, 0.4, 0.6, -0.01, "BCa"), n=100, confidence=0.95),
        table_row("gap", Interval(float("nan"), float("nan"), float("nan"), "episode", 1, "none")),
    ]
    lines = markdown_table(rows, 2).splitlines()
    assert lines[0] == "| result | estimate | interval | p | unit | n | method |"
    assert lines[2] == "| mean / all | 0.23 | -0.15 to 0.61 (95 %) |  | training seed | 3 | t |"
    assert lines[3].startswith("| change | 0.23 | -0.15 to 0.61 (95 %) | 0.118 | episode | 3 |")
    assert lines[4] == "| worst | 0.50 | 0.40 to 0.60 (95 %) |  | episode | 100 | BCa |"
    assert lines[5] == "| gap | insufficient | none |  | episode | 1 | none |"
    with pytest.raises(ValueError, match="expected those of the comparison"):
        table_row("worst", Estimate(0.5, 0.4, 0.6, -0.01, "BCa"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimator": "magic"}, "estimator: got 'magic'"),
        ({"first": [1, 1, 1, 1]}, "first: got 4 of 4 patients, expected some in each group"),
        ({"first": [1, 0]}, r"first: got shape \(2,\)"),
        ({"covariates": [[np.nan]] * 4}, "covariates: got numbers that are not finite"),
        ({"outcome": [1, 0, np.inf, 0]}, "outcome: got shape"),
        ({"folds": 2, "estimator": "cells"}, "folds: got 2 with 'cells'"),
        ({"folds": 2}, "rng: got None"),
    ],
)
def test_bad_patients_are_named(change: dict, message: str) -> None:
    good = {"outcome": [1, 0, 1, 0], "first": [1, 0, 0, 1], "covariates": [[0.0]] * 4, "episode": [0, 0, 1, 1]}
    with pytest.raises(ValueError, match=message):
        adjusted_difference(**{**good, **change})


def test_bad_controls_are_named() -> None:
    y, z, more = np.zeros(5), np.zeros((5, 2)), np.random.default_rng(12).normal(size=(9, 2))
    with pytest.raises(ValueError, match=r"controls: got shape \(4, 2\), expected one row for each of the 5"):
        control_variates(y, z[:4], more)
    with pytest.raises(ValueError, match=r"expected: got shape \(9, 1\), expected \(episodes >= 2, 2\)"):
        control_variates(y, z, more[:, :1])
    with pytest.raises(ValueError, match="values: got 3 episodes, expected more than 3 for 2 independent controls"):
        control_variates(y[:3], z[:3], more)
    with pytest.raises(ValueError, match=r"controls\[0\]: got a number that is not finite"):
        control_variates(y, z * np.nan, more)
