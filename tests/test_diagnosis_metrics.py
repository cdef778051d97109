"""Metrics of answers by group: against fairlearn and scikit-learn, hand-computed numbers, and known truths."""

from typing import Any

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, equalized_odds_difference, false_positive_rate_difference
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, roc_auc_score

from sb3_grpo.fairness.classification import (
    Attribute,
    Diagnoses,
    answer_counts,
    area_under_curve,
    compare_diagnoses,
    diagnosis_metrics,
    disparities,
    eligible_groups,
    rates,
)
from sb3_grpo.fairness.classification.counts import Counts
from sb3_grpo.fairness.classification.rates import DISPARITIES, RATES


def _cases(seed: int, n: int = 300, n_groups: int = 3, n_classes: int = 2) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(seed)
    label, group = rng.integers(0, n_classes, n), rng.integers(0, n_groups, n)
    score = rng.random((1, n, n_classes)) + 0.5 * (label[:, None] == np.arange(n_classes))
    return label, group, score / score.sum(axis=2, keepdims=True), rng


def _diagnoses(seed: int = 0, **kwargs: Any) -> Diagnoses:
    label, group, probability, _ = _cases(seed, **kwargs)
    names = tuple(f"g{k}" for k in range(group.max() + 1))
    return Diagnoses(label, probability, {"group": Attribute(group, names)}, np.arange(len(label)))


def _sums(counts: Counts) -> Counts:
    return Counts(*(part.sum(axis=0) for part in counts))


@given(st.integers(0, 10_000))
@settings(deadline=None, derandomize=True, max_examples=20)
def test_disparities_are_those_of_fairlearn(seed: int) -> None:
    label, group, probability, _ = _cases(seed)
    answer = probability[0].argmax(axis=1)
    found = disparities(_sums(answer_counts(label, answer, group, 3)))
    assert found["eod"] == pytest.approx(equalized_odds_difference(label, answer, sensitive_features=group))
    assert found["fpr_gap"] == pytest.approx(false_positive_rate_difference(label, answer, sensitive_features=group))
    for name, metric in (("ppv_gap", precision_score), ("f1_gap", f1_score)):
        frame = MetricFrame(metrics=metric, y_true=label, y_pred=answer, sensitive_features=group)
        assert found[name] == pytest.approx(frame.difference())
    by_group = np.array([f1_score(label[group == k], answer[group == k]) for k in range(3)])
    overall = f1_score(label, answer)
    assert found["f1_sd"] == pytest.approx(by_group.std())
    assert found["es_f1"] == pytest.approx(overall / (1 + np.abs(by_group - overall).sum()))


def test_hand_computed_rates() -> None:
    #              group 0: tp 1, fn 1, fp 1, tn 1;  group 1: tp 2, fn 0, fp 0, tn 2
    label = np.array([1, 1, 0, 0, 1, 1, 0, 0])
    answer = np.array([1, 0, 1, 0, 1, 1, 0, 0])
    counts = _sums(answer_counts(label, answer, np.repeat([0, 1], 4), 2))
    assert {name: rates(counts, name)[:, 0].tolist() for name in RATES} == {
        "f1": [0.5, 1.0],
        "accuracy": [0.5, 1.0],
        "tpr": [0.5, 1.0],
        "fpr": [0.5, 0.0],
        "ppv": [0.5, 1.0],
    }
    found = disparities(counts)
    assert found["es_accuracy"] == pytest.approx(0.75 / 1.5)
    assert (found["ppv_gap"], found["eod"], found["accuracy_sd"]) == (0.5, 0.5, 0.25)


def test_a_rate_of_nothing_is_not_known() -> None:
    counts = _sums(answer_counts([1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 1], 2))
    assert np.isnan(rates(counts, "ppv")[0, 0])  # nobody of group 0 was said to have it
    assert np.isnan(disparities(counts)["ppv_gap"])


def test_contributions_are_averaged_over_trainings() -> None:
    label, group = np.array([1, 0]), np.array([0, 0])
    counts = _sums(answer_counts(label, np.array([[1, 1], [0, 1]]), group, 1))
    assert (counts.tp.item(), counts.fn.item(), counts.fp.item()) == (0.5, 0.5, 1.0)


