"""Judging early warning: alarms and rankings by hand, trainings that are kept, and the command."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from hospital_gym.clinical.early_warning import EscalationRewards, prepare_watch
from hospital_gym.clinical.early_warning_env import EarlyWarningEnv
from hospital_gym.clinical.icu_stays import SPLITS
from hospital_gym.clinical.stays.synthetic import synthetic_stays
from sb3_grpo.cli import main
from sb3_grpo.early_warning.alarms import alarm_hours, alarm_returns, best_threshold, escalated_by, expected_return
from sb3_grpo.early_warning.floors import features, risks
from sb3_grpo.early_warning.methods import Policy, Training
from sb3_grpo.early_warning.results import Patients, Scored, judge
from sb3_grpo.early_warning.training import read_trained, save_trained, train_policy
from sb3_grpo.fairness.classification import Attribute
from sb3_grpo.fairness.classification.ranking import average_precision

REWARDS = EscalationRewards()
NAN = np.nan


def test_alarms_of_known_scores() -> None:
    score = np.array([[0.1, 0.6, 0.9], [0.2, NAN, 0.3], [NAN, 0.5, 0.2]])
    assert alarm_hours(score, 0.5).tolist() == [1, 3, 1]
    assert alarm_hours(score[None], 0.2).tolist() == [[1, 0, 1]]
    died = np.array([True, True, False])
    assert alarm_returns(np.array([1, 3, 1]), died, 3, REWARDS) == pytest.approx([0.99, -1.02, -1 / 3])
    assert alarm_returns(np.array([0, 2, 3]), died, 3, REWARDS) == pytest.approx([1.0, 0.98, 0.0])


@pytest.mark.parametrize("alarm", [0, 2, 4, 5])
def test_alarms_pay_what_the_environment_pays(alarm: int) -> None:
    env = EarlyWarningEnv(synthetic_stays(60, hours=5), "all")
    for case in (int(np.argmax(env.watch.died)), int(np.argmin(env.watch.died))):
        env.reset(options={"case": case})
        total, over, hour = 0.0, False, 0
        while not over:
            _, reward, over, _, _ = env.step(int(hour == alarm))
            total, hour = total + reward, hour + 1
        found = alarm_returns(np.array([alarm]), env.watch.died[case : case + 1], 5, REWARDS)
        assert found[0] == pytest.approx(total)


def test_the_expected_return_is_that_of_drawn_decisions() -> None:
    rng = np.random.default_rng(0)
    escalating, died = rng.random((4, 3)) * 0.6, np.array([True, False, True, False])
    drawn = rng.random((40_000, 4, 3)) < escalating
    hours = np.where(drawn.any(axis=2), drawn.argmax(axis=2), 3)
    means = alarm_returns(hours, died, 3, REWARDS).mean(axis=1)
    error = means.std() / np.sqrt(len(means))
    assert abs(expected_return(escalating, died, REWARDS) - means.mean()) < 4 * error  # fails by chance in 1 of 16,000 seeds
    never = np.zeros((4, 3))
    assert expected_return(never, died, REWARDS) == pytest.approx(-1.02 / 2)


def test_the_best_threshold_is_the_best_of_all() -> None:
    rng = np.random.default_rng(1)
    score, died = rng.random((80, 6)), rng.random(80) < 0.3
    score[died] += 0.2
    least = best_threshold(score, died, REWARDS)

    def worth(threshold: float) -> float:
        return float(alarm_returns(alarm_hours(score, threshold), died, 6, REWARDS).mean())

    assert worth(least) == pytest.approx(max(worth(each) for each in np.unique(score.max(axis=1))))


def test_average_precision_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    positive, score = rng.random(200) < 0.3, np.round(rng.random(200), 1)  # many ties
    weights = rng.integers(0, 3, (5, 200)).astype(float)
    found = average_precision(positive, score, weights)
    for row, value in zip(weights, found, strict=True):
        assert value == pytest.approx(average_precision_score(positive, score, sample_weight=row))
    assert average_precision(positive, score)[0] == pytest.approx(average_precision_score(positive, score))
    assert average_precision([True, False], [1.0, 1.0])[0] == 0.5
    assert np.isnan(average_precision([False, False], [1.0, 0.0])[0])


def test_results_of_known_patients() -> None:
    """Ten who die and thirty who live; one method is always right after the second hour, the other does not know."""
    died = np.arange(40) < 10
    right = np.repeat(np.where(died, 0.9, 0.1)[:, None], 3, axis=1)
    right[:, 0] = 0.0
    right[0] = 0.05  # one death is missed
    blind = np.full((40, 3), 0.5)
    scored = {"right": Scored(right[None], right[None]), "blind": Scored(blind[None], blind[None])}
    everybody = {"all": Attribute(np.zeros(40, dtype=np.int64), ("all",))}
    results = judge(scored, Patients(died, died, everybody), [("right", "blind")], hours=(1, 3), n_resamples=199)
    assert results.rankings["right"][1]["auroc"].value == pytest.approx(0.5 + 0.5 / 10)  # 0.05 against 0 in the first hour
    assert results.rankings["right"][3]["auroc"].value == pytest.approx(0.9)
    assert results.rankings["blind"][3]["auprc"].value == pytest.approx(0.25)
    change = results.changes["right"]["blind"][3]["auroc"]
    assert change.value == pytest.approx(0.4) and 0.0 < change.low < 0.4 < change.high <= 0.5
    assert "blind" not in results.changes
    # The threshold lies between the scores of survivors and of the nine
    assert 0.1 < results.thresholds["right"][0] <= 0.9
    alarms = results.alarms["right"]
    assert alarms["true"].value == pytest.approx(0.9) and alarms["false"].value == 0.0 and alarms["ppv"].value == 1.0
    assert alarms["warning"].value == pytest.approx(1.0) and alarms["warning_all"].value == pytest.approx(0.9)
    assert alarms["reward"].value == pytest.approx((9 * 0.99 - 1.02) / 40)
    assert results.alarm_changes["right"]["blind"].value == pytest.approx(
        alarms["reward"].value - results.alarms["blind"]["reward"].value
    )
    assert results.groups["right"]["all"].insufficient == {"all": (10, 30)}  # fewer than 20 deaths
    json.dumps(results.to_dict(), allow_nan=False)


def test_policies_raise_alarms_by_what_they_would_have_done_so_far() -> None:
    escalating = np.array([[[0.5, 0.5, 0.0]]])
    assert escalated_by(escalating).tolist() == [[[0.5, 0.75, 0.75]]]
    assert Scored(escalating, escalating, drawn=True).for_alarms()[1].tolist() == [[[0.5, 0.75, 0.75]]]
    assert Scored(escalating, escalating).for_alarms()[0] is escalating


def test_a_committee_is_the_mean_of_its_members() -> None:
    scores = np.array([[[0.0, 1.0]], [[1.0, 0.5]]])
    assert Scored(scores, scores).committee().test.tolist() == [[[0.5, 0.75]]]


def test_floors_see_what_was_measured_until_the_hour() -> None:
    stays = synthetic_stays(200, hours=12)
    watches = {part: prepare_watch(stays, part, window=1, observe="summary") for part in SPLITS}
    seen, holes = features(watches["test"], 3, False), features(watches["test"], 3, True)
    never = np.asarray(np.isnan(stays.stay(int(watches["test"].rows[0]))[:3]).all(axis=0)).tolist()
    assert np.isnan(holes[0])[: len(never)].tolist() == never and np.isfinite(seen).all()
    assert np.array_equal(np.nan_to_num(holes), np.where(np.isnan(holes), 0.0, seen))
    validation, test = risks("logistic", watches, (6, 12))
    assert np.isfinite(test[:, [5, 11]]).all() and np.isnan(np.delete(test, [5, 11], axis=1)).all()
    assert len(validation) == len(watches["validation"])
    assert roc_auc_score(watches["test"].died, test[:, 11]) > 0.7


def _small() -> tuple[Policy, Training]:
    training = Training(updates=4, every=2, n_envs=16, n_steps=24, batch_size=128, n_epochs=1)
    return Policy("small", actor=(8,), critic=(8,)), training


def test_a_training_keeps_the_policy_that_validation_patients_are_best_served_by(tmp_path: Path) -> None:
    stays = synthetic_stays(120, hours=8)
    policy, training = _small()
    done: list[int] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained = train_policy(policy, training, stays, 0, done.append)
    assert trained is not None and done == [1, 2, 3, 4]
    assert list(trained.returns) == [2, 4] and len(trained.distance) == 4 and min(trained.distance) > 0.05
    watch = prepare_watch(stays, "validation", window=1, observe="summary")
    assert expected_return(trained.validation, watch.died, REWARDS) == pytest.approx(max(trained.returns.values()))
    assert trained.test.shape == (len(prepare_watch(stays, "test")), 8)
    again = train_policy(policy, training, stays, 0)
    assert again is not None and np.array_equal(again.test, trained.test)
    assert train_policy(policy, training, stays, 0, stopped=lambda: True) is None
    # Kept under what it depends on
    path = tmp_path / "trainings" / "small.npz"
    save_trained(path, {"seed": 0}, trained)
    kept = read_trained(path, {"seed": 0})
    assert kept is not None and np.array_equal(kept.test, trained.test) and kept.returns == trained.returns
    assert read_trained(path, {"seed": 1}) is None and read_trained(tmp_path / "none.npz", {}) is None
    path.write_bytes(path.read_bytes()[:100])
    assert read_trained(path, {"seed": 0}) is None


def test_groups_without_part_leave_no_distance() -> None:
    policy, training = _small()
    alone = Policy(**{**vars(policy), "arguments": {"alpha_2": 0.0, "alpha_3": 0.0}})
    trained = train_policy(alone, training, synthetic_stays(120, hours=8), 0)
    assert trained is not None and trained.distance == ()


def test_the_command_writes_tables_numbers_and_a_picture(tmp_path: Path, capsys: Any) -> None:
    words = [
        "warn",
        "--data",
        "synthetic",
        "--policies",
        "summary",
        "--floors",
        "logistic",
        "--seeds",
        "2",
        "--updates",
        "1",
        "--resamples",
        "99",
    ]
    assert main([*words, "--output", str(tmp_path)]) == 0
    text = (tmp_path / "early-warning.md").read_text()
    assert "| policy on summaries, 2 as a committee |" in text and "Mean of abs(A_i - A_g)" in text
    assert "0.853" in text and "240 patients to learn from" in text
    content = json.loads((tmp_path / "early-warning.json").read_text())
    assert set(content["results"]["rankings"]) == {"summary-committee", "summary", "logistic"}
    assert (tmp_path / "early-warning.png").stat().st_size > 10_000
    assert "logistic" in capsys.readouterr().out
    # Nothing is trained again
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "trainings").iterdir()}
    assert main([*words, "--output", str(tmp_path)]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "trainings").iterdir()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--policies", "lstm"], "--policies: got lstm, expected names among"),
        (["--data", "/nowhere"], "set_a_long.npz: it is not in the data directory /nowhere"),
        (["--floors", "forest"], "--floors: got forest, expected names among logistic, boosting"),
        (["--seeds", "0"], "--seeds"),
    ],
)
def test_bad_options_are_named(words: list[str], message: str, capsys: Any) -> None:
    try:
        status = main(["warn", *words])
    except SystemExit as error:
        status = int(str(error.code))
    assert status == 2 and message in capsys.readouterr().err
