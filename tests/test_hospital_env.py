"""The hospital environments: Gymnasium's and SB3's contract, ours, common random numbers, and bad input."""

import hashlib
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium_env
from stable_baselines3.common.env_checker import check_env as check_sb3_env

from hospital_gym.hospital_env import HospitalEnv
from hospital_gym.observation import FIELDS, ObservationLayout
from hospital_gym.records import OUTCOMES
from hospital_gym.registration import ENVIRONMENT_IDS
from hospital_gym.scenarios import RURAL, URBAN
from hospital_gym.simulator.layout import N_ACTIONS, WAIT, WAITING

SHORT = replace(URBAN, name="Short", horizon_hours=120.0, counted_from=24.0, counted_tail=24.0)
Chooser = Callable[[npt.NDArray[np.bool_]], int]


def random_valid(seed: int) -> Chooser:
    rng = np.random.default_rng(seed)
    return lambda mask: int(rng.choice(np.flatnonzero(mask)))


def first_valid(mask: npt.NDArray[np.bool_]) -> int:
    return int(np.flatnonzero(mask)[0])


def play(env: HospitalEnv, choose: Chooser) -> npt.NDArray[np.void]:
    """Play the running episode to its end; returns its records."""
    while True:
        *_, truncated, info = env.step(choose(env.action_masks()))
        if truncated:
            records: npt.NDArray[np.void] = info["episode_records"]
            return records


@pytest.mark.parametrize("environment_id", [*ENVIRONMENT_IDS, "Hospital-v0"])
def test_checkers_have_nothing_to_say(environment_id: str) -> None:
    """Warnings are errors here."""
    env = gym.make(environment_id, render_mode="rgb_array")
    check_gymnasium_env(env.unwrapped)
    check_sb3_env(env.unwrapped)
    check_sb3_env(env)


@pytest.mark.parametrize("environment_id", ENVIRONMENT_IDS)
def test_info_contract_on_every_step(environment_id: str) -> None:
    env = gym.make(environment_id, group_by=None).unwrapped
    assert isinstance(env, HospitalEnv)
    env.reset(seed=1)
    n_groups, choose = len(env.group_names), random_valid(0)
    time, exposure, benefit = env.simulator.time, np.zeros(n_groups), 0.0
    masked_before = env.action_masks()
    while True:
        action = choose(masked_before)
        observation, reward, terminated, truncated, info = env.step(action)
        assert observation in env.observation_space
        assert info["group_rewards"].dtype == np.float32 and info["group_rewards"].shape == (n_groups,)
        assert info["group_exposure"].dtype == np.float32 and np.all(info["group_exposure"] >= 0)
        assert reward == pytest.approx(info["group_rewards"].sum(), abs=1e-5)
        assert isinstance(info["group_id"], int) and -1 <= info["group_id"] < n_groups
        assert (info["group_id"] >= 0) == (action < 27)
        assert info["elapsed"] >= 0 and not info["invalid_action"] and not terminated
        assert np.array_equal(info["action_mask"], env.action_masks())
        time += info["elapsed"]
        exposure += info["group_exposure"]
        benefit += reward
        masked_before = info["action_mask"]
        if truncated:
            break
        assert masked_before[:WAIT].any()  # nobody is asked where nothing can be done
    assert time == pytest.approx(env.scenario.horizon_hours)
    records = info["episode_records"]
    # Those waiting at the start entered the exposure with what could still be met, the others with their demand.
    begun = HospitalEnv(env.scenario)
    begun.reset(seed=1)
    waiting = begun.simulator.patients[begun.simulator.patients["status"] == WAITING]
    before = waiting[waiting["arrival"] < 0]
    expected = np.bincount(records["group"], weights=records["demand"] * (records["arrival"] >= 0), minlength=n_groups)
    expected += np.bincount(before["group"], weights=before["exposure"], minlength=n_groups)
    np.testing.assert_allclose(exposure, expected, rtol=1e-5)
    assert np.all(before["exposure"] <= before["demand"])
    assert benefit == pytest.approx(records["benefit"].sum() - env.simulator.state.total_cost, abs=1e-3)
    assert np.all((records["benefit"] >= 0) & (records["benefit"] <= records["demand"]))
    unserved = np.isin(records["outcome"], [OUTCOMES.index(o) for o in ("left", "died-waiting", "still-waiting")])
    assert np.all(records["benefit"][unserved] == 0) and np.all(records["bed"][unserved] == -1)
    assert np.all(records["benefit"][~unserved] > 0)
    assert np.all(np.diff(records["arrival"]) >= 0) and len(np.unique(records["patient_id"])) == len(records)


def patients_of(records: npt.NDArray[np.void]) -> bytes:
    """What may not depend on a policy: everything about those who arrived under control."""
    arrived = records[records["arrival"] >= 0]
    columns = ("arrival", "age", "age_band", "sex", "quintile", "group", "severity_arrival", "demand", "counted")
    return b"".join(arrived[c].tobytes() for c in columns)


