"""Diagnosis environments: Gymnasium's and SB3's checks, the order of cases, what a step says, what an agent can learn."""

import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from hospital_gym.clinical.case_table import CaseTable
from hospital_gym.clinical.cases import CaseStream, case_weights, prepare_cases, reward_table
from hospital_gym.clinical.diagnosis_env import DiagnosisEnv
from hospital_gym.clinical.diagnosis_vector_env import DiagnosisVectorEnv
from hospital_gym.clinical.registration import DIAGNOSIS_ENVIRONMENTS
from sb3_grpo import make_vec_env
from tests.clinical_tables import small_table
from tests.recorded_data import needs_data

BREAST = "Diagnosis-BreastCancer-v0"


def _check(env: gym.Env) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
        sb3_check_env(env.unwrapped)


@pytest.mark.parametrize("render_mode", [None, "ansi", "rgb_array"])
def test_checks_pass_without_warnings(render_mode: str | None) -> None:
    _check(gym.make(BREAST, render_mode=render_mode, disable_env_checker=True))


@needs_data
@pytest.mark.parametrize("env_id", sorted(set(DIAGNOSIS_ENVIRONMENTS) - {BREAST}))
def test_checks_pass_on_recorded_data(env_id: str) -> None:
    _check(gym.make(env_id, disable_env_checker=True))


def _sequence(env: gym.Env, seed: int | None, n: int, answers: Any = None) -> list[int]:
    rows = [env.reset(seed=seed)[1]["case_id"]]
    for k in range(n - 1):
        env.step(0 if answers is None else answers[k])
        rows.append(env.reset()[1]["case_id"])
    return rows


def test_the_order_of_cases_depends_on_the_seed_alone() -> None:
    table = small_table()
    first, second = DiagnosisEnv(table, subset="all"), DiagnosisEnv(table, subset="all")
    rows = _sequence(first, 5, 300)
    assert rows == _sequence(second, 5, 300, np.random.default_rng(0).integers(0, 2, 300))
    assert rows != _sequence(second, 6, 300)
    # A pass presents every case once, the next pass in another order
    assert sorted(rows[:120]) == sorted(rows[120:240]) == list(range(120)) and rows[:120] != rows[120:240]


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 99))
@settings(deadline=None, derandomize=True, max_examples=15)
def test_many_environments_present_the_sequence_of_one(n_cases: int, answers: int, seed: int) -> None:
    table = small_table(40)
    vector = DiagnosisVectorEnv(n_cases * answers, table, subset="all", answers=answers)
    _, infos = vector.reset(seed=seed)
    seen = []
    for _ in range(10):
        blocks = infos["case_id"].reshape(n_cases, answers)
        assert (blocks == blocks[:, :1]).all()  # environments i R to (i + 1) R - 1 hold one case
        seen += blocks[:, 0].tolist()
        infos = vector.step(np.zeros(n_cases * answers, dtype=np.int64))[4]
    assert seen == _sequence(DiagnosisEnv(table, subset="all"), seed, len(seen))


def test_a_vector_step_says_what_single_steps_say() -> None:
    table = small_table()
    vector, single = DiagnosisVectorEnv(8, table, answers=2), DiagnosisEnv(table)
    observations, _ = vector.reset(seed=0)
    actions = np.array([0, 1] * 4)
    following, rewards, terminated, truncated, infos = vector.step(actions)
    final = infos["final_info"]
    assert terminated.all() and not truncated.any()
    for env in range(8):
        observation, _ = single.reset(options={"case": int(final["case_id"][env])})
        last, reward, _, _, info = single.step(int(actions[env]))
        assert np.array_equal(observation, observations[env]) and np.array_equal(last, infos["final_obs"][env])
        assert reward == pytest.approx(rewards[env])
        assert {key: np.asarray(value).tolist() for key, value in info.items()} == {
            key: final[key][env].tolist() for key in info
        }
    assert infos["case_id"].tolist() != final["case_id"].tolist()
    assert np.array_equal(following, vector.cases.observations[vector.positions])


