"""Many patients with sepsis at once, without Python work for each."""

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from hospital_gym.checks import check_whole
from hospital_gym.clinical.sepsis.course import Courses
from hospital_gym.clinical.sepsis.mdp import Ints, SepsisMDP
from hospital_gym.clinical.sepsis.observation import Observation, first_row
from hospital_gym.clinical.sepsis.rendering import draw_course, print_course
from hospital_gym.clinical.sepsis.treatment_env import SepsisTreatmentEnv


class SepsisTreatmentVectorEnv(gym.vector.VectorEnv[Observation, npt.NDArray[np.int64], npt.NDArray[Any]]):
    """
    n environments like :class:`~hospital_gym.clinical.sepsis.treatment_env.SepsisTreatmentEnv` as arrays.

    ``reset(seed=s)`` gives environment i the episodes of seed s + i. Where an episode ends, the next begins in the same step:
    the observation is the new episode's, and the old one's last observation and info are in ``infos["final_obs"]`` and
    ``infos["final_info"]``.

    ``gymnasium.make_vec("Sepsis-Treatment-v0", num_envs=64)`` makes one, and ``sb3_grpo.make_vec_env`` one for
    Stable-Baselines3.

    :param num_envs: number of environments, n
    :param history: see ``SepsisTreatmentEnv``, as for the others
    :param flat: whether the observation is flat
    :param group_by: what patients are grouped by
    :param mdp: the decision problem, or the folder of its files
    :param render_mode: ``"rgb_array"``, ``"ansi"`` or None
    :raises ValueError: naming the argument, its value and what is accepted
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        **SepsisTreatmentEnv.metadata,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }
    performance_scale = SepsisTreatmentEnv.performance_scale
    #: What a step returns is the caller's own
    copy: ClassVar[bool] = True

    def __init__(
        self,
        num_envs: int = 1,
        history: int = 6,
        flat: bool = False,
        group_by: str = "age",
        mdp: SepsisMDP | str | os.PathLike[str] | None = None,
        render_mode: str | None = None,
    ) -> None:
        check_whole("num_envs", num_envs, 1)
        first = SepsisTreatmentEnv(history, flat, group_by, mdp, render_mode)
        self.num_envs, self.render_mode = int(num_envs), render_mode
        self.mdp, self.history, self.flat, self.group_by = first.mdp, first.history, flat, group_by
        self.start_groups, self.group_names, self.observing = first.start_groups, first.group_names, first.observing
        self.single_observation_space, self.single_action_space = first.observation_space, first.action_space
        self.observation_space = batch_space(first.observation_space, num_envs)
        self.action_space = batch_space(first.action_space, num_envs)
        self.courses = Courses(self.mdp, self.num_envs, self.history, self.start_groups, len(self.group_names))
        self._begun = False

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin the next episode everywhere.

        :param seed: environment i begins the episodes of seed ``seed + i``, or of entry i of a list, where None is a random
            one; None goes on with the present ones (random ones at first)
        :param options: there are none
        :return: observations (n, ...), and what ``SepsisTreatmentEnv.reset`` says, each with n rows
        :raises ValueError: if seed or options are not what they must be
        """
        if options:
            raise ValueError(f"options: got {options!r}, expected None")
        if seed is None or isinstance(seed, (int, np.integer)):
            if seed is not None:
                check_whole("seed", seed, 0, most=None)
            super().reset(seed=None if seed is None else int(seed))
            if seed is not None or not self._begun:
                start = int(self.np_random.integers(2**31)) if seed is None else int(seed)
                self.courses.seed(range(start, start + self.num_envs))
        else:
            if len(seed) != self.num_envs:
                raise ValueError(f"seed: got {seed!r}, expected one value or a list of {self.num_envs}")
            for each in seed:
                if each is not None:
                    check_whole("seed", each, 0, most=None)
            self.courses.seed([int(self.np_random.integers(2**31)) if each is None else int(each) for each in seed])
        self._begun = True
        everyone = np.arange(self.num_envs)
        self.courses.begin(everyone)
        infos = {"episode": self.courses.episodes.copy(), **self.courses.columns()}
        told = np.ones(self.num_envs, dtype=np.bool_)
        return self.observing.observe(self.courses.histories), infos | {f"_{key}": told.copy() for key in infos}

    def step(
        self, actions: npt.ArrayLike
    ) -> tuple[Observation, npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]]:
        """Treat all patients for four hours; where an episode ends, begin the next.

        :param actions: (n,) numbers of actions
        :return: observations (n, ...), rewards (n,), terminations (n,), truncations (all False), infos
        :raises ValueError: if a number is no action
        :raises RuntimeError: if no episode was begun
        """
        if not self._begun:
            raise RuntimeError("step() needs episodes: call reset() first")
        chosen, courses = self._checked(actions), self.courses
        admissible = self.mdp.admissible[courses.states, chosen]
        rewards = courses.treat(chosen)
        terminated = ~courses.running
        infos: dict[str, Any] = {}
        columns = courses.step_columns(admissible, rewards)
        ended = np.flatnonzero(terminated)
        if len(ended):
            infos = self._final(columns, terminated, ended, rewards)
            courses.begin(ended)
            infos.update(episode=courses.episodes.copy(), _episode=terminated.copy())
            columns.update(courses.columns())
            for key in ("group_rewards", "group_exposure", "elapsed", "invalid_action"):
                columns[key][ended] = 0
                infos[f"_{key}"] = ~terminated
        everywhere = np.ones(self.num_envs, dtype=np.bool_)
        infos = columns | {f"_{key}": everywhere.copy() for key in columns} | infos
        observations = self.observing.observe(courses.histories)
        return observations, rewards, terminated, np.zeros(self.num_envs, dtype=np.bool_), infos

    def _final(
        self, columns: dict[str, Any], terminated: npt.NDArray[np.bool_], ended: Ints, rewards: npt.NDArray[np.float64]
    ) -> dict[str, Any]:
        """What the last step of episodes brought, in the form that Gymnasium makes of n single infos."""
        final: dict[str, Any] = {**columns, "is_success": rewards > 0.0}
        final = {key: np.zeros_like(values) for key, values in final.items()}
        for key, values in {**columns, "is_success": rewards > 0.0}.items():
            final[key][ended] = values[ended]
        final |= {f"_{key}": terminated.copy() for key in final}
        last = self.observing.observe(self.courses.histories[ended])
        seen = np.full(self.num_envs, None, dtype=object)
        for place, env in enumerate(ended.tolist()):
            seen[env] = first_row(last, place)
        told = {"_final_obs": terminated.copy(), "_final_info": terminated.copy()}
        return {"final_obs": seen, "final_info": final, **told}

    def _checked(self, actions: npt.ArrayLike) -> Ints:
        chosen, most = np.asarray(actions), self.mdp.n_actions - 1
        if chosen.shape != (self.num_envs,) or chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() > most:
            raise ValueError(f"actions: got {actions!r}, expected {self.num_envs} whole numbers from 0 to {most}")
        return chosen.astype(np.int64)

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Admissible actions now, (n, 25)."""
        return self.mdp.admissible[self.courses.states]

    def render(self) -> tuple[Any, ...] | None:
        """Pictures or texts of all courses, as ``render_mode`` says; None without one."""
        if self.render_mode is None:
            return None
        draw = print_course if self.render_mode == "ansi" else draw_course
        return tuple(draw(self.courses.one(env), self.group_names) for env in range(self.num_envs))
