"""What environments say about cases in the ``info`` of every step, where several environments answer the same case."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sb3_grpo.common.group_infos import MAX_UNNAMED_GROUPS, info_column

_NEEDED = "environments i * R to (i + 1) * R - 1 must hold the R answers to one case"


class CaseStep(NamedTuple):
    """The C cases of one step of C * R environments; None for what the environments do not tell."""

    cases: np.ndarray  # (C,) int64
    groups: np.ndarray | None  # (C,) int64, -1 for none
    sources: np.ndarray | None  # (C,) int64


def read_case_infos(infos: Sequence[dict[str, Any]], answers: int, n_groups: int | None, n_sources: int | None) -> CaseStep:
    """
    :param infos: Infos of one step, one per environment
    :param answers: Number of environments R that hold answers to the same case, one after the other
    :param n_groups: Number of groups, None if unknown
    :param n_sources: Number of sources, None if unknown
    :return: Ids of the cases, their groups and sources
    :raises ValueError: If there are no case ids, an id is not what it must be, or answers to one case do not agree about it
    """
    if len(infos) == 0:
        raise ValueError(f"The infos of a step are empty, but must hold info['case_id']: {_NEEDED}")
    cases = _of_cases(infos, "case_id", answers, None, 0, required=True)
    assert cases is not None
    return CaseStep(
        cases=cases,
        groups=_of_cases(infos, "group_id", answers, n_groups or MAX_UNNAMED_GROUPS, -1),
        sources=_of_cases(infos, "source_id", answers, n_sources or MAX_UNNAMED_GROUPS, 0),
    )


def _of_cases(
    infos: Sequence[dict[str, Any]], key: str, answers: int, number: int | None, lowest: int, required: bool = False
) -> np.ndarray | None:
    """Ids under a key, (C,)."""
    column = info_column(infos, key, required, f"which case was answered; {_NEEDED}")
    if column is None:
        return None
    ids = np.asarray(column)
    highest = np.iinfo(np.int64).max if number is None else number - 1
    if ids.dtype.kind not in "iu" or ids.ndim != 1 or ids.min() < lowest or ids.max() > highest:
        env = _first_wrong(column, lowest, highest)
        upper = "" if number is None else f" and at most {highest}"
        raise ValueError(
            f"info[{key!r}] of environment {env} is {column[env]!r}, but must be an integer, at least {lowest}{upper}"
        )
    by_case = ids.astype(np.int64).reshape(-1, answers)
    differ = (by_case != by_case[:, :1]).any(axis=1)
    if differ.any():
        case = int(np.argmax(differ))
        raise ValueError(
            f"info[{key!r}] of environments {case * answers} to {(case + 1) * answers - 1} is {by_case[case].tolist()}, but "
            f"{_NEEDED}, with R = {answers}"
        )
    return by_case[:, 0]


def _first_wrong(column: Any, lowest: int, highest: int) -> int:
    for env, value in enumerate(column):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or not lowest <= value <= highest:
            return env
    return 0
