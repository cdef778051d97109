"""Infos of many environments that stay arrays until somebody looks at one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np


def info_row(infos: Mapping[str, Any], env: int) -> dict[str, Any]:
    """
    :param infos: Infos of a Gymnasium ``VectorEnv``: arrays by key, and under ``_key`` which environments have the key
    :param env: Number of an environment
    :return: Its own info: numbers as Python numbers, arrays as copies
    """
    row = {}
    for key, values in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        told = infos.get(f"_{key}")
        if told is not None and not told[env]:
            continue
        if isinstance(values, Mapping):
            row[key] = info_row(values, env)
        elif isinstance(values, np.ndarray) and values.ndim > 1:
            row[key] = values[env].copy()
        elif isinstance(values, np.ndarray) and values.dtype != object:
            row[key] = values[env].item()
        else:
            row[key] = values[env]
    return row


class InfoColumns(list[dict[str, Any]]):
    """
    A list of one dict for each environment, as SB3 hands out, whose dicts are made when somebody looks at them.

    Code that knows of it takes whole columns, see :meth:`column`. To all other code it is a list; copies and pickles of it are
    plain lists. A dict, once made, stays: changes to it are seen by whoever looks next.

    :param columns: Infos of a Gymnasium ``VectorEnv``, see :func:`info_row`
    :param truncated: Which environments were cut off by a time limit, (N,)
    :param finished: Complete infos of the environments whose episode ended, by number
    """

    def __init__(self, columns: Mapping[str, Any], truncated: np.ndarray, finished: dict[int, dict[str, Any]]) -> None:
        super().__init__([None] * len(truncated))  # type: ignore[list-item]
        self._columns = columns
        self._truncated = truncated
        self._made = dict(finished)
        self._finished: Sequence[int] = list(finished)

    def finished(self) -> list[dict[str, Any]]:
        """
        :return: Infos of the environments whose episode ended, in order of their numbers
        """
        return [self[env] for env in self._finished]

    def column(self, key: str) -> np.ndarray | None:
        """
        :param key: A key of every environment's info
        :return: Its values, (N, ...). None if they must be taken from the dicts one by one: not every environment has the key,
            a value is of another kind than the rest, or somebody has looked at the dict of a running environment
        """
        values, told = self._columns.get(key), self._columns.get(f"_{key}")
        if not isinstance(values, np.ndarray) or len(self._made) > len(self._finished):
            return None
        if not self._made:
            return values if told is None or told.all() else None
        values = values.copy()
        told = np.ones(len(self), dtype=bool) if told is None else told.copy()
        for env, info in self._made.items():
            value = np.asarray(info.get(key))
            if value.shape != values.shape[1:] or not np.can_cast(value.dtype, values.dtype, "safe"):
                return None
            values[env], told[env] = value, True
        return values if told.all() else None

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[env] for env in range(*index.indices(len(self)))]
        env = range(len(self))[index]
        if env not in self._made:
            self._made[env] = {**info_row(self._columns, env), "TimeLimit.truncated": bool(self._truncated[env])}
        return self._made[env]

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            raise TypeError("infos: expected one info to be replaced at a time, got a slice; use list(infos)")
        self._made[range(len(self))[index]] = value

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[env] for env in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(list(self), dtype=dtype)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return list, (list(self),)


def _as_list(name: str) -> Callable[..., Any]:
    def method(self: InfoColumns, *args: Any) -> Any:
        return getattr(list(self), name)(*args)

    method.__name__ = name
    return method


def _refused(name: str) -> Callable[..., Any]:
    def method(self: InfoColumns, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"infos: {name}() would change which environment an info belongs to; use list(infos)")

    method.__name__ = name
    return method


_READING = "__add__ __contains__ __eq__ __ge__ __gt__ __le__ __lt__ __mul__ __ne__ __repr__ __reversed__ __rmul__"
_CHANGING = "__delitem__ __iadd__ __imul__ append clear extend insert pop remove reverse sort"
for _name in [*_READING.split(), "copy", "count", "index"]:
    setattr(InfoColumns, _name, _as_list(_name))
for _name in _CHANGING.split():
    setattr(InfoColumns, _name, _refused(_name))
