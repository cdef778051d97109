"""FairGRPO: what PPO's update gets, training, saving and logging."""

import pickle
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
import yaml
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env as sb3_make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecNormalize

from callbacks import FairnessLoggingCallback
from sb3_grpo import FairGRPO, make_vec_env
from sb3_grpo.common.decision_vec_env import DecisionVecEnv
from sb3_grpo.common.hyperparameters import parse_settings
from sb3_grpo.common.model_files import saved_algorithm
from sb3_grpo.fair_grpo import corrected_weights
from tests.case_envs import DosesVectorEnv, planted_env
from tests.fair_models import logged, make, nobody, parameters

# -- The update ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("advantage", ["grpo", "dr_grpo", "rloo"])
@pytest.mark.parametrize("fast", [True, False])
def test_the_gradient_is_that_of_weighted_advantages_within_cases(fast: bool, advantage: str) -> None:
    """One update with plain gradient descent, against the loss written out; at a ratio of 1 nothing is clipped."""
    weight = {0: 0.5, 1: 3.0}

    def weighting(cases: Any, history: Any) -> np.ndarray:
        return np.array([weight[group] for group in cases.groups])

    model = make(
        weighting=weighting,
        advantage=advantage,
        fast=fast,
        n_steps=2,
        batch_size=128,
        n_epochs=1,
        learning_rate=1.0,
        max_grad_norm=1e9,
        policy_kwargs=dict(net_arch=[8], optimizer_class=th.optim.SGD),
    )
    before = parameters(model)
    seen: dict[str, Any] = {}

    class Rollout(BaseCallback):
        def _on_step(self) -> bool:
            for key in ("obs_tensor", "actions", "rewards"):
                seen.setdefault(key, []).append(th.as_tensor(self.locals[key]).numpy().copy())
            seen.setdefault("groups", []).append(self.locals["infos"].column("group_id").copy())
            return True

    model.learn(1, callback=Rollout())
    after = parameters(model)

    reference = make(policy_kwargs=dict(net_arch=[8], optimizer_class=th.optim.SGD))
    reference.policy.load_state_dict(before)
    observations, actions = (th.as_tensor(np.concatenate(seen[key])) for key in ("obs_tensor", "actions"))
    rewards = np.concatenate(seen["rewards"]).astype(np.float64).reshape(-1, 4)
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    if advantage == "grpo":
        centred /= rewards.std(axis=1, ddof=1, keepdims=True) + 1e-6
    if advantage == "rloo":
        centred *= 4 / 3
    weights = np.where(np.concatenate(seen["groups"]) == 1, 3.0, 0.5)
    _, log_prob, _ = reference.policy.evaluate_actions(observations, actions)
    loss = -(log_prob * th.as_tensor(centred.ravel() * weights, dtype=th.float32)).mean()
    loss.backward()
    assert any(parameter.grad is not None and parameter.grad.abs().max() > 1e-3 for parameter in reference.policy.parameters())
    for name, parameter in reference.policy.named_parameters():
        gradient = 0.0 if parameter.grad is None else parameter.grad
        th.testing.assert_close(
            before[name] - after[name], th.as_tensor(gradient).expand_as(after[name]), atol=2e-6, rtol=1e-4
        )


def test_the_lean_update_equals_the_one_of_sb3_but_for_rounding() -> None:
    trained = []
    for fast in (True, False):
        model = make(fast=fast, n_steps=3, ent_coef=0.01, clip_range=0.05, learning_rate=3e-3)
        assert (model._lean_policy() is not None) == fast
        trained.append(parameters(model.learn(3 * 64 * 4)))
    for name, value in trained[0].items():
        th.testing.assert_close(value, trained[1][name], atol=2e-4, rtol=1e-3)


