"""One-step episodes as SB3's VecEnv: whole columns for those who know of them, dicts for all others."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecMonitor

from sb3_grpo.common.decision_vec_env import DecisionInfos, DecisionVecEnv, LazyInfo
from sb3_grpo.common.lean_networks import lean_policy
from sb3_grpo.common.masked_policies import MaskedActorCriticPolicy
from sb3_grpo.common.vec_env import from_vector_env
from sb3_grpo.fair_grpo.lean_cases import CasePolicy
from tests.case_envs import DosesVectorEnv, planted_env


def both() -> tuple[Any, Any]:
    """The same environments with and without work for each."""
    envs = DecisionVecEnv(planted_env(4)), from_vector_env(planted_env(4))
    for env in envs:
        env.seed(3)
    return envs


def test_steps_are_those_of_the_general_vec_env() -> None:
    fast, slow = both()
    np.testing.assert_array_equal(fast.reset(), slow.reset())
    for step in range(3):
        actions = np.arange(16) % 2
        (seen, rewards, dones, infos), (expected, *others, told) = fast.step(actions), slow.step(actions)
        np.testing.assert_array_equal(seen, expected)
        np.testing.assert_array_equal(rewards, others[0])
        assert dones.all() and others[1].all()
        for key in ("case_id", "group_id", "group_rewards"):
            np.testing.assert_array_equal(infos.column(key), np.array([info[key] for info in told]))
        for info, other in zip(infos, told, strict=True):
            assert info["episode"]["r"] == other["episode"]["r"] and info["episode"]["l"] == 1
            assert info.keys() == other.keys() - {"terminal_observation"}
            np.testing.assert_array_equal(info["group_exposure"], other["group_exposure"])
        assert fast.reset_infos[5]["case_id"] == slow.reset_infos[5]["case_id"], step


def test_an_info_is_a_dict_that_is_filled_when_somebody_looks() -> None:
    env, _ = both()
    env.reset()
    infos = env.step(np.zeros(16, dtype=np.int64))[-1]
    info = infos[3]
    assert info is infos[3] and isinstance(info, dict)
    assert info.get("terminal_observation") is None and isinstance(info, LazyInfo) and info._infos is not None
    assert info["correct"] == info.get("correct") and "correct" in info and info.get("episode")["l"] == 1
    info["mine"] = 1
    assert infos[-13]["mine"] == 1 and dict(infos[3])["mine"] == 1 and {**infos[3]}["mine"] == 1
    assert type(copy.deepcopy(infos[2])) is dict and pickle.loads(pickle.dumps(infos))[2]["case_id"] == infos[2]["case_id"]
    infos[1]["group_id"] = 0 if infos[1]["group_id"] else 1
    assert infos.column("group_id")[1] == infos[1]["group_id"]  # changes reach the column
    assert infos.newest_statistics(2) == [{"episode": infos[k]["episode"]} for k in (14, 15)]


def test_silent_infos_are_empty_until_they_speak_again() -> None:
    infos = DecisionInfos({"is_success": np.array([True, False])}, np.array([1.0, 0.0]), 0.0)
    infos.silent = True
    assert infos[0].get("terminal_observation") is None and not infos[1]
    infos.silent = False
    assert infos[0]["is_success"] is True
    assert [row["is_success"] for row in infos.newest_statistics(5)] == [True, False]


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
def test_other_wrappers_understand_it() -> None:
    env = VecMonitor(both()[0])
    env.reset()
    assert all(info["episode"]["l"] == 1 for info in env.step(np.zeros(16, dtype=np.int64))[-1])


def test_it_refuses_other_ways_to_reset() -> None:
    vector_env = DosesVectorEnv()
    vector_env.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # type: ignore[misc]
    with pytest.raises(ValueError, match="the next case must be there when one has been decided"):
        DecisionVecEnv(vector_env)


@pytest.mark.parametrize("masked", [True, False])
def test_a_lean_policy_of_cases_says_the_same(masked: bool) -> None:
    th.manual_seed(0)
    policy_class = MaskedActorCriticPolicy if masked else ActorCriticPolicy
    policy = policy_class(spaces.Box(0, 1, (5,)), spaces.Discrete(3), lambda _: 1e-3, net_arch={"pi": [8], "vf": []})
    lean = lean_policy(policy)
    assert lean is not None
    observations = th.rand(4, 5).repeat_interleave(3, dim=0)
    observations[:, 2:] = th.tensor([1.0, 0.0, 1.0])  # the mask of valid actions
    actions, values, log_probs = CasePolicy(lean, 3).act(observations, deterministic=True)
    expected_actions, _, expected = lean.act(observations, deterministic=True)
    assert th.equal(actions, expected_actions) and not values.any()
    th.testing.assert_close(log_probs, expected)
