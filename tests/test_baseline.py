"""What a reference policy gives each group, and what a baseline changes in training."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecNormalize

from hospital_gym.heuristics import HEURISTICS
from sb3_grpo.common.baseline import measured_performance
from sb3_grpo.common.objective_functions import relative_need
from tests.small_models import ID_ONLY, make, shared
from tests.toy_envs import BanditVecEnv


class Always:
    """
    A policy with one action.

    :param action: The action
    """

    def __init__(self, action: int):
        self.action = action

    def predict(self, observation: np.ndarray, **kwargs: Any) -> tuple[np.ndarray, None]:
        return np.full(len(observation), self.action), None


PAYOFFS = np.array([[1.0, 0.6], [0.0, 0.3]])


def test_of_a_bandit_is_its_table() -> None:
    env = BanditVecEnv(PAYOFFS, np.array([0.7, 0.3]), num_envs=4, seed=0, noise=0.0, names=("often", "rare"))
    for action in (0, 1):
        measured = measured_performance(Always(action), env, n_episodes=80)
        assert measured == pytest.approx({"often": PAYOFFS[0, action], "rare": PAYOFFS[1, action]})


def test_counts_whole_episodes_of_shared_rewards() -> None:
    """
    Action 0 pays the groups (1, 0) plus .25 (each) where group 1 is served, and serving exposes the served group to 2.
    """
    env = shared(length=5)
    measured = measured_performance(Always(0), env, n_episodes=40, seed=3)
    steps, rewards, exposure = 0, np.zeros(2), np.zeros(2)
    env.seed(3)
    env.reset()
    while steps < 20 * 5:
        _, _, _, infos = env.step(np.zeros(2, dtype=int))
        rewards += sum(info["group_rewards"] for info in infos)
        exposure += sum(info["group_exposure"] for info in infos)
        steps += 1
    assert measured == pytest.approx(dict(zip(("left", "right"), rewards / exposure, strict=True)))


def test_rewards_of_no_group_move_all_groups_alike() -> None:
    env = BanditVecEnv(PAYOFFS, np.array([0.5, 0.5]), num_envs=1, seed=0, noise=0.0, names=("often", "rare"))
    plain = measured_performance(Always(1), env, n_episodes=1000)
    step_wait = env.step_wait

    def sometimes_nobody() -> Any:
        observations, rewards, dones, infos = step_wait()
        nobody = env.rng.random() < 0.25
        return observations, np.ones_like(rewards) if nobody else rewards, dones, [{"group_id": -1}] if nobody else infos

    env.step_wait = sometimes_nobody  # type: ignore[method-assign]
    measured = measured_performance(Always(1), env, n_episodes=1000)
    assert measured["often"] - plain["often"] == pytest.approx(measured["rare"] - plain["rare"])
    assert 0.25 < measured["often"] - plain["often"] < 0.42  # about 1/4 : 3/4 rewards of 1 per exposed unit


def test_vec_normalize_changes_nothing() -> None:
    plain = measured_performance(Always(1), shared(), n_episodes=10, seed=1)
    wrapped = VecNormalize(shared(), clip_reward=0.1)
    assert measured_performance(Always(1), wrapped, n_episodes=10, seed=1) == pytest.approx(plain)


def test_of_models_and_rules() -> None:
    model = make(shared())
    assert set(measured_performance(model, shared(), n_episodes=4)) == {"left", "right"}
    env = gym.make("Hospital-Rural-v0")
    triage = HEURISTICS["triage"](env)
    measured = measured_performance(triage, env, n_episodes=1, seed=0)
    assert set(measured) == {"pediatric", "adult", "elderly", "critical"}
    assert all(0.3 < value <= 1.0 for value in measured.values())


def test_errors() -> None:
    with pytest.raises(ValueError, match="`group_names` are unknown"):
        measured_performance(Always(0), shared(keys=ID_ONLY, names=None), n_episodes=1)
    with pytest.raises(ValueError, match="`n_episodes` must be a whole number, at least 1, got 0"):
        measured_performance(Always(0), shared(), n_episodes=0)
    with pytest.raises(ValueError, match=r"the groups \['third'\] were never exposed in 2 episodes"):
        env = shared(keys=ID_ONLY, names=None)
        measured_performance(Always(0), env, n_episodes=2, group_names=("left", "right", "third"))
    with pytest.raises(ValueError, match=r"info\['group_id'\]"):
        measured_performance(Always(0), "CartPole-v1", n_episodes=1, group_names=("one",))


def test_baseline_takes_weight_from_a_group_that_fares_badly_anyhow() -> None:
    """Group 1 can get .3 at most: against what it gets at best, the other group is the one in need."""
    env = BanditVecEnv(PAYOFFS, np.array([0.5, 0.5]), num_envs=64, seed=0, names=("often", "rare"))
    settings: dict[str, Any] = dict(lam=1.0, n_steps=1, batch_size=64, n_epochs=1, learning_rate=0.0)
    raw = make(env, **settings).learn(64 * 60)
    regret = make(env, baseline={"rare": 0.3, "often": 1.0}, **settings).learn(64 * 60)
    assert raw.group_state is not None and regret.group_state is not None
    assert raw.group_state["coefficients"][1] > 0.6
    assert regret.group_state["coefficients"][1] < 0.4
    performance = regret.group_state["performance"]["value"]
    need = relative_need(performance, np.array([1.0, 0.3]), 1.0)
    np.testing.assert_allclose(need, [1.0 - performance[0], 0.3 - performance[1]])


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ({"left": 0.5}, "`baseline` must hold a number for each of the groups"),
        ({"left": 0.5, "right": 0.5, "third": 0.5}, "`baseline` must hold a number for each of the groups"),
        ({"left": 0.5, "right": float("nan")}, "`baseline` must be a finite number, or a dict"),
        ("ppo", "`baseline` must be a finite number, or a dict .*, got 'ppo'"),
    ],
)
def test_bad_baselines(baseline: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(baseline=baseline)
    with pytest.raises(ValueError, match="nobody names the groups"):
        make(shared(keys=ID_ONLY, names=None), baseline={"left": 0.5, "right": 0.5})