def test_rewards_and_groups_of_a_step() -> None:
    table = small_table()
    env = DiagnosisEnv(table, subset="all", rewards=[[0.2, 0.1], [0.05, 1.0]])
    for row in range(10):
        env.reset(options={"case": row})
        _, reward, terminated, _, info = env.step(1)
        assert reward == pytest.approx([0.1, 1.0][table.label[row]]) and terminated
        assert (info["case_id"], info["label"], info["correct"]) == (row, table.label[row], table.label[row] == 1)
        assert info["group_id"] == table.group_id[row] and info["source_id"] == table.source_id[row]
        assert info["group_rewards"].sum() == pytest.approx(reward) and info["group_rewards"][info["group_id"]] > 0
        assert info["group_exposure"].tolist() == np.eye(len(env.group_names))[info["group_id"]].tolist()


def test_reward_tables_are_checked() -> None:
    assert reward_table(2).ravel() == pytest.approx([1.0, 0.01, 0.01, 1.0])
    for wrong in (0.0, 1.0, -1, True, "a"):
        with pytest.raises(ValueError, match="wrong_reward"):
            reward_table(2, wrong)  # type: ignore[arg-type]
    for rewards in ([[1.0, 0.0], [0.5, 1.0]], [[1.0, 0.5]], [[1.0, 2.0], [0.5, 1.0]], [[1.0, np.nan], [0.5, 1.0]]):
        with pytest.raises(ValueError, match=r"expected 2 x 2 numbers in \(0, 1\]"):
            reward_table(2, rewards=rewards)


@pytest.mark.parametrize(("sampling", "by"), [("label", "label"), ("group", "group_id"), ("group-label", "both")])
def test_sampling_presents_each_as_often(sampling: Any, by: str) -> None:
    rng = np.random.default_rng(0)
    label, group = (rng.random(500) < 0.1).astype(int), (rng.random(500) < 0.3).astype(int)
    table = CaseTable.from_arrays(rng.normal(size=(500, 2)), label, group)
    cases = prepare_cases(table)
    weights = case_weights(cases, sampling)
    assert weights is not None and weights.sum() == pytest.approx(1.0)
    cells = {"label": label, "group_id": group, "both": 2 * group + label}[by]
    shares = np.bincount(cells, weights)
    assert shares == pytest.approx(1 / len(shares))
    # Stratified draws: every case occurs as often as its weight says, up to two either way
    drawn = np.bincount(CaseStream(500, 0, weights).take(500), minlength=500)
    assert np.abs(drawn - 500 * weights).max() < 2.0


def test_test_cases_are_seen_through_the_training_cases() -> None:
    table = small_table()
    train, test = DiagnosisEnv(table, subset="train"), DiagnosisEnv(table, subset="test")
    assert not set(train.cases.rows) & set(test.cases.rows) and len(train.cases) + len(test.cases) == 120
    assert train.cases.preprocessing.names == test.cases.preprocessing.names
    again = DiagnosisEnv(table, cases=test.cases.rows, preprocessing=train.cases.preprocessing)
    assert np.array_equal(again.cases.observations, test.cases.observations)
    alone = DiagnosisEnv(table, cases=test.cases.rows)
    assert not np.array_equal(alone.cases.observations, test.cases.observations)


