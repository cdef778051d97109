"""What is saved of the groups, and what VecNormalize does to them, for every objective."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_grpo import GroupRobustPPO
from sb3_grpo.common.objectives import Softmin
from tests.small_models import ID_ONLY, make, shared
from tests.toy_envs import SharedEnv


def nash(performance: np.ndarray) -> np.ndarray:
    return 1 / np.maximum(performance, 0.1)


OBJECTIVES: dict[str, dict[str, Any]] = {
    "minimax": dict(objective_kwargs=dict(eta=2.0)),
    "cvar": dict(objective="cvar", objective_kwargs=dict(alpha=0.6)),
    "softmin": dict(objective="softmin", objective_kwargs=dict(floor=0.1)),
    "gap": dict(objective="gap", objective_kwargs=dict(level_up_only=False)),
    "max_loss": dict(objective="max_loss"),
    "function": dict(objective=nash),
    "lambda": dict(objective=lambda performance: performance.max() - performance),
    "object": dict(objective=Softmin(temperature=0.5)),
    "baseline": dict(baseline={"right": 0.9, "left": 0.2}),
    "least benefit": dict(lam="auto", min_benefit={"right": 1.5, "left": 2.5}, objective_kwargs=dict(dead_band=0.0)),
    "largest gap": dict(lam="auto", max_gap=0.01, min_benefit=1.5, objective_kwargs=dict(dead_band=0.0)),
}
every_objective = pytest.mark.parametrize("kwargs", OBJECTIVES.values(), ids=OBJECTIVES)


def assert_same(first: Any, second: Any) -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    else:
        np.testing.assert_array_equal(first, second)


def assert_same_groups(first: GroupRobustPPO, second: GroupRobustPPO) -> None:
    assert first.group_state is not None
    assert_same(first.group_state, second.group_state)
    np.testing.assert_array_equal(first.group_weights(), second.group_weights())
    assert first.current_lam() == second.current_lam() > 0


# -- Save and load -----------------------------------------------------------------------------------------------------


@every_objective
def test_loaded_groups_are_the_saved_ones_and_go_on_alike(kwargs: dict[str, Any], tmp_path: Path) -> None:
    model = make(shared(), **{"lam": 0.4, **kwargs}).learn(64)
    model.save(tmp_path / "model")
    loaded = GroupRobustPPO.load(tmp_path / "model", env=shared(), device="cpu")
    assert_same_groups(model, loaded)
    assert_same_groups(model, GroupRobustPPO.load(tmp_path / "model", device="cpu"))

    # The same rollout means the same to both
    own_buffer, loaded.rollout_buffer = loaded.rollout_buffer, model.rollout_buffer
    starts = np.array([True, False])
    for _ in range(2):
        before = model.group_state
        model._update_group_state(starts)
        loaded._update_group_state(starts)
        assert_same_groups(model, loaded)
    assert before is not None and model.group_state is not None
    assert not np.array_equal(before["performance"]["benefit"], model.group_state["performance"]["benefit"])

    loaded.rollout_buffer = own_buffer
    parameters = [parameter.clone() for parameter in loaded.policy.parameters()]
    loaded.learn(64, reset_num_timesteps=False)
    assert loaded.num_timesteps == 128
    assert any(not th.equal(old, new) for old, new in zip(parameters, loaded.policy.parameters(), strict=True))


@every_objective
def test_training_of_saved_and_loaded_model_is_the_same(kwargs: dict[str, Any], tmp_path: Path) -> None:
    """To the last bit: nothing of the groups lives outside of what is saved."""
    settings: dict[str, Any] = {"lam": 0.4, **kwargs}
    model = make(shared(), **settings).learn(64)
    model.save(tmp_path / "model")
    loaded = GroupRobustPPO.load(tmp_path / "model", device="cpu")
    for one in (model, loaded):
        one.set_env(shared())
        one.set_random_seed(3)
        one.learn(32, reset_num_timesteps=False)
    assert_same_groups(model, loaded)
    for first, second in zip(model.policy.parameters(), loaded.policy.parameters(), strict=True):
        assert th.equal(first, second)


@every_objective
def test_other_groups_are_refused(kwargs: dict[str, Any], tmp_path: Path) -> None:
    model = make(shared(), **{"lam": 0.4, **kwargs}).learn(32)
    model.save(tmp_path / "model")
    for names in (("left", "middle"), ("right", "left"), ("left", "right", "middle")):
        other = shared(names=names)
        with pytest.raises(ValueError, match="`group_names` of the environment are"):
            GroupRobustPPO.load(tmp_path / "model", env=other, device="cpu")
        with pytest.raises(ValueError, match="`group_names` of the environment are"):
            model.set_env(other)


@pytest.mark.parametrize("known", [("left", "right"), None], ids=["names", "no names"])
def test_other_names_cannot_be_given_to_a_trained_model(known: Any, tmp_path: Path) -> None:
    """Where neither file nor environment objects: the environment names nobody, or there is none."""
    make(shared(names=None, keys=ID_ONLY), group_names=known, lam=0.4).learn(32).save(tmp_path / "model")
    for names in (("right", "left"), ("left",), ("left", "right", "middle")):
        for env in (None, shared(names=None, keys=ID_ONLY)):
            with pytest.raises(
                ValueError,
                match=r"`group_names` must be those of the model, (\('left', 'right'\)|none: .*without names), got \(",
            ):
                GroupRobustPPO.load(tmp_path / "model", env=env, group_names=names, device="cpu")
    same = GroupRobustPPO.load(tmp_path / "model", group_names=known, device="cpu")
    assert same.group_names == known


# -- VecNormalize ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [("group_id", "group_rewards", "group_exposure"), ID_ONLY], ids=["rewards by group", "ids"])
@pytest.mark.parametrize("name", ["minimax", "cvar", "function", "least benefit"])
def test_vec_normalize_changes_nothing_of_what_groups_are_judged_by(name: str, keys: tuple[str, ...]) -> None:
    """Performance, coefficients, weights and lam: the policies do not move, so both see the same raw rewards."""
    settings: dict[str, Any] = {"lam": 0.4, **OBJECTIVES[name], "learning_rate": 0.0}
    raw = make(shared(keys=keys), **settings).learn(64)
    for clip_reward, norm_reward in ((0.5, True), (10.0, True), (10.0, False)):
        env = VecNormalize(shared(keys=keys), norm_obs=False, norm_reward=norm_reward, clip_reward=clip_reward)
        assert_same_groups(raw, make(env, **settings).learn(64))


class Balanced(SharedEnv):
    """What one group gains the other may lose: totals are often 0, and their parts are not."""

    def step(self, action: int) -> Any:
        observation, _, terminated, truncated, info = super().step(action)
        rewards = np.array([[2.0, -2.0], [-1.0, 1.0], [3.0, 1.0]], dtype=np.float32)[self.np_random.integers(3)]
        return observation, float(rewards.sum()), terminated, truncated, {**info, "group_rewards": rewards}


class Buffers(BaseCallback):
    """Keeps what the last rollout held."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer  # type: ignore[attr-defined]
        self.parts = buffer.split_rewards(2) * buffer.reward_factors[..., None]
        self.raw, self.rewards, self.factors = buffer.raw_rewards.copy(), buffer.rewards.copy(), buffer.reward_factors.copy()


