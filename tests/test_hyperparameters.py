"""The YAML files of zoo_configs are read strictly."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule
from torch import nn

import zoo_configs
from hospital_gym.registration import ENVIRONMENT_IDS
from sb3_grpo import GroupRelativePPO, GroupRobustMaskablePPO, GroupRobustPPO, GroupRobustRecurrentPPO
from sb3_grpo.common.hyperparameters import load_settings, parse_settings

ENTRY = {
    "n_timesteps": 1e6,
    "policy": "MlpPolicy",
    "n_envs": 4,
    "learning_rate": "lin_3e-4",
    "policy_kwargs": {"net_arch": [8]},
}


ALGORITHMS: dict[str, type[Any]] = {
    "group_robust_ppo": GroupRobustPPO,
    "group_robust_maskable_ppo": GroupRobustMaskablePPO,
    "group_robust_recurrent_ppo": GroupRobustRecurrentPPO,
    "group_relative_ppo": GroupRelativePPO,
    "ppo": PPO,
    "maskable_ppo": MaskablePPO,
}


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("env_id", [*ENVIRONMENT_IDS, "Hospital-v0"])
def test_every_hospital_has_settings(algo: str, env_id: str) -> None:
    settings = load_settings(algo, env_id, ALGORITHMS[algo])
    assert settings.n_timesteps > 0 and settings.n_envs > 0
    assert ("lam" in settings.algorithm) == algo.startswith("group_robust")
    venv = make_vec_env(env_id, n_envs=settings.n_envs)
    ALGORITHMS[algo](settings.policy_argument(), venv, **settings.arguments(), device="cpu")


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_other_environments_have_settings(algo: str) -> None:
    settings = load_settings(algo, "CartPole-v1", ALGORITHMS[algo])
    assert settings.policy in ("MlpPolicy", "MlpLstmPolicy") and settings.n_timesteps == 100_000


def test_no_file_without_a_hospital() -> None:
    """A file of a hospital holds an entry for it alone, so that a search can replace it."""
    names = {f"{env_id.split('-')[1].lower()}.yml": env_id for env_id in ENVIRONMENT_IDS}
    for file in Path(zoo_configs.__file__).parent.glob("*/*.yml"):
        assert file.parent.name in {*ALGORITHMS, "fair_grpo"} and file.name in {*names, "default.yml", "published.yml"}
        if file.name in names:
            assert list(yaml.safe_load(file.read_text())) == [names[file.name]]


@pytest.mark.parametrize("algo", ["group_robust_ppo", "ppo"])
def test_published_settings(algo: str) -> None:
    entries = yaml.safe_load((Path(zoo_configs.__file__).parent / algo / "published.yml").read_text())
    assert set(entries) == set(ENVIRONMENT_IDS)
    for env_id, entry in entries.items():
        arguments = parse_settings(entry, ALGORITHMS[algo], env_id).arguments()
        assert arguments["policy_kwargs"] == {"net_arch": [256, 128, 64], "activation_fn": nn.ReLU}
        assert (arguments["learning_rate"], arguments["clip_range"], arguments["batch_size"]) == (3e-4, 0.2, 256)
    if algo == "group_robust_ppo":
        assert [entry["lam"] for entry in entries.values()] == [0.3, 0.3, 0.3, 0.4]


def test_values_and_schedules() -> None:
    settings = parse_settings(ENTRY, GroupRobustPPO, "here")
    assert (settings.n_timesteps, settings.n_envs, settings.policy, settings.normalize) == (1_000_000, 4, "MlpPolicy", None)
    arguments = settings.arguments()
    assert arguments["policy_kwargs"] == {"net_arch": [8]}
    assert isinstance(arguments["learning_rate"], LinearSchedule)
    assert [arguments["learning_rate"](progress) for progress in (1.0, 0.5, 0.0)] == pytest.approx([3e-4, 1.5e-4, 0.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learningrate": 1e-3}, "here: unknown key 'learningrate'; known keys are .*learning_rate"),
        ({"env": "CartPole-v1"}, "here: unknown key 'env'"),
        ({"learning_rate": "lin_fast"}, "here: learning_rate: got 'lin_fast', expected a number or lin_<number>"),
        ({"policy_kwargs": "dict(net_arch=open('x'))"}, "here: policy_kwargs: got .*expected a mapping or a string such as"),
        ({"policy_kwargs": "dict([1], activation_fn=nn.Nothing)"}, "here: policy_kwargs: got "),
        ({"normalize": "yes please"}, "here: normalize: got 'yes please', expected true, false or a string such as"),
    ],
)
def test_bad_values_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_settings(ENTRY | change, GroupRobustPPO, "here")


@pytest.mark.parametrize("key", ["n_timesteps", "policy"])
def test_missing_keys_are_named(key: str) -> None:
    with pytest.raises(ValueError, match=f"here: key '{key}' is missing"):
        parse_settings({k: v for k, v in ENTRY.items() if k != key}, GroupRobustPPO, "here")


def test_missing_files_are_named() -> None:
    with pytest.raises(ValueError, match=r"there is no zoo_configs/group_robust_ppo/mars.yml, only \['default.yml'"):
        load_settings("group_robust_ppo", "Hospital-Mars-v0", GroupRobustPPO)
    with pytest.raises(ValueError, match=r"there is no zoo_configs/nothing/urban.yml, only \[\]"):
        load_settings("nothing", "Hospital-Urban-v0", GroupRobustPPO)
