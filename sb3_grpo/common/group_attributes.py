"""Attributes that say which group a step or an episode belongs to, and their intersections."""

import itertools
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sb3_grpo.common.checks import checked_names, is_number

#: What becomes of a value that belongs to no group
Missing = Literal["error", "none"]

_ABSENT = object()


class GroupAttribute(ABC):
    """
    A function ``(observation, action, info, episode) -> id`` that knows the names of its groups, for
    :class:`~sb3_grpo.GroupAssignment`. Made by :func:`by_observation`, :func:`by_info`, :func:`by_function`,
    :class:`Intersection` and :func:`~sb3_grpo.common.group_merging.merge_small`. Can be pickled.
    """

    #: Names of the groups, in the order of their ids
    names: tuple[str, ...]

    @abstractmethod
    def __call__(self, observation: Any, action: Any, info: dict[str, Any], episode: int) -> int:
        """
        :param observation: Observation that the action answered, or that of the reset
        :param action: The action; None at a reset
        :param info: Info of the step, or of the reset
        :param episode: Number of the environment's episode, from 0
        :return: Id from 0 to G - 1, or -1 for none
        """

    @property
    def cells(self) -> list[tuple[str, ...]]:
        """Value of each attribute that was crossed, for each group."""
        return [(name,) for name in self.names]


def checked_id(answer: Any, names: Sequence[str] | None, source: str) -> int:
    """
    :param answer: What a function said when asked for a group
    :param names: Names of the groups, None if unknown
    :param source: The function, for the message
    :return: The id
    :raises ValueError: If the answer is no integer from 0 to G - 1, nor -1
    """
    n_groups = np.inf if names is None else len(names)
    try:
        group_id = operator.index(answer.item() if isinstance(answer, (np.ndarray, np.generic)) else answer)
    except (TypeError, ValueError):
        group_id = -2
    if not -1 <= group_id < n_groups:
        highest = "" if names is None else f" to {len(names) - 1}, for {tuple(names)}"
        raise ValueError(
            f"{source} returned {answer!r}, but must return a group id: an integer from 0{highest}, or -1 for none"
        )
    return group_id


# -- One attribute ---------------------------------------------------------------------------------------------------------


def by_observation(
    index: int,
    edges: Sequence[float] | None = None,
    values: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
    key: str | None = None,
    missing: Missing = "error",
) -> GroupAttribute:
    """
    Groups by one entry of the observation. Edges and values are compared in the observation's own precision.

    :param index: Position of the entry in the observation, flattened in C order; negative: from the end
    :param edges: Where the next group begins: group k holds ``edges[k - 1] <= entry < edges[k]``. Increasing
    :param values: In place of edges: group k holds ``values[k]``
    :param names: Names of the groups. By default as ``("<18", "18-65", ">=65")`` for the edges ``(18, 65)``, or the values
    :param key: Key of the entry's array in a Dict observation
    :param missing: Whether NaN, and an entry that is not listed, is an ``"error"``, or belongs to no group, ``"none"``
    :return: The attribute
    :raises ValueError: If not exactly one of ``edges`` and ``values`` is given, one of them or the names do not fit; in use
        if the observation has no such entry, or the entry belongs to no group
    """
    if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
        raise ValueError(f"`index` must be an integer, got {index!r}")
    return _Classified(_ObservationEntry(int(index), key), _Classes.of(edges, values), names, missing)


def by_info(
    key: str,
    values: Sequence[Any] | None = None,
    edges: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
    missing: Missing = "error",
) -> GroupAttribute:
    """
    Groups by an item of ``info``. With one group per episode it is read from the info of the *reset*.

    :param key: Key of the item
    :param values: Group k holds ``values[k]``
    :param edges: In place of values: where the next group begins, see :func:`by_observation`
    :param names: Names of the groups, by default made from values or edges
    :param missing: Whether an item that is absent, NaN or not listed is an ``"error"``, or belongs to no group, ``"none"``
    :return: The attribute
    :raises ValueError: If not exactly one of ``edges`` and ``values`` is given, one of them or the names do not fit; in use
        if the item is absent or belongs to no group
    """
    if not isinstance(key, str):
        raise ValueError(f"`key` must be a string, got {key!r}")
    return _Classified(_InfoItem(key), _Classes.of(edges, values), names, missing)


