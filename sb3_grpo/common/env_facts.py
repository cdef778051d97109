"""What the algorithm wants to know of its environments before it meets their infos."""

from typing import NamedTuple

from stable_baselines3.common.vec_env import VecEnv

from sb3_grpo.common.checks import checked_names, is_positive
from sb3_grpo.common.group_infos import env_attribute


class EnvFacts(NamedTuple):
    """
    :param group_names: Names of the groups; None: unknown
    :param discount_time: Time after which the future counts 1/e; None or False: discount by steps
    :param performance_scale: One unit of performance; None: unknown
    """

    group_names: tuple[str, ...] | None
    discount_time: float | bool | None
    performance_scale: float | None


def read_env_facts(env: VecEnv | None, known: EnvFacts, discount_time: float | bool | None, nameless: bool) -> EnvFacts:
    """
    :param env: Environments; None: what is known stays
    :param known: What the model knows; its names may be a list (SB3 saves tuples as lists)
    :param discount_time: As the user gave it: None asks the environments
    :param nameless: Whether the model was trained without names, so that names cannot be adopted any more
    :return: What the environments state, completed by what the model knows
    :raises ValueError: If the environments name other groups than the model knows, or an attribute is out of range
    """
    names = env_attribute(env, "group_names")
    known_names = None if known.group_names is None else checked_names(known.group_names)
    if names is None:
        names = known_names
    elif nameless:
        raise ValueError(f"`group_names` of the environment are {names}, but this model was trained without names")
    elif known_names is not None and known_names != checked_names(names):
        raise ValueError(f"`group_names` of the environment are {names}, but must be those of the model, {known_names}")

    if discount_time is None:
        discount_time = known.discount_time if env is None else env_attribute(env, "discount_time")
    if not (discount_time is None or discount_time is False or is_positive(discount_time)):
        raise ValueError(f"`discount_time` of the environment must be a positive number, got {discount_time!r}")
    scale = env_attribute(env, "performance_scale")
    if not (scale is None or is_positive(scale)):
        raise ValueError(f"`performance_scale` of the environment must be a positive number, got {scale!r}")
    return EnvFacts(
        group_names=None if names is None else checked_names(names),
        discount_time=discount_time,
        performance_scale=known.performance_scale if scale is None else float(scale),
    )
