"""What environments say about groups in the ``info`` of every step, as arrays over environments, checked."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from sb3_grpo.common.info_columns import InfoColumns

#: Largest number of groups when nobody has named them: larger ids are taken for a mistake
MAX_UNNAMED_GROUPS = 1024

#: How far the sum of ``group_rewards`` may be from the reward, relative to max(1, |reward|)
REWARD_TOLERANCE = 1e-4

#: Values of one key of the infos, one for each environment
Column = list[Any] | np.ndarray


class GroupStep(NamedTuple):
    """One step of N environments; None for what the environments do not tell."""

    ids: np.ndarray | None  # (N,) int64, -1 where the step concerned no group
    rewards: np.ndarray | None  # (N, G) float32, raw
    exposure: np.ndarray | None  # (N, G) float32; (N,), of the step's own group, if the groups are unknown
    elapsed: np.ndarray | None  # (N,) float64


def read_group_infos(
    infos: Sequence[dict[str, Any]], n_groups: int | None, ids_required: bool, elapsed_required: bool
) -> GroupStep:
    """
    The one place where arrays are taken out of infos. Those that are arrays already are taken as they are.

    :param infos: Infos of one step, one per environment
    :param n_groups: Number of groups, None if unknown
    :param ids_required: Whether a missing ``group_id`` is an error
    :param elapsed_required: Whether to read ``elapsed``
    :return: The arrays
    :raises ValueError: If a key is missing where it is required, or in some environments only, or holds what it must not;
        the message names the key, the environment, the value and what is accepted
    """
    if elapsed_required and len(infos) == 0:
        raise ValueError(
            "The infos of a step are empty, but because of `discount_time` must hold info['elapsed'], the simulated time this "
            "step took, of every environment (`discount_time=False` discounts by steps)"
        )
    ids = info_column(infos, "group_id", ids_required, "the group of the unit that this step concerned, -1 for none")
    rewards = info_column(infos, "group_rewards", False, "the reward split by group")
    exposure = info_column(infos, "group_exposure", False, "the demand of each group that was decided in this step")
    if rewards is not None and n_groups is None:
        if ids_required:
            raise ValueError(
                f"info['group_rewards'] of environment 0 is {rewards[0]!r}, but nobody names the groups: give the environment "
                "an attribute `group_names` or pass `group_names=` to the algorithm"
            )
        rewards = None
    return GroupStep(
        ids=None if ids is None else _ids(ids, n_groups),
        rewards=None if rewards is None else _per_group("group_rewards", rewards, n_groups),
        exposure=None if exposure is None else _exposure(exposure, n_groups),
        elapsed=_elapsed(infos) if elapsed_required else None,
    )


def finished_infos(infos: list[dict[str, Any]], dones: np.ndarray | None) -> tuple[list[dict[str, Any]], np.ndarray | None]:
    """
    What SB3 looks for in infos is there on the last step of an episode only; where that is certain, it need not look further.

    :param infos: Infos of one step, one per environment
    :param dones: Whether the step ended an episode, (N,)
    :return: Infos and ``dones`` of the environments whose episode ended, or of all
    """
    if not isinstance(infos, InfoColumns) or dones is None:
        return infos, dones
    return infos.finished(), dones[dones]


def info_column(infos: Sequence[dict[str, Any]], key: str, required: bool, meaning: str) -> Column | None:
    """
    :param infos: Infos of one step, one per environment
    :param key: A key of theirs
    :param required: Whether its absence is an error
    :param meaning: What it stands for, for messages
    :return: Its values; None if no info has it and it is not required
    :raises ValueError: If some infos lack it, or all and it is required
    """
    if isinstance(infos, InfoColumns) and (column := infos.column(key)) is not None:
        return column
    try:
        return [info[key] for info in infos]
    except KeyError:
        missing = [env for env, info in enumerate(infos) if key not in info]
        if len(missing) == len(infos) and not required:
            return None
        raise ValueError(f"info[{key!r}] ({meaning}) is missing in the info of environment {missing[0]}") from None


def _ids(column: Column, n_groups: int | None) -> np.ndarray:
    ids = np.asarray(column)
    highest = (MAX_UNNAMED_GROUPS if n_groups is None else n_groups) - 1
    if ids.dtype.kind in "iu" and ids.ndim == 1 and ids.min() >= -1 and ids.max() <= highest:
        return ids.astype(np.int64)
    for env, value in enumerate(column):
        is_integer = isinstance(value, (int, np.integer)) or (isinstance(value, np.ndarray) and value.dtype.kind in "iu")
        if isinstance(value, bool) or not is_integer or np.ndim(value) or not -1 <= value <= highest:
            unnamed = "" if n_groups is not None else f" ({MAX_UNNAMED_GROUPS} groups at most unless `group_names` are given)"
            raise ValueError(
                f"info['group_id'] of environment {env} is {value!r}, but must be an integer from 0 to {highest}, "
                f"or -1 where the step concerned no group{unnamed}"
            )
    return ids.astype(np.int64)


def _per_group(key: str, column: Column, n_groups: int | None) -> np.ndarray:
    try:
        values = np.array(column, dtype=np.float32)
    except (ValueError, TypeError):
        values = np.empty(0, dtype=np.float32)
    if values.shape == (len(column), n_groups) and np.isfinite(values).all():
        return values
    for env, value in enumerate(column):
        if np.shape(value) != (n_groups,):
            raise ValueError(
                f"info[{key!r}] of environment {env} is {value!r}, shape {np.shape(value)}, but must have shape ({n_groups},)"
            )
        if not np.isfinite(np.asarray(value, dtype=np.float32)).all():
            raise ValueError(f"info[{key!r}] of environment {env} is {value}, but must be finite")
    return values


def _exposure(column: Column, n_groups: int | None) -> np.ndarray:
    if n_groups is not None:
        exposure = _per_group("group_exposure", column, n_groups)
    else:
        try:
            exposure = np.array(column, dtype=np.float32).reshape(len(column))
        except (ValueError, TypeError):
            raise ValueError(
                f"info['group_exposure'] of environment 0 is {column[0]!r}, but must be one number, the exposure of the group "
                "`group_id`, as long as nobody names the groups: give the environment an attribute `group_names` or pass "
                "`group_names=` to the algorithm"
            ) from None
    if not (exposure >= 0).all():
        env = int(np.argmin((exposure >= 0).reshape(len(column), -1).all(axis=1)))
        raise ValueError(f"info['group_exposure'] of environment {env} is {column[env]!r}, but must be at least 0")
    return exposure


def _elapsed(infos: Sequence[dict[str, Any]]) -> np.ndarray:
    column = info_column(infos, "elapsed", True, "the simulated time this step took, needed because of `discount_time`")
    try:
        elapsed = np.array(column, dtype=np.float64).reshape(len(infos))
    except (ValueError, TypeError):
        elapsed = np.full(len(infos), np.nan)
    valid = np.isfinite(elapsed) & (elapsed >= 0)
    if not valid.all():
        env = int(np.argmin(valid))
        value = infos[env]["elapsed"]
        raise ValueError(f"info['elapsed'] of environment {env} is {value!r}, but must be a finite number, at least 0")
    return elapsed


def check_rewards(rewards: np.ndarray) -> None:
    """
    :param rewards: Rewards, (N,)
    :raises ValueError: If one of them is not finite: it would stay in the groups' performance for ever
    """
    if not np.isfinite(rewards).all():
        env = int(np.argmin(np.isfinite(rewards)))
        raise ValueError(f"The reward of environment {env} is {rewards[env]}, but must be finite")


def check_reward_split(group_rewards: np.ndarray, rewards: np.ndarray, vec_env: VecEnv) -> None:
    """
    :param group_rewards: Rewards of each group, (N, G)
    :param rewards: Rewards, (N,), before ``VecNormalize``
    :param vec_env: Where they come from
    :raises ValueError: If the first do not sum to the second; names wrappers that change rewards
    """
    sums = group_rewards.sum(axis=1)
    agree = np.abs(sums - rewards) <= REWARD_TOLERANCE * np.maximum(1.0, np.abs(rewards))  # False for NaN
    if agree.all():
        return
    env = int(np.argmin(agree))
    cause = "Either the environment splits the reward wrongly, or a wrapper above it changes the reward alone"
    if suspects := _reward_wrappers(vec_env, env):
        cause = (
            f"The reward is changed above the environment, by {', '.join(suspects)}: remove it, or apply it below the "
            "environment that splits the reward (to normalise rewards, use VecNormalize)"
        )
    raise ValueError(
        f"info['group_rewards'] of environment {env} is {group_rewards[env]} and sums to {sums[env]:.6g}, but must sum to the "
        f"reward, {rewards[env]:.6g}. {cause}."
    )


def _reward_wrappers(vec_env: VecEnv, env: int) -> list[str]:
    """Names of the wrappers, outermost first, that change rewards between the algorithm and an environment."""
    names = []
    while isinstance(vec_env, VecEnvWrapper):
        if "Reward" in type(vec_env).__name__:
            names.append(type(vec_env).__name__)
        vec_env = vec_env.venv
    for wrapper in (gym.wrappers.NormalizeReward, gym.wrappers.ClipReward, gym.wrappers.TransformReward, gym.RewardWrapper):
        # The general class comes last: it also matches the special ones
        if not names and any(vec_env.env_is_wrapped(wrapper, indices=[env])):
            names.append(wrapper.__name__)
    return names


def terminal_observations(infos: Sequence[dict[str, Any]], dones: np.ndarray) -> tuple[list[int], Any]:
    """
    :param infos: Infos of one step
    :param dones: Whether the step ended an episode, (N,)
    :return: Environments whose episode ended, and the last observations of these episodes, stacked
    :raises ValueError: If such an observation holds NaN
    """
    finished = [env for env in np.flatnonzero(dones).tolist() if infos and "terminal_observation" in infos[env]]
    if not finished:
        return finished, None
    observations = [infos[env]["terminal_observation"] for env in finished]
    stacked: Any
    if isinstance(observations[0], dict):
        stacked = {key: np.stack([observation[key] for observation in observations]) for key in observations[0]}
    else:
        stacked = np.stack(observations)
    check_observation(stacked, finished)
    return finished, stacked


def check_observation(observation: np.ndarray | dict[str, np.ndarray], envs: Sequence[int] | None = None) -> None:
    """
    :param observation: Observations of environments
    :param envs: Which environments; None: all
    :raises ValueError: If one of them holds NaN. Without this check torch fails later, about the parameters of a distribution
    """
    parts = observation if isinstance(observation, dict) else {"": observation}
    for key, values in parts.items():
        # NaN makes the sum NaN: one pass without a temporary array decides nearly always
        if values.dtype.kind == "f" and np.isnan(values.sum()) and np.isnan(values).any():
            row = int(np.argmax(np.isnan(values.reshape(len(values), -1)).any(axis=1)))
            env, where = row if envs is None else envs[row], f" under key {key!r}" if key else ""
            raise ValueError(f"The observation of environment {env} holds NaN{where}, but must hold numbers: {values[row]}")


def env_attribute(vec_env: VecEnv | None, name: str) -> Any:
    """
    :param vec_env: Environments, or None
    :param name: Name of an attribute of the environments, looked up through wrappers
    :return: Its value; None if the environments do not have it
    :raises ValueError: If the environments do not agree
    """
    try:
        if vec_env is None or not vec_env.has_attr(name):
            return None
    except NotImplementedError:  # a VecEnv may offer no attributes at all
        return None
    values = vec_env.get_attr(name)
    for env, value in enumerate(values):
        if value != values[0]:
            raise ValueError(f"Environments differ in `{name}`: {values[0]} in environment 0, {value} in environment {env}")
    return values[0]


def reward_factors(rewards: np.ndarray, vec_normalize: VecNormalize) -> np.ndarray:
    """
    The factor by which ``VecNormalize`` scaled, and clipped, each total reward of the newest step: the one for its parts too.

    :param rewards: Rewards as the algorithm receives them, (N,)
    :param vec_normalize: The wrapper
    :return: (N,) float32
    """
    raw = vec_normalize.old_reward
    unclipped = 1.0 / np.sqrt(vec_normalize.ret_rms.var + vec_normalize.epsilon) if vec_normalize.norm_reward else 1.0
    # Parts of a reward of zero need not be zero
    return np.divide(rewards, raw, out=np.full(len(raw), unclipped, dtype=np.float32), where=raw != 0)
