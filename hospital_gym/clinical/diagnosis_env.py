"""Diagnosis as a decision: one case, one answer, one reward."""

import operator
import os
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from hospital_gym.clinical.case_table import CaseTable
from hospital_gym.clinical.cases import (
    WRONG_REWARD,
    CaseStream,
    Sampling,
    Subset,
    case_columns,
    case_weights,
    checked_seed,
    choose_cases,
    reward_table,
    step_columns,
)
from hospital_gym.clinical.preprocessing import LIMIT, Preprocessing
from hospital_gym.clinical.rendering import draw_case, print_case


class DiagnosisEnv(gym.Env[npt.NDArray[np.float32], np.int64]):
    """
    ## Description

    A case is presented, the agent names a diagnosis, the episode ends. Any table with a label can be the cases: see
    :class:`~hospital_gym.clinical.case_table.CaseTable`.

    Research software, not a medical device: what a policy learns here is about a table, and no evidence on patients.

    ## Action Space

    `Discrete(K)`: the answer, numbered as `table.label_names`.

    ## Observation Space

    A flat float32 `Box(-10, 10)`: features with missing values filled in, standardised, categories as columns of 0 and 1;
    `cases.preprocessing.names` names the entries. What that takes (medians, deviations, categories) is learned from the
    training cases alone.

    ## Rewards

    1 for the right answer, `wrong_reward` for a wrong one, or what `rewards` says. Always in (0, 1].

    ## `info` of every step

    | Key | Type | Meaning |
    |---|---|---|
    | `case_id` | int | row of the case in the table; `table.case_ids` has its owner's name for it |
    | `group_id` | int | group of the case |
    | `source_id` | int | hospital, region or ward that it comes from |
    | `group_rewards` | float32 (G,) | the reward, at the place of its group |
    | `group_exposure` | float32 (G,) | 1 at the place of its group |
    | `label` | int | the right answer |
    | `correct` | bool | whether it was given |

    `reset` gives the first three. Attributes for learners: `group_names`, `source_names`, `performance_scale`.

    ## Starting State

    Cases come in random order, each once in a pass over all of them (unless `sampling` says otherwise). `reset(seed=s)` begins
    the sequence of seed s, `reset()` goes on, `reset(options={"case": k})` presents the case of row k. The k-th case of a seed
    is the same whatever was answered before.

    ## Episode End

    Termination after one answer.

    ## Version History

    v0: first version.

    :param table: the cases: a :class:`~hospital_gym.clinical.case_table.CaseTable`, or the name of one
        (`hospital_gym.clinical.tables.READERS`)
    :param subset: `"train"`, `"test"` or `"all"`: which cases are presented; the preprocessing is fitted to the training
        cases, or to all
    :param test_share: share of the cases that are test cases; patients are never split
    :param split_seed: of the split
    :param cases: in place of a subset: rows of the cases to present; the preprocessing is fitted to them, unless it is given
    :param preprocessing: `env.cases.preprocessing` of the environment that was trained in, to present other cases alike
    :param group_by: attributes of the table whose combinations are the groups; None for those the table names
    :param sampling: `"uniform"`; `"label"`, `"group"` or `"group-label"` to present each label, group, or label within a group
        as often as every other; or a weight for each case that is presented
    :param wrong_reward: reward of a wrong answer, in (0, 1)
    :param rewards: table of rewards, (K, K) in (0, 1]: row j and column k for answer k where j is right
    :param data: data directory of a named table; None for the environment variable `HOSPITAL_GYM_DATA`
    :param render_mode: `"rgb_array"` for a picture, `"ansi"` for text, or None
    :raises ValueError: naming the argument, its value and what is accepted
    :raises hospital_gym.clinical.data_directory.MissingDataError: if the data of a named table are not there
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 1}  # type: ignore[misc]
    performance_scale = 0.05

    def __init__(
        self,
        table: CaseTable | str,
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
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode: got {render_mode!r}, expected one of {self.metadata['render_modes']} or None")
        self.cases = choose_cases(table, subset, cases, preprocessing, group_by, test_share, split_seed, data)
        self.table = self.cases.table
        self.group_names, self.source_names = self.table.group_names, self.table.source_names
        self.rewards = reward_table(self.table.n_classes, wrong_reward, rewards)
        self.weights = case_weights(self.cases, sampling)
        self.render_mode = render_mode
        shape = (self.cases.observations.shape[1],)
        self.observation_space = spaces.Box(-LIMIT, LIMIT, shape, dtype=np.float32)
        self.action_space = spaces.Discrete(self.table.n_classes)
        self._stream: CaseStream | None = None
        self._position = 0
        self._answer: int | None = None
        self._running = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Present the next case.

        :param seed: begin the sequence of cases of this seed; None goes on with the present one (a random one at first)
        :param options: `{"case": k}` presents the case of row k of the table, and leaves the sequence as it is
        :return: observation, and `info` with `case_id`, `group_id` and `source_id`
        :raises ValueError: if seed, options or the case are not what they must be
        """
        if options is not None and not (isinstance(options, dict) and set(options) <= {"case"}):
            raise ValueError(f"options: got {options!r}, expected None or {{'case': row}}")
        super().reset(seed=None if seed is None else checked_seed(seed))
        if seed is not None or self._stream is None:
            start = int(self.np_random.integers(2**31)) if seed is None else checked_seed(seed)
            self._stream = CaseStream(len(self.cases), start, self.weights)
        if options and "case" in options:
            self._position = self._position_of(options["case"])
        else:
            self._position = int(self._stream.take(1)[0])
        self._answer, self._running = None, True
        columns = case_columns(self.cases, np.array([self._position]))
        return self._observation(), {key: int(values[0]) for key, values in columns.items()}

    def _position_of(self, row: Any) -> int:
        places = np.flatnonzero(self.cases.rows == row)
        if not isinstance(row, (int, np.integer)) or not len(places):
            raise ValueError(f"options['case']: got {row!r}, expected the row of one of the {len(self.cases)} cases")
        return int(places[0])

    def _observation(self) -> npt.NDArray[np.float32]:
        return self.cases.observations[self._position].copy()

    def step(self, action: np.int64 | int) -> tuple[npt.NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Answer the case.

        :param action: number of the answer
        :return: the case's observation, reward, terminated (True), truncated (False), info
        :raises ValueError: if the number is no answer
        :raises RuntimeError: if no case is waiting for an answer
        """
        try:
            answer = operator.index(action)
        except TypeError:
            answer = -1
        if not 0 <= answer < self.table.n_classes:
            raise ValueError(f"action: got {action!r}, expected a whole number from 0 to {self.table.n_classes - 1}")
        if not self._running:
            raise RuntimeError("step() needs a case that waits for an answer: call reset() first")
        earned, columns = step_columns(self.cases, np.array([self._position]), np.array([answer]), self.rewards)
        self._answer, self._running = answer, False
        info = {key: values[0] if values.ndim > 1 else values[0].item() for key, values in columns.items()}
        return self._observation(), float(earned[0]), True, False, info

    def render(self) -> npt.NDArray[np.uint8] | str | None:
        """The case and the answer: a picture or text, as `render_mode` says.

        :raises RuntimeError: if no case was presented
        """
        if self.render_mode is None:
            return None
        if self._stream is None:
            raise RuntimeError("render() needs a case: call reset() first")
        draw = print_case if self.render_mode == "ansi" else draw_case
        return draw(self.table, int(self.cases.rows[self._position]), self._observation(), self.cases, self._answer)
