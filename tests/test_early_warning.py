"""EarlyWarning-ICU-v0: what is seen and when, what every outcome pays, and that the fast form says the same."""

import pickle
import subprocess
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from hospital_gym.clinical.early_warning import (
    EscalationRewards,
    all_observations,
    checked_rewards,
    outcome_weights,
    prepare_watch,
)
from hospital_gym.clinical.early_warning_env import EarlyWarningEnv
from hospital_gym.clinical.early_warning_vector_env import EarlyWarningVectorEnv
from hospital_gym.clinical.icu_observation import SUMMARIES, Scale, Scales, StayObservations
from hospital_gym.clinical.stays.synthetic import synthetic_stays
from sb3_grpo import GroupRelativePPO, make_vec_env
from tests.clinical_stays import hand_made_stays
from tests.recorded_data import needs_data

ID = "EarlyWarning-ICU-v0"


def _check(**arguments: Any) -> None:
    env = gym.make(ID, disable_env_checker=True, **arguments).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*has an unconventional shape")  # hours by channels: no image, meant so
        check_env(env)
        sb3_check_env(env)


@pytest.mark.parametrize("arguments", [{}, {"observe": "both", "render_mode": "ansi"}, {"groups": "unit", "window": 6}])
def test_checks_pass(arguments: dict[str, Any]) -> None:
    _check(data="synthetic", **arguments)


@needs_data
def test_checks_pass_on_recorded_data() -> None:
    _check(split="test", observe="summary")


# -- What is seen ------------------------------------------------------------------------------------------------------


def _plain(stays: Any) -> Scales:
    """Scales that change nothing."""

    def unit(n: int) -> Scale:
        return Scale(np.zeros(n, np.bool_), np.zeros(n, np.float32), np.ones(n, np.float32))

    return Scales(unit(len(stays.channels)), unit(stays.static.shape[1]), np.isnan(stays.static).any(axis=0))


def test_windows_of_a_known_stay() -> None:
    stays = hand_made_stays()
    wide = StayObservations(stays, _plain(stays), window=3)
    wide.scales.channels.deviation[:] = (100.0, 10.0, 10.0)  # so that nothing is cut off
    seen = wide.at(np.array([0, 0, 1]), np.array([3, 1, 0]))
    assert seen["vitals"].shape == (3, 3, 2) and seen["blood_gas"].dtype == np.float32
    # All of the last three hours of stay 0; its first two behind one row of padding; the one hour of stay 1 behind two
    assert seen["vitals"] == pytest.approx(
        np.array([[[0, 3.7], [0.9, 0], [1.0, 3.8]], [[0, 0], [0.8, 3.6], [0, 3.7]], [[0, 0], [0, 0], [1.2, 0]]])
    )
    assert seen["vitals_observed"].tolist() == [[[0, 1], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]], [[0, 0], [0, 0], [1, 0]]]
    assert seen["blood_gas"][..., 0] == pytest.approx(np.array([[0, 0.74, 0], [0, 0, 0], [0, 0, 0.70]]))
    assert seen["blood_gas_observed"][..., 0].tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert seen["hours"].tolist() == [[1, 1, 1], [0, 1, 1], [0, 0, 1]]
    # Age is unknown for stay 2, sex for nobody
    static = wide.at(np.array([0, 2]), np.array([0, 0]))["static"]
    assert static.tolist() == [[10.0, 0.0, 0.0], [0.0, 1.0, 1.0]]  # an age of 50 deviations is cut off


def test_summaries_of_a_known_stay() -> None:
    stays = hand_made_stays()
    seen = StayObservations(stays, _plain(stays), window=1, observe="summary")
    seen.scales.channels.deviation[:] = (100.0, 10.0, 10.0)
    assert sorted(seen.space) == ["hours", "static", "summary"]
    table = seen.at(np.array([0, 0]), np.array([0, 2]))["summary"].reshape(2, len(SUMMARIES), 3)
    counts = np.log1p([[1, 0, 1], [2, 1, 2]]) / np.log(49)
    expected = [
        [[0.8, 0, 3.6], [0.8, 0, 3.6], [0.8, 0, 3.6], [0.8, 0, 3.6], counts[0]],
        [[0.9, 0.74, 3.7], [0.8, 0.74, 3.6], [0.9, 0.74, 3.7], [0.85, 0.74, 3.65], counts[1]],
    ]
    assert table == pytest.approx(np.array(expected, dtype=np.float32), abs=1e-6)