def test_common_random_numbers() -> None:
    """Episode k has the same patients under two policies, in 1 and in 8 environments: also stays, clocks and patience."""
    single = HospitalEnv(SHORT)
    drawn, patients = {}, {}
    single.reset(seed=11)
    for k in range(8):
        fixed = single.simulator.patients
        drawn[k] = b"".join(fixed[f].tobytes() for f in ("service_hours", "stage_hours", "patience_hours", "success_draw"))
        patients[k] = patients_of(play(single, random_valid(k)))
        single.reset()
    for i in range(8):
        env = HospitalEnv(SHORT, episode_offset=i, episode_stride=8)
        _, info = env.reset(seed=11)
        assert info["episode"] == i
        fixed = env.simulator.patients
        assert drawn[i] == b"".join(
            fixed[f].tobytes() for f in ("service_hours", "stage_hours", "patience_hours", "success_draw")
        )
        assert patients[i] == patients_of(play(env, first_valid))
        assert env.reset()[1]["episode"] == i + 8
    assert len(set(drawn.values())) == 8
    assert single.reset(options={"episode": 3})[1]["episode"] == 3
    assert patients[3] == patients_of(play(single, first_valid))


def trajectory_digest(seed: int) -> str:
    env = HospitalEnv(SHORT)
    observation, _ = env.reset(seed=seed)
    digest, choose = hashlib.sha256(observation.tobytes()), random_valid(seed)
    while True:
        observation, reward, _, truncated, info = env.step(choose(env.action_masks()))
        digest.update(observation.tobytes() + np.float64(reward).tobytes() + info["group_rewards"].tobytes())
        if truncated:
            digest.update(info["episode_records"].tobytes())
            return digest.hexdigest()


def test_same_seed_same_trajectory_across_processes() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        elsewhere = pool.map(trajectory_digest, [5, 6])
    assert elsewhere == [trajectory_digest(5), trajectory_digest(6)]
    assert elsewhere[0] != elsewhere[1]