def test_minibatches_hold_whole_cases() -> None:
    model = make(n_steps=3)
    model.learn(1)
    buffer = model.rollout_buffer
    # Of every step and environment a number of its own, so that a row tells where it comes from
    steps, envs = np.meshgrid(np.arange(3), np.arange(64), indexing="ij")
    for batches in (list(buffer.get(16)), list(buffer.get())):
        seen = np.concatenate([batch.observations.numpy() for batch in batches])
        by_case = seen.reshape(-1, 4, seen.shape[1])
        assert (by_case == by_case[:, :1]).all()  # the answers to a case see the same
        rows = np.concatenate([batch.advantages.numpy() for batch in batches])
        np.testing.assert_allclose(rows.reshape(-1, 4).sum(axis=1), 0, atol=1e-5)  # and all of them are there
        assert len(seen) == 3 * 64
    order = buffer.draw_epoch()
    assert sorted(order.tolist()) == list(range(3 * 64))
    assert (buffer.swap_and_flatten(envs[..., None]).ravel()[order].reshape(-1, 4) % 4 == [0, 1, 2, 3]).all()
    assert np.ptp(buffer.swap_and_flatten(steps[..., None]).ravel()[order].reshape(-1, 4), axis=1).max() == 0


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("weighting", [None, "corrected", "published", "group_dro", "resampling"])
def test_cases_whose_answers_earned_the_same_change_nothing(weighting: str | None, fast: bool) -> None:
    model = make(DosesVectorEnv(spread=0.0), weighting=weighting, fast=fast, batch_size=8, learning_rate=1.0)
    before = parameters(model)
    rows = logged(model, 40)
    for name, value in parameters(model).items():
        assert th.equal(value, before[name])
    assert all(row["cases/uniform"] == 1.0 for row in rows)


def test_there_is_no_critic() -> None:
    model = make(learning_rate=0.1)
    before = parameters(model)
    rows = logged(model, 256)
    for name, value in parameters(model).items():
        assert th.equal(value, before[name]) == name.startswith("value_net")
    assert [name for name in before if "value" in name] == ["value_net.weight", "value_net.bias"]
    assert all("train/value_loss" not in row for row in rows) and "train/explained_variance" in rows[-1]


def test_explained_variance_is_the_share_between_cases() -> None:
    model = make()
    rows = logged(model, 128)  # what is logged second is of the first update
    first = make()
    first.learn(1)
    rewards = first.rollout_buffer.by_case(first.rollout_buffer.raw_rewards)
    residual = rewards - rewards.mean(axis=1, keepdims=True)
    assert rows[1]["train/explained_variance"] == pytest.approx(1 - residual.var() / rewards.var(), abs=1e-5)


def test_it_learns_doses_with_continuous_actions() -> None:
    model = make(DosesVectorEnv(64, 8), n_steps=2, batch_size=64, n_epochs=4, learning_rate=0.01, weighting=None)
    env = DecisionVecEnv(DosesVectorEnv(64, 8))
    before: Any = evaluate_policy(model, env, n_eval_episodes=64)[0]
    model.learn(128 * 40)
    after: Any = evaluate_policy(model, env, n_eval_episodes=64)[0]
    assert after > before / 4 and after > -0.02  # guessing the mean dose of 0 earns -1/12


# -- Reference policy ----------------------------------------------------------------------------------------------------


def test_the_divergence_from_the_reference_pulls_back_to_it() -> None:
    """With constant rewards only the divergence moves the policy: to the reference, from which it is logged exactly."""
    reference = make(seed=1)
    with th.no_grad():
        reference.policy.action_net.bias.copy_(th.tensor([1.0, -1.0]))
    model = make(
        weighting=lambda cases, history: np.zeros(len(cases.groups)), reference_kl=1.0, reference=reference, learning_rate=0.02
    )
    rows = logged(model, 64 * 60)
    assert rows[1]["train/reference_kl"] > 0.1
    assert rows[-1]["train/reference_kl"] < 1e-3


