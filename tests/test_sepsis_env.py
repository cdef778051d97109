"""Treatment of sepsis: Gymnasium's and SB3's checks, what a step says, one against many, and other futures."""

import copy
import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from hospital_gym.clinical.sepsis.modalities import MODALITIES
from hospital_gym.clinical.sepsis.random_numbers import seed_keys, uniform, uniforms, word, words
from hospital_gym.clinical.sepsis.treatment_env import SepsisTreatmentEnv
from hospital_gym.clinical.sepsis.treatment_vector_env import SepsisTreatmentVectorEnv
from sb3_grpo import make_vec_env
from tests.sepsis_problems import needs_icu_sepsis, random_problem, two_states


def _check(env: gym.Env) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
        # A window of channels is not what SB3's own policies expect
        warnings.filterwarnings("ignore", ".*unconventional shape")
        sb3_check_env(env.unwrapped)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"flat": True, "history": 1},
        {"history": 1, "render_mode": "ansi"},
        {"render_mode": "rgb_array", "group_by": "sofa"},
    ],
)
def test_checks_pass(arguments: dict[str, Any]) -> None:
    _check(gym.make("Sepsis-Treatment-v0", disable_env_checker=True, mdp=random_problem(0), **arguments))


@needs_icu_sepsis
def test_checks_pass_on_icu_sepsis() -> None:
    env = gym.make("Sepsis-Treatment-v0", disable_env_checker=True)
    _check(env)
    assert env.unwrapped.mdp is gym.make("Sepsis-Treatment-v0", flat=True).unwrapped.mdp  # type: ignore[attr-defined]


def test_arguments_are_checked() -> None:
    problem = two_states()
    for name, wrong in (
        ("history", 0),
        ("history", True),
        ("flat", 1),
        ("group_by", "sex"),
        ("render_mode", "human"),
    ):
        with pytest.raises(ValueError, match=f"{name}: got "):
            SepsisTreatmentEnv(mdp=problem, **{name: wrong})  # type: ignore[arg-type]
    env = SepsisTreatmentEnv(mdp=problem)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(0)
    with pytest.raises(RuntimeError, match="call reset"):
        env.snapshot()
    for options in ({"state": 2}, {"state": -1}, {"episode": -1}, {"case": 1}, "state"):
        with pytest.raises(ValueError, match="options"):
            env.reset(options=options)  # type: ignore[arg-type]
    env.reset(seed=0)
    for action in (-1, 2, 0.5, None):
        with pytest.raises(ValueError, match="action: got"):
            env.step(action)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="history: got 6, expected 1"):
        env.state_observations()
    with pytest.raises(ValueError, match="seed: got -1"):
        env.redraw_future(-1)
    with pytest.raises(ValueError, match="snapshot: got"):
        env.restore(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="snapshot: got one with a history of 2 states, expected 6"):
        env.restore(_begun(SepsisTreatmentEnv(history=2, mdp=problem)).snapshot())


def _begun(env: SepsisTreatmentEnv, **options: int) -> SepsisTreatmentEnv:
    env.reset(seed=3, options=options or None)
    return env


def test_what_a_step_says() -> None:
    env = SepsisTreatmentEnv(mdp=two_states(), group_by="sofa", history=2)
    outcomes = set()
    for _ in range(60):
        _, told = env.reset(options={"state": 1})
        assert told["group_id"] == 2 and told["state"] == 1 and told["sofa"] == 12.0
        assert told["action_mask"].tolist() == env.action_masks().tolist() == [True, False]
        _, reward, terminated, truncated, info = env.step(1)
        assert terminated and not truncated and reward in (0.0, 1.0)
        assert info["invalid_action"] is True and info["elapsed"] == 4.0 and info["is_success"] == bool(reward)
        assert info["group_rewards"].tolist() == [0.0, 0.0, reward] and info["group_exposure"].tolist() == [0.0, 0.0, 1.0]
        outcomes.add(reward)
    assert outcomes == {0.0, 1.0}
    while True:  # until a stay lasts two steps
        env.reset(options={"state": 0})
        _, reward, terminated, _, info = env.step(1)
        if not terminated:
            break
    assert reward == 0.0 and info["group_exposure"].tolist() == [0.0] * 3 and "is_success" not in info
    assert info["group_id"] == 0 and info["state"] == 1  # the group is that of the start


