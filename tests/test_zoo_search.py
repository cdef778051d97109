"""Searching for hyperparameters through RL Zoo."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from stable_baselines3 import PPO
from torch import nn

from sb3_grpo import GroupRobustPPO
from sb3_grpo.common.hyperparameters import parse_settings
from tests.zoo_runs import postgresql_address, small, time_limit_kept, train, zoo

with time_limit_kept():
    from sb3_grpo.zoo import search, studies
    from sb3_grpo.zoo.trials import Goal

RURAL = "Hospital-Rural-v0"
NETWORK = {"pi": [], "vf": [256, 128, 64]}
PARAMETERS = {
    "n_steps_pow": 7,
    "batch_size_pow": 10,
    "n_epochs": 4,
    "learning_rate": 3.00004e-4,
    "one_minus_gae_lambda": 0.02,
    "ent_coef": 1e-4,
    "clip_range": 0.2,
    "actor": "linear",
    "critic": "256-128-64",
    "activation_fn": "relu",
    "one_minus_gamma": 0.001,
    "lam": 0.3,
}
RATES = st.floats(0, 1)


@pytest.fixture(scope="module", autouse=True)
def _time_limit() -> Iterator[None]:
    with time_limit_kept():
        yield


def search_in(folder: Path, env: str, n_trials: int, *words: str) -> int:
    """A search of a moment."""
    few = ["-optimize", "--n-trials", str(n_trials), "--sampler", "random", "--eval-episodes", "1", "--n-evaluations", "2"]
    return train(folder, "group_robust_ppo", env, 4096, *few, "--verbose", "0", *words, *small(16))


def close(study: optuna.Study) -> None:
    """Close the connections to a database, of which a process that ends needs to take no care."""
    storage: Any = study._storage
    storage._backend.scoped_session.remove()
    storage._backend.engine.dispose()


# -- What is searched, and for what ----------------------------------------------------------------------------------


def test_parameters_become_settings() -> None:
    settings = search.settings_of(PARAMETERS)
    assert settings == {
        "n_steps": 128,
        "batch_size": 1024,
        "n_epochs": 4,
        "learning_rate": "lin_0.0003",
        "gae_lambda": 0.98,
        "gamma": 0.999,
        "ent_coef": 1e-4,
        "clip_range": 0.2,
        "lam": 0.3,
        "policy_kwargs": "dict(net_arch={'pi': [], 'vf': [256, 128, 64]}, activation_fn=nn.ReLU)",
    }


def test_settings_in_yaml_are_those_of_the_trial() -> None:
    tried = search.arguments_of(PARAMETERS)
    entry = yaml.safe_load(yaml.safe_dump({"n_timesteps": 1, "policy": "MlpPolicy", **search.settings_of(PARAMETERS)}))
    read = parse_settings(entry, GroupRobustPPO, "here").arguments()
    assert read["policy_kwargs"] == tried["policy_kwargs"] == {"net_arch": NETWORK, "activation_fn": nn.ReLU}
    for progress in (1.0, 0.25, 0.0):
        assert read["learning_rate"](progress) == pytest.approx(tried["learning_rate"](progress))
    rest = set(tried) - {"policy_kwargs", "learning_rate"}
    assert {key: read[key] for key in rest} == {key: tried[key] for key in rest}


@pytest.mark.parametrize(("robust", "more"), [(True, {"lam"}), (False, {"one_minus_gamma"})])
@pytest.mark.parametrize("n_envs", [1, 16, 64])
def test_every_algorithm_has_the_same_choices(robust: bool, more: set[str], n_envs: int) -> None:
    """But for lam, and the discount per decision where there is one."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        drawn = search.suggest(study.ask(), n_envs, robust, discounts_steps=not robust)
        assert set(drawn) == set(PARAMETERS) - {"lam", "one_minus_gamma"} | more
        assert set(search.suggest(study.ask(), n_envs, robust, not robust, 4096)) == set(drawn)
        assert 2048 <= n_envs * search.settings_of(drawn)["n_steps"] <= 32768


@given(RATES, RATES, RATES, RATES, st.floats(0.01, 1))
def test_whatever_is_efficient_enough_is_better(worst: float, other: float, above: float, below: float, floor: float) -> None:
    goal = Goal()
    enough, too_little = floor + (1 - floor) * above, floor * min(below, 0.999)
    assert goal.value(worst, enough, floor) == worst > goal.value(other, too_little, floor)
    assert goal.value(other, too_little, floor) == goal.value(worst, too_little, floor) == too_little - floor
    assert Goal("efficiency").value(worst, too_little, floor) == too_little