def test_the_divergence_enters_the_gradient_with_its_coefficient() -> None:
    """Plain gradient descent from the reference plus something: the step is minus the gradient of coefficient * KL."""
    reference, coefficient = make(seed=1), 0.3
    kwargs = dict(net_arch=[8], optimizer_class=th.optim.SGD)
    model = make(
        weighting=nobody,
        reference_kl=coefficient,
        reference=reference,
        ent_coef=0.1,
        batch_size=64,
        n_epochs=1,
        learning_rate=1.0,
        max_grad_norm=1e9,
        policy_kwargs=kwargs,
    )
    before, observations = parameters(model), th.as_tensor(model.env.reset())
    model._last_obs, model._last_episode_starts = observations.numpy(), np.ones(64, dtype=bool)
    model.learn(1, reset_num_timesteps=False)
    twin = make(policy_kwargs=kwargs)
    twin.policy.load_state_dict(before)
    mine: Any = twin.policy.get_distribution(observations).distribution
    other: Any = reference.policy.get_distribution(observations).distribution
    kl = (mine.probs * (mine.logits - other.logits)).sum(1).mean()
    entropy = -(mine.probs * mine.logits).sum(1).mean()
    (coefficient * kl - 0.1 * entropy).backward()
    for name, parameter in twin.policy.named_parameters():
        step = before[name] - parameters(model)[name]
        expected = th.zeros_like(step) if parameter.grad is None else parameter.grad
        th.testing.assert_close(step, expected, atol=1e-6, rtol=1e-4)
    assert model.ent_coef == 0.1 and "evaluate_actions" not in vars(model.policy)


@pytest.mark.parametrize("env", [planted_env, DosesVectorEnv])
def test_without_a_given_reference_it_is_the_policy_at_the_start(env: Callable[[], Any], tmp_path: Path) -> None:
    model = make(env(), reference_kl=0.1, batch_size=8, learning_rate=0.01)
    start = parameters(model)
    model.learn(64)
    assert model.reference_policy is not None
    for name, value in start.items():
        np.testing.assert_array_equal(model.reference_policy.state[name], value.numpy())
    model.save(tmp_path / "model.zip")
    loaded: Any = FairGRPO.load(tmp_path / "model.zip", env())
    loaded.learn(64)
    np.testing.assert_array_equal(loaded.reference_policy.state["action_net.bias"], start["action_net.bias"].numpy())
    assert not any("reference" in name for name, _ in loaded.policy.named_parameters())


# -- Training ------------------------------------------------------------------------------------------------------------


def test_weights_in_training_are_those_of_the_closed_form() -> None:
    model = make(planted_env(n_cases=200), batch_size=800, n_epochs=1)
    rows = logged(model, 800)
    history = model.case_history
    assert history is not None
    shares = history["cases"] / history["cases"].sum()
    assert shares.sum(axis=0) == pytest.approx([0.9, 0.1, 0.0], abs=0.06)
    row = rows[0]
    cells = corrected_weights(history, np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), max_weight=100)
    ratio = (cells[2:] * shares[:, 1]).sum() / shares[:, 1].sum() / ((cells[:2] * shares[:, 0]).sum() / shares[:, 0].sum())
    assert row["group/rare/weight"] / row["group/common/weight"] == pytest.approx(ratio)
    assert row["group/rare/share"] * row["group/rare/weight"] + row["group/common/share"] * row[
        "group/common/weight"
    ] == pytest.approx(1.0)
    assert row["group/rare/difficulty"] == pytest.approx(1 - (row["group/rare/reward"] - 0.01) / 0.99, abs=1e-5)
    for key in ("group/worst", "group/gap", "source/here/reward", "source/there/weight", "cases/ess"):
        assert key in row


def test_vec_normalize_changes_neither_weights_nor_advantages_by_rewards() -> None:
    plain = make().learn(256)
    normalised = make(VecNormalize(DecisionVecEnv(planted_env()), norm_obs=False, norm_reward=True)).learn(256)
    for name, value in parameters(plain).items():
        assert th.equal(value, parameters(normalised)[name])


def test_the_same_seed_gives_the_same_model() -> None:
    first, second, other = make().learn(256), make().learn(256), make(seed=1).learn(256)
    assert all(th.equal(value, parameters(second)[name]) for name, value in parameters(first).items())
    assert not all(th.equal(value, parameters(other)[name]) for name, value in parameters(first).items())


