"""Many hospitals in one vector environment: to the last bit n single ones."""

import hashlib
import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from hospital_gym.hospital_env import HospitalEnv
from hospital_gym.hospital_vector_env import HospitalVectorEnv
from hospital_gym.registration import ENVIRONMENT_IDS
from hospital_gym.scenarios import SCENARIOS, URBAN
from hospital_gym.simulator.draws import draw_episode

SHORT = replace(URBAN, name="Short", horizon_hours=80.0, counted_from=24.0, counted_tail=24.0)


def some_actions(rng: np.random.Generator, masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Random valid actions, now and then any action."""
    valid = np.argmax(masks * rng.random(masks.shape), axis=1)
    return np.where(rng.random(len(masks)) < 0.1, rng.integers(0, masks.shape[1], len(masks)), valid)


def assert_same_infos(expected: Any, got: Any, where: str = "infos") -> None:
    """Equal keys, types and values, at every depth."""
    if isinstance(expected, dict):
        assert expected.keys() == got.keys(), where
        for key in expected:
            assert_same_infos(expected[key], got[key], f"{where}[{key!r}]")
    elif isinstance(expected, np.ndarray) and expected.dtype == object:
        for one, other in zip(expected, got, strict=True):
            assert_same_infos(one, other, where)
    elif isinstance(expected, np.ndarray):
        assert expected.dtype == got.dtype and expected.shape == got.shape, where
        assert expected.tobytes() == got.tobytes(), where
    else:
        assert type(expected) is type(got) and expected == got, where


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("environment_id", ENVIRONMENT_IDS)
def test_equals_single_hospitals(environment_id: str, n: int) -> None:
    """Observations, rewards and all infos over more than an episode, and what each new episode begins with."""
    vector = gym.make_vec(environment_id, num_envs=n)
    assert isinstance(vector, HospitalVectorEnv)
    singles = [gym.make(environment_id, disable_env_checker=True).unwrapped for _ in range(n)]
    observations, infos = vector.reset(seed=7)
    assert np.array_equal(infos["episode"], np.zeros(n)) and infos["_action_mask"].all()
    for i, env in enumerate(singles):
        assert observations[i].tobytes() == env.reset(seed=7 + i)[0].tobytes()
    rng, finished, n_invalid = np.random.default_rng(n), np.zeros(n, dtype=int), 0
    while finished.min() < 1 or finished.max() < 2:
        masks = vector.action_masks()
        actions = some_actions(rng, masks)
        observations, rewards, terminated, truncated, infos = vector.step(actions)
        assert not terminated.any() and rewards.dtype == np.float64
        for i, env in enumerate(singles):
            assert np.array_equal(masks[i], env.action_masks())  # type: ignore[attr-defined]
            observation, reward, _, ended, info = env.step(actions[i])
            assert (rewards[i], truncated[i]) == (reward, ended)
            n_invalid += info["invalid_action"]
            told = {key: infos[key][i] for key in info if key in infos and infos[f"_{key}"][i]}
            if ended:
                finished[i] += 1
                assert observation.tobytes() == infos["final_obs"][i].tobytes() and infos["_final_obs"][i]
                final = infos["final_info"]
                utilisation = info.pop("episode_utilisation")
                assert utilisation == {key: final["episode_utilisation"][key][i] for key in utilisation}
                told = {key: final[key][i] for key in info if final[f"_{key}"][i]}
                observation, begun = env.reset()
                assert infos["episode"][i] == begun["episode"] == finished[i]
                assert np.array_equal(infos["action_mask"][i], begun["action_mask"])
            assert_same_infos({k: np.asarray(v) for k, v in info.items()}, {k: np.asarray(v) for k, v in told.items()})
            assert observations[i].tobytes() == observation.tobytes()
    assert n_invalid > 50


def test_equals_gymnasiums_vector_environment() -> None:
    """The form of infos: the same keys, masks, types and fillings as Gymnasium makes of n environments."""
    sync = SyncVectorEnv([lambda: HospitalEnv(SHORT) for _ in range(3)], autoreset_mode=AutoresetMode.SAME_STEP)
    vector = HospitalVectorEnv(3, SHORT)
    assert vector.observation_space == sync.observation_space and vector.action_space == sync.action_space
    first, second = sync.reset(seed=[3, 1, 2]), vector.reset(seed=[3, 1, 2])
    assert_same_infos(first[1], second[1])
    rng, n_finished = np.random.default_rng(0), 0
    while n_finished < 5:
        actions = some_actions(rng, vector.action_masks())
        expected, got = sync.step(actions), vector.step(actions)
        expected_infos, infos = expected[-1], got[-1]
        for k in range(4):
            assert_same_infos(expected[k], got[k])
        for final in (expected_infos.get("final_info", {}), infos.get("final_info", {})):
            final.pop("episode_records", None)  # ours are of different lengths, Gymnasium's array is of one
        assert_same_infos(expected_infos, infos)
        n_finished += int(expected[3].sum())


def play(vector: HospitalVectorEnv, n_steps: int) -> list[Any]:
    rng = np.random.default_rng(4)
    played: list[Any] = [vector.reset(seed=1)]
    for _ in range(n_steps):
        played.append(vector.step(some_actions(rng, vector.action_masks())))
    return played


def test_threads_change_nothing_and_what_was_handed_out_stays() -> None:
    one = play(HospitalVectorEnv(5, SHORT), 250)
    assert sum(step[3].sum() for step in one[1:]) >= 5
    with_threads = HospitalVectorEnv(5, SHORT, num_threads=3)
    assert pickle.dumps(play(with_threads, 250)) == pickle.dumps(one)
    with_threads.close()
    kept = HospitalVectorEnv(5, SHORT)
    early = play(kept, 20)
    before = pickle.dumps(early)
    for _ in range(30):
        kept.step(np.full(5, 31))
    assert pickle.dumps(early) == before


def digest_of_play() -> str:
    return hashlib.sha256(pickle.dumps(play(HospitalVectorEnv(2, SHORT), 90))).hexdigest()


def test_uncompiled_code_gives_the_same() -> None:
    code = "from tests.test_hospital_vector_env import digest_of_play; print(digest_of_play())"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    root = Path(__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == digest_of_play()


def test_one_of_many_is_a_hospital() -> None:
    """Snapshots, single steps and pictures of one hospital among others; a crowded episode moves all to larger arrays."""
    vector = HospitalVectorEnv(3, SHORT, render_mode="ansi")
    vector.reset(seed=5)
    room = vector.simulators.each[0].patients.shape[0]
    snapshot = vector.envs[1].snapshot()
    ends = []
    for _ in range(2):
        for _ in range(40):
            observation, *_ = vector.envs[1].step(int(np.flatnonzero(vector.action_masks()[1])[0]))
        ends.append(observation.tobytes())
        vector.envs[1].restore(snapshot)
    assert ends[0] == ends[1]
    single = HospitalEnv(SHORT)
    single.reset(seed=5)
    crowd = HospitalEnv(SHORT)
    crowd.reset(seed=0)
    for simulator in (crowd.simulator, vector.simulators.each[2]):
        many = draw_episode(replace(SHORT, requests_per_day=60.0), simulator.grouping, 0, 0)
        assert len(many.patients) > 1.2 * room
        simulator.begin(many)
    for _ in range(60):
        actions = np.array([int(np.flatnonzero(mask)[0]) for mask in vector.action_masks()])
        observations, *_ = vector.step(actions)
        assert observations[0].tobytes() == single.step(actions[0])[0].tobytes()
        assert observations[2].tobytes() == crowd.step(actions[2])[0].tobytes()
    rendered = vector.render()
    assert rendered is not None and len(rendered) == 3 and rendered[0].startswith("Short: day")


def test_seeds_offsets_options_and_attributes() -> None:
    vector = HospitalVectorEnv(2, SHORT, group_by=("sex",), episode_offset=1, episode_stride=4)
    assert vector.reset(seed=3)[1]["episode"].tolist() == [1, 1]
    assert vector.reset()[1]["episode"].tolist() == [5, 5]
    assert vector.reset(options={"episode": 2})[1]["episode"].tolist() == [2, 2]
    assert vector.reset(options=[{"episode": 7}, None])[1]["episode"].tolist() == [7, 6]
    single = HospitalEnv(SHORT, group_by=("sex",))
    single.reset(seed=4, options={"episode": 6})
    assert vector.envs[1].simulator.observation.tobytes() == single.simulator.observation.tobytes()
    assert vector.get_attr("group_names") == (single.group_names,) * 2 == (vector.group_names,) * 2
    assert [m.tolist() for m in vector.call("action_masks")] == vector.action_masks().tolist()
    vector.set_attr("note", ["a", "b"])
    assert vector.call("note") == ("a", "b")


def test_time_limit() -> None:
    """As Gymnasium's TimeLimit: cut off, without the records of an episode that is not over."""
    vector = gym.make_vec("Hospital-Rural-v0", num_envs=2, max_episode_steps=7)
    single = gym.make("Hospital-Rural-v0", max_episode_steps=7, disable_env_checker=True)
    vector.reset(seed=0)
    single.reset(seed=0)
    for step in range(1, 15):
        observations, _, _, truncated, infos = vector.step(np.array([31, 31]))
        observation, _, _, ended, _ = single.step(31)
        assert truncated.tolist() == [ended] * 2 == [step % 7 == 0] * 2
        if ended:
            assert infos["final_obs"][0].tobytes() == observation.tobytes()
            assert infos["_final_info"].all() and "episode_records" not in infos["final_info"]
            observation, _ = single.reset()
        assert observations[0].tobytes() == observation.tobytes()


def test_memory_is_half_a_megabyte_a_hospital_at_most() -> None:
    for name in SCENARIOS:
        vector = HospitalVectorEnv(8, name)
        vector.reset(seed=0)
        assert vector.simulators.nbytes / 8 < 2**19


def test_bad_arguments_and_actions_are_named() -> None:
    for arguments, message in (
        ({"num_envs": 0}, "num_envs: got 0"),
        ({"num_threads": 0}, "num_threads: got 0"),
        ({"max_episode_steps": 1.5}, r"max_episode_steps: got 1\.5"),
        ({"scenario": "Moon"}, "scenario: got 'Moon'"),
    ):
        with pytest.raises(ValueError, match=message):
            HospitalVectorEnv(**arguments)
    vector = HospitalVectorEnv(2, SHORT)
    with pytest.raises(RuntimeError, match="call reset"):
        vector.step([31, 31])
    vector.reset(seed=0)
    for wrong in ([31], [0.5, 1.0], 3, [[0], [1]]):
        with pytest.raises(ValueError, match=re.escape(f"actions: got {wrong!r}, expected 2 whole numbers from 0 to 31")):
            vector.step(wrong)
    with pytest.raises(ValueError, match="actions: got 32 for hospital 1, expected a whole number from 0 to 31"):
        vector.step([31, 32])
    with pytest.raises(ValueError, match=r"seed: got .* expected one value or a list of 2"):
        vector.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="seed: got -1"):
        vector.reset(seed=-1)
    with pytest.raises(ValueError, match="values: got"):
        vector.set_attr("note", ["a"])
