import io
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import HumanOutputFormat, Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize

from sb3_grpo import GroupAssignment, GroupRobustPPO
from sb3_grpo.common.group_buffers import GroupDictRolloutBuffer, GroupRolloutBuffer
from sb3_grpo.common.group_logging import short_names
from sb3_grpo.common.group_policies import GroupActorCriticPolicy, GroupMultiInputActorCriticPolicy
from tests.small_models import ID_ONLY, SMALL, make, shared
from tests.toy_envs import BanditVecEnv, DictEnv, SharedEnv


def assert_same_state(first: Any, second: Any) -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same_state(first[key], second[key])
    else:
        np.testing.assert_array_equal(first, second)


# -- What is chosen by default ---------------------------------------------------------------------------------------


def test_critic_follows_what_is_known() -> None:
    assert make().policy.value_net.out_features == 2
    assert isinstance(make().policy, GroupActorCriticPolicy)
    assert type(make().rollout_buffer) is GroupRolloutBuffer
    assert make(shared(names=None, keys=ID_ONLY)).group_critic is False
    assert make(shared(names=None), group_names=("a", "b")).group_critic is True
    assert type(make(group_critic=False).policy) is ActorCriticPolicy


def test_dict_observations() -> None:
    model = make(make_vec_env(lambda: DictEnv(SharedEnv()), n_envs=2), "MultiInputPolicy").learn(64)
    assert isinstance(model.policy, GroupMultiInputActorCriticPolicy)
    assert type(model.rollout_buffer) is GroupDictRolloutBuffer


def test_image_observations() -> None:
    class Images(SharedEnv):
        observation_space = gym.spaces.Box(0, 255, (36, 36, 3), np.uint8)  # type: ignore[arg-type]

        def _observe(self) -> np.ndarray:
            return self.observation_space.sample()

    model = make(make_vec_env(Images), "CnnPolicy", policy_kwargs={}).learn(16)
    assert model.policy.value_net.out_features == 2


def test_classes_of_the_user_get_groups_too(tmp_path: Path) -> None:
    class MyPolicy(ActorCriticPolicy):
        pass

    class MyBuffer(RolloutBuffer):
        pass

    model = GroupRobustPPO(MyPolicy, shared(), rollout_buffer_class=MyBuffer, **SMALL).learn(64)
    assert isinstance(model.policy, MyPolicy) and isinstance(model.rollout_buffer, MyBuffer)
    assert model.policy.value_net.out_features == 2
    model.save(tmp_path / "model")
    loaded = GroupRobustPPO.load(tmp_path / "model", env=shared(), device="cpu").learn(32)
    assert type(loaded.policy).__name__ == "GroupMyPolicy"


def test_learn_has_a_default_and_its_own_log_name() -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return False

    model = make().learn(callback=Stop())
    assert model._total_timesteps == 100_000


def test_environment_attributes_are_found_through_wrappers() -> None:
    model = make(VecNormalize(shared(discount_time=5.0, performance_scale=0.05)))
    assert (model.group_names, model.adopted_discount_time, model.performance_scale) == (("left", "right"), 5.0, 0.05)
    assert model.rollout_buffer.elapsed_discount
    for given, used in ((2.0, True), (False, False)):
        model = make(shared(discount_time=5.0), discount_time=given)
        assert model.rollout_buffer.elapsed_discount is used and model.adopted_discount_time == given


@pytest.mark.parametrize("saved", [False, True])
def test_every_new_environment_is_asked_for_its_discount_time(saved: bool, tmp_path: Path) -> None:
    """Unless the user gave one."""
    for given, expected in ((None, (3.0, None, 4.0)), (2.0, (2.0, 2.0, 2.0)), (False, (False, False, False))):
        model = make(shared(discount_time=5.0), discount_time=given).learn(32)
        if saved:
            model.save(tmp_path / "model")
            model = GroupRobustPPO.load(tmp_path / "model", device="cpu")
            assert model.adopted_discount_time == (5.0 if given is None else given)
        for new, adopted in zip((3.0, None, 4.0), expected, strict=True):
            env = shared() if new is None else shared(discount_time=new)
            model.set_env(env)
            if saved:
                model.save(tmp_path / "model")
                model = GroupRobustPPO.load(tmp_path / "model", env=env, device="cpu")
            assert model.adopted_discount_time == adopted
            assert model.rollout_buffer.elapsed_discount is bool(adopted)
            model.learn(32)
            if adopted and given is None:
                assert len(np.unique(model.rollout_buffer.discounts)) > 1
        assert model.discount_time == given


