"""Rollout buffers whose minibatches hold whole cases."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer

from sb3_grpo.common.case_infos import CaseStep
from sb3_grpo.common.decision_vec_env import DecisionInfos
from sb3_grpo.common.group_buffers import GroupBufferMixin
from sb3_grpo.common.group_infos import GroupStep
from sb3_grpo.common.mixins import with_mixin


class CaseBufferMixin(GroupBufferMixin):
    """
    Adds to a rollout buffer which environments answer the same case, and compares the answers. Goes before the buffer in the
    list of base classes; made with :func:`case_buffer`. T is the number of steps, N of environments, R of answers.
    """

    answers: int = 1
    _silenced: DecisionInfos | None = None

    case_groups: np.ndarray  # (T, N / R) int64, -1: none
    case_sources: np.ndarray  # (T, N / R) int64

    def reset(self) -> None:
        super().reset()
        shape = (self.buffer_size, self.n_envs // self.answers)
        self.case_groups = np.full(shape, -1, dtype=np.int64)
        self.case_sources = np.zeros(shape, dtype=np.int64)

    def stage_cases(self, step: CaseStep, dones: np.ndarray, rewards: np.ndarray) -> None:
        """
        Keep what a step tells of its cases. Comes before ``add()`` of the same step.

        :param step: The cases
        :param dones: Whether the step ended an episode, (N,)
        :param rewards: Rewards before VecNormalize, (N,)
        """
        ids = None if step.groups is None else np.repeat(step.groups, self.answers)
        self.stage(GroupStep(ids, None, None, None), dones, rewards)
        if step.groups is not None:
            self.case_groups[self.pos] = step.groups
        if step.sources is not None:
            self.case_sources[self.pos] = step.sources

    def silence(self, infos: DecisionInfos) -> None:
        """
        Between here and :meth:`add` the parent algorithm asks each info whether a time limit ended its episode. None did.

        :param infos: The infos; they speak again afterwards
        """
        infos.silent, self._silenced = True, infos

    def add(self, *args: Any, **kwargs: Any) -> None:
        super().add(*args, **kwargs)
        if self._silenced is not None:
            self._silenced.silent, self._silenced = False, None

    def by_case(self, values: np.ndarray) -> np.ndarray:
        """
        :param values: Values of every answer, (T, N)
        :return: The same, (T * N / R, R)
        """
        return values.reshape(-1, self.answers)

    def replace_advantages(self, advantages: np.ndarray, baselines: np.ndarray) -> None:
        """
        Let the update consume advantages that no critic had a part in.

        :param advantages: Advantages by case, (T * N / R, R)
        :param baselines: What the rewards of each case were compared with, (T * N / R,): takes the place of the values
        """
        columns = {
            "advantages": advantages,
            "values": np.repeat(baselines, self.answers),
            "returns": self.raw_rewards,
        }
        for name, column in columns.items():
            array = column.reshape(self.buffer_size, self.n_envs).astype(np.float32)
            setattr(self, name, self.swap_and_flatten(array) if self.generator_ready else array)

    def get(self, batch_size: int | None = None) -> Iterator[Any]:  # type: ignore[override]
        """
        See the parent. The answers to one case stay together, so that every minibatch compares them.

        :param batch_size: Number of answers, a multiple of R
        """
        numbers_only, self._numbers_only = self._numbers_only, True
        try:
            order = np.concatenate(list(super().get()))  # the parent's draw; step t of environment i is row i * T + t
        finally:
            self._numbers_only = numbers_only
        first = order[order // self.buffer_size % self.answers == 0]  # a case comes where the first answer to it does
        rows = first[:, None] + np.arange(self.answers) * self.buffer_size
        n_cases = len(rows) if batch_size is None else batch_size // self.answers
        for start in range(0, len(rows), n_cases):
            yield self._get_samples(rows[start : start + n_cases].ravel())


class CaseRolloutBuffer(CaseBufferMixin, RolloutBuffer):
    """``RolloutBuffer`` of cases, see :class:`CaseBufferMixin`."""


class CaseDictRolloutBuffer(CaseBufferMixin, DictRolloutBuffer):  # type: ignore[misc]
    """``DictRolloutBuffer`` of cases, see :class:`CaseBufferMixin`."""


def case_buffer(buffer: RolloutBuffer, answers: int) -> CaseBufferMixin:
    """
    Turn an empty buffer into one of cases, as :func:`~sb3_grpo.common.group_buffers.group_buffer` adds groups.

    :param buffer: The buffer
    :param answers: Number of answers to each case
    :return: A buffer of the same settings
    """
    buffer_class = with_mixin(CaseBufferMixin, type(buffer), (CaseRolloutBuffer, CaseDictRolloutBuffer))
    converted = buffer_class.__new__(buffer_class)
    converted.__dict__.update(buffer.__dict__)
    converted.answers = answers
    converted.reset()
    return converted