@pytest.mark.parametrize("weighting", [None, "corrected", "published", "group_dro", "resampling"])
def test_save_and_load(weighting: str | None, tmp_path: Path) -> None:
    model = make(weighting=weighting, smoothing=0.2)
    model.learn(256)
    model.save(tmp_path / "model.zip")
    assert saved_algorithm(tmp_path / "model.zip") is FairGRPO
    loaded: Any = FairGRPO.load(tmp_path / "model.zip", planted_env())
    for key, array in model.case_history.items():
        np.testing.assert_array_equal(loaded.case_history[key], array)
    assert loaded.weighting_state.keys() == model.weighting_state.keys()
    assert (loaded.answers, loaded.group_names, loaded.smoothing) == (4, ("common", "rare"), 0.2)
    observations = model.env.reset()
    for candidate in (loaded, PPO.load(tmp_path / "model.zip")):
        np.testing.assert_array_equal(
            candidate.predict(observations, deterministic=True)[0], model.predict(observations, deterministic=True)[0]
        )
    model.set_env(planted_env())
    for candidate in (model, loaded):
        candidate.set_random_seed(5)
        candidate.learn(128, reset_num_timesteps=False)
    assert all(th.equal(value, parameters(loaded)[name]) for name, value in parameters(model).items())


def test_load_makes_environments_as_the_constructor_does(tmp_path: Path) -> None:
    model = make("Diagnosis-BreastCancer-v0", n_cases=4, answers=4)
    model.save(tmp_path / "model.zip")
    for env in ("Diagnosis-BreastCancer-v0", gym.make("Diagnosis-BreastCancer-v0")):
        loaded: Any = FairGRPO.load(tmp_path / "model.zip", env)
        assert (loaded.n_envs, loaded.answers) == (16, 4)
        loaded.learn(16)
    alone = FairGRPO.load(tmp_path / "model.zip")
    assert alone.predict(np.zeros(30, dtype=np.float32))[0] in (0, 1)
    more = FairGRPO.load(tmp_path / "model.zip", make_vec_env("Diagnosis-BreastCancer-v0", 32, vec_env_kwargs={"answers": 4}))
    more.learn(32)
    assert more.n_envs == 32


def test_other_groups_or_numbers_of_environments_are_refused() -> None:
    model = make()
    model.learn(64)
    with pytest.raises(ValueError, match="`group_names` of the environment are"):
        model.set_env(planted_env(group_by=()))
    with pytest.raises(ValueError, match="got 32 environments, expected 64"):
        model.set_env(planted_env(n_cases=8))


def test_callbacks_work(tmp_path: Path) -> None:
    model = make(n_steps=2)
    evaluation = EvalCallback(DecisionVecEnv(planted_env(n_cases=2)), n_eval_episodes=16, eval_freq=2, verbose=0)
    fairness = FairnessLoggingCallback(str(tmp_path / "fairness.csv"), min_patients=1)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(512, callback=[evaluation, fairness])
    assert evaluation.last_mean_reward > 0
    assert (tmp_path / "fairness.csv").read_text(encoding="utf-8").count("\n") > 1
    assert len(model.ep_info_buffer) == 100
    model.logger.close()
    newest = [episode["r"] for episode in model.ep_info_buffer]
    np.testing.assert_allclose(newest[-64:], model.rollout_buffer.raw_rewards[-1], atol=1e-6)


def test_memory_does_not_grow_with_the_number_of_cases_that_went_by() -> None:
    model = make()
    model.learn(64)
    state = (model.case_history, model.weighting_state)
    size = len(pickle.dumps(state))
    model.learn(64 * 50, reset_num_timesteps=False)
    assert len(pickle.dumps((model.case_history, model.weighting_state))) == size


def test_settings_for_rl_zoo() -> None:
    entry = yaml.safe_load((resources.files("zoo_configs") / "fair_grpo" / "default.yml").read_text(encoding="utf-8"))[
        "default"
    ]
    settings = parse_settings(entry, FairGRPO, "default.yml")
    env = sb3_make_vec_env("Diagnosis-BreastCancer-v0", settings.n_envs)  # as RL Zoo makes it
    model = FairGRPO(settings.policy, env, device="cpu", **settings.arguments())
    assert model.n_envs == 1024
    model.learn(1024)