def by_function(fn: Callable[[Any, Any, dict[str, Any], int], int], names: Sequence[str]) -> GroupAttribute:
    """
    Groups by a function of your own. Define it at the top level of a module, or the attribute cannot be pickled.

    :param fn: ``fn(observation, action, info, episode) -> id``, from 0 to G - 1, or -1 for none
    :param names: Names of the groups
    :return: The attribute
    :raises ValueError: If ``fn`` cannot be called or the names do not fit; in use if it returns anything but such an id
    """
    if not callable(fn):
        raise ValueError(f"`fn` must be a function (observation, action, info, episode) -> id, got {fn!r}")
    return _Asked(fn, checked_names(names))


@dataclass(frozen=True)
class _Classes:
    """Bins between edges, or listed values; one of the two."""

    edges: tuple[float, ...] | None
    values: tuple[Any, ...] | None

    @classmethod
    def of(cls, edges: Sequence[float] | None, values: Sequence[Any] | None) -> "_Classes":
        if (edges is None) == (values is None):
            raise ValueError(f"Either `edges` or `values` must be given, got edges={edges!r} and values={values!r}")
        if values is not None:
            listed = tuple(values)
            if isinstance(values, str) or not listed or len(set(listed)) < len(listed):
                raise ValueError(f"`values` must be a sequence of distinct values, at least one, got {values!r}")
            return cls(None, listed)
        assert edges is not None
        if not len(edges) or not all(map(is_number, edges)) or any(a >= b for a, b in itertools.pairwise(edges)):
            raise ValueError(f"`edges` must be finite, increasing numbers, at least one, got {edges!r}")
        return cls(tuple(map(float, edges)), None)

    def names(self) -> tuple[str, ...]:
        if self.values is not None:
            return tuple(map(str, self.values))
        assert self.edges is not None
        texts = [str(int(edge)) if edge.is_integer() else str(edge) for edge in self.edges]
        between = "-" if self.edges[0] >= 0 else " to "
        return f"<{texts[0]}", *(f"{a}{between}{b}" for a, b in itertools.pairwise(texts)), f">={texts[-1]}"

    def number(self, value: Any) -> int | None:
        """The class of a value, a scalar or an array of one; None if it has none."""
        array = np.asarray(value)
        if array.size != 1:
            return None
        scalar = array.reshape(-1)[0]
        is_float = array.dtype.kind == "f"
        if self.edges is not None:
            if array.dtype.kind not in "biuf" or np.isnan(scalar):
                return None
            # In single precision 0.7 is less than 0.7
            return int(np.searchsorted(np.array(self.edges, array.dtype if is_float else np.float64), scalar, side="right"))
        assert self.values is not None
        listed = (array.dtype.type(item) if is_float and is_number(item) else item for item in self.values)
        return next((k for k, item in enumerate(listed) if item == scalar), None)

    def __str__(self) -> str:
        return "a number" if self.values is None else f"one of {self.values}"


@dataclass(frozen=True)
class _ObservationEntry:
    index: int
    key: str | None

    def __call__(self, observation: Any, info: dict[str, Any]) -> Any:
        if isinstance(observation, Mapping):
            if self.key not in observation:
                raise ValueError(f"`key` must be a key of the Dict observation, {sorted(observation)}, got {self.key!r}")
            observation = observation[self.key]
        elif self.key is not None:
            raise ValueError(f"`key` is {self.key!r}, but the observation is no Dict: {observation!r}")
        entries = np.asarray(observation).reshape(-1)
        if not -len(entries) <= self.index < len(entries):
            raise ValueError(f"`index` is {self.index}, but the observation has {len(entries)} entries")
        return entries[self.index]

    def __str__(self) -> str:
        return f"observation{'' if self.key is None else f'[{self.key!r}]'}[{self.index}]"


