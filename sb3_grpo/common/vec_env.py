"""SB3's ``VecEnv`` over a Gymnasium ``VectorEnv``, with no Python work for each environment in a step."""

import copy
import importlib
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common import env_util
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from sb3_grpo.common.info_columns import InfoColumns, info_row


def make_vec_env(
    env_id: str | Callable[..., gym.Env],
    n_envs: int = 1,
    seed: int | None = None,
    start_index: int = 0,
    monitor_dir: str | None = None,
    wrapper_class: Callable[[gym.Env], gym.Env] | None = None,
    env_kwargs: dict[str, Any] | None = None,
    vec_env_cls: type[Any] | None = None,
    vec_env_kwargs: dict[str, Any] | None = None,
    monitor_kwargs: dict[str, Any] | None = None,
    wrapper_kwargs: dict[str, Any] | None = None,
) -> VecEnv:
    """
    SB3's ``make_vec_env()``, faster for environments that come with a vector environment of their own, as the hospitals do.

    Those are ids registered with a ``vector_entry_point`` that begins the next episode in the step in which one ends
    (``AutoresetMode.SAME_STEP``). They become a :class:`GymnasiumVecEnv` with the same seeds, and with the episode statistics
    that ``Monitor`` would give. All else goes to SB3's function: other ids, functions, and whatever needs single environments
    (monitor files, wrappers, another class of ``VecEnv``).

    :param env_id: Id of a registered environment, or a function that makes one
    :param n_envs: Number of environments
    :param seed: Environment i gets the seed ``seed + i``; None for random seeds
    :param start_index: Number of the first environment, for monitor files and random actions
    :param monitor_dir: Folder for monitor files
    :param wrapper_class: Wrapper of each environment
    :param env_kwargs: Keyword arguments of the environment
    :param vec_env_cls: Class of ``VecEnv``
    :param vec_env_kwargs: Keyword arguments of ``vec_env_cls``, or of the vector environment: ``{"num_threads": 2}``
    :param monitor_kwargs: Keyword arguments of ``Monitor``
    :param wrapper_kwargs: Keyword arguments of the wrapper
    :return: The environments
    """
    single = (monitor_dir, wrapper_class, vec_env_cls, monitor_kwargs, wrapper_kwargs)
    spec = vector_spec(env_id) if not any(single) else None
    if spec is None or "max_episode_steps" in (env_kwargs or {}) or "disable_env_checker" in (env_kwargs or {}):
        return env_util.make_vec_env(
            env_id,
            n_envs,
            seed,
            start_index,
            monitor_dir,
            wrapper_class,
            env_kwargs,
            vec_env_cls,
            vec_env_kwargs,
            monitor_kwargs,
            wrapper_kwargs,
        )
    kwargs = {"render_mode": "rgb_array", **(env_kwargs or {})}
    vector_env = gym.make_vec(spec, n_envs, vectorization_mode="vector_entry_point", **kwargs, **(vec_env_kwargs or {}))
    if hasattr(vector_env.unwrapped, "set_attr"):  # each says, as one made by gym.make() does, how to make it again
        spec = copy.deepcopy(spec)
        spec.kwargs.update(kwargs)
        vector_env.unwrapped.set_attr("spec", [spec] * n_envs)
    if seed is not None:
        vector_env.single_action_space.seed(seed + start_index)
    vec_env = GymnasiumVecEnv(vector_env)
    vec_env.seed(seed)
    return vec_env


def vector_spec(env_id: Any) -> EnvSpec | None:
    """
    :param env_id: Id of a registered environment, or what is registered under it; anything else has none
    :return: What is registered, if it has a vector environment that can take the place of single ones
    """
    spec = env_id
    if isinstance(env_id, str):
        module, _, name = env_id.rpartition(":")
        if module:
            importlib.import_module(module)
        spec = gym.registry.get(name)
    if not isinstance(spec, EnvSpec) or spec.vector_entry_point is None or spec.additional_wrappers:
        return None
    entry_point = spec.vector_entry_point
    creator: Any = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    mode = getattr(creator, "metadata", {}).get("autoreset_mode")
    return spec if mode == AutoresetMode.SAME_STEP else None


def from_vector_env(vector_env: VectorEnv) -> "GymnasiumVecEnv":
    """
    :param vector_env: Environments of Gymnasium
    :return: The same as SB3 wants them
    :raises ValueError: See :class:`GymnasiumVecEnv`
    """
    return GymnasiumVecEnv(vector_env)