def test_weights_of_single_cases() -> None:
    table = small_table(10)
    weights = np.zeros(10)
    weights[[2, 5]] = 1, 3
    env = DiagnosisEnv(table, subset="all", sampling=weights)
    assert set(_sequence(env, 0, 30)) == {2, 5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subset": "validation"}, "'train', 'test' or 'all'"),
        ({"sampling": "often"}, "sampling: got 'often'"),
        ({"sampling": [1.0]}, "expected 96 numbers >= 0"),
        ({"cases": [500]}, "expected 0 to 119"),
        ({"cases": []}, "at least one"),
        ({"group_by": ["height"]}, "different attributes among"),
        ({"render_mode": "human"}, "render_mode"),
        ({"table": 3}, "expected a CaseTable"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiagnosisEnv(**{"table": small_table(), **arguments})


def test_bad_calls_are_named() -> None:
    env = DiagnosisEnv(small_table())
    with pytest.raises(RuntimeError, match="reset"):
        env.step(0)
    for options in ({"row": 1}, {"case": 1000}, {"case": "a"}):
        with pytest.raises(ValueError, match="options"):
            env.reset(options=options)
    with pytest.raises(ValueError, match="seed"):
        env.reset(seed=-1)
    env.reset(seed=0)
    for action in (2, -1, 0.5, None):
        with pytest.raises(ValueError, match="whole number from 0 to 1"):
            env.step(action)  # type: ignore[arg-type]
    env.step(1)
    with pytest.raises(RuntimeError, match="waits for an answer"):
        env.step(1)


def test_bad_vector_calls_are_named() -> None:
    with pytest.raises(ValueError, match="expected a multiple of answers=4"):
        DiagnosisVectorEnv(6, small_table(), answers=4)
    vector = DiagnosisVectorEnv(4, small_table(), answers=2)
    with pytest.raises(RuntimeError, match="reset"):
        vector.step(np.zeros(4, dtype=np.int64))
    vector.reset(seed=[3, 4, 5, 6])
    for actions in (np.zeros(3, dtype=np.int64), np.full(4, 2), np.zeros(4)):
        with pytest.raises(ValueError, match="4 whole numbers from 0 to 1"):
            vector.step(actions)
    with pytest.raises(ValueError, match="expected None"):
        vector.reset(options={"case": 1})


def test_pictures_and_texts() -> None:
    text = DiagnosisEnv(small_table(), render_mode="ansi", subset="all")
    with pytest.raises(RuntimeError, match="reset"):
        text.render()
    text.reset(options={"case": 3})
    text.step(0)
    assert "colour: missing" in str(text.render()) and "Right:" in str(text.render())
    vector = DiagnosisVectorEnv(2, small_table(), render_mode="rgb_array")
    vector.reset(seed=0)
    pictures = vector.render()
    assert pictures is not None and pictures[0].shape == (384, 512, 3)
    assert DiagnosisVectorEnv(2, small_table()).render() is None


def test_it_can_be_pickled_and_made_by_id() -> None:
    env = pickle.loads(pickle.dumps(DiagnosisEnv(small_table())))
    env.reset(seed=0)
    vector = gym.make_vec(BREAST, num_envs=8, vectorization_mode="vector_entry_point", answers=4)
    assert vector.unwrapped.group_names == ("coarse", "fine")  # type: ignore[attr-defined]
    assert gym.make("Diagnosis-v0", table=small_table()).unwrapped.source_names == ("A", "B")  # type: ignore[attr-defined]
    vec_env = make_vec_env(BREAST, 8, seed=1, env_kwargs={"answers": 4})
    assert vec_env.get_attr("group_names")[0] == ("coarse", "fine")
    vec_env.reset()
    infos = vec_env.step(np.zeros(8, dtype=np.int64))[3]
    assert infos[0]["case_id"] == infos[3]["case_id"] != infos[4]["case_id"]
    assert infos[0]["episode"]["l"] == 1


def test_a_million_cases_are_no_trouble() -> None:
    n = 1_000_000
    features = np.linspace(-1, 1, n, dtype=np.float32)[:, None]
    table = CaseTable.from_arrays(features, (features[:, 0] > 0).astype(np.int64), np.arange(n) % 3)
    vector = DiagnosisVectorEnv(4096, table, subset="all", answers=8, sampling="group")
    vector.reset(seed=0)
    for _ in range(5):
        rewards = vector.step((vector.cases.observations[vector.positions, 0] > 0).astype(np.int64))[1]
        assert (rewards == 1.0).mean() > 0.999  # the preprocessing keeps the order, up to the mean of a symmetric feature


def test_the_package_needs_no_pytorch() -> None:
    import subprocess
    import sys

    code = (
        f"import gymnasium, hospital_gym, sys; gymnasium.make('{BREAST}'); "
        "assert not {'torch', 'stable_baselines3'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
