"""Two processes that train together, for tests: what each of them does, and how they are started."""

import multiprocessing
import os
import pickle
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
import torch.distributed as dist
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_grpo.common import data_parallel
from tests.contrib_models import make_maskable, make_recurrent, masked_env
from tests.small_models import ID_ONLY, make
from tests.toy_envs import SharedEnv

N_PROCESSES = 2
N_ENVS = 2
LIMIT = 90  # seconds until a test gives up on its processes, which need about ten

SETTINGS: dict[str, Any] = dict(
    lam=0.6,
    n_epochs=1,
    batch_size=16,
    learning_rate=1.0,
    max_grad_norm=0.5,
    ent_coef=0.1,
    policy_kwargs=dict(net_arch=[8], optimizer_class=th.optim.SGD),
)


def envs(n_envs: int, make_env: Callable[[], gym.Env] = SharedEnv) -> VecEnv:
    return make_vec_env(make_env, n_envs=n_envs)


CASES: dict[str, Callable[[int], Any]] = {
    "group critic": lambda n: make(envs(n), **SETTINGS),
    "update of SB3": lambda n: make(envs(n), fast=False, **SETTINGS),
    "weights of samples": lambda n: make(envs(n, lambda: SharedEnv(keys=ID_ONLY)), group_critic=False, **SETTINGS),
    "early stop": lambda n: make(envs(n), **{**SETTINGS, "n_epochs": 4, "learning_rate": 0.1}, target_kl=0.002),
    "maskable": lambda n: make_maskable(envs(n, masked_env), **SETTINGS),
    "lam zero": lambda n: make(envs(n), **{**SETTINGS, "lam": 0.0}),
}

PARTS = ("observations", "actions", "rewards", "episode_starts", "values", "returns", "log_probs", "advantages")
GROUP_PARTS = (*data_parallel._ROLLOUT, "group_advantages", "group_values", "action_masks")


def one_update(case: str) -> dict[str, Any]:
    """Collect a rollout and make an update. Returns what both were."""
    model = CASES[case](N_ENVS)
    orders: list[np.ndarray] = []
    permutation = np.random.permutation
    np.random.permutation = lambda n: orders.append(permutation(n)) or orders[-1]  # type: ignore[func-returns-value]
    train, before = model.train, {}

    def record_and_train() -> None:
        buffer = model.rollout_buffer
        before["buffer"] = {name: getattr(buffer, name).copy() for name in (*PARTS, *GROUP_PARTS) if _has(buffer, name)}
        before["policy"] = {key: value.clone() for key, value in model.policy.state_dict().items()}
        train()

    model.train = record_and_train
    model.learn(model.n_steps * N_ENVS * N_PROCESSES)
    np.random.permutation = permutation
    return before | {
        "orders": orders,
        "after": dict(model.policy.state_dict()),
        "group_state": model.group_state,
        "log": {key: value for key, value in model.logger.name_to_value.items() if key.startswith("train/")},
        "num_timesteps": model.num_timesteps,
        "first observations": before["buffer"]["observations"][0],
    }


def _has(buffer: Any, name: str) -> bool:
    return getattr(buffer, name, None) is not None


def everything() -> dict[str, Any]:
    return {case: one_update(case) for case in CASES} | {"training": whole_training()}


class StopOne(BaseCallback):
    """Process 1 has seen enough after the first rollout."""

    def _on_step(self) -> bool:
        return not (data_parallel.rank() == 1 and self.num_timesteps > 80)


def whole_training() -> dict[str, Any]:
    """Several updates of the other kinds of models, and what is to end them."""
    normalised = VecNormalize(envs(N_ENVS))
    model = make(normalised, lam=0.6).learn(200)
    recurrent = make_recurrent(envs(N_ENVS), lam=0.6).learn(200)
    stopped = make(envs(N_ENVS), lam=0.6).learn(10_000, callback=StopOne())
    return {
        "parameters": [
            parameter.detach().numpy() for parameter in (*model.policy.parameters(), *recurrent.policy.parameters())
        ],
        "statistics": [(one.count, one.mean, one.var) for one in (normalised.ret_rms, normalised.obs_rms)],  # type: ignore[union-attr]
        "num_timesteps": (model.num_timesteps, recurrent.num_timesteps),
        "stopped": stopped._n_updates,
        "errors": [_error(arguments) for arguments in (dict(batch_size=15), dict(n_steps=8 * (1 + data_parallel.rank())))],
        "recurrent error": _error(dict(target_kl=0.1), make_recurrent),
    }


def _error(arguments: dict[str, Any], make_model: Callable[..., Any] = make) -> str:
    model = make_model(envs(N_ENVS), **arguments)
    try:
        model.learn(100)
    except ValueError as error:
        return str(error)
    return "none"


class Die(BaseCallback):
    def _on_step(self) -> bool:
        if data_parallel.rank() == 1 and self.num_timesteps > 80:
            os._exit(7)
        return True


def one_dies() -> int:
    return make(envs(N_ENVS), lam=0.6).learn(10_000, callback=Die()).num_timesteps


def _work(rank: int, folder: Path, work: Callable[[], Any]) -> None:
    th.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder / 'meeting'}", timeout=timedelta(seconds=60), rank=rank, world_size=N_PROCESSES
    )
    try:
        answer = work()
    except Exception:
        answer = traceback.format_exc()
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(answer))
    os._exit(0)  # without waiting for a process that is gone


def together(folder: Path, work: Callable[[], Any]) -> list[Any]:
    """What ``work`` returns in each of two processes, or the traceback of its error; None if the process died."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_work, args=(rank, folder, work)) for rank in range(N_PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LIMIT)
        assert process.exitcode is not None, "a process hangs"
    paths = [folder / f"{rank}.pickle" for rank in range(N_PROCESSES)]
    return [pickle.loads(path.read_bytes()) if path.is_file() else None for path in paths]