def test_scales_come_from_what_was_measured() -> None:
    values = np.array([[1.0, 5.0, np.nan, 0.0], [3.0, 5.0, np.nan, 0.0], [np.nan, 5.0, np.nan, 1.0]], dtype=np.float32)
    values = np.vstack([values, np.full((30, 4), np.nan, np.float32)])
    values[3:23, 3] = 0.0
    scale = Scale.of(values)
    assert scale.log.tolist() == [False, False, False, True]  # 1 among 22 zeros is skewed
    assert scale.mean[:3].tolist() == [2.0, 5.0, 0.0] and scale.deviation[:3].tolist() == [1.0, 1.0, 1.0]
    assert scale.mean[3] == pytest.approx(np.log(2.0) / 23)
    scaled = scale.apply(np.array([[4.0, 5.0, 99.0, 0.0], [np.nan] * 4], dtype=np.float32))
    assert scaled[0, :3].tolist() == [2.0, 0.0, 10.0] and np.isnan(scaled[1]).all()


def test_scales_are_those_of_the_training_stays() -> None:
    stays = synthetic_stays(60, hours=4)
    train, test = prepare_watch(stays, "train"), prepare_watch(stays, "test")
    assert np.array_equal(train.observations.scales.channels.mean, test.observations.scales.channels.mean)
    assert train.observations.scales.channels.mean[0] == pytest.approx(np.nanmean(train.observations.stays.values[:, 0]), 1e-5)
    parts = [set(prepare_watch(stays, part).rows.tolist()) for part in ("train", "validation", "test")]
    assert set.union(*parts) == set(range(60)) == set(prepare_watch(stays, "all").rows.tolist())
    assert sum(map(len, parts)) == 60
    assert prepare_watch(stays, "train") is train  # shared by environments


# -- What decisions pay ------------------------------------------------------------------------------------------------


def _play(env: EarlyWarningEnv, case: int, actions: list[int]) -> tuple[list[float], dict[str, Any]]:
    env.reset(options={"case": case})
    rewards: list[float] = []
    info: dict[str, Any] = {}
    for place, action in enumerate(actions):
        _, reward, terminated, truncated, info = env.step(action)
        assert terminated == (place == len(actions) - 1) and not truncated
        rewards.append(reward)
    return rewards, info


def _env(**arguments: Any) -> EarlyWarningEnv:
    return EarlyWarningEnv(hand_made_stays(10), "all", window=2, **arguments)


def test_every_outcome_pays_what_it_should() -> None:
    env = _env()
    rewards, info = _play(env, 0, [0, 0, 0, 0])  # lives, never an alarm
    assert rewards == [0.0] * 4 and not info["escalated"] and not info["died"] and info["hour"] == 4
    rewards, info = _play(env, 2, [0, 1])  # lives, false alarm in the second hour
    assert rewards == pytest.approx([0.0, -1 / 3]) and info["escalated"] and info["hour"] == 2
    assert _play(env, 1, [1])[0] == [1.0] and _play(env, 1, [0])[0] == [-1.0]  # dies, one hour
    died = EarlyWarningEnv(synthetic_stays(200, hours=5), "all")
    case = int(np.flatnonzero(died.watch.died)[0])
    assert _play(died, case, [0, 0, 1])[0] == pytest.approx([-0.01, -0.01, 1.0])
    assert _play(died, case, [0, 0, 0, 0, 0])[0] == pytest.approx([-0.01] * 4 + [-1.0])
    # The horizon ends it before the stay does
    assert _play(_env(horizon=2), 0, [0, 0])[0] == [0.0, 0.0]


def test_rewards_can_be_set_and_are_checked() -> None:
    env = _env(rewards={"false_alarm": 0.5, "missed_death": 3})
    assert _play(env, 0, [1])[0] == [-0.5] and _play(env, 1, [0])[0] == [-3.0]
    assert EscalationRewards().threshold == pytest.approx(1 / 7)
    assert EscalationRewards(1.0, 1.0, 0.0, 0.0).threshold == pytest.approx(0.5)
    assert checked_rewards(None) == EscalationRewards()
    for wrong in ({"false_alarm": -1}, {"alarm": 1}, {"delay": "a"}, {"delay": np.nan}, {"delay": True}, 3):
        with pytest.raises(ValueError, match="rewards: got"):
            checked_rewards(wrong)  # type: ignore[arg-type]


