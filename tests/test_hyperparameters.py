"""The YAML files of zoo_configs are read strictly."""

from importlib import resources

import pytest
import yaml
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule

from hospital_gym.registration import ENVIRONMENT_IDS
from sb3_grpo import GroupRobustPPO
from sb3_grpo.common.hyperparameters import load_settings, parse_settings

ENTRY = {
    "n_timesteps": 1e6,
    "policy": "MlpPolicy",
    "n_envs": 4,
    "learning_rate": "lin_3e-4",
    "policy_kwargs": {"net_arch": [8]},
}


@pytest.mark.parametrize("env_id", [*ENVIRONMENT_IDS, "Hospital-v0"])
def test_every_hospital_has_settings(env_id: str) -> None:
    settings = load_settings("group_robust_ppo", env_id, GroupRobustPPO)
    assert settings.n_timesteps > 0 and settings.n_envs > 0
    assert settings.algorithm["lam"] == 0.3
    venv = make_vec_env(env_id, n_envs=settings.n_envs)
    GroupRobustPPO(settings.policy, venv, **settings.arguments(), device="cpu")


def test_no_file_without_a_hospital() -> None:
    """Every file is one that load_settings finds, and its only entry the one it looks for."""
    names = {f"{env_id.split('-')[1].lower()}.yml": env_id for env_id in ENVIRONMENT_IDS} | {"default.yml": "default"}
    files = [entry for entry in (resources.files("zoo_configs") / "group_robust_ppo").iterdir() if entry.name.endswith(".yml")]
    assert {file.name: [names[file.name]] for file in files} == {
        file.name: list(yaml.safe_load(file.read_text())) for file in files
    }
    assert {file.name for file in files} == set(names)


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
