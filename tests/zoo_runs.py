"""RL Zoo in the process of the tests."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import gymnasium as gym
import pytest
from gymnasium.envs import registration
from gymnasium.wrappers import common

from sb3_grpo.zoo import main

POSTGRESQL = "SB3_GRPO_POSTGRESQL"


@contextmanager
def time_limit_kept() -> Iterator[None]:
    """RL Zoo, when it is imported, puts its own class in the place of Gymnasium's ``TimeLimit``: not for other tests."""
    before = common.TimeLimit
    try:
        yield
    finally:
        for place in (gym.wrappers, common):
            place.TimeLimit = before  # type: ignore[attr-defined]
        vars(registration).pop("TimeLimit", None)  # where Gymnasium itself has none


def zoo(folder: Path, command: str, *words: str) -> int:
    """Run a command in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return main([command, *words])
    finally:
        os.chdir(before)


def train(folder: Path, algo: str, env: str, steps: int, *words: str) -> int:
    """Train for a moment."""
    return zoo(folder, "train", "--algo", algo, "--env", env, "-n", str(steps), "--seed", "1", "--device", "cpu", *words)


def small(n_envs: int = 2, **more: object) -> Sequence[str]:
    """``-params`` with which training takes a moment."""
    values = {"n_envs": n_envs, "n_steps": 128, "batch_size": 128, "n_epochs": 1, "policy_kwargs": "dict(net_arch=[8])"} | more
    return ["-params", *(f"{key}:{value}" for key, value in values.items())]


def postgresql_address() -> str:
    """Address of a server; without one the test is skipped, or fails where the environment says that there must be one."""
    address = os.environ.get(POSTGRESQL)
    if address:
        return address
    reason = f"no PostgreSQL server: {POSTGRESQL} is not set"
    if os.environ.get("SB3_GRPO_REQUIRE_POSTGRESQL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
