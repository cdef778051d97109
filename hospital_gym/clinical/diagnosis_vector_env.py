"""Many cases at once, each presented several times: what learners that compare answers to one case need."""

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from hospital_gym.clinical.case_table import CaseTable, Ints
from hospital_gym.clinical.cases import (
    WRONG_REWARD,
    CaseStream,
    Sampling,
    Subset,
    case_columns,
    checked_seed,
    step_columns,
)
from hospital_gym.clinical.diagnosis_env import DiagnosisEnv
from hospital_gym.clinical.preprocessing import Floats, Preprocessing
from hospital_gym.clinical.rendering import draw_case, print_case


class DiagnosisVectorEnv(gym.vector.VectorEnv[Floats, npt.NDArray[np.int64], npt.NDArray[Any]]):
    """
    n environments like :class:`~hospital_gym.clinical.diagnosis_env.DiagnosisEnv` that present n / R cases, each R times.

    Environments ``i * R`` to ``(i + 1) * R - 1`` hold the R answers to one case in the same step. Each step answers all cases,
    and presents the next ones: the observation is the next case's, ``infos`` has what :class:`DiagnosisEnv` says of the step
    under ``final_info`` (``AutoresetMode.SAME_STEP``: every environment ends its episode in every step) and, under the same
    keys without it, ``case_id``, ``group_id`` and ``source_id`` of the next cases.

    All cases come from the one sequence of the seed, in order: n / R of them in a step. So a pass presents every case once,
    whatever n is. No Python runs for single environments.

    ``gymnasium.make_vec("Diagnosis-HeartDisease-v0", num_envs=64, answers=8)`` makes one, and ``sb3_grpo.make_vec_env`` one
    for Stable-Baselines3.

    :param num_envs: number of environments, n; a multiple of ``answers``
    :param table: see ``DiagnosisEnv``, as for the others
    :param subset: which cases are presented
    :param test_share: share of the test cases
    :param split_seed: of the split
    :param cases: in place of a subset: rows of the cases to present
    :param preprocessing: of the environment that was trained in
    :param group_by: attributes whose combinations are the groups
    :param sampling: how often each case is presented
    :param wrong_reward: reward of a wrong answer
    :param rewards: table of rewards
    :param data: data directory
    :param render_mode: ``"rgb_array"``, ``"ansi"`` or None
    :param answers: how many environments hold the same case, R
    :raises ValueError: naming the argument, its value and what is accepted
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        **DiagnosisEnv.metadata,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }
    performance_scale = DiagnosisEnv.performance_scale
    #: What a step returns is the caller's own
    copy: ClassVar[bool] = True

    def __init__(
        self,
        num_envs: int = 1,
        table: CaseTable | str = "heart-disease",
        subset: Subset = "train",
        test_share: float = 0.2,
        split_seed: int = 0,
        cases: npt.ArrayLike | None = None,
        preprocessing: Preprocessing | None = None,
        group_by: Sequence[str] | None = None,
        sampling: Sampling | npt.ArrayLike = "uniform",
        wrong_reward: float = WRONG_REWARD,
        rewards: npt.ArrayLike | None = None,
        data: str | os.PathLike[str] | None = None,
        render_mode: str | None = None,
        answers: int = 1,
    ) -> None:
        for key, value in (("num_envs", num_envs), ("answers", answers)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{key}: got {value!r}, expected a whole number >= 1")
        if num_envs % answers:
            raise ValueError(f"num_envs: got {num_envs}, expected a multiple of answers={answers}: each case takes that many")
        first = DiagnosisEnv(
            *(table, subset, test_share, split_seed, cases, preprocessing, group_by, sampling),
            *(wrong_reward, rewards, data, render_mode),
        )
        self.num_envs, self.answers, self.render_mode = int(num_envs), int(answers), render_mode
        self.cases, self.table, self.rewards, self.weights = first.cases, first.table, first.rewards, first.weights
        self.group_names, self.source_names = first.group_names, first.source_names
        self.single_observation_space, self.single_action_space = first.observation_space, first.action_space
        self.observation_space = batch_space(first.observation_space, num_envs)
        self.action_space = batch_space(first.action_space, num_envs)
        self._stream: CaseStream | None = None
        self._everywhere = np.ones(self.num_envs, dtype=np.bool_)
        #: (n,) which of ``cases`` each environment presents
        self.positions: Ints = np.zeros(self.num_envs, dtype=np.int64)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Present the next cases everywhere.

        :param seed: begin the sequence of cases of this seed; None goes on with the present one. There is one sequence for all
            environments: of a list, the first seed counts
        :param options: there are none
        :return: observations (n, D), and ``case_id``, ``group_id`` and ``source_id``, each (n,)
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
            self._stream = CaseStream(len(self.cases), start, self.weights)
        self._present(self._stream)
        return self.cases.observations[self.positions], self._told(case_columns(self.cases, self.positions))

    def _present(self, stream: CaseStream) -> None:
        self.positions = np.repeat(stream.take(self.num_envs // self.answers), self.answers)

    def _told(self, columns: dict[str, Any]) -> dict[str, Any]:
        """Columns as Gymnasium wants them: with a mask that says which environments have them."""
        return columns | {f"_{key}": self._everywhere.copy() for key in columns}

    def step(
        self, actions: npt.ArrayLike
    ) -> tuple[Floats, npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]]:
        """Answer all cases and present the next.

        :param actions: numbers of the answers, (n,)
        :return: observations of the next cases (n, D), rewards (n,), terminations (all True), truncations (all False), infos
        :raises ValueError: if a number is no answer
        :raises RuntimeError: if no case was presented
        """
        if self._stream is None:
            raise RuntimeError("step() needs cases that wait for answers: call reset() first")
        answers = self._checked(actions)
        answered = self.positions
        rewards, columns = step_columns(self.cases, answered, answers, self.rewards)
        self._present(self._stream)
        infos = self._told(
            {
                "final_obs": self.cases.observations[answered],
                "final_info": self._told(columns),
                **case_columns(self.cases, self.positions),
            }
        )
        ended = self._everywhere.copy()
        return self.cases.observations[self.positions], rewards.astype(np.float64), ended, ~ended, infos

    def _checked(self, actions: npt.ArrayLike) -> Ints:
        answers, most = np.asarray(actions), self.table.n_classes - 1
        if answers.shape != (self.num_envs,) or answers.dtype.kind not in "iu" or answers.min() < 0 or answers.max() > most:
            raise ValueError(f"actions: got {actions!r}, expected {self.num_envs} whole numbers from 0 to {most}")
        return answers.astype(np.int64)

    def render(self) -> tuple[Any, ...] | None:
        """Pictures or texts of all cases that wait for an answer, as ``render_mode`` says; None without one."""
        if self.render_mode is None:
            return None
        draw = print_case if self.render_mode == "ansi" else draw_case
        rows, seen = self.cases.rows[self.positions], self.cases.observations[self.positions]
        return tuple(draw(self.table, int(row), seen[env], self.cases) for env, row in enumerate(rows))