@given(st.integers(0, 10_000), st.booleans())
@settings(deadline=None, derandomize=True, max_examples=20)
def test_area_under_curve_is_scikit_learns(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    label, score = rng.integers(0, 2, 60), rng.random(60)
    label[:2] = 0, 1
    score = score.round(1) if ties else score
    times = rng.integers(0, 3, (2, 60))
    times[:, :2] = 1
    expected = [roc_auc_score(label, score, sample_weight=row) for row in times]
    assert area_under_curve(label, score, times) == pytest.approx(expected)


def test_macro_average_of_more_than_two_answers() -> None:
    diagnoses = _diagnoses(n_classes=3)
    f1, accuracy_gap = diagnoses.statistic(("f1", "accuracy_gap"))(np.ones((1, 300)))[:, 0]
    assert f1 == pytest.approx(f1_score(diagnoses.label, diagnoses.probability[0].argmax(axis=1), average="macro"))
    assert accuracy_gap >= 0
    metrics = diagnosis_metrics(diagnoses, np.random.default_rng(0), 99)
    assert metrics.overall["ppv_gap"].low <= metrics.overall["ppv_gap"].value <= 1


def test_small_groups_are_named_and_left_out() -> None:
    label, group, probability, _ = _cases(1, n=400, n_groups=2)
    group[:15] = 2  # of its cases too few have, or have not, the condition
    probability[0, :15] = [[0.0, 1.0]]
    assert eligible_groups(label, group, 3).tolist() == [True, True, False]
    diagnoses = Diagnoses(label, probability, {"sex": Attribute(group, ("a", "b", "rare"))}, np.arange(400))
    found = diagnosis_metrics(diagnoses, np.random.default_rng(0), 99).groups["sex"]
    assert found.names == ("a", "b")
    assert found.insufficient == {"rare": (int(label[:15].sum()), int((label[:15] == 0).sum()))}
    without = diagnoses.statistic(("sex:ppv_gap",))(np.ones((1, 400)))
    answer = probability[0].argmax(axis=1)
    kept = group < 2
    frame = MetricFrame(metrics=precision_score, y_true=label[kept], y_pred=answer[kept], sensitive_features=group[kept])
    assert without[0, 0] == pytest.approx(frame.difference())


def test_one_group_has_no_gap() -> None:
    label, _, probability, _ = _cases(2, n_groups=1)
    diagnoses = Diagnoses(label, probability, {"a": Attribute(np.zeros(300, np.int64), ("all",))}, np.arange(300))
    metrics = diagnosis_metrics(diagnoses, np.random.default_rng(0), 99)
    assert np.isnan(metrics.overall["ppv_gap"].value) and np.isfinite(metrics.overall["f1"].value)


def test_the_unit_is_the_patient() -> None:
    once = _diagnoses()
    # Every case twice: twice the cases, the same patients, the same limits
    double = Diagnoses(
        np.tile(once.label, 2),
        np.tile(once.probability, (1, 2, 1)),
        {"group": Attribute(np.tile(once.attributes["group"].ids, 2), once.attributes["group"].names)},
        np.tile(once.patient, 2),
    )
    first, second = (diagnosis_metrics(d, np.random.default_rng(0), 199) for d in (once, double))
    assert second.n_patients == 300
    for name in ("f1", "auc", "eod"):
        assert second.overall[name].low == pytest.approx(first.overall[name].low, abs=1e-6)
    ours, theirs = (metrics.groups["group"].disparities["ppv_gap"] for metrics in (first, second))
    assert (theirs.low, theirs.high) == pytest.approx((ours.low, ours.high), abs=1e-6)


def test_identical_methods_do_not_differ() -> None:
    diagnoses = _diagnoses()
    changes = compare_diagnoses(diagnoses, diagnoses, np.random.default_rng(0), ("f1", "ppv_gap", "auc"), 99)
    assert [change.difference.value for change in changes.values()] == [0.0, 0.0, 0.0]
    assert changes["f1"].p_value == 1.0 and np.isnan(changes["auc"].p_value)


def test_exchange_test_finds_a_better_method_and_keeps_its_level() -> None:
    label, group, _, rng = _cases(3, n=400, n_groups=2)
    attribute, patient = {"group": Attribute(group, ("a", "b"))}, np.arange(400)

    def method(accuracy: float) -> Diagnoses:
        right = rng.random(400) < accuracy
        answer = np.where(right, label, 1 - label)
        return Diagnoses(label, np.eye(2)[answer][None], attribute, patient)

    good = compare_diagnoses(method(0.9), method(0.7), rng, ("f1",), 199)["f1"]
    assert good.p_value <= 0.01 and good.difference.low > 0 and good.ratio.value > 1
    p_values = np.array([_exchange_p(method(0.8), method(0.8), rng) for _ in range(200)])
    # Of 200 tests at level 0.05 more than 20 reject with probability 0.0006, if the level is kept
    assert (p_values <= 0.05).sum() <= 20


def _exchange_p(first: Diagnoses, second: Diagnoses, rng: np.random.Generator) -> float:
    from sb3_grpo.fairness.classification.inference import _exchange_test

    return _exchange_test(first, second, ("ppv_gap",), rng, 99)[0]


def test_gap_intervals_cover_a_tie() -> None:
    rng = np.random.default_rng(4)
    misses = 0
    for _ in range(60):
        label, group = rng.integers(0, 2, 200), rng.integers(0, 2, 200)
        answer = np.where(rng.random(200) < 0.75, label, 1 - label)  # both groups have the same rates
        diagnoses = Diagnoses(label, np.eye(2)[answer][None], {"g": Attribute(group, ("a", "b"))}, np.arange(200))
        misses += diagnosis_metrics(diagnoses, rng, 199).groups["g"].disparities["ppv_gap"].low > 0
    assert misses <= 8  # of 60 at level 0.05, more with probability 0.004


def test_other_cases_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="the same cases"):
        compare_diagnoses(_diagnoses(0), _diagnoses(1), np.random.default_rng(0))


@pytest.mark.parametrize("bad", [{"answer": [0, 2]}, {"group": [0, 3]}, {"label": [0, 1, 1]}])
def test_bad_numbers_are_named(bad: dict[str, Any]) -> None:
    arguments = {"label": [0, 1], "answer": [0, 1], "group": [0, 1], **bad}
    with pytest.raises(ValueError, match=next(iter(bad)) if "label" not in bad else "answer"):
        answer_counts(**arguments, n_groups=2)


def test_every_disparity_has_a_name() -> None:
    counts = _sums(answer_counts([1, 0, 1, 0], [1, 0, 1, 0], [0, 0, 1, 1], 2))
    assert set(disparities(counts)) == set(DISPARITIES)