def test_groups_are_told_and_exposed_once() -> None:
    env = _env()
    assert env.group_names == ("female & 45-64", "male & 80+", "unknown")
    _, info = env.reset(options={"case": 0})
    assert info == {"case_id": 0, "group_id": 0, "hour": 1}
    exposures = [env.step(action)[4]["group_exposure"].tolist() for action in (0, 0, 1)]
    assert exposures == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert env.reset(options={"case": 1})[1]["group_id"] == 1
    assert _env(groups="sex").group_names == ("female", "male") and _env(groups=()).group_names == ("all",)


def test_a_snapshot_goes_on_as_before() -> None:
    env = _env()
    env.reset(options={"case": 0})
    env.step(0)
    kept = env.snapshot()
    first = [env.step(action) for action in (0, 1)]
    with pytest.raises(RuntimeError, match="reset"):
        env.step(0)
    seen = env.restore(kept)
    assert seen["hours"].tolist() == [1.0, 1.0]
    for action, (observation, reward, ended, _, info) in zip((0, 1), first, strict=True):
        again = env.step(action)
        assert again[1:3] == (reward, ended) and again[4]["hour"] == info["hour"]
        assert all(np.array_equal(again[0][key], observation[key]) for key in observation)


# -- The order of stays, and many at once ------------------------------------------------------------------------------


def _sequence(env: EarlyWarningEnv, n: int, actions: Any) -> list[int]:
    cases = [env.reset(seed=3)[1]["case_id"]]
    while len(cases) < n:
        if env.step(int(next(actions)))[2]:
            cases.append(env.reset()[1]["case_id"])
    return cases


def test_the_order_of_stays_depends_on_the_seed_alone() -> None:
    draws = np.random.default_rng(0).integers(0, 2, 1000)
    cases = _sequence(_env(), 60, iter(draws))
    assert cases == _sequence(_env(), 60, iter(np.zeros(1000, int)))
    assert sorted(cases[:30]) == sorted(cases[30:]) == list(range(30)) and cases[:30] != cases[30:]


def test_one_environment_of_the_vector_form_says_what_a_single_one_says() -> None:
    stays = hand_made_stays(10)
    vector, single = EarlyWarningVectorEnv(1, stays, "all", window=2), EarlyWarningEnv(stays, "all", window=2)
    seen, infos = vector.reset(seed=4)
    observation, info = single.reset(seed=4)
    for action in np.random.default_rng(1).random(200) < 0.3:
        assert all(np.array_equal(seen[key][0], observation[key]) for key in observation)
        assert {key: infos[key][0] for key in info} == info
        seen, rewards, ended, cut, infos = vector.step(np.array([int(action)]))
        observation, reward, over, _, last = single.step(int(action))
        assert rewards[0] == reward and ended[0] == over and not cut[0]
        told = infos["final_info"] if over else infos
        assert {key: np.asarray(told[key][0]).tolist() for key in last} == {k: np.asarray(v).tolist() for k, v in last.items()}
        assert bool(infos["_died"][0]) != over and infos["_case_id"][0]
        info = {key: infos[key][0] for key in ("case_id", "group_id", "hour")}
        if over:
            assert all(np.array_equal(infos["final_obs"][0][key], observation[key]) for key in observation)
            observation, info = single.reset()


def test_environments_of_the_vector_form_share_one_sequence() -> None:
    vector = EarlyWarningVectorEnv(4, hand_made_stays(10), "all", window=2)
    cases = vector.reset(seed=3)[1]["case_id"].tolist()
    for action in np.random.default_rng(2).integers(0, 2, (300, 4)):
        _, _, ended, _, infos = vector.step(action)
        cases += infos["case_id"][ended].tolist()
    assert cases[:60] == _sequence(_env(), 60, iter(np.ones(100, int)))


def test_outcomes_can_be_presented_equally_often() -> None:
    env = EarlyWarningEnv(synthetic_stays(200, hours=2), "all", sampling="outcome")
    assert env.weights is not None and env.weights[env.watch.died].sum() == pytest.approx(0.5)
    cases = _sequence(env, 400, iter(np.ones(1000, int)))
    assert np.mean(env.watch.died[cases]) == pytest.approx(0.5, abs=0.02)
    assert outcome_weights(env.watch, "uniform") is None


