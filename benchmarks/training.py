"""How fast models are trained in hospitals: GroupRobustPPO against PPO of SB3 and, where it is installed, of SBX (JAX).

    taskset -c 0 python -m benchmarks.training --markdown docs/results/benchmark-training.md
    taskset -c 0 python -m benchmarks.training --groups --markdown docs/results/benchmark-groups.md
    taskset -c 0 python -m benchmarks.training --profile --markdown docs/results/benchmark-profile.md
    python -m benchmarks.training --cores 2 --markdown docs/results/benchmark-training-2.md

End to end: acting, simulating, buffers, update. Every contestant has the same hyperparameters and seed, trains a few rollouts
untimed, so that all is compiled and allocated, and is then measured several times in turn with the others.
"""

import argparse
import cProfile
import itertools
import os
import pstats
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common import env_util
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from benchmarks.tables import Measured, machine, ratio, report
from sb3_grpo import GroupRobustPPO, make_vec_env
from sb3_grpo.common import data_parallel
from sb3_grpo.common.info_columns import InfoColumns
from sb3_grpo.common.masked_policies import MaskedActorCriticPolicy

ENV: Final = "Hospital-Urban-v0"
PEERS: Final = ("SB3 PPO", "SBX PPO")


class Size(NamedTuple):
    """Hospitals, network, update, as in PPO; ``rollouts`` are measured at once."""

    n_envs: int
    net_arch: tuple[int, ...]
    n_steps: int
    batch_size: int
    n_epochs: int
    rollouts: int

    def __str__(self) -> str:
        network = ",".join(map(str, self.net_arch))
        hospitals = "1 hospital" if self.n_envs == 1 else f"{self.n_envs} hospitals"
        return f"{hospitals}, ({network}), batch {self.batch_size} x {self.n_epochs} epochs"

    @property
    def steps(self) -> int:
        """Steps of one measurement."""
        return self.rollouts * self.n_steps * self.n_envs

    def arguments(self) -> dict[str, Any]:
        """Of the algorithm."""
        return {
            "n_steps": self.n_steps,
            "batch_size": self.batch_size,
            "n_epochs": self.n_epochs,
            "policy_kwargs": {"net_arch": list(self.net_arch)},
            "seed": 0,
        }


SIZES: Final = (
    Size(16, (256, 128, 64), 128, 256, 10, 1),
    Size(64, (128, 128), 128, 1024, 4, 2),
    Size(1, (64, 64), 1024, 64, 10, 2),
)


class Merged(VecEnvWrapper):
    """Hospitals with more than n groups, of which group g counts as group g mod n."""

    def __init__(self, venv: VecEnv, n_groups: int) -> None:
        super().__init__(venv)
        self.group_names = tuple(map(str, range(n_groups)))
        self.merge = np.eye(n_groups, dtype=np.float32)[np.arange(len(venv.get_attr("group_names")[0])) % n_groups]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """See the parent."""
        return [self.group_names] * self.num_envs if attr_name == "group_names" else super().get_attr(attr_name, indices)

    def reset(self) -> Any:
        """See the parent."""
        return self.venv.reset()

    def step_wait(self) -> Any:
        """See the parent."""
        observations, rewards, dones, infos = self.venv.step_wait()
        finished = {int(env): infos[int(env)] for env in np.flatnonzero(dones)}
        columns: dict[str, Any] = {"elapsed": infos.column("elapsed")}  # type: ignore[attr-defined]
        columns["group_id"] = infos.column("group_id") % len(self.group_names)  # type: ignore[attr-defined]
        for key in ("group_rewards", "group_exposure"):
            columns[key] = infos.column(key) @ self.merge  # type: ignore[attr-defined]
            for env, info in finished.items():
                info[key] = columns[key][env]
        for env, info in finished.items():
            info["group_id"] = int(columns["group_id"][env])
        return observations, rewards, dones, InfoColumns(columns, np.zeros(self.num_envs, dtype=bool), finished)


def single_envs(size: Size) -> VecEnv:
    """As SB3 makes them."""
    return env_util.make_vec_env(ENV, size.n_envs)


def vector_env(size: Size, group_by: tuple[str, ...] | None = None) -> VecEnv:
    """As this package makes them."""
    return make_vec_env(ENV, size.n_envs, env_kwargs={"group_by": group_by})


def sbx(size: Size) -> Any:
    """Without masks, which it does not know: the hospital acts by triage where an action is invalid."""
    from sbx import PPO as SbxPPO

    return SbxPPO("MlpPolicy", single_envs(size), **size.arguments())


