"""What a trained policy makes of observations: the features that its actor acts on, and its gate."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import preprocess_obs

from sb3_grpo.common.checks import check_whole
from sb3_grpo.group_relative_ppo.group_conditioned_policy import GroupConditionedPolicy
from sb3_grpo.time_series.fusion import fusion_extractor


def embed(model: BaseAlgorithm | BasePolicy, observations: Any, batch_size: int = 1024) -> np.ndarray:
    """
    Features that the actor of a policy makes of observations, for example to cluster patients. The group that a
    :class:`~sb3_grpo.group_relative_ppo.GroupConditionedPolicy` reads from the observation is not among them.

    :param model: An algorithm with an actor-critic policy, or such a policy
    :param observations: n observations (n, ...), or a dict of such, as the policy gets them; or a single one
    :param batch_size: Observations at a time
    :return: Features, (n, F) float32
    :raises ValueError: If the policy has no features extractor, or the observations are not those of its space
    """
    policy = model.policy if isinstance(model, BaseAlgorithm) else model
    extractor = getattr(policy, "pi_features_extractor", None)
    if extractor is None:
        raise ValueError(f"model: got a {type(policy).__name__}, expected an actor-critic policy, which extracts features")
    batches = [
        BasePolicy.extract_features(policy, batch, extractor).cpu().numpy()
        for batch in _batches(policy, observations, batch_size)
    ]
    features = np.concatenate(batches)
    return features[:, : -policy.n_conditions] if isinstance(policy, GroupConditionedPolicy) else features


def gates(model: BaseAlgorithm, observations: Any, batch_size: int = 1024) -> tuple[np.ndarray, tuple[str, ...]]:
    """
    Mean gate of each part of a fusion network.

    :param model: An algorithm whose policy has a :class:`~sb3_grpo.time_series.TimeSeriesFusionExtractor`
    :param observations: n observations, a dict of arrays (n, ...); or a single one
    :param batch_size: Observations at a time
    :return: Gate in (0, 1), (n, P), and the names of the P parts
    :raises ValueError: If the policy has no such extractor, or the observations are not those of its space
    """
    extractor = fusion_extractor(model.policy)
    with th.no_grad():
        rows = [
            extractor.gate_by_part(extractor.read(preprocessed(model.policy, batch)).gate).cpu().numpy()
            for batch in _batches(model.policy, observations, batch_size)
        ]
    return np.concatenate(rows), tuple(extractor.parts)


def check_keys(policy: BasePolicy, observations: Any) -> None:
    """
    :param policy: The policy
    :param observations: Observations for it
    :raises ValueError: If its space is a Dict, and they are no dict with the same keys
    """
    if not isinstance(policy.observation_space, spaces.Dict):
        return
    expected = sorted(policy.observation_space.spaces)
    found = sorted(observations) if isinstance(observations, dict) else type(observations).__name__
    if found != expected:
        raise ValueError(f"observation: got {found}, expected a dict with the keys {expected}")


def preprocessed(policy: BasePolicy, observations: Any) -> Any:
    """
    :param policy: The policy
    :param observations: Tensors, as ``obs_to_tensor`` makes them
    :return: What SB3 hands to the features extractor
    """
    return preprocess_obs(observations, policy.observation_space, normalize_images=policy.normalize_images)


def _batches(policy: BasePolicy, observations: Any, batch_size: int) -> Iterator[Any]:
    check_whole("batch_size", batch_size, 1)
    check_keys(policy, observations)
    policy.set_training_mode(False)
    tensors, _ = policy.obs_to_tensor(observations)
    n = len(next(iter(tensors.values())) if isinstance(tensors, dict) else tensors)
    if n == 0:
        raise ValueError("observations: got none, expected at least one")
    with th.no_grad():
        for start in range(0, n, batch_size):
            part = slice(start, start + batch_size)
            yield {key: of[part] for key, of in tensors.items()} if isinstance(tensors, dict) else tensors[part]
