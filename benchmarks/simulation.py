"""How fast hospitals are simulated: one alone, many in one vector environment, and as SB3 does.

    taskset -c 0 python -m benchmarks.simulation --markdown docs/results/benchmark-simulation.md
    taskset -c 0 python -m benchmarks.simulation --profile --markdown docs/results/benchmark-simulation-profile.md
    python -m benchmarks.simulation --start --markdown docs/results/benchmark-start.md

A random valid policy plays whole episodes, resets, observations, masks and infos included. Every environment is measured
several times in turn, and the fastest time of each counts: other processes only ever add to it. With one thread it is the time
that this process had a core, which is the clock's on an idle machine.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt
import torch as th
from numba import njit
from stable_baselines3.common import env_util

from benchmarks.tables import Measured, machine, report
from hospital_gym.hospital_env import HospitalEnv
from hospital_gym.hospital_vector_env import HospitalVectorEnv
from hospital_gym.records import RECORD_DTYPE
from sb3_grpo import make_vec_env

SIZES: Final = (1, 4, 16, 64, 256, 1024)
PEER: Final = "DummyVecEnv of HospitalEnv"
VECTOR: Final = "HospitalVectorEnv"
LEAST_DECISIONS: Final = 60_000
EPISODES: Final = 3  # hospitals that begin together end about together: a measurement holds a whole number of episodes


@njit
def choose(masks: Any, uniform: Any, actions: Any) -> int:
    """Write a random valid action for each row; returns for how many rows more than one is valid."""
    with_choice = 0
    for i in range(masks.shape[0]):
        valid = 0
        for action in range(masks.shape[1]):
            valid += masks[i, action]
        with_choice += valid > 1
        skip = int(uniform[i] * valid)
        for action in range(masks.shape[1]):
            if masks[i, action]:
                if skip == 0:
                    actions[i] = action
                    break
                skip -= 1
    return with_choice


@dataclass
class Player:
    """Something that plays: how it takes a step, and what has been measured of it.

    :param name: what it is called in the table
    :param n: number of hospitals
    :param threads: threads that share them
    :param masks: the valid actions now
    :param step: takes actions, returns how many patients' fates were reported
    :param steps: length of one measurement, about a whole number of episodes
    """

    name: str
    n: int
    threads: int
    masks: Callable[[], npt.NDArray[np.bool_]]
    step: Callable[[npt.NDArray[np.int64]], int]
    steps: int
    seconds: float = np.inf
    share_with_choice: float = 0.0
    patients: float = 0.0
    memory: float = np.nan

    def measure(self, rng: np.random.Generator) -> None:
        """Play on for a while; keep the best time."""
        actions, with_choice, patients = np.zeros(self.n, dtype=np.int64), 0, 0
        uniform = rng.random((self.steps, self.n))
        clock = time.process_time if self.threads == 1 else time.perf_counter
        began = clock()
        for k in range(self.steps):
            with_choice += choose(self.masks(), uniform[k], actions)
            patients += self.step(actions)
        seconds = (clock() - began) / (self.steps * self.n)
        if seconds < self.seconds:
            self.seconds = seconds
            self.share_with_choice, self.patients = with_choice / (self.steps * self.n), patients / (self.steps * self.n)


def single(scenario: str, steps: int) -> Player:
    """One ``HospitalEnv``."""
    env = HospitalEnv(scenario)
    env.reset(seed=0)

    def step(actions: npt.NDArray[np.int64]) -> int:
        *_, truncated, info = env.step(actions[0])
        if not truncated:
            return 0
        env.reset()
        return len(info["episode_records"])

    return Player("HospitalEnv", 1, 1, lambda: env.action_masks()[None], step, steps)


def vector(scenario: str, n: int, steps: int, threads: int) -> Player:
    """Many in one vector environment."""
    tracemalloc.start()
    env = HospitalVectorEnv(n, scenario, num_threads=threads)
    env.reset(seed=0)
    memory = tracemalloc.get_traced_memory()[0] / n
    tracemalloc.stop()
    memory += max(len(place.patients) for place in env.simulators.each) * RECORD_DTYPE.itemsize

    def step(actions: npt.NDArray[np.int64]) -> int:
        infos = env.step(actions)[-1]
        if "final_info" not in infos:
            return 0
        final = infos["final_info"]
        return sum(len(records) for records in final["episode_records"][final["_episode_records"]])

    return Player(VECTOR, n, threads, lambda: env.simulators.masks, step, steps, memory=memory / 2**20)


def in_sb3(scenario: str, n: int, steps: int, ours: bool) -> Player:
    """As SB3 trains in them: our vector environment, or single ones one after the other."""
    make = make_vec_env if ours else env_util.make_vec_env
    venv = make(f"Hospital-{scenario}-v0", n_envs=n, seed=0)
    venv.reset()

    def step(actions: npt.NDArray[np.int64]) -> int:
        _, _, dones, infos = venv.step(actions)
        return sum(len(infos[env]["episode_records"]) for env in np.flatnonzero(dones))

    name = "sb3_grpo.make_vec_env" if ours else PEER
    return Player(name, n, 1, lambda: np.stack(venv.env_method("action_masks")), step, steps)


def episode_length(scenario: str) -> int:
    """Mean number of decisions that a random valid policy takes in an episode."""
    env, n = HospitalVectorEnv(1, scenario), 0
    env.reset(seed=0)
    actions, rng = np.zeros(1, dtype=np.int64), np.random.default_rng(0)
    ended = 0
    while ended < 20:
        choose(env.simulators.masks, rng.random(1), actions)
        ended += int(env.step(actions)[3][0])
        n += 1
    return round(n / ended)


def players(scenario: str, threads: int) -> list[Player]:
    """All that is measured."""
    episode = episode_length(scenario)

    def steps(n: int) -> int:
        return episode * max(EPISODES, round(LEAST_DECISIONS / (episode * n)))

    made = [single(scenario, steps(1))]
    made += [in_sb3(scenario, n, steps(n), ours=False) for n in (1, 16, 64)]
    made += [in_sb3(scenario, n, steps(n), ours=True) for n in (1, 16, 64)]
    made += [vector(scenario, n, steps(n), 1) for n in SIZES]
    return [*made, *(vector(scenario, n, steps(n), threads) for n in SIZES if n >= 64 and threads > 1)]


def rows_of(measured: list[Player]) -> list[tuple[str, ...]]:
    """The table of stepping."""
    peer = next(player for player in measured if player.name == PEER and player.n == 64)
    return [
        (
            player.name,
            f"{player.n:,}",
            str(player.threads),
            f"{1 / player.seconds:,.0f}",
            f"{player.share_with_choice / player.seconds:,.0f}",
            f"{1e6 * player.seconds:.2f}",
            f"{player.patients / player.seconds:,.0f}",
            "" if np.isnan(player.memory) else f"{player.memory:.2f}",
            f"{peer.seconds / player.seconds:.1f}",
        )
        for player in measured
    ]


HEADER: Final = (
    "environment",
    "hospitals",
    "threads",
    "decisions/s",
    "with a choice/s",
    "µs each",
    "patients/s",
    "MiB a hospital",
    "ratio",
)


def note(scenario: str, repetitions: int, load: float) -> str:
    """What the table means, and the machine."""
    return f"""{scenario}, random valid actions, whole episodes with resets, observations, masks and infos; fastest of
{repetitions} measurements taken in turn. Seconds are those for which the process had a core (several threads: the clock's).
With a choice: more than one action was valid. Patients: those whose fate the records tell. Memory: all that an episode needs,
and its records. Ratio: to {PEER} with 64 hospitals.

{machine(load, f"numba {numba.__version__}")}"""


def profiled(scenario: str, n: int, repetitions: int) -> Measured:
    """Where the time of a decision goes: the turn of an episode, the random policy, and the rest, which is stepping."""
    episode, rng = episode_length(scenario), np.random.default_rng(0)
    player = vector(scenario, n, episode * EPISODES, 1)
    env, masks, actions = HospitalVectorEnv(n, scenario), player.masks(), np.zeros(n, dtype=np.int64)
    uniform = rng.random(n)
    turn: float = np.inf
    policy: float = np.inf
    for _ in range(repetitions):
        player.measure(rng)
        began = time.process_time()
        env.reset(seed=0)
        turn = min(turn, (time.process_time() - began) / (n * episode))
        began = time.process_time()
        for _ in range(1000):
            choose(masks, uniform, actions)
        policy = min(policy, (time.process_time() - began) / (1000 * n))
    stepping = player.seconds - turn - policy
    parts = {"stepping, observation, mask, infos": stepping, "a new episode, and its week under triage": turn}
    parts |= {"random policy": policy, "all": player.seconds}
    rows: list[tuple[str, ...]] = [
        (name, f"{1e6 * seconds:.2f}", f"{seconds / player.seconds:.0%}") for name, seconds in parts.items()
    ]
    return Measured((f"{scenario}, {n} hospitals", "µs a decision", "share"), rows)


START: Final = """
import time
began = time.perf_counter()
import hospital_gym
imported = time.perf_counter() - began
from hospital_gym.hospital_env import HospitalEnv
from hospital_gym.hospital_vector_env import HospitalVectorEnv
many, one = HospitalVectorEnv(4), HospitalEnv()
many.reset(seed=0)
many.step(many.simulators.masks.argmax(axis=1))
stepped = time.perf_counter() - began
one.reset(seed=0)
ended = False
while not ended:
    *_, ended, _ = one.step(one.action_masks().argmax())
print(imported, stepped, time.perf_counter() - began)
"""


def started() -> Measured:
    """The clock's seconds of a first start, with nothing compiled yet, and of a second one, in processes of their own."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            words = [sys.executable, "-c", START]
            environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
            answer = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
            seconds.append([f"{float(word):.2f}" for word in answer.split()])
    names = ("import hospital_gym", "... a first step of many hospitals", "... a whole episode of one, too")
    return Measured(("seconds until", "first start", "second start"), list(zip(names, *seconds, strict=True)))


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="Urban", help="hospital (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="also measure with N threads (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=7, metavar="N", help="measurements of each row (%(default)s)")
    parser.add_argument("--profile", action="store_true", help="say where the time of a decision goes instead")
    parser.add_argument("--start", action="store_true", help="measure import and compilation instead")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables to this file")
    options = parser.parse_args()
    th.set_num_threads(1)
    load, rng = os.getloadavg()[0], np.random.default_rng(0)
    if options.profile or options.start:
        table = started() if options.start else profiled(options.scenario, 64, options.repetitions)
        report([table], machine(load, f"numba {numba.__version__}"), options.markdown)
        return 0
    measured = players(options.scenario, options.threads)
    for repetition in range(options.repetitions):
        for player in measured:
            player.measure(rng)
        print(f"{repetition + 1} of {options.repetitions} measurements", file=sys.stderr)
    report([Measured(HEADER, rows_of(measured))], note(options.scenario, options.repetitions, load), options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
