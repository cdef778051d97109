"""Training with groups that nobody labelled: clusters of episodes reach weights, performance, log and saved models."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv

from sb3_grpo import GroupAssignment, GroupRobustMaskablePPO, GroupRobustPPO
from sb3_grpo.common.latent_groups import LatentGroups
from tests.small_models import SMALL, make, shared
from tests.toy_envs import GROUP_NAMES


class TwoKinds(gym.Env[np.ndarray, int]):
    """
    Episodes of four steps, one in five of the second kind, which the observation tells. Action 0 pays 1 in the first kind and
    0 in the second, action 1 pays .6 and .3.
    """

    observation_space = spaces.Box(-5.0, 5.0, (1,), np.float32)
    action_space: spaces.Discrete = spaces.Discrete(2)  # type: ignore[assignment]
    payoffs = ((1.0, 0.6), (0.0, 0.3))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._step, self.kind = 0, int(self.np_random.random() < 0.2)
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        return self._observe(), self.payoffs[self.kind][int(action)], self._step == 4, False, {}

    def action_masks(self) -> np.ndarray:
        return np.ones(2, dtype=bool)

    def _observe(self) -> np.ndarray:
        return np.array([2.0 * self.kind - 1.0], dtype=np.float32) + np.float32(0.1) * self.np_random.normal(size=1).astype(
            np.float32
        )


def true_kind(observation: np.ndarray, action: int, info: dict[str, Any], episode: int) -> int:
    return int(observation[0] > 0)


def kinds(labelled: bool = True) -> VecEnv:
    def environment() -> gym.Env:
        return GroupAssignment(TwoKinds(), true_kind) if labelled else TwoKinds()

    return make_vec_env(environment, n_envs=4, seed=0)


def latent(**kwargs: Any) -> LatentGroups:
    return LatentGroups(**{"min_episodes": 40, "refit_every": 5, **kwargs})


def test_labels_and_no_labels_learn_the_same_groups() -> None:
    """The clusters are the true kinds, so that performance and coefficients are those of an algorithm that is told."""
    found = make(kinds(), latent_groups=latent(n_groups=2), lam=1.0, learning_rate=0.0).learn(4_000)
    told = make(kinds(), lam=1.0, learning_rate=0.0).learn(4_000)
    assert found.group_state is not None and told.group_state is not None
    assert found.latent_groups is not None and found.latent_groups.log()["group/ari"] == 1.0
    np.testing.assert_allclose(found.group_state["performance"]["value"], told.group_state["performance"]["value"], atol=0.02)
    # Before the first fit nobody weighed more
    np.testing.assert_allclose(found.group_state["coefficients"], told.group_state["coefficients"], atol=0.05)
    assert found.group_state["coefficients"][1] > 0.8


def test_no_ids_are_needed_and_the_log_says_what_was_found(tmp_path: Path) -> None:
    model = make(kinds(labelled=False), latent_groups=latent(), lam=0.5)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(1_000)
    model.logger.close()
    header = (tmp_path / "progress.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "group/clusters" in header and "group/silhouette" in header and "group/1/weight" in header
    assert "group/ari" not in header


def test_before_the_first_fit_training_is_that_of_lam_zero() -> None:
    waiting = make(kinds(), latent_groups=latent(min_episodes=10_000, memory=10_000), lam=1.0, fast=False).learn(500)
    plain = make(kinds(), lam=0.0).learn(500)
    assert waiting.group_weights() is None
    pairs = zip(waiting.policy.parameters(), plain.policy.parameters(), strict=True)
    assert all((first == second).all() for first, second in pairs)


def test_saved_and_loaded_continue(tmp_path: Path) -> None:
    model = make(kinds(), latent_groups=latent(n_groups=2), lam=0.5).learn(1_000)
    model.save(tmp_path / "model")
    loaded = GroupRobustPPO.load(tmp_path / "model", env=kinds(), device="cpu")
    assert loaded.latent_groups is not None and loaded.latent_groups.clusters is not None
    assert model.latent_groups is not None and model.latent_groups.clusters is not None
    np.testing.assert_array_equal(loaded.latent_groups.clusters.centers, model.latent_groups.clusters.centers)
    loaded.learn(500, reset_num_timesteps=False)
    assert loaded.latent_groups.log()["group/ari"] == 1.0


class DrawMinibatch(BaseCallback):
    """Looks at the rollout before the groups are found, which joins the buffer's axes."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        next(self.model.rollout_buffer.get(8))  # type: ignore[attr-defined]


def test_callbacks_may_draw_minibatches() -> None:
    plain, drawn = (
        make(kinds(), latent_groups=latent(n_groups=2), lam=0.5, learning_rate=0.0).learn(600, callback=callback)
        for callback in (None, DrawMinibatch())
    )
    assert plain.latent_groups is not None and drawn.latent_groups is not None
    assert plain.latent_groups.clusters is not None and drawn.latent_groups.clusters is not None
    np.testing.assert_array_equal(drawn.latent_groups.clusters.centers, plain.latent_groups.clusters.centers)
    np.testing.assert_array_equal(drawn.group_weights(), plain.group_weights())


def test_models_do_not_share_their_groups() -> None:
    groups = latent(n_groups=2)
    make(kinds(), latent_groups=groups).learn(1_000)
    assert groups.clusters is None


def test_maskable() -> None:
    model = GroupRobustMaskablePPO("MlpPolicy", kinds(), latent_groups=latent(n_groups=2), lam=0.5, **SMALL).learn(1_000)
    assert model.group_state is not None and len(model.group_state["coefficients"]) == 2


@pytest.mark.parametrize(
    ("env", "kwargs", "message"),
    [
        (kinds, dict(latent_groups="k-means"), "`latent_groups` must be None or LatentGroups"),
        (kinds, dict(latent_groups=latent(), group_names=GROUP_NAMES), "leave `group_critic` alone, and the groups unnamed"),
        (shared, dict(latent_groups=latent()), "leave `group_critic` alone, and the groups unnamed"),
    ],
)
def test_errors(env: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(env(), **kwargs)
