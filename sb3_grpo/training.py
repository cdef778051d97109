"""The algorithms by name, and how a model is made of settings."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from sb3_grpo.common.hyperparameters import TrainingSettings
from sb3_grpo.common.vec_env import make_vec_env
from sb3_grpo.group_robust_ppo import GroupRobustMaskablePPO, GroupRobustPPO, GroupRobustRecurrentPPO

ALGORITHMS: Final[dict[str, tuple[Any, str]]] = {
    "group_robust_ppo": (GroupRobustPPO, "MaskedMlpPolicy"),
    "group_robust_maskable_ppo": (GroupRobustMaskablePPO, "MlpPolicy"),
    "group_robust_recurrent_ppo": (GroupRobustRecurrentPPO, "MaskedMlpLstmPolicy"),
}
"""Algorithms by name, and the policy that stands for the settings' MaskedMlpPolicy."""

SMOOTHING: Final = 0.03
"""Share of the newest rollout in the groups' performance. A hospital's workload lasts for weeks, which is ten rollouts of the
zoo's settings: with the algorithm's default, 0.1, lam would follow the workload."""


def settings_of(algorithm: str, settings: TrainingSettings) -> TrainingSettings:
    """Settings that were written for ``group_robust_ppo``, or plain PPO, for another algorithm.

    :param algorithm: a key of :data:`ALGORITHMS`
    :param settings: the settings
    """
    name = settings.policy.rpartition(".")[2]  # plain PPO's settings name the class with its module
    return replace(settings, policy=ALGORITHMS[algorithm][1] if name == "MaskedMlpPolicy" else name)


def make_model(
    algorithm: str,
    settings: TrainingSettings,
    changes: Mapping[str, Any],
    env_id: str,
    env_kwargs: Mapping[str, Any],
    seed: int,
) -> OnPolicyAlgorithm:
    """A model that has not learned anything yet, with its environments.

    :param algorithm: a key of :data:`ALGORITHMS`
    :param settings: how to train
    :param changes: keyword arguments of the algorithm that replace those of the settings
    :param env_id: id of the environment
    :param env_kwargs: keyword arguments of the environment
    :param seed: training seed; environment i gets ``seed + i``
    :return: the model, on the CPU
    """
    venv = make_vec_env(env_id, settings.n_envs, seed, env_kwargs=dict(env_kwargs))
    if settings.normalize is not None:
        venv = VecNormalize(venv, gamma=settings.algorithm.get("gamma", 0.99), **settings.normalize)
    arguments = {**settings.arguments(), **changes}
    return ALGORITHMS[algorithm][0](settings.policy, venv, seed=seed, device="cpu", **arguments)
