"""Many stays watched at once, without Python work for single ones."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from hospital_gym.checks import check_whole
from hospital_gym.clinical.case_table import Ints
from hospital_gym.clinical.cases import CaseStream, checked_seed
from hospital_gym.clinical.early_warning import GROUPS, HORIZON, EscalationRewards, Split
from hospital_gym.clinical.early_warning_env import EarlyWarningEnv, Observation
from hospital_gym.clinical.early_warning_rendering import draw_stay, print_stay
from hospital_gym.clinical.icu_observation import Observe
from hospital_gym.clinical.icu_stays import IcuStays


class EarlyWarningVectorEnv(gym.vector.VectorEnv[Observation, npt.NDArray[np.int64], npt.NDArray[Any]]):
    """
    n environments like :class:`~hospital_gym.clinical.early_warning_env.EarlyWarningEnv`, as arrays.

    Where an episode ends, the next stay begins in the same step (``AutoresetMode.SAME_STEP``): the observation, ``case_id``,
    ``group_id`` and ``hour`` are the next one's, and what the last step said is in ``infos["final_obs"]`` and
    ``infos["final_info"]``. All stays come from the one sequence of the seed, environments of one step in their order.

    ``gymnasium.make_vec("EarlyWarning-ICU-v0", num_envs=64)`` makes one, and ``sb3_grpo.make_vec_env`` one for
    Stable-Baselines3.

    :param num_envs: number of environments, n
    :param data: see ``EarlyWarningEnv``, as for the others
    :param split: which patients
    :param groups: attributes whose combinations are the groups
    :param window: how many hours are seen
    :param observe: what is seen of them
    :param horizon: hours after which it is too late
    :param rewards: what decisions are worth
    :param sampling: how often each stay is presented
    :param split_seed: of the split
    :param render_mode: ``"rgb_array"``, ``"ansi"`` or None
    :raises ValueError: naming the argument, its value and what is accepted
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        **EarlyWarningEnv.metadata,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }
    performance_scale = EarlyWarningEnv.performance_scale
    #: What a step returns is the caller's own
    copy: ClassVar[bool] = True

    def __init__(
        self,
        num_envs: int = 1,
        data: IcuStays | str | os.PathLike[str] | None = None,
        split: Split = "train",
        groups: Sequence[str] | str = GROUPS,
        window: int = HORIZON,
        observe: Observe = "window",
        horizon: int = HORIZON,
        rewards: EscalationRewards | Mapping[str, float] | None = None,
        sampling: str = "uniform",
        split_seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        check_whole("num_envs", num_envs, 1)
        first = EarlyWarningEnv(data, split, groups, window, observe, horizon, rewards, sampling, split_seed, render_mode)
        self.num_envs, self.render_mode = int(num_envs), render_mode
        self.watch, self.stays, self.group_names = first.watch, first.stays, first.group_names
        self.rewards, self.weights = first.rewards, first.weights
        self.single_observation_space, self.single_action_space = first.observation_space, first.action_space
        self.observation_space = batch_space(first.observation_space, num_envs)
        self.action_space = batch_space(first.action_space, num_envs)
        self._stream: CaseStream | None = None
        #: (n,) which of the watched stays each environment presents, and the newest hour that is seen of it, from 0
        self.positions: Ints = np.zeros(self.num_envs, dtype=np.int64)
        self.hours: Ints = np.zeros(self.num_envs, dtype=np.int64)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Present the first hour of the next stays everywhere.

        :param seed: begin the sequence of stays of this seed; None goes on with the present one. There is one sequence for all
            environments: of a list, the first seed counts
        :param options: there are none
        :return: observations, n of each array, and ``case_id``, ``group_id`` and ``hour``, each (n,)
        :raises ValueError: if seed or options are not what they must be
        """
        if options:
            raise ValueError(f"options: got {options!r}, expected None")
        if isinstance(seed, (Sequence, np.ndarray)):
            if len(seed) != self.num_envs:
                raise ValueError(f"seed: got {seed!r}, expected one value or a list of {self.num_envs}")
            seed = seed[0]
        super().reset(seed=None if seed is None else checked_seed(seed))
        if seed is not None or self._stream is None:
            start = int(self.np_random.integers(2**31)) if seed is None else checked_seed(seed)
            self._stream = CaseStream(len(self.watch), start, self.weights)
        self.positions, self.hours = self._stream.take(self.num_envs), np.zeros(self.num_envs, dtype=np.int64)
        told = self.watch.told(self.positions, self.hours)
        return self._seen(), _masked(told, np.ones(self.num_envs, dtype=np.bool_))

    def _seen(self) -> Observation:
        return self.watch.observations.at(self.positions, self.hours)

    def step(
        self, actions: npt.ArrayLike
    ) -> tuple[Observation, npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]]:
        """Wait or escalate everywhere.

        :param actions: 0 or 1, (n,)
        :return: observations, rewards (n,), terminations (n,), truncations (all False), infos
        :raises ValueError: if one is neither
        :raises RuntimeError: if no decision is due
        """
        if self._stream is None:
            raise RuntimeError("step() needs patients who wait for a decision: call reset() first")
        chosen = np.asarray(actions)
        if chosen.shape != (self.num_envs,) or chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() > 1:
            raise ValueError(f"actions: got {actions!r}, expected {self.num_envs} times 0 (wait) or 1 (escalate)")
        rewards, ended, columns = self.watch.step(self.positions, self.hours, chosen, self.rewards)
        infos = _masked(columns, ~ended)
        finished = np.flatnonzero(ended)
        if len(finished):
            infos |= self._begin_next(finished, ended, columns)
        self.hours = np.where(ended, 0, self.hours + 1)
        return self._seen(), rewards, ended, np.zeros_like(ended), infos

    def _begin_next(self, finished: Ints, ended: npt.NDArray[np.bool_], columns: dict[str, Any]) -> dict[str, Any]:
        """
        Let the next stays follow.

        :return: what infos have to say more
        """
        assert self._stream is not None
        last = self.watch.observations.at(self.positions[finished], self.hours[finished])
        final = np.full(self.num_envs, None, dtype=object)
        for place, env in enumerate(finished.tolist()):
            final[env] = {key: values[place] for key, values in last.items()}
        self.positions = self.positions.copy()
        self.positions[finished] = self._stream.take(len(finished))
        begun = self.watch.told(self.positions, np.where(ended, 0, self.hours))
        told = {key: np.where(ended, begun[key], columns[key]) for key in begun}
        return {
            "final_obs": final,
            "_final_obs": ended.copy(),
            "final_info": _masked(columns, ended),
            "_final_info": ended.copy(),
            **_masked(told, np.ones_like(ended)),
        }

    def render(self) -> tuple[Any, ...] | None:
        """Pictures or texts of all stays, as ``render_mode`` says; None without one."""
        if self.render_mode is None:
            return None
        draw = print_stay if self.render_mode == "ansi" else draw_stay
        places = zip(self.positions.tolist(), self.hours.tolist(), strict=True)
        return tuple(draw(self.watch, position, hour, False) for position, hour in places)


def _masked(columns: Mapping[str, Any], told: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Columns as Gymnasium wants them: with a mask that says which environments have them."""
    return dict(columns) | {f"_{key}": told.copy() for key in columns}
