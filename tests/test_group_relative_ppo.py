"""GroupRelativePPO: where it is PPO, what it learns, what it keeps, and what it says."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from hospital_gym.clinical.sepsis.treatment_env import SepsisTreatmentEnv
from sb3_grpo import GroupAssignment, GroupRelativePPO, GroupRobustPPO
from sb3_grpo.common.hyperparameters import load_settings
from sb3_grpo.common.model_files import saved_algorithm
from sb3_grpo.group_relative_ppo import GroupObservation, Mixture, shape, with_group
from tests.sepsis_problems import two_states
from tests.small_models import SMALL
from tests.test_identity import CASES, assert_same, trained
from tests.toy_envs import DictEnv, SharedEnv

NAMES = ("even", "odd")


class OwnWay(gym.Env[np.ndarray, Any]):
    """
    Episodes of one patient. Group g is paid 1 where the action is g, or minus the distance of a continuous action to 2g - 1.
    What is observed says nothing about the group.

    :param continuous: Whether the action is a number
    :param length: Steps of an episode
    """

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, continuous: bool = False, length: int = 1):
        self.action_space = spaces.Box(-2, 2, (1,)) if continuous else spaces.Discrete(2)
        self.length = length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._group, self._step = int(self.np_random.integers(2)), 0
        return np.zeros(1, np.float32), {"who": self._group}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        if isinstance(self.action_space, spaces.Discrete):
            reward = float(action == self._group)
        else:
            reward = -abs(float(action[0]) - (2 * self._group - 1))
        return np.zeros(1, np.float32), reward, self._step >= self.length, False, {}


def who(observation: Any, action: Any, info: dict[str, Any], episode: int) -> int:
    return info["who"]


def patients(observed: bool = True, n_envs: int = 8, **kwargs: Any) -> VecEnv:
    def make() -> gym.Env:
        env = GroupAssignment(OwnWay(**kwargs), who, group_names=NAMES)
        return GroupObservation(env) if observed else env

    return make_vec_env(make, n_envs=n_envs, seed=0)


def make(env: VecEnv, policy: str = "GroupConditionedPolicy", **kwargs: Any) -> GroupRelativePPO:
    return GroupRelativePPO(policy, env, **{**SMALL, **kwargs})


# -- Where it is PPO -------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size of 45")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("source", ["time", "batch_mean"])
def test_without_groups_it_is_ppo(case: str, source: str) -> None:
    make_env, kwargs = CASES[case]
    mine = trained(GroupRelativePPO, make_env, alpha_2=0, alpha_3=0, group_advantage=source, **kwargs)
    assert_same(trained(PPO, make_env, **kwargs), mine)


def test_with_group_critic_it_is_group_robust_ppo_at_lam_zero() -> None:
    make_env, _ = CASES["group items"]
    expected = trained(GroupRobustPPO, make_env, lam=0.0)
    assert_same(expected, trained(GroupRelativePPO, make_env, alpha_2=0, alpha_3=0, group_advantage="critic"))


@pytest.mark.parametrize("source", ["time", "batch_mean", "critic"])
def test_advantages_in_training_are_the_mixture_standardised_once(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``train()`` consumes of one minibatch that holds the whole rollout."""
    env = make_vec_env(SharedEnv, n_envs=2, seed=0) if source == "critic" else patients(observed=False, n_envs=2, length=3)
    model = make(env, "MlpPolicy", group_advantage=source, batch_size=32, n_epochs=1)
    seen: dict[str, np.ndarray] = {}

    def no_update(self: Any) -> None:
        samples = next(iter(self.rollout_buffer.get(32)))
        seen["advantages"] = samples.advantages.numpy()

    monkeypatch.setattr(PPO, "train", no_update)
    monkeypatch.setattr("sb3_grpo.common.fast_update.fast_update", lambda model, lean: no_update(model))
    model.learn(32)
    expected = model._shaped.ravel()
    expected = (expected - expected.mean()) / (expected.std(ddof=1) + 1e-8)
    np.testing.assert_allclose(np.sort(seen["advantages"]), np.sort(expected), atol=1e-5)


def test_source_critic_takes_the_concerned_group() -> None:
    env = make_vec_env(SharedEnv, n_envs=2, seed=0)
    model = make(env, "MlpPolicy", group_advantage="critic", alpha_2=0.5, alpha_3=0.2)
    model.learn(32)
    buffer = model.rollout_buffer
    total = buffer.group_advantages.sum(-1)
    own = np.take_along_axis(buffer.group_advantages, buffer.group_ids[..., None], -1)[..., 0]
    expected = total + 0.5 * own - 0.2 * np.abs(total - own)
    np.testing.assert_allclose(model._shaped, expected, atol=1e-5)
    assert model.logger.name_to_value.get("group/lam") is None