def test_uncompiled_code_gives_the_same_trajectory() -> None:
    """NUMBA_DISABLE_JIT=1 runs the simulator as plain Python, for debugging."""
    code = "from tests.test_hospital_env import trajectory_digest; print(trajectory_digest(5))"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    root = Path(__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == trajectory_digest(5)


def test_snapshot_continues_identically() -> None:
    env, other = HospitalEnv(SHORT), HospitalEnv(SHORT)
    env.reset(seed=2)
    for _ in range(60):
        env.step(first_valid(env.action_masks()))
    snapshot = pickle.loads(pickle.dumps(env.snapshot()))
    ends: list[bytes] = []
    for later in (env, env, other):
        if later is not env or ends:
            assert np.array_equal(later.restore(snapshot), snapshot.arrays[-3])
        ends.append(play(later, random_valid(3)).tobytes())
    assert ends[0] == ends[1] == ends[2]


def test_invalid_action_acts_as_triage() -> None:
    env, triage = HospitalEnv(SHORT), HospitalEnv(SHORT)
    for e in (env, triage):
        e.reset(seed=4)
    triage.simulator.run_triage()
    n_invalid = 0
    while True:
        wrong = int(np.flatnonzero(~env.action_masks())[0])
        *_, truncated, info = env.step(wrong)
        n_invalid += info["invalid_action"]
        if truncated:
            break
    assert n_invalid == env.simulator.state.invalid == env.simulator.state.decisions
    assert info["episode_records"].tobytes() == triage.simulator.records().tobytes()


def test_episode_offsets_and_random_start() -> None:
    env = HospitalEnv(SHORT, episode_offset=2, episode_stride=3)
    assert [env.reset(seed=0)[1]["episode"], env.reset()[1]["episode"]] == [2, 5]
    assert not np.array_equal(HospitalEnv(SHORT).reset()[0], HospitalEnv(SHORT).reset()[0])


def test_observation_reads_back_the_state() -> None:
    env = HospitalEnv(SHORT)
    observation, _ = env.reset(seed=8)
    layout, choose = env.simulator.layout, random_valid(1)
    for _ in range(150):
        state = env.simulator.state
        waiting = env.simulator.patients[env.simulator.patients["status"] == 1]
        queue = 3 * waiting["age_band"] + waiting["severity"]
        np.testing.assert_array_equal(np.rint(layout.read(observation, "queue_count")), np.bincount(queue, minlength=9))
        for k in np.unique(queue):
            waits = env.simulator.time - waiting["arrival"][queue == k]
            target = env.scenario.target_wait[k % 3]
            assert layout.read(observation, "head_wait")[k] * target == pytest.approx(waits.max(), rel=1e-4, abs=1e-4)
            assert layout.read(observation, "mean_wait")[k] * target == pytest.approx(waits.mean(), rel=1e-4, abs=1e-4)
        in_bed = env.simulator.patients[env.simulator.patients["status"] == 2]
        occupants = np.zeros((9, 3))
        np.add.at(occupants, (3 * in_bed["age_band"] + in_bed["severity"], in_bed["bed"]), 1)
        np.testing.assert_array_equal(np.rint(layout.read(observation, "occupants")).reshape(9, 3), occupants)
        np.testing.assert_array_equal(occupants.sum(axis=0), state.occupied)
        np.testing.assert_allclose(layout.read(observation, "budget")[0], state.budget, rtol=1e-5)
        np.testing.assert_array_equal(layout.read(observation, "action_mask") > 0.5, env.action_masks())
        arrivals = env.simulator.patients["arrival"][: state.next_arrival]
        recent = np.sum((arrivals >= env.simulator.time - 24.0) & (env.simulator.patients["bed"][: state.next_arrival] > -2))
        assert layout.read(observation, "arrivals_24h")[0] * env.scenario.requests_per_day == pytest.approx(recent, abs=0.01)
        observation = env.step(choose(env.action_masks()))[0]


def test_layout_covers_the_observation() -> None:
    layout = ObservationLayout(6)
    assert [s.start for s in layout.slices.values()][1:] == [s.stop for s in layout.slices.values()][:-1]
    assert layout.size == len(layout.limits()[0]) == sum(6 if f.size < 0 else f.size for f in FIELDS)
    assert layout.slices["action_mask"].stop - layout.slices["action_mask"].start == N_ACTIONS
    assert layout.markdown().count("\n") == len(FIELDS) + 1


def test_groups_by_intersection() -> None:
    env = HospitalEnv(SHORT, group_by=("age_band", "sex"))
    env.reset(seed=0)
    assert len(env.group_names) == 6 and env.observation_space.shape == (ObservationLayout(6).size,)
    records = play(env, first_valid)
    np.testing.assert_array_equal(records["group"], 2 * records["age_band"] + records["sex"])


def test_pictures() -> None:
    env = HospitalEnv("Rural", render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.shape == (600, 1200, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    text = HospitalEnv("Rural", render_mode="ansi")
    text.reset(seed=0)
    shown = text.render()
    assert isinstance(shown, str) and "Rural: day 1, Monday" in shown and "elderly" in shown and " of  31 beds taken" in shown


def test_replay_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.csv"
    hours = np.arange(0.0, 24.0 * 21, 0.7)
    rows = [f"{h},{[7, 40, 80][i % 3]},F,{['routine', 'urgent', 'critical'][i % 3]},{24 + i % 5}" for i, h in enumerate(hours)]
    path.write_text("arrival_time,age,sex,severity,service_hours\n" + "\n".join(rows) + "\n")
    env = HospitalEnv(SHORT, arrivals=str(path))
    env.reset(seed=0)
    records = play(env, first_valid)
    arrived = records[records["arrival"] >= 0]
    expected = hours[(hours >= 168.0) & (hours < 288.0)] - 168.0
    np.testing.assert_allclose(arrived["arrival"], expected)
    assert set(zip(arrived["age"].tolist(), arrived["severity_arrival"].tolist(), strict=True)) == {(7, 0), (40, 1), (80, 2)}
    assert np.all(arrived["sex"] == 0)
    matched = arrived["matched"]
    assert np.all(np.isin(arrived["service_time"][matched], [24, 25, 26, 27, 28]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scenario": "Moon"}, "scenario: got 'Moon'"),
        ({"render_mode": "human"}, "render_mode: got 'human', expected one of .*rgb_array"),
        ({"episode_stride": 0}, "episode_stride: got 0, expected a whole number >= 1"),
        ({"episode_offset": "a"}, "episode_offset: got 'a'"),
        ({"episode_stride": float("nan")}, "episode_stride: got nan"),
        ({"group_by": 5}, "group_by: got 5"),
        ({"group_by": [["sex"]]}, "group_by: got"),
        ({"group_by": ()}, r"group_by: got \(\)"),
        ({"arrivals": "nowhere.csv"}, "nowhere.csv"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HospitalEnv(**arguments)


def test_bad_steps_and_resets_are_named() -> None:
    env = HospitalEnv(RURAL)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(WAIT)
    env.reset(seed=0)
    for wrong in (-1, N_ACTIONS, 1.5, "a", None, [3]):
        with pytest.raises(ValueError, match=f"action: got {re.escape(repr(wrong))}, expected a whole number from 0 to 31"):
            env.step(wrong)  # type: ignore[arg-type]
    for options in ({"episodes": 1}, ["episode"]):
        with pytest.raises(ValueError, match=r"options: got .*expected None or \{'episode': number\}"):
            env.reset(options=options)  # type: ignore[arg-type]
    for episode in (-1, 1.5, 2**40):
        with pytest.raises(ValueError, match=rf"options\['episode'\]: got {episode}"):
            env.reset(options={"episode": episode})
    for seed in (-1, 1.5):
        with pytest.raises(ValueError, match=f"seed: got {seed}"):
            env.reset(seed=seed)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="call reset"):
        HospitalEnv(render_mode="ansi").render()
