"""FairGRPO: environments that it takes, makes and refuses."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
from stable_baselines3.common.env_util import make_vec_env as sb3_make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_grpo import FairGRPO, from_vector_env, make_vec_env
from sb3_grpo.common.decision_vec_env import DecisionVecEnv
from tests.case_envs import DosesVectorEnv, planted_env, planted_table
from tests.fair_models import SMALL, make


def single(**kwargs: Any) -> gym.Env:
    return gym.make("Diagnosis-v0", table=planted_table(), **kwargs)


@pytest.mark.parametrize(
    "given",
    [
        lambda: "Diagnosis-BreastCancer-v0",
        single,
        lambda: DummyVecEnv([single]),
        lambda: sb3_make_vec_env(single, 2),
        lambda: planted_env(answers=8),
        lambda: from_vector_env(planted_env(answers=8)),
        lambda: make_vec_env("Diagnosis-BreastCancer-v0", 32, vec_env_kwargs={"answers": 8}),
        lambda: VecNormalize(DecisionVecEnv(planted_env(answers=8)), norm_reward=False),
    ],
)
def test_environments_it_takes(given: Callable[[], Any]) -> None:
    model = make(given(), n_cases=4, seed=3)
    assert model.answers == 8 and model.n_envs % 8 == 0
    assert model.env.num_envs == model.n_envs
    assert isinstance(model.env if not isinstance(model.env, VecNormalize) else model.env.venv, DecisionVecEnv)
    model.learn(1)
    assert model.case_history is not None and model.case_history["cases"].sum() == model.n_envs // 8


def test_numbers_of_answers_and_cases() -> None:
    model = make("Diagnosis-BreastCancer-v0", answers=4, n_cases=6, batch_size=8)
    assert (model.n_envs, model.answers) == (24, 4)
    assert FairGRPO("MlpPolicy", "Diagnosis-BreastCancer-v0", device="cpu").n_envs == 8 * 128


@pytest.mark.parametrize(
    ("env", "kwargs", "message"),
    [
        ("CartPole-v1", {}, "got 'CartPole-v1', expected the id of an environment that is registered"),
        ("Hospital-Urban-v0", {}, "whose vector environment takes `answers`"),
        ("Nothing-v0", {}, "got 'Nothing-v0', expected"),
        (
            lambda: gym.wrappers.TransformReward(single(), lambda reward: reward),
            {},
            "wrappers of single environments cannot",
        ),
        (lambda: sb3_make_vec_env("CartPole-v1", 4), {}, "got <.*DummyVecEnv"),
        (lambda: planted_env(answers=1), {}, "`answers` must be at least 2, got 1"),
        (lambda: planted_env(answers=4), {"answers": 8}, "`answers` of the environments is 4, but must be 8"),
        ("Diagnosis-BreastCancer-v0", {"answers": 1}, "answers: got 1, expected a whole number >= 2"),
        (planted_env, {"batch_size": 30}, "`batch_size` must be a multiple of `answers`=4"),
        (planted_env, {"advantage": "gae"}, "`advantage` must be one of"),
        (planted_env, {"weighting": "fair"}, "`weighting` must be one of"),
        (planted_env, {"smoothing": 0}, r"`smoothing` must be in \(0, 1\]"),
        (planted_env, {"reference_kl": -1}, "`reference_kl` must be a finite number, at least 0"),
        (planted_env, {"group_names": ("a", "b")}, "`group_names` of the environment are"),
        (planted_env, {"source_names": ("a", "a")}, "`source_names` must hold at least one name, and none twice"),
        (planted_env, {"latent_groups": 3}, "`latent_groups` must be None or LatentCases"),
        (planted_env, {"fast": 1}, "`fast` must be True or False"),
        (None, {}, "`env` must be an environment"),
    ],
)
@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
def test_what_it_refuses(env: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FairGRPO("MlpPolicy", env() if callable(env) else env, **{**SMALL, **kwargs})


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("case_id", r"info\['case_id'\] .* is missing in the info of environment 0"),
        ("order", r"info\['case_id'\] of environments 0 to 3 is \[1, 0, 0, 0\], but environments i \* R"),
        ("group_id", r"info\['group_id'\] of environments 0 to 3 is \[0, 1, 0, 1\]"),
        ("goes on", "episode of environment 2 goes on after one step"),
        ("observation", "Environments 0 to 3 must hold answers to one case, but their observations differ"),
        ("nan", "reward of environment 3 is nan"),
    ],
)
def test_what_it_refuses_in_training(broken: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(DosesVectorEnv(broken=broken), batch_size=8).learn(1)


def test_longer_episodes_of_other_vec_envs_are_refused() -> None:
    env = sb3_make_vec_env("CartPole-v1", 4)
    with pytest.raises(ValueError, match="For longer episodes use GroupRobustPPO"):
        make(env, answers=2, batch_size=4).learn(1)
