"""A model as a table of probabilities, which is what can be valued exactly."""

import inspect
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from hospital_gym.clinical.sepsis.exact import Worth, assess, deterministic_policy
from hospital_gym.clinical.sepsis.treatment_env import SepsisTreatmentEnv

Table = npt.NDArray[np.float64]


def policy_table(model: Any, env: SepsisTreatmentEnv, most_likely: bool = False) -> Table:
    """
    What a model does in each state. Actor-critic models of SB3 and sb3-contrib give probabilities; others, and whatever else
    has SB3's ``predict``, give one action. Masks go to models that take them.

    :param model: The model, trained with observations like those of ``env``
    :param env: Treatment of sepsis with ``history=1``
    :param most_likely: Whether each state's most probable action counts alone
    :return: Probability of each action in each state, (S, A); rows of terminal states, where nobody acts, are equal
    :raises ValueError: If policies see several states in ``env``, or the model sees something else
    """
    observations: Any = env.state_observations()
    seen = getattr(model, "observation_space", env.observation_space)
    if seen != env.observation_space:
        raise ValueError(
            f"model: sees {_words(seen)}, expected {_words(env.observation_space)}: train with the same `flat` and "
            "`history=1` (with more than the present state in view a policy has no table)"
        )
    n_states, n_actions = env.mdp.n_states, env.mdp.n_actions
    masks = env.mdp.admissible[: env.mdp.n_transient].copy()  # PyTorch wants arrays that may be written to
    policy = model.policy if isinstance(model, BaseAlgorithm) else None
    if policy is not None and hasattr(policy, "get_distribution"):
        probabilities = _probabilities(model, observations, masks)
    else:
        takes_masks = "action_masks" in inspect.signature(model.predict).parameters
        actions = model.predict(observations, deterministic=True, **({"action_masks": masks} if takes_masks else {}))[0]
        probabilities = np.eye(n_actions)[np.asarray(actions)]
    table = np.full((n_states, n_actions), 1.0 / n_actions)
    table[: len(probabilities)] = probabilities
    return deterministic_policy(env.mdp, table.argmax(axis=1)) if most_likely else table


def _words(space: spaces.Space[Any]) -> str:
    """A space without its limits, of which there are many."""
    return f"a {type(space).__name__}" + ("" if space.shape is None else f" of shape {space.shape}")


def _probabilities(model: Any, observations: Any, masks: npt.NDArray[np.bool_]) -> Table:
    policy, statistics = model.policy, model.get_vec_normalize_env()
    if statistics is not None:
        observations = statistics.normalize_obs(observations)
    policy.set_training_mode(False)
    takes_masks = "action_masks" in inspect.signature(policy.get_distribution).parameters
    with th.no_grad():
        tensor, _ = policy.obs_to_tensor(observations)
        distribution = policy.get_distribution(tensor, **({"action_masks": masks} if takes_masks else {})).distribution
    probabilities = distribution.probs.double().cpu().numpy()
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))  # single precision sums to 1 within 1e-7


def value_model(policy: Any, env: SepsisTreatmentEnv, most_likely: bool = False) -> Worth:
    """
    Exact value, length and regret of a policy, overall and in the groups of ``env``.

    :param policy: A table of probabilities, (S, A), or a model, see :func:`policy_table`
    :param env: Treatment of sepsis; for a model with ``history=1``
    :param most_likely: Whether each state's most probable action counts alone
    :raises ValueError: If it is neither, or has no table
    """
    if hasattr(policy, "predict"):
        table = policy_table(policy, env, most_likely)
    else:
        table = np.asarray(policy, dtype=np.float64)
        if most_likely and table.shape == env.mdp.rows.shape:
            table = deterministic_policy(env.mdp, table.argmax(axis=1))
    return assess(env.mdp, table, env.start_groups, len(env.group_names))
