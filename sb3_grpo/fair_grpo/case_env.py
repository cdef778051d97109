"""Environments that present each case to several answers at once: made from what the user has, and checked."""

from collections.abc import Sequence
from typing import Any, Final

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_grpo.common.checks import check_whole, checked_names
from sb3_grpo.common.decision_vec_env import DecisionVecEnv
from sb3_grpo.common.group_infos import env_attribute
from sb3_grpo.common.vec_env import GymnasiumVecEnv, vector_spec

#: Answers to each case where nobody says how many
DEFAULT_ANSWERS: Final = 8

#: Wrappers that change nothing about cases and rewards
_HARMLESS: Final = (Monitor, OrderEnforcing, PassiveEnvChecker)

_HOW: Final = (
    "expected the id of an environment that is registered with a `vector_entry_point` whose vector environment takes "
    "`answers` and resets in the same step, such an environment (gymnasium.make), or a VectorEnv or VecEnv in which "
    "environments i * R to (i + 1) * R - 1 hold the R answers to one case; wrappers of single environments cannot be put "
    "around many"
)


def case_vec_env(env: Any, answers: int | None = None, n_cases: int = 128) -> VecEnv:
    """
    :param env: Id of a registered environment; an environment, or a ``DummyVecEnv`` of such, from which a vector environment
        can be made; a Gymnasium ``VectorEnv``; or a ``VecEnv``, which is taken as it is
    :param answers: Number of answers R to each case. None: the environment's attribute ``answers``, else 8
    :param n_cases: Number of cases at once, where the environments are made here
    :return: A ``VecEnv`` in which environments i * R to (i + 1) * R - 1 hold the answers to one case
    :raises ValueError: If none can be made of it, or the numbers do not fit
    """
    if answers is not None:
        check_whole("answers", answers, 2)
    check_whole("n_cases", n_cases, 1)
    if isinstance(env, VectorEnv):
        return checked(DecisionVecEnv(env), answers)
    if type(env) is GymnasiumVecEnv:
        decisions = DecisionVecEnv(env.vector_env)
        decisions._seeds, decisions._options = env._seeds, env._options
        return checked(decisions, answers)
    if isinstance(env, VecEnv) and (env_attribute(env, "answers") is not None or not isinstance(env, DummyVecEnv)):
        return checked(env, answers)
    spec = _spec_of(env)
    if spec is None:
        if isinstance(env, VecEnv) and answers is not None:
            return checked(env, answers)
        raise ValueError(f"env: got {env!r}, {_HOW}")
    number = DEFAULT_ANSWERS if answers is None else answers
    try:
        made = gym.make_vec(spec, n_cases * number, vectorization_mode="vector_entry_point", answers=number)
    except TypeError as error:
        raise ValueError(f"env: got {spec.id!r}, {_HOW} ({error})") from error
    return checked(DecisionVecEnv(made), number)


def checked(env: VecEnv, answers: int | None) -> VecEnv:
    """
    :param env: Environments that hold answers to cases
    :param answers: Number of answers to each case; None: the environments say
    :return: The environments
    :raises ValueError: If the environments have another number of answers, or do not say, or it is 1 or does not divide theirs
    """
    told = env_attribute(env, "answers")
    number = told if answers is None else answers
    if number is None:
        raise ValueError(
            f"`answers`: nobody says how many of the {env.num_envs} environments answer the same case; give them an attribute "
            "`answers`, or pass `answers=` to the algorithm"
        )
    if told is not None and told != number:
        raise ValueError(f"`answers` of the environments is {told!r}, but must be {number}, that of the algorithm")
    if number < 2:
        raise ValueError(f"`answers` must be at least 2, got {number}: one answer has none to be compared with")
    if env.num_envs % number:
        raise ValueError(f"`answers` must divide the number of environments, {env.num_envs}, got {number}")
    return env


def names_of(env: VecEnv | None, key: str, known: Sequence[str] | None, trained: bool) -> tuple[str, ...] | None:
    """
    :param env: Environments, or None
    :param key: Their attribute: ``"group_names"`` or ``"source_names"``
    :param known: Names that the model knows, or None
    :param trained: Whether it was trained with these, or without
    :return: The names; None if nobody knows any
    :raises ValueError: If the environments have other names than the model
    """
    told = env_attribute(env, key)
    names = None if told is None else checked_names(told, key)
    expected = None if known is None else checked_names(known, key)
    if env is None or names is None:
        return expected
    if (expected is not None and names != expected) or (expected is None and trained):
        raise ValueError(f"`{key}` of the environment are {names}, but must be those of the model, {expected or 'none'}")
    return names


def _spec_of(env: Any) -> EnvSpec | None:
    """How to make a vector environment in place of what the user has; None if that is not known."""
    if isinstance(env, str):
        return vector_spec(env)
    single = env.envs[0] if isinstance(env, DummyVecEnv) else env
    while isinstance(single, _HARMLESS):
        single = single.env
    return None if isinstance(single, gym.Wrapper) else vector_spec(getattr(single, "spec", None))
