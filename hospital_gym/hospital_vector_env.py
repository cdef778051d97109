"""Many hospitals as one Gymnasium vector environment: a compiled call takes a decision in each."""

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from hospital_gym.checks import check_whole
from hospital_gym.hospital_env import HospitalEnv
from hospital_gym.records import RESOURCES
from hospital_gym.scenarios import Scenario
from hospital_gym.simulator.layout import N_ACTIONS
from hospital_gym.simulator.simulators import Simulators

Floats = npt.NDArray[np.float32]


class HospitalVectorEnv(gym.vector.VectorEnv[Floats, npt.NDArray[np.int64], npt.NDArray[Any]]):
    """
    n hospitals, each to the last bit a :class:`~hospital_gym.hospital_env.HospitalEnv`.

    ``gymnasium.make_vec("Hospital-Urban-v0", num_envs=64)`` makes it. ``reset(seed=s)`` gives hospital i the seed s + i, as
    Gymnasium's and SB3's vector environments do. When an episode ends, the next one begins in the same step: the observation
    is the new episode's, and the old one's last observation and info are in ``infos["final_obs"]`` and
    ``infos["final_info"]``. Unlike in ``SyncVectorEnv``, ``episode_records`` is an array of objects there, because hospitals
    that end together have different numbers of patients.

    What a step returns is the caller's own: it is not overwritten later. ``envs[i]`` is hospital i as a ``HospitalEnv``, for
    looking at it, for snapshots and for rendering.

    :param num_envs: number of hospitals, n
    :param scenario: see ``HospitalEnv``, as for the next five
    :param arrivals: path of a CSV file of arrivals to replay, or None
    :param group_by: attributes whose combinations are the groups; None for the published four
    :param render_mode: ``"rgb_array"``, ``"ansi"`` or None
    :param episode_offset: number of each hospital's first episode after ``reset(seed=...)``
    :param episode_stride: by how much each hospital's episodes go on
    :param max_episode_steps: decisions after which an episode is cut off, as Gymnasium's ``TimeLimit`` does; None for none
    :param num_threads: threads that share the hospitals; the result is the same
    :raises ValueError: naming the argument, its value and what is accepted
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        **HospitalEnv.metadata,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }
    #: Observations that are handed out are copies
    copy: ClassVar[bool] = True
    #: ``reset(options=...)`` also takes a list, one entry for each hospital
    takes_list_of_options: ClassVar[bool] = True

    def __init__(
        self,
        num_envs: int = 1,
        scenario: Scenario | str = "Urban",
        arrivals: str | None = None,
        group_by: Sequence[str] | None = None,
        render_mode: str | None = None,
        episode_offset: int = 0,
        episode_stride: int = 1,
        max_episode_steps: int | None = None,
        num_threads: int = 1,
    ) -> None:
        check_whole("num_envs", num_envs, 1)
        check_whole("num_threads", num_threads, 1)
        if max_episode_steps is not None:
            check_whole("max_episode_steps", max_episode_steps, 1)
        first = HospitalEnv(scenario, arrivals, group_by, render_mode, episode_offset, episode_stride)
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.group_names = first.group_names
        self.discount_time = first.discount_time
        self.performance_scale = first.performance_scale
        self.single_observation_space, self.single_action_space = first.observation_space, first.action_space
        self.observation_space = batch_space(first.observation_space, num_envs)
        self.action_space = batch_space(first.action_space, num_envs)
        self.simulators = Simulators(first.simulator, num_envs, num_threads)
        self.envs = [_in_place(first, place) for place in self.simulators.each]
        self._max_steps = max_episode_steps

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | Sequence[dict[str, Any] | None] | None = None,
    ) -> tuple[Floats, dict[str, Any]]:
        """Begin an episode in every hospital.

        :param seed: hospital i gets ``seed + i``, or entry i of a list; None goes on with the present seeds
        :param options: see ``HospitalEnv.reset``; a list has one entry for each hospital
        :return: observations (n, D), and ``episode`` (n,) and ``action_mask`` (n, 32) in a dict
        :raises ValueError: if seeds or options are not what they must be
        """
        if seed is None:
            seeds: list[Any] = [None] * self.num_envs
        elif isinstance(seed, (int, np.integer)):
            check_whole("seed", seed, 0, most=None)
            super().reset(seed=int(seed))
            seeds = [int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = self._one_each("seed", seed)
        each = (
            [options] * self.num_envs if options is None or isinstance(options, dict) else self._one_each("options", options)
        )
        infos: dict[str, Any] = {}
        for i, env in enumerate(self.envs):
            infos = self._add_info(infos, env.reset(seed=seeds[i], options=each[i])[1], i)
        return self.simulators.observations.copy(), infos

    def _one_each(self, key: str, values: Any) -> list[Any]:
        if not isinstance(values, (Sequence, np.ndarray)) or len(values) != self.num_envs:
            raise ValueError(f"{key}: got {values!r}, expected one value or a list of {self.num_envs}")
        return list(values)

    def step(
        self, actions: npt.ArrayLike
    ) -> tuple[Floats, npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]]:
        """Take one decision in every hospital; where an episode ends, begin the next.

        :param actions: action numbers, (n,); invalid ones act as the triage rule's choice
        :return: observations (n, D), rewards (n,), terminations (all False), truncations, infos
        :raises ValueError: if a number is no action at all
        :raises RuntimeError: if no episode was begun
        """
        simulators = self.simulators
        n_ended = simulators.step(self._checked(actions))
        truncated = simulators.done if n_ended else np.zeros(self.num_envs, dtype=np.bool_)
        if self._max_steps is not None:
            truncated |= simulators.decisions >= self._max_steps
            n_ended = int(np.count_nonzero(truncated))
        rewards, running = simulators.rewards.copy(), ~truncated
        infos: dict[str, Any] = {
            "group_id": simulators.groups_concerned.copy(),
            "_group_id": running,
            "group_rewards": simulators.group_rewards.copy(),
            "_group_rewards": running,
            "group_exposure": simulators.group_exposure.copy(),
            "_group_exposure": running,
            "elapsed": simulators.elapsed.copy(),
            "_elapsed": running,
            "invalid_action": simulators.invalid.copy(),
            "_invalid_action": running,
        }
        if n_ended:
            self._begin_next(np.flatnonzero(truncated), infos)
        infos["action_mask"], infos["_action_mask"] = simulators.masks.copy(), np.ones(self.num_envs, dtype=np.bool_)
        return simulators.observations.copy(), rewards, np.zeros(self.num_envs, dtype=np.bool_), truncated, infos

    def _checked(self, actions: npt.ArrayLike) -> npt.NDArray[np.int64]:
        numbers = np.asarray(actions)
        if numbers.shape != (self.num_envs,) or numbers.dtype.kind not in "iu":
            raise ValueError(f"actions: got {actions!r}, expected {self.num_envs} whole numbers from 0 to {N_ACTIONS - 1}")
        return np.ascontiguousarray(numbers, dtype=np.int64)

    def _begin_next(self, finished: npt.NDArray[np.intp], infos: dict[str, Any]) -> None:
        """Move what the last step of an episode brought to ``final_obs`` and ``final_info``, and begin the next episode.

        The form is what Gymnasium makes of n single infos: zeros where there is none, and a mask beside every key.
        """
        simulators = self.simulators
        infos["action_mask"] = simulators.masks.copy()  # replaced once the next episodes have begun
        ended = np.zeros(self.num_envs, dtype=np.bool_)
        ended[finished] = True
        final: dict[str, Any] = {}
        for key in [key for key in infos if not key.startswith("_")]:
            final[key], final[f"_{key}"] = np.zeros_like(infos[key]), ended.copy()
            final[key][finished] = infos[key][finished]
            infos[key][finished] = 0
        over = finished[simulators.done[finished]]  # the others were cut off
        if len(over):
            self._add_episode_items(over, final)
        observations = np.full(self.num_envs, None, dtype=object)
        for i in finished.tolist():
            observations[i] = simulators.observations[i].copy()
        began = np.zeros(self.num_envs, dtype=np.int64)
        for i in finished.tolist():
            began[i] = self.envs[i].begin()
        infos.update(episode=began, _episode=ended.copy())
        infos.update(final_obs=observations, _final_obs=ended, final_info=final, _final_info=ended.copy())

    def _add_episode_items(self, over: npt.NDArray[np.intp], final: dict[str, Any]) -> None:
        """Add ``HospitalEnv.episode_items`` of the hospitals whose episode is over."""
        present = np.zeros(self.num_envs, dtype=np.bool_)
        present[over] = True
        records, cost = np.full(self.num_envs, None, dtype=object), np.zeros(self.num_envs)
        use = {name: np.full(self.num_envs, None, dtype=object) for name in RESOURCES}
        for i in over.tolist():
            items = self.envs[i].episode_items()
            records[i], cost[i] = items["episode_records"], items["episode_cost"]
            for name, hours in items["episode_utilisation"].items():
                use[name][i] = hours
        utilisation = {key: value for name in RESOURCES for key, value in ((name, use[name]), (f"_{name}", present.copy()))}
        for key, value in (("episode_records", records), ("episode_cost", cost), ("episode_utilisation", utilisation)):
            final[key], final[f"_{key}"] = value, present.copy()

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Which actions are valid now, (n, 32)."""
        return self.simulators.masks.copy()

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of every ``HospitalEnv``, or read an attribute.

        :param name: of the method or attribute
        :param args: what the method is called with
        :param kwargs: the same
        :return: what they return, n of them
        """
        if name == "action_masks":
            return tuple(self.action_masks())
        values = self.get_attr(name)
        return tuple(value(*args, **kwargs) if callable(value) else value for value in values)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Read an attribute of every ``HospitalEnv``.

        :param name: of the attribute
        :return: the values, n of them
        """
        return tuple(getattr(env, name) for env in self.envs)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every ``HospitalEnv``.

        :param name: of the attribute
        :param values: a list or tuple of n values, or one for all
        :raises ValueError: if there are not n values
        """
        for env, value in zip(
            self.envs,
            self._one_each("values", values) if isinstance(values, (list, tuple)) else [values] * self.num_envs,
            strict=True,
        ):
            setattr(env, name, value)

    def render(self) -> tuple[Any, ...] | None:
        """Pictures or texts of all hospitals, as ``render_mode`` says; None without one."""
        return None if self.render_mode is None else tuple(env.render() for env in self.envs)

    def close_extras(self) -> None:
        """End the threads."""
        self.simulators.close()


def _in_place(first: HospitalEnv, place: Any) -> HospitalEnv:
    """The same environment around another simulator."""
    env = copy.copy(first)
    env.simulator = place
    env.action_space = copy.deepcopy(first.action_space)  # it draws random actions: each has a generator of its own
    return env
