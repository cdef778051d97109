"""Checks of what a grid says: each message names key, value and what is accepted."""

from collections.abc import Mapping, Sequence
from typing import Any

from sb3_grpo.common.checks import check_whole
from sb3_grpo.study.runs import StudyError


def whole(key: str, value: Any, least: int) -> int:
    """
    :param key: the key, for messages
    :param value: anything
    :param least: least accepted number
    :return: the value
    :raises StudyError: if it is no whole number, or smaller
    """
    try:
        check_whole(key, value, least)
    except ValueError as error:
        raise StudyError(str(error)) from None
    return int(value)


def sequence(key: str, value: Any) -> list[Any]:
    """
    :param key: the key, for messages
    :param value: anything
    :return: the value
    :raises StudyError: if it is no list
    """
    if not isinstance(value, list):
        raise StudyError(f"{key}: got {value!r}, expected a list")
    return value


def mapping(key: str, value: Any) -> dict[str, Any]:
    """
    :param key: the key, for messages
    :param value: anything
    :return: a copy of the value
    :raises StudyError: if it is no mapping
    """
    if not isinstance(value, Mapping):
        raise StudyError(f"{key}: got {value!r}, expected a mapping")
    return dict(value)


def check_keys(where: str, entry: Mapping[str, Any], known: Sequence[str], needed: Sequence[str] = ()) -> None:
    """
    :param where: what messages call the mapping
    :param entry: the mapping
    :param known: keys that it may have
    :param needed: keys that it must have
    :raises StudyError: if it has others, or lacks one
    """
    for key in entry:
        if key not in known:
            raise StudyError(f"{where}: unknown key {key!r}; known keys are {', '.join(known)}")
    for key in needed:
        if key not in entry:
            raise StudyError(f"{where}: key {key!r} is missing")