def test_a_callback_that_draws_a_minibatch_changes_nothing() -> None:
    class Draws(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            next(iter(self.model.rollout_buffer.get(4)))  # type: ignore[attr-defined]

    for source in ("time", "batch_mean"):
        expected = make(patients(n_envs=2, length=3), group_advantage=source).learn(32)
        got = make(patients(n_envs=2, length=3), group_advantage=source).learn(32, callback=Draws())
        np.testing.assert_allclose(got._shaped, expected._shaped, atol=1e-6)


# -- What it learns --------------------------------------------------------------------------------------------------------

FAST_TO_LEARN: dict[str, Any] = dict(n_steps=32, batch_size=256, n_epochs=4, learning_rate=1e-2)


@pytest.mark.parametrize("source", ["time", "batch_mean"])
def test_each_group_gets_what_suits_it(source: str) -> None:
    """The optimum pays every patient 1; without the group no policy pays more than 0.5 on average."""
    model = make(patients(), group_advantage=source, kl_alarm=None, **FAST_TO_LEARN).learn(6_000)
    with th.no_grad():
        each = model.policy.distributions_by_group(th.zeros(1, 2))  # type: ignore[operator]
    for group, distribution in enumerate(each):
        assert distribution.distribution.probs[0, group] > 0.95
        assert model.predict(with_group(np.zeros(1, np.float32), group), deterministic=True)[0] == group


def test_continuous_actions() -> None:
    model = make(patients(continuous=True), kl_alarm=None, **FAST_TO_LEARN).learn(10_000)
    for group, best in enumerate((-1.0, 1.0)):
        action, _ = model.predict(with_group(np.zeros(1, np.float32), group), deterministic=True)
        assert action[0] == pytest.approx(best, abs=0.3)


class Gamble(OwnWay):
    """Action 0 pays 0. Action 1 pays 1.1 or -0.9 with equal odds: 0.1 more on average."""

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = float(action) * (0.1 + self.np_random.choice([-1.0, 1.0]))
        return np.zeros(1, np.float32), reward, True, False, {}


@pytest.mark.parametrize(("source", "alpha_3", "gambles"), [("batch_mean", 0.5, 0), ("batch_mean", 0.0, 1), ("time", 0.5, 1)])
def test_risk_is_avoided_with_the_batch_mean_only(source: str, alpha_3: float, gambles: int) -> None:
    """
    With the batch mean, here near 0, the gamble is fined 0.5 on average and gains 0.1. With the value of group and time, in
    episodes of one step, the distance is that of two values: no action has a part in it. In six seeds of each case the
    preferred action had a probability of at least 0.994.
    """
    env = make_vec_env(lambda: GroupAssignment(Gamble(), who, group_names=NAMES), n_envs=16, seed=0)
    settings = {**FAST_TO_LEARN, "batch_size": 512}
    model = make(env, "MlpPolicy", group_advantage=source, alpha_2=0, alpha_3=alpha_3, **settings).learn(15_000)
    with th.no_grad():
        probs = model.policy.get_distribution(th.zeros(1, 1)).distribution.probs  # type: ignore[union-attr]
    assert probs[0, gambles] > 0.9


def test_penalty_keeps_policies_alike_and_the_alarm_sees_them_part() -> None:
    """
    With a penalty of 10 the policies of the groups stay within 0.05 nats (0.02 in four seeds); without, they part and one
    warning names them.
    """
    model = make(patients(), group_kl=10.0, **FAST_TO_LEARN).learn(6_000)
    assert model._relative_log["group/kl_worst"] < 0.05
    assert model._relative_log["group/kl_alarm"] == 0.0
    model = make(patients(), **FAST_TO_LEARN)
    with pytest.warns(UserWarning, match="policies of groups '(even|odd)' and '(even|odd)' have diverged") as warned:
        model.learn(6_000)
    assert len(warned) == 1
    assert model._relative_log["group/kl_alarm"] == 1.0
    assert model._relative_log["group/even/kl"] > 1.0


# -- What it keeps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["time", "critic"])
def test_save_and_load(source: str, tmp_path: Any) -> None:
    model = make(patients(length=3), group_advantage=source, group_kl=0.1, alpha_2=0.7, beta=1.5).learn(256)
    model.save(tmp_path / "model.zip")
    assert saved_algorithm(tmp_path / "model.zip") is GroupRelativePPO
    loaded = GroupRelativePPO.load(tmp_path / "model.zip", env=patients(length=3))
    assert (loaded.alpha_2, loaded.beta, loaded.group_advantage, loaded.group_kl) == (0.7, 1.5, source, 0.1)
    observations = np.array([[0.0, -1.0], [0.0, 0.0], [0.0, 1.0]], np.float32)
    expected, got = (m.policy.predict_values(th.as_tensor(observations)) for m in (model, loaded))
    th.testing.assert_close(got, expected)
    if source == "time":
        assert model.time_values is not None
        np.testing.assert_array_equal(loaded.time_values["targets"], model.time_values["targets"])  # type: ignore[index]
    loaded.learn(128)


def test_load_with_another_number_of_environments(tmp_path: Any) -> None:
    make(patients(observed=False, length=3), "MlpPolicy").learn(128).save(tmp_path / "model.zip")
    GroupRelativePPO.load(tmp_path / "model.zip", env=patients(observed=False, n_envs=3, length=3)).learn(48)


@pytest.mark.parametrize("source", ["time", "batch_mean"])
def test_unnamed_groups_and_dict_observations(source: str) -> None:
    env = make_vec_env(lambda: DictEnv(SharedEnv(keys=("group_id",), names=None)), n_envs=2, seed=0)
    make(env, "MultiInputPolicy", group_advantage=source).learn(64)


def test_discount_on_elapsed_time_and_normalised_rewards() -> None:
    env = VecNormalize(make_vec_env(SharedEnv, n_envs=2, seed=0, env_kwargs=dict(discount_time=5.0)), norm_obs=False)
    model = make(env, "MlpPolicy", group_advantage="critic").learn(64)
    assert np.isfinite(model._shaped).all()


# -- What it says ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(alpha_3=1.0), "`alpha_3` must be below `alpha_1`=1.0, got 1.0: from there on"),
        (dict(alpha_1=0.2, alpha_3=0.3), "`alpha_3` must be below `alpha_1`=0.2"),
        (dict(alpha_1=0.0, alpha_3=0.0), "`alpha_1` must be a positive"),
        (dict(alpha_2=-0.1), "`alpha_2` must be a finite number, at least 0"),
        (dict(alpha_3=float("nan")), "`alpha_3` must be a finite number"),
        (dict(beta=0.5), "`beta` must be a finite number, at least 1"),
        (dict(group_advantage="mean"), "`group_advantage` must be one of"),
        (dict(group_kl="much"), "`group_kl` must be a finite number"),
        (dict(kl_alarm=0.0), "`kl_alarm` must be a positive"),
        (dict(group_names=("one", "two", "three")), "`group_names` of the environment are"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(patients(n_envs=1), **arguments)


def test_penalty_needs_a_policy_that_knows_the_group() -> None:
    with pytest.raises(ValueError, match=r"`group_kl` is 0\.1, but a ActorCriticPolicy does not know the group"):
        make(patients(n_envs=1), "MlpPolicy", group_kl=0.1)


def test_critic_needs_names() -> None:
    env = make_vec_env(lambda: SharedEnv(names=None), n_envs=1, seed=0)
    with pytest.raises(ValueError, match="`group_advantage='critic'` needs to know the groups"):
        make(env, "MlpPolicy", group_advantage="critic")


def test_group_must_reach_the_policy_as_it_is() -> None:
    with pytest.raises(ValueError, match="VecNormalize: got norm_obs=True"):
        make(VecNormalize(patients(n_envs=1)))
    make(VecNormalize(patients(n_envs=1), norm_obs=False))


def test_numbers_of_groups_must_agree() -> None:
    three = spaces.Box(np.array([-1, -1, -1], np.float32), np.array([1, 1, 2], np.float32))
    env = make_vec_env(SharedEnv, n_envs=1, env_kwargs=dict(observation_space=three))
    with pytest.raises(ValueError, match="observation has room for 3 groups"):
        make(env)


def test_missing_ids_are_an_error_only_where_groups_count() -> None:
    env = make_vec_env("CartPole-v1", n_envs=2, seed=0)
    make(env, "MlpPolicy", alpha_2=0, alpha_3=0).learn(32)
    with pytest.raises(ValueError, match=r"info\['group_id'\]"):
        make(env, "MlpPolicy").learn(32)


def test_shared_steps_are_for_the_group_critic() -> None:
    with pytest.warns(UserWarning, match="use group_advantage='critic'"):
        make(make_vec_env(SharedEnv, n_envs=2, seed=0), "MlpPolicy").learn(32)


def test_rewards_that_all_go_to_the_own_group_are_not_shared() -> None:
    env = make_vec_env(lambda: SepsisTreatmentEnv(history=1, flat=True, mdp=two_states()), n_envs=2, seed=0)
    make(env, "MaskedMlpPolicy").learn(64)  # a warning is an error


def test_critic_of_a_saved_model_stays(tmp_path: Any) -> None:
    make(patients(), "MlpPolicy").save(tmp_path / "model.zip")
    with pytest.raises(ValueError, match="cannot be changed"):
        GroupRelativePPO.load(tmp_path / "model.zip", group_advantage="critic")


@pytest.mark.parametrize("env_id", ["Hospital-Urban-v0", "Hospital-Rural-v0", "Hospital-Pediatric-v0", "Hospital-Surge-v0"])
def test_settings_of_hospitals(env_id: str) -> None:
    settings = load_settings("group_relative_ppo", env_id, GroupRelativePPO)
    assert settings.algorithm["group_advantage"] == "critic"


def test_shape_is_pure() -> None:
    individual, group = np.ones((2, 2)), np.zeros((2, 2))
    ids = np.zeros((2, 2), dtype=int)
    shape(individual, group, ids, Mixture(1.0, 0.5, 0.1, 1.0))
    assert (individual == 1).all() and not group.any() and not ids.any()