@pytest.mark.parametrize("clip_reward", [10.0, 0.4])
def test_parts_of_a_total_of_zero_are_scaled_too(clip_reward: float) -> None:
    env: VecEnv = make_vec_env(Balanced, n_envs=2, seed=0)
    normalised = VecNormalize(env, norm_obs=False, clip_reward=clip_reward)
    kept = Buffers()
    make(normalised, lam=0.3).learn(64, callback=kept)
    np.testing.assert_allclose(kept.parts.sum(axis=-1), kept.rewards, rtol=1e-5, atol=1e-6)
    balanced = kept.raw == 0
    assert balanced.any() and not balanced.all()
    assert (np.abs(kept.parts[balanced]).max(axis=-1) > 0.1).all()
    clipped = np.abs(kept.rewards) >= clip_reward - 1e-6
    assert clipped.any() == (clip_reward == 0.4)
    if clip_reward == 10.0:
        # Nothing is clipped: totals of zero share the factor of the environment beside them
        beside = balanced & ~balanced[:, ::-1]
        assert beside.any()
        np.testing.assert_allclose(kept.factors[beside], kept.factors[:, ::-1][beside], rtol=1e-5)


def test_without_normalised_rewards_parts_stay_raw() -> None:
    kept = Buffers()
    make(VecNormalize(make_vec_env(Balanced, n_envs=2, seed=0), norm_reward=False), lam=0.3).learn(32, callback=kept)
    np.testing.assert_array_equal(kept.factors, 1.0)
    np.testing.assert_array_equal(kept.parts.sum(axis=-1), kept.raw)
