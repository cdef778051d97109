"""Saved maskable and recurrent models: ours, the parents', and each other's; and their buffers."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env

from sb3_grpo import GroupRobustMaskablePPO, GroupRobustRecurrentPPO
from sb3_grpo.common.group_buffers import (
    GroupDictRolloutBuffer,
    GroupMaskableDictRolloutBuffer,
    GroupMaskableRolloutBuffer,
    GroupRecurrentDictRolloutBuffer,
    GroupRecurrentRolloutBuffer,
    GroupRolloutBuffer,
)
from tests.contrib_models import LSTM, SMALL, make_maskable, make_recurrent, masked_envs
from tests.small_models import make, shared
from tests.test_group_algorithm import assert_same_state
from tests.toy_envs import DictEnv, SharedEnv

OBSERVATIONS = np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32)


Kind = tuple[Any, Any, Callable[..., Any], Callable[..., Any], str, dict[str, Any]]
KINDS: dict[str, Kind] = {
    "maskable": (GroupRobustMaskablePPO, MaskablePPO, make_maskable, masked_envs, "MlpPolicy", dict(net_arch=[8])),
    "recurrent": (GroupRobustRecurrentPPO, RecurrentPPO, make_recurrent, shared, "MlpLstmPolicy", LSTM),
}


def predictions(model: Any) -> np.ndarray:
    return model.predict(OBSERVATIONS, deterministic=True)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group_critic", [True, False])
def test_save_and_load_keep_the_state_of_the_groups(kind: str, group_critic: bool, tmp_path: Path) -> None:
    """After loading, one rollout gives the saved and the loaded model the same new state, and training continues."""
    algorithm, _, make_model, make_envs, _, _ = KINDS[kind]
    model = make_model(lam="lin_0.5", group_critic=group_critic).learn(96)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", env=make_envs(), device="cpu")
    assert_same_state(loaded.group_state, model.group_state)
    assert (loaded.group_names, loaded.group_critic) == (model.group_names, group_critic)
    assert type(loaded.rollout_buffer) is type(model.rollout_buffer) and type(loaded.policy) is type(model.policy)
    for first, second in zip(model.policy.parameters(), loaded.policy.parameters(), strict=True):
        assert th.equal(first, second)
    np.testing.assert_array_equal(predictions(loaded), predictions(model))

    loaded.rollout_buffer = model.rollout_buffer
    starts = np.ones(2)
    for each in (model, loaded):
        each._update_group_state(starts)
    assert_same_state(loaded.group_state, model.group_state)

    loaded = algorithm.load(tmp_path / "model", env=make_envs(n_envs=3), device="cpu")
    loaded.learn(48, reset_num_timesteps=False)
    assert loaded.num_timesteps == 96 + 48
    with pytest.raises(ValueError, match="`group_names` of the environment are"):
        algorithm.load(tmp_path / "model", env=make_envs(names=("up", "down")), device="cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_the_parent_loads_our_scalar_critic_and_the_reverse(kind: str, tmp_path: Path) -> None:
    algorithm, parent, make_model, make_envs, policy, network = KINDS[kind]
    ours = make_model(group_critic=False).learn(32)
    ours.save(tmp_path / "ours")
    theirs = parent.load(tmp_path / "ours", env=make_envs(), device="cpu")
    assert type(theirs) is parent and type(theirs.rollout_buffer) in type(ours.rollout_buffer).__bases__
    np.testing.assert_array_equal(predictions(theirs), predictions(ours))
    theirs.learn(32)
    theirs.save(tmp_path / "theirs")
    parent(policy, make_envs(), policy_kwargs=network, **SMALL).learn(32).save(tmp_path / "plain")
    for name in ("theirs", "plain"):
        loaded = algorithm.load(tmp_path / name, env=make_envs(), device="cpu", lam=0.2)
        assert loaded.group_critic is False and loaded.lam == 0.2
        loaded.learn(32)
    with pytest.raises(ValueError, match="the critic of a saved model cannot be changed"):
        algorithm.load(tmp_path / "plain", env=make_envs(), device="cpu", group_critic=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parent_predicts_with_our_group_critic(kind: str, tmp_path: Path) -> None:
    _, parent, make_model, _, _, _ = KINDS[kind]
    ours = make_model().learn(32)
    ours.save(tmp_path / "ours")
    np.testing.assert_array_equal(predictions(parent.load(tmp_path / "ours", device="cpu")), predictions(ours))


@pytest.mark.parametrize(
    ("buffer_class", "make_model"),
    [
        (GroupRolloutBuffer, make),
        (GroupDictRolloutBuffer, lambda: make(make_vec_env(lambda: DictEnv(SharedEnv())), "MultiInputPolicy")),
        (GroupMaskableRolloutBuffer, make_maskable),
        (GroupMaskableDictRolloutBuffer, lambda: make_maskable(masked_envs(dicts=True), "MultiInputPolicy")),
        (GroupRecurrentRolloutBuffer, make_recurrent),
        (
            GroupRecurrentDictRolloutBuffer,
            lambda: make_recurrent(make_vec_env(lambda: DictEnv(SharedEnv())), "MultiInputLstmPolicy"),
        ),
    ],
)
def test_buffers_survive_pickling(buffer_class: Any, make_model: Callable[[], Any]) -> None:
    buffer = make_model().learn(16).rollout_buffer
    assert type(buffer) is buffer_class
    copy: Any = pickle.loads(pickle.dumps(buffer))
    assert type(copy) is buffer_class and copy.n_values == 2
    np.testing.assert_array_equal(copy.group_advantages, buffer.group_advantages)
    np.random.seed(0)
    expected = next(buffer.get(8))
    np.random.seed(0)
    assert th.equal(next(copy.get(8)).advantages, expected.advantages)
    assert len(expected.advantages) > 1 and type(expected).__name__.endswith("Samples")
