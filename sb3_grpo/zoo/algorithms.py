"""The algorithms, and what RL Zoo has to know of each."""

from typing import Any, Final, NamedTuple

from stable_baselines3 import PPO

from sb3_grpo.fair_grpo import FairGRPO
from sb3_grpo.group_relative_ppo import GroupRelativePPO
from sb3_grpo.group_robust_ppo import GroupRobustPPO, GroupRobustRecurrentPPO
from sb3_grpo.zoo.masks import ZooGroupRobustMaskablePPO, ZooMaskablePPO


class Algorithm(NamedTuple):
    """
    :param model: its class
    :param is_robust: whether it has a trade-off ``lam``, and discounts on elapsed time where the environment says so
    :param needs_masks: whether its ``predict`` wants to be told which actions are valid
    :param of_cases: whether it compares answers to cases, and makes the environments that it needs by itself
    """

    model: type[Any]
    is_robust: bool = False
    needs_masks: bool = False
    of_cases: bool = False


ALGORITHMS: Final[dict[str, Algorithm]] = {
    "group_robust_ppo": Algorithm(GroupRobustPPO, is_robust=True),
    "group_robust_maskable_ppo": Algorithm(ZooGroupRobustMaskablePPO, is_robust=True, needs_masks=True),
    "group_robust_recurrent_ppo": Algorithm(GroupRobustRecurrentPPO, is_robust=True),
    "group_relative_ppo": Algorithm(GroupRelativePPO),
    "fair_grpo": Algorithm(FairGRPO, of_cases=True),
    "ppo": Algorithm(PPO),
    "maskable_ppo": Algorithm(ZooMaskablePPO, needs_masks=True),
}
"""By the name of their folder in ``zoo_configs``; one more line is one more algorithm."""


def register() -> None:
    """Make the algorithms known to RL Zoo, also to its own commands.

    RL Zoo keeps algorithms and search spaces in dictionaries that all its modules share: they are changed in place. Where
    RL Zoo runs without this package's commands, a module ``custom_envs`` that calls this is imported early enough.
    """
    from rl_zoo3 import hyperparams_opt
    from rl_zoo3.utils import ALGOS

    from sb3_grpo.zoo import search

    for name, algorithm in ALGORITHMS.items():
        ALGOS[name] = algorithm.model
        hyperparams_opt.HYPERPARAMS_SAMPLER[name] = search.sampler(algorithm.is_robust)
        hyperparams_opt.HYPERPARAMS_CONVERTER[name] = search.settings_of
