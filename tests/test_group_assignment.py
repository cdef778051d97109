from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env

from sb3_grpo import GroupAssignment, GroupRobustPPO
from tests.toy_envs import SharedEnv

NAMES = ("left", "right")


def play(env: gym.Env, steps: int) -> list[dict[str, Any]]:
    """Infos of the steps of consecutive episodes."""
    infos = []
    env.reset(seed=0)
    for _ in range(steps):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        infos.append(info)
        if terminated or truncated:
            env.reset()
    return infos


def test_per_episode() -> None:
    calls = []

    def by_episode(observation: Any, action: Any, info: dict[str, Any], episode: int) -> int:
        calls.append((action, episode))
        return episode % 2

    env = GroupAssignment(SharedEnv(length=3), by_episode, group_names=NAMES)
    _, info = env.reset(seed=0)
    assert info["group_id"] == 0
    infos = play(env, 7)
    assert calls == [(None, 0), (None, 1), (None, 2), (None, 3)]
    assert [info["group_id"] for info in infos] == [1, 1, 1, 0, 0, 0, 1]
    exposure = np.array([info["group_exposure"] for info in infos])
    np.testing.assert_array_equal(exposure.sum(axis=1), [0, 0, 1, 0, 0, 1, 0])
    np.testing.assert_array_equal(exposure[[2, 5]], [[0, 1], [1, 0]])


def test_per_step_sees_what_the_action_answered() -> None:
    seen: list[tuple[Any, ...]] = []

    def by_side(observation: np.ndarray, action: int, info: dict[str, Any], episode: int) -> bool:
        seen.append((observation, action))
        return observation[0] > 0

    env = GroupAssignment(SharedEnv(), by_side, per="step", group_names=NAMES)
    observation, _ = env.reset(seed=0)
    for action in (0, 1, 1):
        following, *_, info = env.step(action)
        np.testing.assert_array_equal(seen[-1][0], observation)
        assert seen[-1][1] == action
        assert info["group_id"] == int(observation[0] > 0)
        np.testing.assert_array_equal(info["group_exposure"], np.eye(2)[info["group_id"]])
        observation = following


def test_without_names_exposure_is_a_number() -> None:
    infos = play(GroupAssignment(SharedEnv(length=2), lambda *_: 5), 4)
    assert [info["group_exposure"] for info in infos] == [0.0, 1.0, 0.0, 1.0]


def test_no_group() -> None:
    infos = play(GroupAssignment(SharedEnv(length=2), lambda *_: -1, group_names=NAMES), 2)
    assert infos[1]["group_id"] == -1
    np.testing.assert_array_equal(infos[1]["group_exposure"], [0.0, 0.0])


def test_replaces_the_groups_of_the_environment() -> None:
    env = GroupAssignment(SharedEnv(), lambda *_: 0, group_names=("a", "b", "c"))
    assert env.get_wrapper_attr("group_names") == ("a", "b", "c")
    assert "group_rewards" not in play(env, 1)[0]
    assert GroupAssignment(SharedEnv(), lambda *_: 0).get_wrapper_attr("group_names") is None


@pytest.mark.parametrize("answer", [2, -2, 0.5, None, "left", np.array([0, 1])])
def test_answers_that_are_no_ids(answer: Any) -> None:
    env = GroupAssignment(SharedEnv(), lambda *_: answer, group_names=NAMES)
    with pytest.raises(ValueError, match=r"returned .*, but must return a group id: an integer from 0 to 1"):
        env.reset()


@pytest.mark.parametrize("answer", [1, True, np.int64(1), np.array(1), np.bool_(True)])
def test_answers_that_are_ids(answer: Any) -> None:
    env = GroupAssignment(SharedEnv(), lambda *_: answer, group_names=NAMES)
    assert env.reset()[1]["group_id"] == 1


def test_unknown_unit() -> None:
    with pytest.raises(ValueError, match="`per` must be 'episode' or 'step', got 'day'"):
        GroupAssignment(SharedEnv(), lambda *_: 0, per="day")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("ab", "sequence of non-empty strings, got 'ab'"),
        (5, "sequence of non-empty strings, got 5"),
        ((), "at least one name"),
        (("a", "a"), "none twice"),
        (("a", ""), "sequence of non-empty strings"),
    ],
)
def test_names_that_are_none(names: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"`group_names` must .*{message}"):
        GroupAssignment(SharedEnv(), lambda *_: 0, group_names=names)


def test_function_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"`fn` must be a function \(observation, action, info, episode\) -> id, got 3"):
        GroupAssignment(SharedEnv(), 3)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
def test_gymnasium_check() -> None:
    env = GroupAssignment(SharedEnv(), lambda obs, *_: obs[0] > 0, group_names=NAMES)
    check_env(env, skip_render_check=True)


def test_performance_per_episode_is_the_mean_return() -> None:
    """Episodes of 5 steps of reward 1 or 3, in rollouts of 8 steps."""

    class Constant(gym.Env):
        observation_space = SharedEnv.observation_space
        action_space = SharedEnv.action_space

        def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
            super().reset(**kwargs)
            self.steps, self.reward = 0, float(self.np_random.choice([1.0, 3.0]))
            return np.full(3, self.reward / 10, dtype=np.float32), {}

        def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            self.steps += 1
            return np.zeros(3, dtype=np.float32), self.reward, self.steps == 5, False, {}

    env = make_vec_env(lambda: GroupAssignment(Constant(), lambda obs, *_: obs[0] > 0.2, group_names=NAMES), n_envs=4, seed=0)
    model = GroupRobustPPO("MlpPolicy", env, n_steps=8, batch_size=32, n_epochs=1, shrinkage=0, device="cpu").learn(320)
    assert model.group_state is not None
    np.testing.assert_allclose(model.group_state["performance"]["value"], [5.0, 15.0])