def test_histories_are_right_aligned_and_end_with_the_last_decision() -> None:
    problem = random_problem(3)
    env = SepsisTreatmentEnv(history=3, mdp=problem)
    single: Any = SepsisTreatmentEnv(history=1, mdp=problem).state_observations()
    observation: Any
    for episode in range(20):
        observation, info = env.reset(seed=episode)
        states, before, ended = [info["state"]], observation, False
        while not ended:
            seen = states[-3:]
            assert observation["hours"].tolist() == [0.0] * (3 - len(seen)) + [1.0] * len(seen)
            for name in MODALITIES:
                expected, known = np.zeros((2, *observation[name].shape))
                expected[3 - len(seen) :], known[3 - len(seen) :] = single[name][seen, 0], 1.0
                assert np.array_equal(observation[name], expected) and np.array_equal(observation[f"{name}_observed"], known)
            assert np.array_equal(observation["static"], single["static"][seen[-1]])
            before = observation
            observation, _, ended, _, info = env.step(0)
            states.append(info["state"])
        assert all(np.array_equal(before[key], observation[key]) for key in before)


def test_flat_observations_hold_values_hours_and_mask() -> None:
    problem = random_problem(4)
    env = SepsisTreatmentEnv(history=2, flat=True, mdp=problem)
    observation, info = env.reset(seed=0)
    assert isinstance(observation, np.ndarray) and observation.shape == (2 * 47 + 2 + 3,)
    assert not observation[:47].any() and observation[94:96].tolist() == [0.0, 1.0]
    assert observation[96:].astype(bool).tolist() == info["action_mask"].tolist()
    values = problem.centres[: problem.n_transient]
    expected = (values[info["state"]] - values.mean(axis=0)) / values.std(axis=0)
    assert observation[47:94] == pytest.approx(expected, abs=1e-6)


def test_many_environments_are_single_ones() -> None:
    problem, n = random_problem(5), 7
    for arguments in ({"history": 3}, {"history": 1, "flat": True}):
        vector = SepsisTreatmentVectorEnv(n, mdp=problem, **arguments)  # type: ignore[arg-type]
        singles = [SepsisTreatmentEnv(mdp=problem, **arguments) for _ in range(n)]  # type: ignore[arg-type]
        observations, infos = vector.reset(seed=11)
        for i, env in enumerate(singles):
            _same(env.reset(seed=11 + i), (observations, infos), i)
        rng = np.random.default_rng(0)
        for _ in range(40):
            actions = rng.integers(0, problem.n_actions, n)
            observations, rewards, terminated, truncated, infos = vector.step(actions)
            assert not truncated.any()
            for i, env in enumerate(singles):
                observation, reward, ended, _, info = env.step(actions[i])
                assert reward == rewards[i] and ended == terminated[i]
                if ended:
                    assert _equal(infos["final_obs"][i], observation)
                    _same_info(info, infos["final_info"], i)
                    _same(env.reset(), (observations, infos), i)
                else:
                    _same((observation, info), (observations, infos), i)
            assert np.array_equal(vector.action_masks(), np.stack([env.action_masks() for env in singles]))
        assert all(vector.courses.one(i).snapshot() == env.snapshot() for i, env in enumerate(singles))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return all(np.array_equal(one[key], other[key]) for key in other)
    return np.array_equal(one, other)


def _same(single: tuple[Any, Any], many: tuple[Any, Any], i: int) -> None:
    observation = {key: values[i] for key, values in many[0].items()} if isinstance(many[0], dict) else many[0][i]
    assert _equal(observation, single[0])
    _same_info(single[1], many[1], i)


def _same_info(info: dict[str, Any], infos: dict[str, Any], i: int) -> None:
    assert {key for key in infos if key[0] != "_" and key[:5] != "final" and infos[f"_{key}"][i]} == set(info)
    assert all(np.array_equal(infos[key][i], value) for key, value in info.items())


def test_the_same_episode_has_the_same_numbers_whatever_is_done() -> None:
    problem = random_problem(6)
    first, second = SepsisTreatmentEnv(mdp=problem), SepsisTreatmentEnv(mdp=problem)
    starts = [first.reset(seed=9)[1]["state"]] + [first.reset()[1]["state"] for _ in range(30)]
    second.reset(seed=9)
    for start in starts[1:]:
        while not second.step(0)[2]:
            pass
        assert second.reset()[1]["state"] == start
    info = second.reset(options={"episode": 4})[1]
    assert info["state"] == starts[4] and info["episode"] == 4
    assert [second.reset(seed=10)[1]["state"]] + [second.reset()[1]["state"] for _ in range(30)] != starts


def _play(env: SepsisTreatmentEnv) -> list[Any]:
    seen: list[Any] = []
    ended = False
    while not ended:
        _, reward, ended, _, info = env.step(0)
        seen.append((info["state"], reward))
    return seen


