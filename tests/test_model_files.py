"""A saved model is loaded as what it was, and bad files are named."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_grpo import GroupRobustPPO
from sb3_grpo.common.masked_policies import MaskedActorCriticPolicy
from sb3_grpo.common.model_files import known_algorithms, load_model, saved_algorithm
from tests.small_models import SMALL
from tests.toy_envs import SharedEnv

CONTINUOUS = ("CrossQ", "DDPG", "SAC", "TD3", "TQC")


def make(name: str) -> BaseAlgorithm:
    of_cases = "Diagnosis-BreastCancer-v0" if name == "FairGRPO" else "CartPole-v1"
    env: Any = SharedEnv() if name.startswith("Group") else "Pendulum-v1" if name in CONTINUOUS else of_cases
    policy = "MlpLstmPolicy" if "Recurrent" in name else "MlpPolicy"
    algorithm: Any = known_algorithms()[name]
    arguments = {"seed": 0, "device": "cpu", "buffer_size": 10, "policy_kwargs": {"net_arch": [8]}}
    known = inspect.signature(algorithm).parameters
    return algorithm(policy, env, **{key: value for key, value in arguments.items() if key in known})


@pytest.mark.parametrize("name", sorted(known_algorithms()))
def test_every_algorithm_is_recognised(name: str, tmp_path: Path) -> None:
    """But DDPG, whose file is one of TD3: it is TD3 with other settings."""
    model = make(name)
    model.save(tmp_path / "model.zip")
    loaded = load_model(tmp_path / "model.zip")
    assert type(loaded).__name__ == ("TD3" if name == "DDPG" else name)
    for one, other in zip(model.policy.parameters(), loaded.policy.parameters(), strict=True):
        assert th.equal(one, other)


def test_masked_policies_and_a_plain_model_with_such_a_policy(tmp_path: Path) -> None:
    model = GroupRobustPPO("MaskedMlpPolicy", "Hospital-Rural-v0", **SMALL)
    model.save(tmp_path / "masked.zip")
    assert saved_algorithm(tmp_path / "masked.zip") is GroupRobustPPO
    PPO(MaskedActorCriticPolicy, "Hospital-Rural-v0", **SMALL).save(tmp_path / "plain.zip")
    assert saved_algorithm(tmp_path / "plain.zip") is PPO


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip", encoding="utf-8")
    for name in ("text.zip", "nothing.zip", ""):
        with pytest.raises(ValueError, match=rf"{name}': expected a file written by model.save\(\)"):
            saved_algorithm(tmp_path / name)


def test_an_algorithm_of_somebody_else_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("PPO").save(tmp_path / "model.zip")
    monkeypatch.setattr("sb3_grpo.common.model_files.known_algorithms", lambda: {"SAC": known_algorithms()["SAC"]})
    with pytest.raises(ValueError, match=r"got a model with a ActorCriticPolicy that none of \['SAC'\] writes"):
        saved_algorithm(tmp_path / "model.zip")