def ours(size: Size, group_by: tuple[str, ...] | None = None, merged: int | None = None, **kwargs: Any) -> GroupRobustPPO:
    """GroupRobustPPO, with lam=0.3 unless said; ``merged``: number of groups to which those of ``group_by`` are merged."""
    env = vector_env(size, group_by)
    env = env if merged is None else Merged(env, merged)
    return GroupRobustPPO("MaskedMlpPolicy", env, device="cpu", **{"lam": 0.3, **size.arguments(), **kwargs})


ALL: Final = ("age_band", "sex", "quintile", "severity")
GROUPS: Final[dict[str, dict[str, Any]]] = {
    "4 groups": {},
    "2 groups": {"group_by": ("sex",)},
    "30 groups": {"group_by": ALL[:3]},
    "90 groups": {"group_by": ALL},
    "90 groups merged to 2": {"group_by": ALL, "merged": 2},
    "90 groups merged to 64": {"group_by": ALL, "merged": 64},
}
CONTESTANTS: Final[dict[str, Callable[[Size], Any]]] = {
    "SB3 PPO": lambda size: PPO(MaskedActorCriticPolicy, single_envs(size), device="cpu", **size.arguments()),
    "SBX PPO": sbx,
    "SB3 PPO, make_vec_env": lambda size: PPO(MaskedActorCriticPolicy, vector_env(size), device="cpu", **size.arguments()),
    "GroupRobustPPO, fast=False": lambda size: ours(size, fast=False),
    "GroupRobustPPO": ours,
    "lam=0, SB3's loop": lambda size: ours(size, lam=0.0, group_critic=False),
    # A schedule that is 0 now may be positive later: no bits are promised, and the fast update is used
    "lam=0, fast update": lambda size: ours(size, lam=lambda left: 0.0, group_critic=False),
    **{name: partial(ours, **groups) for name, groups in GROUPS.items()},
}
END_TO_END: Final = tuple(
    name for name in itertools.islice(CONTESTANTS, 5) if name != "SBX PPO" or find_spec("sbx") is not None
)


def measure(names: tuple[str, ...], size: Size, repetitions: int) -> dict[str, npt.NDArray[np.float64]]:
    """Seconds of a core for a step, (repetitions,), of each contestant."""
    models = {name: CONTESTANTS[name](size).learn(size.steps) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repetitions):
        for name, model in models.items():
            began = time.process_time()
            model.learn(size.steps, reset_num_timesteps=False)
            seconds[name].append((time.process_time() - began) / size.steps)
    return {name: np.array(values) for name, values in seconds.items()}


def one_core(repetitions: int) -> Measured:
    """End-to-end training on one core."""
    rows: list[tuple[str, ...]] = []
    for size in SIZES:
        seconds = measure(END_TO_END, size, repetitions)
        for name in END_TO_END:
            rows.append((str(size), name, f"{1 / seconds[name].min():,.0f}", ratio(seconds["SB3 PPO"], seconds[name])))
            print(*rows[-1], sep=" | ", file=sys.stderr)
    return Measured(("training", "", "steps/s", "ratio to SB3 PPO"), rows)


def machinery(repetitions: int) -> Measured:
    """What groups cost: the larger the ratio, the more."""
    names = ("lam=0, SB3's loop", "lam=0, fast update", *GROUPS)
    others = (*names[:2], "2 groups", "90 groups merged to 2")
    rows: list[tuple[str, ...]] = []
    for size in SIZES[:2]:
        seconds = measure(names, size, repetitions)
        for name in names[1:]:
            row = (str(size), name, f"{1 / seconds[name].min():,.0f}")
            rows.append((*row, *(ratio(seconds[name], seconds[other]) for other in others)))
            print(*rows[-1], sep=" | ", file=sys.stderr)
    header = (
        "training",
        "",
        "steps/s",
        "time to lam=0, SB3's loop",
        "to lam=0, fast update",
        "to 2 groups",
        "to 90 merged to 2",
    )
    return Measured(header, rows)


def two_cores(repetitions: int) -> Measured:
    """End-to-end training on two cores, each contestant in processes of its own, by the clock."""
    contestants = sorted({(name, threads, 1) for name in END_TO_END[: len(PEERS)] if name in PEERS for threads in (1, 2)})
    contestants += [("GroupRobustPPO", 1, 1), ("GroupRobustPPO", 2, 1), ("GroupRobustPPO", 1, 2)]
    rows: list[tuple[str, ...]] = []
    for index, size in enumerate(SIZES[:2]):
        seconds = dict.fromkeys(contestants, np.inf)
        for _ in range(repetitions):
            for contestant in seconds:
                seconds[contestant] = min(seconds[contestant], in_processes(index, *contestant))
        peer = min(value for (name, *_), value in seconds.items() if name in PEERS)
        for (name, threads, processes), value in seconds.items():
            rows.append((str(size), name, str(threads), str(processes), f"{1 / value:,.0f}", f"{peer / value:.2f}"))
            print(*rows[-1], sep=" | ", file=sys.stderr)
    return Measured(("training", "", "threads", "processes", "steps/s", "ratio to the fastest peer"), rows)


