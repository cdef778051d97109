"""Models as tables and their exact values; the study of sepsis: it repeats itself, goes on, and reports what it found."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sb3_contrib import MaskablePPO
from stable_baselines3 import DQN, PPO

from hospital_gym.clinical.sepsis.exact import deterministic_policy, policy_values
from hospital_gym.clinical.sepsis.treatment_env import SepsisTreatmentEnv
from sb3_grpo import GroupRelativePPO, make_vec_env
from sb3_grpo.cli import main
from sb3_grpo.common.hyperparameters import load_settings
from sb3_grpo.sepsis.policies import policy_table, value_model
from sb3_grpo.sepsis.results import change, summarise, variances
from sb3_grpo.sepsis.training import OBSERVED, train
from sb3_grpo.study.grid import read_study
from sb3_grpo.study.runs import StudyError
from sb3_grpo.study.store import Store
from sb3_grpo.study.tasks import sepsis
from tests.sepsis_problems import needs_icu_sepsis, random_problem, two_states
from tests.tiny_study import results, study

SMALL: dict[str, Any] = {"device": "cpu", "seed": 0, "policy_kwargs": {"net_arch": [8]}}
TINY: dict[str, Any] = {
    "task": "sepsis",
    "seeds": 2,
    "training": {
        "n_timesteps": 64,
        "n_envs": 4,
        "n_steps": 8,
        "batch_size": 16,
        "n_epochs": 1,
        "policy_kwargs": {"net_arch": [8]},
    },
    "models": [{"name": "full"}, {"name": "plain", "set": {"alpha_2": 0.0, "alpha_3": 0.0}}],
}


def test_tables_are_what_models_do() -> None:
    problem = random_problem(2)
    env = SepsisTreatmentEnv(mdp=problem, **OBSERVED)
    observations: Any = env.state_observations()
    masks = problem.admissible[: problem.n_transient]
    masked = GroupRelativePPO("MaskedMlpPolicy", env, n_steps=16, batch_size=16, **SMALL)
    table = policy_table(masked, env)
    assert table.shape == (9, 3) and table.sum(axis=1) == pytest.approx(1.0, abs=1e-12)
    assert (table[:6][~masks] < 1e-12).all() and (table[6:] == 1 / 3).all()
    assert policy_table(masked, env, most_likely=True)[:6].argmax(axis=1).tolist() == (
        masked.predict(observations, deterministic=True)[0].tolist()
    )
    contrib = policy_table(MaskablePPO("MlpPolicy", env, n_steps=16, batch_size=16, **SMALL), env)
    assert (contrib[:6][~masks] < 1e-12).all()
    plain = policy_table(PPO("MlpPolicy", env, n_steps=16, batch_size=16, **SMALL), env)
    assert (plain[:6] > 0.0).all()
    greedy = DQN("MlpPolicy", env, buffer_size=10, **SMALL)
    actions = greedy.predict(observations, deterministic=True)[0]
    assert policy_table(greedy, env)[:6].tolist() == np.eye(3)[actions].tolist()


def test_values_of_models_are_those_of_their_tables() -> None:
    env = SepsisTreatmentEnv(mdp=two_states(), group_by="sofa", **OBSERVED)
    policy = np.array([[0.2, 0.8], [1.0, 0.0], [1, 0], [1, 0], [1, 0]])
    worth = value_model(policy, env)
    assert worth.value == pytest.approx(2 / 3 * (0.2 * 0.6 + 0.8 * 0.75) + 0.3)
    assert value_model(policy, env, most_likely=True).value == pytest.approx(2 / 3 * 0.75 + 0.3)
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, **SMALL)
    values = policy_values(env.mdp, policy_table(model, env))
    assert value_model(model, env).value == pytest.approx(env.mdp.first @ values)


def test_a_model_that_sees_more_than_the_state_has_no_table() -> None:
    one, two = (SepsisTreatmentEnv(mdp=two_states(), flat=True, history=history) for history in (1, 2))
    model = PPO("MlpPolicy", two, n_steps=16, batch_size=16, **SMALL)
    with pytest.raises(ValueError, match="history: got 2, expected 1: a policy that sees several states"):
        policy_table(model, two)
    with pytest.raises(ValueError, match=r"model: sees a Box of shape \(98,\), expected a Box of shape \(50,\)"):
        policy_table(model, one)


def test_exact_values_agree_with_play() -> None:
    """4,000 patients, 4.5 standard errors: chance of a false alarm 7e-6."""
    problem = random_problem(8)
    env = SepsisTreatmentEnv(mdp=problem, **OBSERVED)
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, **SMALL)
    vec_env = make_vec_env("Sepsis-Treatment-v0", 200, seed=5, env_kwargs={**OBSERVED, "mdp": problem})
    model.set_random_seed(1)
    returns: list[float] = []
    observations: Any = vec_env.reset()
    while len(returns) < 4000:
        observations, rewards, dones, _ = vec_env.step(model.predict(observations)[0])
        returns += rewards[dones].tolist()
    # The first to finish are the short stays: as they come, the error of that is one stay in 20 of each environment
    exact = value_model(model, env).value
    assert abs(np.mean(returns) - exact) < 4.5 * np.std(returns) / np.sqrt(len(returns)) + 0.01


def test_a_training_finds_the_better_way() -> None:
    """With two states the best action is found within a few updates, and the callback sees it coming."""
    settings = load_settings("group_relative_ppo", "Sepsis-Treatment-v0", GroupRelativePPO)
    short = type(settings)(6000, 8, settings.policy, None, {**settings.algorithm, "n_steps": 32, "batch_size": 64})
    found = train(short, {}, "age", 0, points=4, env_kwargs={"mdp": two_states()})
    assert found.table[0, 1] > 0.8 and found.most_likely.value == pytest.approx(2 / 3 * 0.75 + 0.3)
    assert found.drawn.value > 0.78 and found.most_likely.regret == pytest.approx(0.0)
    curve = [point.drawn for point in found.curve]
    assert 4 <= len(curve) <= 6 and curve[-1] == pytest.approx(found.drawn.value, abs=1e-6) and curve[0] < curve[-1]
    assert found.episodes == found.curve[-1].episodes and 3500 < found.episodes < 6000
    found.model.get_env().close()  # type: ignore[union-attr]


def test_summaries_by_hand() -> None:
    found = [
        {"episodes": 10, "drawn": _worth(0.8, [0.7, 0.9], [0.1, 0.2])},
        {"episodes": 20, "drawn": _worth(0.9, [0.9, 0.9], [0.2, 0.4])},
    ]
    summary = summarise(found, "drawn")
    assert summary.n == 2 and summary.episodes.value == 15 and summary.value.value == pytest.approx(0.85)
    half = 12.706 * 0.05  # t for one degree of freedom, standard error 0.05
    assert (summary.value.low, summary.value.high) == pytest.approx((0.85 - half, 0.85 + half), abs=1e-4)
    assert summary.group_regrets["b"].value == pytest.approx(0.3)
    assert variances(found, "drawn", "group_values") == pytest.approx([0.01, 0.0])
    assert summary.regret_variance.value == pytest.approx((0.0025 + 0.01) / 2)
    assert change([1.0], [1.0, 2.0]) is None


def _worth(value: float, values: list[float], regrets: list[float]) -> dict[str, Any]:
    groups = {key: dict(zip("ab", of, strict=True)) for key, of in (("group_values", values), ("group_regrets", regrets))}
    return {"value": value, "length": 9.0, "regret": 0.05, **groups}


@pytest.fixture
def small_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grid's problem is a small one, everywhere."""
    problem = random_problem(0)
    monkeypatch.setattr(sepsis, "read_mdp", lambda: problem)
    monkeypatch.setattr("hospital_gym.clinical.sepsis.treatment_env.read_mdp", lambda folder=None: problem)
    monkeypatch.setattr("hospital_gym.clinical.sepsis.mdp.read_mdp", lambda folder=None: problem)