def test_observations_of_all_hours() -> None:
    watch = prepare_watch(synthetic_stays(30, hours=3), "all", window=2)
    found = all_observations(watch, np.array([4, 7]), 3)
    assert found["hours"].tolist() == [[0, 1], [1, 1], [1, 1]] * 2
    assert np.array_equal(found["vitals"][5], watch.observations.at(np.array([7]), np.array([2]))["vitals"][0])
    with pytest.raises(ValueError, match="a stay is watched for 3"):
        all_observations(watch, np.array([4]), 4)


# -- Nonsense, pictures, learners --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "dev"}, "split: got 'dev'"),
        ({"groups": "height"}, "different attributes among"),
        ({"groups": ("sex", "sex")}, "different attributes among"),
        ({"window": 0}, "window: got 0"),
        ({"observe": "all"}, "observe: got 'all'"),
        ({"horizon": 1.5}, "horizon: got 1.5"),
        ({"sampling": "label"}, "sampling: got 'label'"),
        ({"render_mode": "human"}, "render_mode"),
        ({"data": 3}, "data: got 3"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EarlyWarningEnv(**{"data": "synthetic", **arguments})


def test_bad_calls_are_named() -> None:
    env = _env()
    with pytest.raises(RuntimeError, match="reset"):
        env.step(0)
    for options in ({"row": 1}, {"case": 1000}, {"case": "a"}):
        with pytest.raises(ValueError, match="options"):
            env.reset(options=options)
    env.reset(seed=0)
    for action in (2, -1, 0.5, None):
        with pytest.raises(ValueError, match="expected 0"):
            env.step(action)  # type: ignore[arg-type]
    vector = EarlyWarningVectorEnv(3, hand_made_stays(10))
    with pytest.raises(RuntimeError, match="reset"):
        vector.step([0, 0, 0])
    vector.reset(seed=[1, 2, 3])
    for actions in ([0, 0], [0, 0, 2], [0.0, 0.0, 0.0]):
        with pytest.raises(ValueError, match="3 times 0"):
            vector.step(actions)
    with pytest.raises(ValueError, match="num_envs: got 0"):
        EarlyWarningVectorEnv(0, hand_made_stays(10))


def test_pictures_and_texts() -> None:
    text = _env(render_mode="ansi")
    with pytest.raises(RuntimeError, match="reset"):
        text.render()
    text.reset(options={"case": 0})
    text.step(0)
    text.step(1)
    assert str(text.render()).splitlines() == [
        "Stay 100, female & 45-64: 2 of 4 hours seen, escalated",
        "  vitals: HR 80 1/min, 1 h ago",
        "  vitals: Temp 37, 0 h ago",
    ]
    vector = EarlyWarningVectorEnv(2, "synthetic", render_mode="rgb_array")
    vector.reset(seed=0)
    pictures = vector.render()
    assert pictures is not None and pictures[0].shape == (560, 560, 3)
    assert EarlyWarningVectorEnv(2, "synthetic").render() is None
    assert pickle.loads(pickle.dumps(_env())).reset(seed=0)


def test_group_relative_ppo_learns_in_it_without_a_warning() -> None:
    """One decision concerns one patient; and the group's advantage is another than the individual's."""
    vec_env = make_vec_env(ID, 8, seed=0, env_kwargs={"data": "synthetic", "window": 4})
    assert vec_env.get_attr("performance_scale")[0] == 0.05
    model = GroupRelativePPO(
        "MultiInputPolicy", vec_env, n_steps=32, batch_size=64, n_epochs=1, policy_kwargs={"net_arch": [8]}, seed=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(2 * 8 * 32)
    assert model.group_names is not None and "male & 65-79" in model.group_names
    assert model._relative_log["group/advantage_distance"] > 0.1
    assert set(np.unique(model.predict(vec_env.reset())[0])) <= {0, 1}  # type: ignore[arg-type]


def test_the_package_needs_no_pytorch() -> None:
    code = (
        f"import gymnasium, hospital_gym, sys; gymnasium.make('{ID}', data='synthetic').reset(); "
        "assert not {'torch', 'stable_baselines3'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