# -- Save and load ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kwargs", [dict(), dict(group_critic=False), dict(env=shared(names=None, keys=ID_ONLY))])
def test_save_and_load_keep_the_state_of_the_groups(kwargs: dict[str, Any], tmp_path: Path) -> None:
    model = make(lam="lin_0.5", **kwargs).learn(96)
    model.save(tmp_path / "model")
    loaded = GroupRobustPPO.load(tmp_path / "model", env=model.get_env(), device="cpu")
    assert_same_state(loaded.group_state, model.group_state)
    assert (loaded.group_names, loaded.group_critic) == (model.group_names, model.group_critic)
    for first, second in zip(model.policy.parameters(), loaded.policy.parameters(), strict=True):
        assert th.equal(first, second)

    # The same rollout means the same to both
    starts = np.zeros(2, dtype=bool)
    loaded.rollout_buffer = model.rollout_buffer
    model._update_group_state(starts)
    loaded._update_group_state(starts)
    assert_same_state(loaded.group_state, model.group_state)
    loaded._setup_model()
    loaded.learn(64, reset_num_timesteps=False)
    assert loaded.num_timesteps == 160


def test_load_with_another_number_of_environments(tmp_path: Path) -> None:
    make().learn(64).save(tmp_path / "model")
    loaded = GroupRobustPPO.load(tmp_path / "model", env=shared(n_envs=3), device="cpu", lam=0.9)
    loaded.learn(96)
    assert loaded.lam_schedule(0.5) == 0.9


def test_other_groups_are_refused(tmp_path: Path) -> None:
    model = make().learn(32)
    model.save(tmp_path / "model")
    other = shared(names=("left", "middle"))
    with pytest.raises(ValueError, match="`group_names` of the environment are"):
        GroupRobustPPO.load(tmp_path / "model", env=other, device="cpu")
    with pytest.raises(ValueError, match="`group_names` of the environment are"):
        model.set_env(other)
    assert model.get_env() is not other
    unnamed = make(shared(names=None, keys=ID_ONLY)).learn(32)
    with pytest.raises(ValueError, match="trained without names"):
        unnamed.set_env(shared())


def test_set_env_with_the_same_groups() -> None:
    model = make().learn(32)
    model.set_env(shared())
    model.learn(64)


def test_ppo_loads_our_scalar_critic_and_the_reverse(tmp_path: Path) -> None:
    ours = make(group_critic=False).learn(32)
    ours.save(tmp_path / "ours")
    ppo = PPO.load(tmp_path / "ours", env=shared(), device="cpu")
    observation = np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        ppo.predict(observation, deterministic=True)[0], ours.predict(observation, deterministic=True)[0]
    )
    ppo.learn(32)
    ppo.save(tmp_path / "ppo")

    PPO("MlpPolicy", shared(), **SMALL).learn(32).save(tmp_path / "plain")
    for name in ("ppo", "plain"):
        loaded = GroupRobustPPO.load(tmp_path / name, env=shared(), device="cpu", lam=0.2)
        assert loaded.group_critic is False
        loaded.learn(32)
    with pytest.raises(ValueError, match="the critic of a saved model cannot be changed"):
        GroupRobustPPO.load(tmp_path / "plain", env=shared(), device="cpu", group_critic=True)


def test_ppo_predicts_with_our_group_critic(tmp_path: Path) -> None:
    ours = make().learn(32)
    ours.save(tmp_path / "ours")
    observation = np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32)
    expected = ours.predict(observation, deterministic=True)[0]
    np.testing.assert_array_equal(
        PPO.load(tmp_path / "ours", device="cpu").predict(observation, deterministic=True)[0], expected
    )
    ours.policy.save(str(tmp_path / "policy"))
    policy = GroupActorCriticPolicy.load(str(tmp_path / "policy"), device="cpu")
    np.testing.assert_array_equal(policy.predict(observation, deterministic=True)[0], expected)