@dataclass(frozen=True)
class _InfoItem:
    key: str

    def __call__(self, observation: Any, info: dict[str, Any]) -> Any:
        return info.get(self.key, _ABSENT)

    def __str__(self) -> str:
        return f"info[{self.key!r}]"


class _Classified(GroupAttribute):
    """The class of something that is read."""

    def __init__(self, read: _ObservationEntry | _InfoItem, classes: _Classes, names: Sequence[str] | None, missing: Missing):
        if missing not in ("error", "none"):
            raise ValueError(f"`missing` must be 'error' or 'none', got {missing!r}")
        self.read, self.classes, self.missing = read, classes, missing
        self.names = checked_names(classes.names() if names is None else names)
        if len(self.names) != len(classes.names()):
            raise ValueError(f"`names` must hold a name for each of the groups {classes.names()}, got {names!r}")

    def __call__(self, observation: Any, action: Any, info: dict[str, Any], episode: int) -> int:
        value = self.read(observation, info)
        number = None if value is _ABSENT else self.classes.number(value)
        if number is not None:
            return number
        if self.missing == "none":
            return -1
        when = "of the reset" if action is None else "of the step"
        found = f"is missing in the info {when}" if value is _ABSENT else f"is {value!r}"
        raise ValueError(f"{self.read} {found}, but must be {self.classes} (`missing='none'`: such units have no group)")


class _Asked(GroupAttribute):
    """The answer of a function."""

    def __init__(self, fn: Callable[[Any, Any, dict[str, Any], int], int], names: tuple[str, ...]):
        self.fn, self.names = fn, names

    def __call__(self, observation: Any, action: Any, info: dict[str, Any], episode: int) -> int:
        return checked_id(self.fn(observation, action, info, episode), self.names, "`fn` of by_function")


# -- Several ---------------------------------------------------------------------------------------------------------------


class Intersection(GroupAttribute):
    """
    Groups that share the value of every attribute, such as "elderly & female". Ids are row-major: the last attribute varies
    fastest. A unit without group in any attribute has none here.

    Where two attributes have a group of the same name, names say which attribute is meant: "age=low & income=low".

    :param attributes: Attributes by name
    :raises ValueError: If there is none, or one is no attribute
    """

    def __init__(self, attributes: Mapping[str, GroupAttribute]):
        if not isinstance(attributes, Mapping) or not attributes:
            raise ValueError(f"`attributes` must be a dict of attributes by name, at least one, got {attributes!r}")
        for name, attribute in attributes.items():
            if not isinstance(attribute, GroupAttribute):
                raise ValueError(
                    f"Attribute {name!r} must come from by_observation, by_info, by_function, Intersection or merge_small, "
                    f"got {attribute!r}"
                )
        self.attributes = dict(attributes)
        self.shape = tuple(len(attribute.names) for attribute in self.attributes.values())
        self.names = checked_names([" & ".join(cell) for cell in self.cells])

    def __call__(self, observation: Any, action: Any, info: dict[str, Any], episode: int) -> int:
        ids = [attribute(observation, action, info, episode) for attribute in self.attributes.values()]
        return -1 if min(ids) < 0 else int(np.ravel_multi_index(ids, self.shape))

    @property
    def cells(self) -> list[tuple[str, ...]]:
        parts = [attribute.cells for attribute in self.attributes.values()]
        every = [name for cells in parts for name in {name for cell in cells for name in cell}]
        if len(set(every)) < len(every):
            parts = [
                [tuple(f"{name}={value}" for value in cell) for cell in cells]
                for name, cells in zip(self.attributes, parts, strict=True)
            ]
        return [tuple(itertools.chain(*combination)) for combination in itertools.product(*parts)]