def written(folder: Path, changes: dict[str, Any] | None = None) -> Path:
    content = {key: value for key, value in {**TINY, **(changes or {})}.items() if value is not None}
    (folder / "tiny.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder / "tiny.yml"


@pytest.mark.usefixtures("small_problem")
def test_a_study_repeats_itself_goes_on_and_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid, first, second = written(tmp_path), tmp_path / "first", tmp_path / "second"
    assert study(grid, first, "--only", "sepsis/full/seed 0") == 0
    assert main(["report", str(first)]) == 0
    assert "3 trainings are not finished" in (first / "sepsis.md").read_text(encoding="utf-8")
    before = results(first)
    assert study(grid, first) == 0 and study(grid, second) == 0
    assert "1 of 4 runs were finished before" in capsys.readouterr().out
    assert results(first) == results(second) and before.items() <= results(first).items() and len(results(first)) == 8

    assert main(["report", str(first), "--markdown", str(tmp_path / "page" / "sepsis.md")]) == 0
    text = (tmp_path / "page" / "sepsis.md").read_text(encoding="utf-8")
    numbers = json.loads((tmp_path / "page" / "sepsis.json").read_text(encoding="utf-8"))
    assert (tmp_path / "page" / "sepsis.png").is_file() and "not finished" not in text and "| less full |" in text
    policies = sepsis.trained_policies(first, "plain")
    assert [seed for seed, _, _ in policies] == [sepsis.training_seed("plain", 0), sepsis.training_seed("plain", 1)]
    problem = random_problem(0)
    for (seed, table, path), found in zip(policies, numbers["trainings"]["plain"], strict=True):
        assert found["seed"] == seed and found["timesteps"] == 64
        assert found["drawn"]["value"] == pytest.approx(problem.first @ policy_values(problem, table), abs=1e-6)
        greedy = policy_values(problem, deterministic_policy(problem, table.argmax(axis=1)))
        assert found["most_likely"]["value"] == pytest.approx(problem.first @ greedy, abs=1e-6)
        env = SepsisTreatmentEnv(mdp=problem, **OBSERVED)
        assert policy_table(GroupRelativePPO.load(path), env) == pytest.approx(table, abs=1e-6)
    assert numbers["learned"]["drawn"]["plain"]["value"]["value"] == pytest.approx(
        np.mean([found["drawn"]["value"] for found in numbers["trainings"]["plain"]]), abs=1e-5
    )
    with pytest.raises(StudyError, match="got the row 'other', expected one with finished trainings: full, plain"):
        sepsis.trained_policies(first, "other")
    with pytest.raises(StudyError, match="expected one with finished trainings: none"):
        sepsis.trained_policies(tmp_path, "full")


@pytest.mark.usefixtures("small_problem")
def test_a_run_refuses_another_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    (one, *_) = sepsis.declared({key: value for key, value in TINY.items() if key != "task"})["full"]
    assert Store(Path("nowhere")).result(one) is None
    monkeypatch.setattr(sepsis, "read_mdp", lambda: random_problem(1))
    with pytest.raises(StudyError, match="problem: that of the package icu-sepsis here is not the one"):
        sepsis.run(one.config, {})


@pytest.mark.usefixtures("small_problem")
@pytest.mark.parametrize(
    "changes, said",
    [
        ({"models": None}, "grid: key 'models' is missing"),
        ({"models": []}, "models: got [], expected at least one row"),
        ({"models": [{"name": "a"}, {"name": "a"}]}, "models: got the name 'a', expected different names"),
        ({"models": [{"set": {}}]}, "models: key 'name' is missing"),
        ({"models": [{"name": "a", "set": {"alpha": 1}}]}, "models: a: unknown key 'alpha'; known keys are"),
        ({"group_by": "sex"}, "group_by: got 'sex', expected one of age, sofa"),
        ({"seeds": 0}, "seeds: got 0, expected a whole number >= 1"),
        ({"training": {"n_timesteps": 0}}, "n_timesteps: got 0, expected a whole number >= 1"),
        ({"training": 3}, "training: got 3, expected a mapping"),
        ({"tables": []}, "grid: unknown key 'tables'"),
        ({"protocol": {"lam": {}}}, "protocol: got one, expected none"),
    ],
)
def test_nonsense_is_named_with_its_fix(
    changes: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study(written(tmp_path, changes), tmp_path / "study", "--dry-run") == 2
    error = capsys.readouterr().err
    assert error.startswith("sb3-grpo study: error: ") and error.count("\n") == 1 and said in error


@pytest.mark.usefixtures("small_problem")
def test_phases_folders_and_studies_without_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study(written(tmp_path), tmp_path / "study", "--dry-run", "--phase", "validation") == 2
    assert "phase: got 'validation', expected 'test'" in capsys.readouterr().err
    store = tmp_path / "empty"
    store.mkdir()
    Store(store).describe({"task": "sepsis", "grid": {"models": [{"name": "full"}]}, "runs": {}})
    assert main(["report", str(store)]) == 2
    assert "nothing to report yet" in capsys.readouterr().err
    assert main(["report", str(store), str(store)]) == 2
    assert "expected one: a study of sepsis is reported by itself" in capsys.readouterr().err


@needs_icu_sepsis
def test_the_shipped_grid_is_the_ablation() -> None:
    rows = sepsis.declared(read_study("sepsis").grid)
    assert {name: len(runs) for name, runs in rows.items()} == {"full": 5, "alpha_3 = 0": 5, "alpha_2 = alpha_3 = 0": 5}
    weights = {name: [runs[0].config["training"][f"alpha_{k}"] for k in (1, 2, 3)] for name, runs in rows.items()}
    assert list(weights.values()) == [[1.0, 0.5, 0.1], [1.0, 0.5, 0.0], [1.0, 0.0, 0.0]]
    # No two trainings share an environment's seed
    configs = [run.config for runs in rows.values() for run in runs]
    blocks = {config["seed"] // 2048 for config in configs}
    assert len(blocks) == 15 and all(config["seed"] % 2048 + config["training"]["n_envs"] <= 2048 for config in configs)


def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hospital_gym.clinical.sepsis.mdp.find_spec", lambda name: None)
    assert study(written(tmp_path), tmp_path / "study", "--dry-run") == 2
    error = capsys.readouterr().err
    assert "icu-sepsis is not installed" in error and "pip install --no-deps icu-sepsis" in error and "mdp=" not in error