# -- Training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip_reward", [10.0, 0.5])
@pytest.mark.parametrize("keys", [("group_id", "group_rewards", "group_exposure"), ID_ONLY])
def test_vec_normalize_scales_parts_as_it_scales_the_total(clip_reward: float, keys: tuple[str, ...]) -> None:
    raw = make(shared(keys=keys), lam=0, learning_rate=0.0).learn(64)
    env = VecNormalize(shared(keys=keys), norm_obs=False, clip_reward=clip_reward)
    model = make(env, lam=0, learning_rate=0.0).learn(64)
    # Same actions (the policy has not moved), so the same raw rewards: performance does not change
    assert raw.group_state is not None and model.group_state is not None
    assert_same_state(model.group_state["performance"], raw.group_state["performance"])

    class Compare(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            buffer = model.rollout_buffer
            parts = buffer.split_rewards(2) * buffer.reward_factors[..., None]
            np.testing.assert_allclose(parts.sum(axis=-1), buffer.rewards, rtol=1e-5, atol=1e-6)
            self.clipped = bool((np.abs(buffer.rewards) >= clip_reward - 1e-6).any())

    compare = Compare()
    model.learn(32, callback=compare)
    assert compare.clipped is (clip_reward == 0.5)


def test_subprocesses() -> None:
    env = make_vec_env(SharedEnv, n_envs=2, seed=0, vec_env_cls=SubprocVecEnv, env_kwargs=dict(discount_time=2.0))
    try:
        model = make(env).learn(64)
    finally:
        env.close()
    expected = make(shared(discount_time=2.0)).learn(64)
    assert_same_state(model.group_state, expected.group_state)
    for first, second in zip(model.policy.parameters(), expected.policy.parameters(), strict=True):
        assert th.equal(first, second)


def test_callback_that_stops_in_the_middle_of_a_rollout() -> None:
    class StopAt(BaseCallback):
        def _on_step(self) -> bool:
            return self.num_timesteps != 40

    model = make().learn(64, callback=StopAt())
    assert model.num_timesteps == 40
    model.learn(64)


def test_unnamed_groups_may_appear_as_training_goes() -> None:
    ids = iter(range(10_000))

    def later(observation: Any, action: Any, info: dict[str, Any], episode: int) -> int:
        return min(next(ids) // 10, 3)

    model = make(make_vec_env(lambda: GroupAssignment(SharedEnv(length=2), later)), lam=0.5)
    sizes = []
    for _ in range(6):
        model.learn(16, reset_num_timesteps=False)
        assert model.group_state is not None
        sizes.append(len(model.group_state["coefficients"]))
    assert sizes[0] == 1 and sizes[-1] == 4 and sizes == sorted(sizes)
    assert np.isfinite(model.group_state["performance"]["value"]).all()  # type: ignore[index]


def test_reward_that_concerns_no_group_moves_no_group_against_another() -> None:
    """It is divided in proportion to exposure, so every group's performance changes by the same."""

    class Taxed(SharedEnv):
        def step(self, action: int) -> Any:
            observation, _, terminated, truncated, info = super().step(action)
            if self._step % 3 == 0:
                return observation, -5.0, terminated, truncated, {"group_id": -1}
            return observation, 2.0 * info["group_id"], terminated, truncated, {"group_id": info["group_id"]}

    model = make(make_vec_env(Taxed, n_envs=2, seed=0), shrinkage=0, smoothing=1.0).learn(32)
    assert model.group_state is not None
    low, high = model.group_state["performance"]["value"]
    assert high - low == pytest.approx(2.0)
    buffer = model.rollout_buffer
    np.testing.assert_allclose(buffer.split_rewards(2).sum(axis=-1), buffer.raw_rewards, rtol=1e-6)


@pytest.mark.parametrize("names", [("often", "rare"), None], ids=["group critic", "sample weights"])
@pytest.mark.parametrize(("lam", "sign"), [(0.0, -1), (1.0, 1)])
def test_gradient_of_one_update(names: Any, lam: float, sign: int) -> None:
    """
    One step of plain gradient ascent on 4096 samples of a bandit moves the policy by the gradient of the sum of
    w_g p_g J_g, within 4 standard errors (chance of failing by bad luck: 6e-5 per case, fixed seed). With lam = 1 it moves to
    the action that is better for the worst group, against the average.
    """
    payoffs, shares, rate = np.array([[1.0, 0.6], [0.0, 0.3]]), np.array([0.9, 0.1]), 1e-3
    model = make(
        BanditVecEnv(payoffs, shares, num_envs=1024, seed=0, noise=0.0, names=names),
        lam=lam,
        n_steps=4,
        batch_size=4096,
        n_epochs=1,
        learning_rate=rate,
        vf_coef=0.0,
        max_grad_norm=np.inf,
        normalize_advantage=False,
        objective_kwargs=dict(forgetting=1.0),
        policy_kwargs=dict(net_arch=[], optimizer_class=th.optim.SGD),
    )
    with th.no_grad():
        for parameter in model.policy.parameters():
            parameter.zero_()
    model.learn(4096)
    bias = model.policy.action_net.bias.detach().numpy()  # type: ignore[operator]
    weights = model.group_weights()
    assert weights is not None
    # d/d(logit difference) of sum_g w_g p_g J_g(policy), with J_g linear in the probability of action 1, here 1/2
    expected = rate * 0.25 * (weights * shares) @ (payoffs[:, 1] - payoffs[:, 0])
    assert np.sign(expected) == sign
    standard_error = rate * 0.5 * np.sqrt((weights**2 * shares) @ (payoffs**2).mean(axis=1) / 4096)
    assert bias[1] == pytest.approx(expected, abs=4 * standard_error)
    assert abs(expected) > 4 * standard_error


# -- Log -------------------------------------------------------------------------------------------------------------


def test_log_describes_its_own_rollout() -> None:
    model = make(lam=0.4, verbose=0)
    output = io.StringIO()
    model.set_logger(Logger(None, [HumanOutputFormat(output)]))
    logged: list[dict[str, float]] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:
            pass

    class Keep(Logger):
        def dump(self, step: int = 0) -> None:
            logged.append({key: value for key, value in self.name_to_value.items() if key.startswith("group/")})
            state = model.group_state
            assert state is not None
            for group, name in enumerate(("left", "right")):
                assert logged[-1][f"group/{name}/benefit_rate"] == state["performance"]["value"][group]
                assert logged[-1][f"group/{name}/exposure"] == state["performance"]["rollout_exposure"][group]
            super().dump(step)

    model.set_logger(Keep(None, [HumanOutputFormat(output)]))
    model.learn(96)
    assert len(logged) == 3
    last = logged[-1]
    assert last["group/lam"] == 0.4
    assert last["group/worst"] == min(last["group/left/benefit_rate"], last["group/right/benefit_rate"])
    assert last["group/gap"] == pytest.approx(abs(last["group/left/benefit_rate"] - last["group/right/benefit_rate"]))
    weights = model.group_weights()
    assert weights is not None and last["group/left/weight"] == weights[0]
    assert "left/benefit_rate" in output.getvalue()


def test_nothing_is_logged_without_groups() -> None:
    model = make("CartPole-v1", lam=0)
    model.learn(32)
    assert not any(key.startswith("group/") for key in model.logger.name_to_value)


def test_long_names_stay_apart() -> None:
    names = ["deprivation quintile 5 and elderly", "deprivation quintile 5 and child", "a/b", "short"]
    short = short_names(names)
    assert len(set(short)) == 4 and max(map(len, short)) <= 20
    assert short[2:] == ["a-b", "short"]
    model = make(shared(names=names[:2]))
    model.set_logger(Logger(None, [HumanOutputFormat(io.StringIO())]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(32)