# -- Searches --------------------------------------------------------------------------------------------------------


def test_search_goes_on_and_its_best_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search_in(tmp_path, RURAL, 1) == 0
    assert search_in(tmp_path, RURAL, 1, "--max-total-trials", "2") == 0
    study = studies.load_study(f"sqlite:///{tmp_path}/logs/searches.db", f"group_robust_ppo-{RURAL}")
    trials = study.get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE"]
    for trial in trials:
        found = trial.user_attrs
        assert trial.value == pytest.approx(Goal().value(found["worst"], found["efficiency"], found["floor"]), abs=1e-6)
        assert found["worst"] == min(found["rates"].values())
        assert set(trial.intermediate_values) == {1}
    assert trials[0].params != trials[1].params
    assert [trial.user_attrs["seed"] for trial in trials] == [1, 1001]
    assert not list(tmp_path.glob(f"logs/group_robust_ppo/{RURAL}_*")), "a search has no run"

    assert search_in(tmp_path, RURAL, 1, "--reference", "triage") == 2
    assert "was begun with goal" in capsys.readouterr().err

    file = tmp_path / "tuned" / "rural.yml"
    assert zoo(tmp_path, "best", "--algo", "group_robust_ppo", "--env", RURAL, "-o", str(file)) == 0
    written = file.read_text()
    best = max(trials, key=lambda trial: trial.value or 0.0)
    assert f"# Trial {best.number}, training seed {best.user_attrs['seed']}: value {best.value:.4f}." in written
    assert "--n-trials 1 --sampler random" in written.replace("\n# ", " ") and max(map(len, written.splitlines())) <= 120
    settings = parse_settings(yaml.safe_load(written)[RURAL], GroupRobustPPO, "here")
    assert settings.n_envs == 16 and settings.n_timesteps == 4096
    assert settings.algorithm["lam"] == search.settings_of(best.params)["lam"]


def test_search_elsewhere_is_for_reward(tmp_path: Path) -> None:
    words = ["--storage", "sqlite:///here.db", "--study-name", "mine", "--no-optim-plots"]
    assert search_in(tmp_path, "CartPole-v1", 1, *words, "--hyperparams", "lam:0.0") == 0
    (trial,) = studies.load_study(f"sqlite:///{tmp_path}/here.db", "mine").get_trials()
    assert trial.value is None or trial.value >= 1


def test_trial_of_a_process_that_was_killed_is_given_up(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/searches.db"
    study = studies.open_study(address, "killed")
    killed = study._storage.create_new_trial(study._study_id)
    with studies.open_storage(address).engine.begin() as connection:  # type: ignore[attr-defined]
        row = {"trial": killed}
        connection.execute(text("INSERT INTO trial_heartbeats VALUES (1, :trial, '2020-01-01 00:00:00')"), row)
    studies.run(study, lambda trial: 1.0, n_trials=1, most=2, n_jobs=1)
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "COMPLETE", "COMPLETE"]


def test_search_shared_by_two_processes_on_postgresql(tmp_path: Path) -> None:
    address, name = postgresql_address(), f"test-{uuid.uuid4()}"
    words = [sys.executable, "-m", "sb3_grpo.zoo", "train", "--algo", "ppo", "--env", RURAL, "-n", "2048", "--device", "cpu"]
    words += ["-optimize", "--n-trials", "2", "--eval-episodes", "1", "--n-evaluations", "1", "--no-optim-plots"]
    words += ["--storage", address, "--study-name", name, "--verbose", "0", "-params", "n_envs:16"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [subprocess.Popen(words, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    study = studies.load_study(address, name)
    trials = study.get_trials()
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    shares = [trial.user_attrs["process"] for trial in trials]
    assert sorted(shares.count(process) for process in set(shares)) == [2, 2]
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    optuna.delete_study(study_name=name, storage=study._storage)
    close(study)


def test_plain_ppo_is_searched_for_its_discount() -> None:
    settings = search.settings_of({key: value for key, value in PARAMETERS.items() if key != "lam"})
    assert parse_settings({"n_timesteps": 1, "policy": "MlpPolicy", **settings}, PPO, "here").algorithm["gamma"] == 0.999