class GymnasiumVecEnv(VecEnv):
    """
    A Gymnasium ``VectorEnv`` as SB3's ``VecEnv``.

    SB3 wants the first observation of the next episode in the step in which one ends. A ``VectorEnv`` that says
    ``AutoresetMode.SAME_STEP`` gives it. In the modes ``NEXT_STEP`` and ``DISABLED`` it is asked for it with
    ``reset(options={"reset_mask": ...})``, as ``SyncVectorEnv`` and ``AsyncVectorEnv`` understand it.

    ``infos`` are :class:`~sb3_grpo.common.info_columns.InfoColumns`. As with SB3's ``Monitor``, the info of an episode's last
    step holds its statistics under ``"episode"``: return ``r``, length ``l``, seconds since the beginning ``t``.

    :param vector_env: The environments
    :raises ValueError: If it does not say when it resets environments, or its spaces are not those of SB3
    """

    def __init__(self, vector_env: VectorEnv) -> None:
        mode = vector_env.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            raise ValueError(
                f"vector_env: got {vector_env} with metadata['autoreset_mode'] = {mode!r}, expected a gymnasium.vector."
                "AutoresetMode: without it nobody knows which observation belongs to which episode"
            )
        self.vector_env = vector_env
        # Gymnasium's own vector environments say so by the same name
        self._copies = vector_env is vector_env.unwrapped and getattr(vector_env, "copy", False) is True
        self._resets_itself = mode == AutoresetMode.SAME_STEP
        self._began = time.time()
        self._returns = np.zeros(vector_env.num_envs)
        self._lengths = np.zeros(vector_env.num_envs, dtype=np.int64)
        self._actions: Any = None
        super().__init__(vector_env.num_envs, vector_env.single_observation_space, vector_env.single_action_space)
        self.metadata = vector_env.metadata

    def reset(self) -> VecEnvObs:
        """See the parent."""
        observations, infos = self.vector_env.reset(seed=self._common_seeds(), options=self._common_options())
        self.reset_infos = [info_row(infos, env) for env in range(self.num_envs)]
        self._returns[:], self._lengths[:] = 0.0, 0
        self._reset_seeds()
        self._reset_options()
        return copy.deepcopy(observations)

    def _common_seeds(self) -> Any:
        first, *_ = seeds = list(self._seeds)
        if first is not None and seeds == list(range(first, first + len(seeds))):
            return first  # every VectorEnv knows one seed, few a list
        return seeds if any(seed is not None for seed in seeds) else None

    def _common_options(self) -> Any:
        options = self._options
        if all(option == options[0] for option in options):
            return copy.deepcopy(options[0]) or None
        if getattr(self.vector_env.unwrapped, "takes_list_of_options", False):
            return [option or None for option in options]
        raise ValueError(f"options: got {options!r}, expected the same for every environment of {self.vector_env}")

    def step_async(self, actions: np.ndarray) -> None:
        """See the parent."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """See the parent."""
        observations, rewards, terminated, truncated, infos = self.vector_env.step(self._actions)
        if not self._copies:  # what SB3 keeps must not change in the next step
            observations = copy.deepcopy(observations)
        dones = np.logical_or(terminated, truncated)
        timed_out = np.greater(truncated, terminated)
        self._returns += rewards
        self._lengths += 1
        finished: dict[int, dict[str, Any]] = {}
        if np.count_nonzero(dones):
            observations, finished = self._finish(dones, timed_out, observations, infos)
        return observations, np.asarray(rewards, dtype=np.float32), dones, InfoColumns(infos, timed_out, finished)

    def _finish(
        self, dones: np.ndarray, timed_out: np.ndarray, observations: Any, infos: dict[str, Any]
    ) -> tuple[Any, dict[int, dict[str, Any]]]:
        """
        :return: Observations with which to go on, and the infos of the episodes that ended
        """
        envs = np.flatnonzero(dones).tolist()
        if self._resets_itself:
            last_infos = {env: info_row(infos["final_info"], env) for env in envs}
            last_observations = {env: infos["final_obs"][env] for env in envs}
            next_infos = {key: value for key, value in infos.items() if key.lstrip("_") not in ("final_info", "final_obs")}
        else:
            last_infos = {env: info_row(infos, env) for env in envs}
            last_observations = {env: _row(observations, env) for env in envs}
            observations, next_infos = self._reset_some(dones, observations)
        for env in envs:
            statistics = {
                "r": round(float(self._returns[env]), 6),
                "l": int(self._lengths[env]),
                "t": round(time.time() - self._began, 6),
            }
            last_infos[env]["episode"] = statistics
            last_infos[env]["TimeLimit.truncated"] = bool(timed_out[env])
            last_infos[env]["terminal_observation"] = last_observations[env]
            self.reset_infos[env] = info_row(next_infos, env)
        self._returns[dones], self._lengths[dones] = 0.0, 0
        return observations, last_infos

    def _reset_some(self, dones: np.ndarray, observations: Any) -> tuple[Any, dict[str, Any]]:
        """
        :raises RuntimeError: If environments whose episode goes on were reset, too
        """
        begun, infos = self.vector_env.reset(options={"reset_mask": dones.copy()})
        begun = copy.deepcopy(begun)
        for before, after in zip(_leaves(observations), _leaves(begun), strict=True):
            if not np.array_equal(before[~dones], after[~dones], equal_nan=before.dtype.kind in "fc"):
                raise RuntimeError(
                    f"{self.vector_env} cannot reset some of its environments (options={{'reset_mask': ...}}) and leave the "
                    "others as they are: use one with metadata['autoreset_mode'] = AutoresetMode.SAME_STEP"
                )
        return begun, infos

    def close(self) -> None:
        """See the parent."""
        self.vector_env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """See the parent."""
        if self.render_mode != "rgb_array":
            warnings.warn(f"render_mode is {self.render_mode!r}, but pictures need 'rgb_array'", stacklevel=2)
            return [None] * self.num_envs
        images: Any = self.vector_env.render()
        return [None] * self.num_envs if images is None else list(images)

    # -- Single environments -----------------------------------------------------------------------------------------

    def _chosen(self, indices: VecEnvIndices) -> list[int]:
        return list(self._get_indices(indices))

    @property
    def _envs(self) -> Any:
        """The single environments, None if nobody can reach them."""
        return getattr(self.vector_env.unwrapped, "envs", None)

    def has_attr(self, attr_name: str) -> bool:
        """See the parent."""
        if self._envs is None and hasattr(self.vector_env.unwrapped, "call"):
            return all(self.vector_env.unwrapped.call("has_wrapper_attr", attr_name))
        return super().has_attr(attr_name)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """See the parent. What single environments do not have is looked for in the vector environment."""
        unwrapped, chosen = self.vector_env.unwrapped, self._chosen(indices)
        if self._envs is not None:
            return [self._envs[env].get_wrapper_attr(attr_name) for env in chosen]
        if hasattr(unwrapped, "get_attr"):
            if not self.has_attr(attr_name):  # AsyncVectorEnv ends a process that lacks it
                raise AttributeError(f"the environments of {self.vector_env} have no attribute {attr_name!r}")
            values = unwrapped.get_attr(attr_name)
            return [values[env] for env in chosen]
        value = getattr(unwrapped, attr_name)
        return [value for _ in chosen]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """
        See the parent.

        :raises NotImplementedError: If single environments cannot be reached
        """
        chosen = self._chosen(indices)
        if self._envs is not None:
            for env in chosen:
                setattr(self._envs[env], attr_name, value)
        elif indices is None and hasattr(self.vector_env.unwrapped, "set_attr"):
            self.vector_env.unwrapped.set_attr(attr_name, [value] * self.num_envs)
        else:
            raise NotImplementedError(f"{self.vector_env} has no single environments whose {attr_name!r} could be set")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """
        See the parent. A vector environment may answer for all at once: with one call, or with an array of n rows.

        :raises NotImplementedError: If single environments cannot be reached
        """
        unwrapped = self.vector_env.unwrapped
        if indices is None and hasattr(unwrapped, "call"):
            return list(unwrapped.call(method_name, *method_args, **method_kwargs))
        if self._envs is not None:
            methods = self.get_attr(method_name, indices)
            return [method(*method_args, **method_kwargs) for method in methods]
        if indices is None and not hasattr(unwrapped, "get_attr"):
            return list(getattr(unwrapped, method_name)(*method_args, **method_kwargs))
        raise NotImplementedError(f"{self.vector_env} has no single environments whose {method_name!r} could be called")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """See the parent. Counts as wrapped with ``Monitor``, whose statistics the infos hold."""
        chosen = self._chosen(indices)
        if issubclass(Monitor, wrapper_class) or self._envs is None:
            return [issubclass(Monitor, wrapper_class)] * len(chosen)
        return [env_util.is_wrapped(self._envs[env], wrapper_class) for env in chosen]


def _leaves(observations: Any) -> Iterable[np.ndarray]:
    """The arrays of observations: one, or those of a dict or tuple."""
    if isinstance(observations, dict):
        return observations.values()
    return observations if isinstance(observations, tuple) else (observations,)


def _row(observations: Any, env: int) -> Any:
    """The observation of one environment."""
    if isinstance(observations, dict):
        return {key: values[env].copy() for key, values in observations.items()}
    if isinstance(observations, tuple):
        return tuple(values[env].copy() for values in observations)
    return observations[env].copy()