def test_a_snapshot_brings_back_the_future_and_another_is_drawn_on_demand() -> None:
    env = _begun(SepsisTreatmentEnv(mdp=random_problem(1), history=2))
    snapshot, before = env.snapshot(), env._observation()
    course = _play(env)
    assert not env.course.running
    assert all(np.array_equal(before[key], value) for key, value in env.restore(snapshot).items())  # type: ignore[union-attr]
    assert _play(env) == course
    other = SepsisTreatmentEnv(mdp=env.mdp, history=2)
    other.restore(snapshot)
    assert _play(other) == course
    courses = []
    for seed in range(40):
        env.restore(snapshot)
        env.redraw_future(seed)
        assert all(np.array_equal(before[key], value) for key, value in env._observation().items())
        courses.append(_play(env))
        env.restore(snapshot)
        env.redraw_future(seed)
        assert _play(env) == courses[-1]
    assert len({str(each) for each in courses}) > 10
    env.restore(snapshot)
    assert _play(env) == course  # the snapshot is as it was


def test_another_future_follows_the_same_law() -> None:
    """In state 1 patients survive with 0.9: 2,000 draws, 4 standard errors, chance of a false alarm 6e-5."""
    env = _begun(SepsisTreatmentEnv(mdp=two_states(), history=1), state=1)
    snapshot, survived = env.snapshot(), []
    for seed in range(2000):
        env.restore(snapshot)
        env.redraw_future(seed)
        survived.append(env.step(0)[1])
    assert abs(np.mean(survived) - 0.9) < 4 * 0.3 / np.sqrt(2000)


def test_an_environment_can_be_copied_and_pickled() -> None:
    env = _begun(SepsisTreatmentEnv(mdp=random_problem(1)))
    copied, pickled = copy.deepcopy(env), pickle.loads(pickle.dumps(env))
    assert copied.mdp is env.mdp
    course = _play(env)
    assert _play(copied) == course and _play(pickled) == course


def test_random_numbers_are_those_of_splitmix64() -> None:
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert words(np.full(5, 1234567, dtype=np.uint64), np.arange(5)).tolist() == expected
    assert [word(1234567, place) for place in range(5)] == expected
    assert uniform(2**64 - 1, 3) == uniforms(np.array([2**64 - 1], dtype=np.uint64), np.array([3]))[0]
    drawn = uniforms(seed_keys(range(200))[:, None], np.arange(500)[None, :]).ravel()
    assert drawn.min() >= 0.0 and drawn.max() < 1.0
    # 100,000 numbers: mean and variance within 4.5 standard errors; neighbours, in time and by seed, without correlation
    assert abs(drawn.mean() - 0.5) < 4.5 / np.sqrt(12 * len(drawn))
    table = drawn.reshape(200, 500) - 0.5
    for product in (table[:, 1:] * table[:, :-1], table[1:] * table[:-1]):
        assert abs(product.mean()) < 4.5 / 12 / np.sqrt(product.size)
    assert len(set(seed_keys(range(1000)).tolist()) | set(seed_keys(range(1000), purpose=1).tolist())) == 2000


def test_many_environments_check_what_they_get() -> None:
    problem = two_states()
    with pytest.raises(ValueError, match="num_envs: got 0"):
        SepsisTreatmentVectorEnv(0, mdp=problem)
    vector = SepsisTreatmentVectorEnv(2, mdp=problem)
    with pytest.raises(RuntimeError, match="call reset"):
        vector.step(np.zeros(2, dtype=np.int64))
    for seed in ([1], [1, -1], -1):
        with pytest.raises(ValueError, match="seed: got"):
            vector.reset(seed=seed)
    with pytest.raises(ValueError, match="options: got"):
        vector.reset(options={"state": 0})
    vector.reset(seed=[4, None])  # a random one for the second
    vector.reset(seed=[4, 8])
    for actions in ([0], [0, 2], [0.0, 1.0], [0, -1]):
        with pytest.raises(ValueError, match="actions: got"):
            vector.step(actions)
    first = SepsisTreatmentEnv(mdp=problem).reset(seed=8)[1]["state"]
    assert vector.courses.states[1] == first


@pytest.mark.parametrize("arguments", [{}, {"history": 1, "flat": True}])
def test_stable_baselines_gets_them_without_work_per_environment(arguments: dict[str, Any]) -> None:
    vec_env = make_vec_env("Sepsis-Treatment-v0", 4, seed=0, env_kwargs={"mdp": two_states(), **arguments})
    vec_env.reset()
    ended = 0
    for _ in range(10):
        _, rewards, dones, infos = vec_env.step(np.zeros(4, dtype=np.int64))
        for env in np.flatnonzero(dones):
            ended += 1
            assert infos[env]["episode"]["r"] == rewards[env] == float(infos[env]["is_success"])
            assert "terminal_observation" in infos[env] and not infos[env]["TimeLimit.truncated"]
    assert ended > 10
    assert np.stack(vec_env.env_method("action_masks")).shape == (4, 2)
    assert vec_env.get_attr("group_names")[0] == ("younger", "middle", "older")
    assert vec_env.render_mode == "rgb_array"
