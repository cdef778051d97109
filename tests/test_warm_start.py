"""A policy that begins as a copy of a rule, and a critic that learns before the policy moves."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from callbacks import WarmStartCallback
from hospital_gym.heuristics import make_heuristic
from sb3_grpo import GroupRobustMaskablePPO, GroupRobustPPO
from sb3_grpo.common.hyperparameters import parse_settings
from sb3_grpo.common.imitation import Demonstrations, acting_parameters, imitate
from sb3_grpo.common.vec_env import make_vec_env
from tests.toy_envs import SharedEnv

LINEAR: dict[str, Any] = {"net_arch": {"pi": [], "vf": [16]}}
SMALL: dict[str, Any] = dict(n_steps=16, batch_size=64, n_epochs=1, seed=3, policy_kwargs=LINEAR)


class Looks(BaseCallback):
    """Copies of the policy's parameters before every rollout and at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, th.Tensor]] = []

    def look(self) -> None:
        self.seen.append({key: value.clone() for key, value in self.model.policy.state_dict().items()})

    def _on_rollout_start(self) -> None:
        self.look()

    def _on_training_end(self) -> None:
        self.look()

    def _on_step(self) -> bool:
        return True


def hospital(n_envs: int = 8) -> VecNormalize:
    return VecNormalize(make_vec_env("Hospital-Urban-v0", n_envs, 0), norm_obs=False)


def moved(before: dict[str, th.Tensor], after: dict[str, th.Tensor]) -> set[str]:
    """Whether actor ('action') or critic ('value') changed."""
    changed = {key for key in before if not th.equal(before[key], after[key])}
    return {part for part in ("action", "value") if any(part in key for key in changed)}


def test_imitation_finds_the_most_likely_policy() -> None:
    """Two observations, of which one is answered by action 0 in 3 of 4 cases: the likelihood is largest at these shares."""
    model = PPO("MlpPolicy", DummyVecEnv([lambda: gym.make("CartPole-v1")]), policy_kwargs=LINEAR, seed=0)
    observations = np.repeat(np.array([[1, 0, 0, 0], [0, 1, 0, 0]], dtype=np.float32), 4, axis=0)
    shown = Demonstrations(observations, np.array([0, 0, 0, 1, 1, 1, 0, 0]), None)
    loss = imitate(model.policy, shown, 300, 8, 0.2, np.random.default_rng(0))
    with th.no_grad():
        answers: Any = model.policy.get_distribution(th.as_tensor(observations)).distribution
        probabilities = answers.probs[[0, 4], 0].numpy()
    np.testing.assert_allclose(probabilities, [0.75, 0.5], atol=0.01)
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25) + np.log(0.5)) / 2
    assert loss == pytest.approx(entropy, abs=1e-3)
    state = th.get_rng_state()
    acting = acting_parameters(model.policy, observations)
    assert th.equal(state, th.get_rng_state())  # training draws from this generator
    names = {name for name, parameter in model.policy.named_parameters() if any(parameter is p for p in acting)}
    assert names == {"action_net.weight", "action_net.bias"}


@pytest.mark.parametrize("algorithm", [GroupRobustPPO, GroupRobustMaskablePPO, PPO, MaskablePPO])
def test_policy_acts_like_the_rule_and_stands_still_while_the_critic_learns(algorithm: Any) -> None:
    masked = algorithm in (GroupRobustMaskablePPO, MaskablePPO)
    kwargs: dict[str, Any] = {} if algorithm in (PPO, MaskablePPO) else {"lam": 0.3}
    name = "MlpPolicy" if masked else "sb3_grpo.group_robust_ppo.MaskedMlpPolicy"
    policy = parse_settings({"n_timesteps": 1, "policy": name}, algorithm, "here").policy_argument()
    model = algorithm(policy, hospital(), **kwargs, **SMALL)
    looks = Looks()
    warm = WarmStartCallback("c-mu-tuned", n_steps=120, n_epochs=20, critic_steps=2 * 128)
    model.learn(4 * 128, callback=[warm, looks])
    first, second, third, fourth, last = looks.seen
    assert moved(first, second) == {"value"} and moved(second, third) == {"value"}
    assert moved(third, fourth) == {"action", "value"} and moved(fourth, last) == {"action", "value"}

    model.policy.load_state_dict(first)
    rule = make_heuristic("c-mu-tuned", gym.make("Hospital-Urban-v0"))
    envs = make_vec_env("Hospital-Urban-v0", 4, 99)
    observations: Any = envs.reset()
    agreed = []
    for _ in range(100):
        wanted = rule.predict(observations)[0]
        masks = {"action_masks": observations[:, -32:] > 0.5} if masked else {}
        agreed.append(model.predict(observations, deterministic=True, **masks)[0] == wanted)
        observations = envs.step(wanted)[0]
    assert np.mean(agreed) > 0.85  # without imitation .1 to .4


