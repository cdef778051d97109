"""Groups too small to stand alone are merged, and everybody can see what became of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sb3_grpo.common.checks import checked_names
from sb3_grpo.common.group_attributes import GroupAttribute


class MergedCell(NamedTuple):
    """What became of one group."""

    cell: str  # its name before
    units: int
    group: str  # name of the group that it is now, or is a part of
    group_units: int


@dataclass(frozen=True)
class MergeReport:
    """
    What became of every group when small ones were merged. ``str()`` gives a table.

    :param rows: One row for each group there was, in the order of their ids
    :param at_least: Number of units below which a group was merged
    """

    rows: tuple[MergedCell, ...]
    at_least: int

    @property
    def too_small(self) -> tuple[str, ...]:
        """Names of the groups that hold fewer units even now."""
        return tuple(dict.fromkeys(row.group for row in self.rows if row.group_units < self.at_least))

    def __str__(self) -> str:
        head = ("cell", "units", "group", "units", "")
        lines = [head, *((row.cell, str(row.units), row.group, str(row.group_units), self._outcome(row)) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            f"{cell:<{widths[0]}}  {units:>{widths[1]}}  {group:<{widths[2]}}  {group_units:>{widths[3]}}  {outcome}".rstrip()
            for cell, units, group, group_units, outcome in lines
        )

    def _outcome(self, row: MergedCell) -> str:
        if row.units >= self.at_least:
            return "kept"
        return "merged" if row.group not in self.too_small else f"merged, still fewer than {self.at_least}"


class MergedAttribute(GroupAttribute):
    """
    An attribute, some of whose groups were merged; made by :func:`merge_small`.

    :param attribute: The attribute
    :param groups: New id of each of its groups
    :param names: Names of the new groups
    :param report: What became of each group
    """

    def __init__(self, attribute: GroupAttribute, groups: Sequence[int], names: Sequence[str], report: MergeReport):
        self.attribute, self.groups, self.names, self.report = attribute, tuple(groups), checked_names(names), report

    def __call__(self, observation: Any, action: Any, info: dict[str, Any], episode: int) -> int:
        group_id = self.attribute(observation, action, info, episode)
        return -1 if group_id < 0 else self.groups[group_id]


def merge_small(
    attribute: GroupAttribute, counts: Sequence[int] | np.ndarray, at_least: int = 30, other: str = "other"
) -> MergedAttribute:
    """
    Merge the groups that hold too few units for anything to be said about them.

    First small groups join that agree in all attributes but the last ("elderly & other"). What is still too small goes up to
    those that agree in all but the last two, and so on; at last to "other", which may stay small, or even without any unit.
    Groups that are large enough are left alone. Every group has a row in ``report``.

    :param attribute: The attribute, usually an :class:`Intersection`
    :param counts: Number of units of each of its groups, (G,), for example from
        :func:`~sb3_grpo.common.group_assignment.count_groups`
    :param at_least: Units that a group needs, at least 1
    :param other: What merged groups are called in place of what they differ in
    :return: The merged attribute, with a ``report``. Groups that were kept come first
    :raises ValueError: If the counts are no numbers of units of these groups, or a group is called ``other`` already
    """
    cells, numbers = attribute.cells, np.asarray(counts)
    if numbers.shape != (len(cells),) or numbers.dtype.kind not in "iu" or (numbers < 0).any():
        raise ValueError(
            f"`counts` must be {len(cells)} integers, at least 0, one for each of {attribute.names}, got {counts!r}"
        )
    if isinstance(at_least, bool) or not isinstance(at_least, (int, np.integer)) or at_least < 1:
        raise ValueError(f"`at_least` must be an integer, at least 1, got {at_least!r}")
    taken = {*attribute.names, *(name for cell in cells for name in cell)}
    if not isinstance(other, str) or not other or any(name.split(" & ")[-1] == other for name in taken):
        raise ValueError(f"`other` must be a name that no group has, got {other!r} besides {attribute.names}")

    members = {attribute.names[k]: [k] for k in np.flatnonzero(numbers >= at_least).tolist()}
    small = np.flatnonzero(numbers < at_least).tolist()
    for level in reversed(range(len(cells[0]))):
        siblings: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for k in small:
            siblings[cells[k][:level]].append(k)
        small = []
        for shared, group in siblings.items():
            if level == 0 or numbers[group].sum() >= at_least:
                members[" & ".join((*shared, other))] = group
            else:
                small += group

    names = tuple(members)
    group_of = {k: number for number, group in enumerate(members.values()) for k in group}
    groups = [group_of[k] for k in range(len(cells))]
    totals = np.bincount(groups, weights=numbers).astype(int).tolist()
    rows = tuple(
        MergedCell(name, int(count), names[group], totals[group])
        for name, count, group in zip(attribute.names, numbers, groups, strict=True)
    )
    return MergedAttribute(attribute, groups, names, MergeReport(rows, int(at_least)))