def in_processes(index: int, name: str, threads: int, processes: int) -> float:
    """Seconds that a step takes."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "--module"]
    words = [sys.executable, "-m", *(launcher if processes > 1 else [])]
    words += ["benchmarks.training", "--worker", name, "--size", str(index)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "XLA_FLAGS": "" if threads > 1 else "--xla_cpu_multi_thread_eigen=false",
    }
    answer = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=600).stdout
    return float(answer.split()[-1])


def work(name: str, index: int) -> None:
    """Measure one contestant, alone or with other processes, and print the result."""
    size = SIZES[index]
    with data_parallel.joined():
        own = size._replace(n_envs=size.n_envs // data_parallel.n_processes())
        model = CONTESTANTS[name](own).learn(size.steps)
        best = np.inf
        for _ in range(4):
            began = time.perf_counter()
            model.learn(size.steps, reset_num_timesteps=False)
            best = min(best, (time.perf_counter() - began) / size.steps)
        if data_parallel.rank() == 0:
            print(best, flush=True)
    os._exit(0)


#: Parts of a training, indented under what they are a part of: file and name of a function, or names of what torch does
PARTS: Final[dict[str, tuple[str, ...]]] = {
    "rollout": ("group_algorithm.py", "collect_rollouts"),
    "— acting": ("lean_networks.py", "act"),
    "— hospitals, observations, infos": ("vec_env.py", "step_wait"),
    "— reading groups from infos": ("group_algorithm.py", "_update_info_buffer"),
    "update": ("fast_update.py", "fast_update"),
    "— loss and its gradient": ("fast_update.py", "loss_gradient"),
    "— Adam": ("loop_savings.py", "step"),
    "— order, standardisation": ("fast_update.py", "_epoch"),
    "matrix products of both": ("addmm", "mm"),
}


def profiled() -> Measured:
    """Where the time of GroupRobustPPO goes, by Python's profiler, which makes short calls seem longer than they are."""
    shares: list[list[str]] = []
    for size in SIZES:
        model = ours(size).learn(size.steps)
        profile = cProfile.Profile(time.process_time)
        profile.runcall(model.learn, 3 * size.steps, reset_num_timesteps=False)
        calls: Any = pstats.Stats(profile).stats  # type: ignore[attr-defined]
        whole = max(cumulative for _, _, _, cumulative, _ in calls.values())
        shares.append([f"{seconds_of(calls, *where) / whole:.0%}" for where in PARTS.values()])
    rows = [(name, *each) for name, each in zip(PARTS, zip(*shares, strict=True), strict=True)]
    return Measured(("part of the time", *map(str, SIZES)), rows)


def seconds_of(calls: Any, *where: str) -> float:
    """Seconds in a function and in what it calls; of torch's own functions, named without a file, together."""
    if where[0].endswith(".py"):
        found = [times[3] for (file, _, name), times in calls.items() if (Path(file).name, name) == where]
        return max(found, default=0.0)
    return sum(times[2] for (_, _, name), times in calls.items() if any(f"torch.{word}>" in name for word in where))


def note(repetitions: int, on_one_core: bool) -> str:
    """What the tables mean."""
    peers = "SB3 and SBX train in a DummyVecEnv of HospitalEnv, GroupRobustPPO in sb3_grpo.make_vec_env; SBX without masks."
    if not on_one_core:
        return f"{ENV}. The clock's seconds, the fastest of {4 * repetitions} measurements. {peers}"
    return (
        f"{ENV}. Seconds for which the process had its core; fastest of {repetitions} measurements, taken in turn, and in "
        f"brackets the range of the ratios of measurements that follow each other. {peers}"
    )


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="measurements of each row (%(default)s)")
    parser.add_argument(
        "--cores", type=int, choices=(1, 2), default=1, help="1: seconds of a core; 2: the clock's (%(default)s)"
    )
    parser.add_argument("--groups", action="store_true", help="measure what groups cost instead")
    parser.add_argument("--profile", action="store_true", help="say where the time of GroupRobustPPO goes instead")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table to this file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    if options.worker is not None:
        th.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        work(options.worker, options.size)
    th.set_num_threads(1)
    if options.profile:
        table = profiled()
    elif options.groups:
        table = machinery(options.repetitions)
    else:
        table = (one_core if options.cores == 1 else two_cores)(options.repetitions)
    said = note(options.repetitions, options.cores == 1)
    if options.profile:
        said = f"{ENV}, one thread."
    if options.groups:
        said += " A hospital's observation holds the benefit rate of each of its groups: 90 groups widen it, merged or not."
    text = f"{said}\n\n{machine(load, f'PyTorch {th.__version__}')}"
    report([table], text, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