def test_a_training_shorter_than_the_critics_leaves_the_imitation() -> None:
    model, looks = GroupRobustPPO("MaskedMlpPolicy", hospital(), lam=0.3, **SMALL), Looks()
    model.learn(128, callback=[WarmStartCallback(n_steps=4, n_epochs=1), looks])
    assert moved(looks.seen[0], looks.seen[-1]) == {"value"}


def test_whoever_goes_on_is_not_started_anew() -> None:
    model, looks = GroupRobustPPO("MaskedMlpPolicy", hospital(), lam=0.3, **SMALL), Looks()
    model.learn(128)
    before = {key: value.clone() for key, value in model.policy.state_dict().items()}
    model.learn(256, callback=[WarmStartCallback(n_steps=4, critic_steps=256), looks], reset_num_timesteps=False)
    first, second, last = looks.seen
    assert moved(before, first) == set() and moved(first, second) == {"value"}
    assert moved(second, last) == {"action", "value"}


def test_any_policy_can_be_the_rule() -> None:
    teacher = GroupRobustPPO("MaskedMlpPolicy", hospital(), lam=0.0, **SMALL)
    model = GroupRobustPPO("MaskedMlpPolicy", hospital(), lam=0.3, **{**SMALL, "seed": 4})
    model.learn(128, callback=WarmStartCallback(teacher, n_steps=100, n_epochs=20))
    observations = hospital(4).reset()
    np.testing.assert_array_equal(
        model.predict(observations, deterministic=True)[0], teacher.predict(observations, deterministic=True)[0]
    )


class Invalid:
    """Always does what is hardly ever possible."""

    def predict(self, observation: Any, *_: Any, **__: Any) -> tuple[Any, None]:
        return np.full(len(observation), 27), None


@pytest.mark.parametrize(
    ("make", "warm", "message"),
    [
        (lambda: PPO("MlpPolicy", DummyVecEnv([SharedEnv] * 4), **SMALL), {}, "expected a hospital environment"),
        (lambda: PPO("MlpPolicy", hospital(), **SMALL), {"rule": "x"}, "heuristic: got 'x', expected one of"),
        (
            lambda: RecurrentPPO("MlpLstmPolicy", hospital(2), n_steps=8),
            {},
            "policy: got RecurrentActorCriticPolicy, expected",
        ),
        (lambda: GroupRobustPPO("MaskedMlpPolicy", hospital(), **SMALL), {"rule": Invalid()}, "rule: .* cannot do"),
    ],
)
def test_what_cannot_be_imitated_is_refused(make: Any, warm: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make().learn(128, callback=WarmStartCallback(**{"n_steps": 2, "n_epochs": 1, **warm}))


@pytest.mark.parametrize(
    ("key", "value"), [("n_steps", 0), ("n_epochs", 1.5), ("batch_size", True), ("critic_steps", -1), ("learning_rate", 0.0)]
)
def test_arguments_are_checked(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{key}: got {value}, expected"):
        WarmStartCallback(**{key: value})


def test_settings_name_callbacks_as_the_zoo_does() -> None:
    entry = {"n_timesteps": 1, "policy": "MlpPolicy", "callback": [{"callbacks.WarmStartCallback": {"rule": "triage"}}]}
    (callback,) = parse_settings(entry, PPO, "here").make_callbacks()
    assert isinstance(callback, WarmStartCallback) and callback.rule == "triage"
    (callback,) = parse_settings({**entry, "callback": "callbacks.WarmStartCallback"}, PPO, "here").make_callbacks()
    assert isinstance(callback, WarmStartCallback) and callback.rule == "c-mu-tuned"


@pytest.mark.parametrize("told", ["callbacks.Nothing", "nowhere.Callback", "callbacks.progress.Sized", {"a": 1, "b": 2}, 3])
def test_what_is_no_callback_is_refused(told: Any) -> None:
    with pytest.raises(ValueError, match=r"here: callback: got .*, expected the name of a"):
        parse_settings({"n_timesteps": 1, "policy": "MlpPolicy", "callback": told}, PPO, "here")
