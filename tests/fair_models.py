"""Small models of FairGRPO, for tests."""

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.logger import KVWriter, Logger

from sb3_grpo import FairGRPO
from tests.case_envs import planted_env

SMALL: dict[str, Any] = dict(batch_size=16, n_epochs=2, policy_kwargs=dict(net_arch=[8]), seed=0, device="cpu")


def make(env: Any = None, **kwargs: Any) -> Any:
    return FairGRPO("MlpPolicy", planted_env() if env is None else env, **{**SMALL, **kwargs})


def parameters(model: Any) -> dict[str, th.Tensor]:
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


class Kept(KVWriter):
    """Keeps everything that is logged."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        self.rows.append(dict(key_values))


def nobody(cases: Any, history: Any) -> np.ndarray:
    """A weighting under which rewards move nothing."""
    return np.zeros(len(cases.groups))


def logged(model: Any, steps: int) -> list[dict[str, Any]]:
    kept = Kept()
    model.set_logger(Logger(None, [kept]))
    model.learn(steps)
    return kept.rows
