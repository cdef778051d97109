"""Checking the numbers of a hospital, and reading and writing them as YAML."""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import yaml

from hospital_gym.arrival_files import decode_text
from hospital_gym.arrivals import PROFILES, profile_shares

if TYPE_CHECKING:
    from hospital_gym.scenarios import Scenario

_SHARES: Final = ("age_mix", "severity_mix", "skill_mix")
_CHOICES: Final = {
    "alternative_bed": ("critical", "paediatric"),
    "service_law": ("lognormal", "exponential"),
    "profile": tuple(PROFILES),
}
_BED_FACTORS: Final = ("critical_in_ward", "child_in_general", "adult_in_paediatric")
_NAME: Final = re.compile(r"[\w-][\w .-]{0,99}")
_MOST_REQUESTS: Final = 2_000_000
"""Expected requests of one episode; more would fill the memory of an ordinary machine."""


@dataclass(frozen=True)
class Bounds:
    """What a number of a hospital means and may be.

    :param unit: unit and meaning
    :param source: where the default comes from, or ``assumed``
    :param low: least value accepted
    :param high: greatest value accepted
    :param shape: shape of the table; -1 stands for any length
    """

    unit: str
    source: str
    low: float
    high: float
    shape: tuple[int, ...] = ()


def _nested_tuple(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return (
        tuple(_nested_tuple(v) for v in value)
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        else value
    )


def _all_numbers(value: Any) -> bool:
    """Whether nested tuples hold numbers only: NumPy would also turn "3" and True into one."""
    if isinstance(value, tuple):
        return all(map(_all_numbers, value))
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_numbers(key: str, value: Any, default: Any, bounds: Bounds) -> Any:
    """The value as nested tuples of numbers of the default's kind, or a ValueError."""
    wanted = f"{bounds.unit}: {'numbers' if bounds.shape else 'a number'} in [{bounds.low:g}, {bounds.high:g}]"
    if bounds.shape:
        wanted += f", shape {tuple('any' if n < 0 else n for n in bounds.shape)}"
    value = _nested_tuple(value)
    try:
        if not _all_numbers(value):
            raise TypeError
        numbers = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{key}: got {value!r}, expected {wanted}") from None
    if numbers.size == 0 and bounds.shape and bounds.shape[0] < 0:
        return ()
    fits = numbers.ndim == len(bounds.shape) and all(n in (-1, m) for n, m in zip(bounds.shape, numbers.shape, strict=True))
    if not fits or not np.all((numbers >= bounds.low) & (numbers <= bounds.high)):
        raise ValueError(f"{key}: got {value!r}, expected {wanted}")
    if _is_whole(default) and not np.all(numbers == np.round(numbers)):
        raise ValueError(f"{key}: got {value!r}, expected whole numbers ({bounds.unit})")
    kind = int if _is_whole(default) else float
    return _nested_tuple(numbers.astype(kind).tolist())


def _is_whole(default: Any) -> bool:
    if isinstance(default, tuple):
        return bool(default) and all(_is_whole(v) for v in default)
    return isinstance(default, int)


def check_fields(scenario: "Scenario") -> None:
    """Check every field against its :class:`Bounds`, and what ties fields to one another; normalises lists to tuples.

    :raises ValueError: naming the key, the value and what is accepted
    """
    for f in fields(scenario):
        value = getattr(scenario, f.name)
        if f.name == "profile" and not isinstance(value, str):
            object.__setattr__(scenario, f.name, _check_profile(value))
            continue
        if f.type in ("str", str) or f.name == "profile":
            _check_text(f.name, value)
            continue
        object.__setattr__(scenario, f.name, _check_numbers(f.name, value, f.default, f.metadata["bounds"]))
    for key in _SHARES:
        shares = getattr(scenario, key)
        if abs(sum(shares) - 1.0) > 1e-6:
            raise ValueError(f"{key}: got {shares!r}, which sums to {sum(shares):.6g}; expected shares that sum to 1")
    if sum(scenario.beds) == 0:
        raise ValueError(f"beds: got {scenario.beds!r}, expected at least one bed")
    if scenario.equipment_in_maintenance > scenario.equipment:
        raise ValueError(
            f"equipment_in_maintenance: got {scenario.equipment_in_maintenance!r}, expected at most equipment = "
            f"{scenario.equipment}"
        )
    if scenario.maintenance_hours >= scenario.maintenance_every:
        raise ValueError(
            f"maintenance_hours: got {scenario.maintenance_hours!r}, expected less than maintenance_every = "
            f"{scenario.maintenance_every:g}"
        )
    if scenario.counted_from + scenario.counted_tail >= scenario.horizon_hours:
        raise ValueError(
            f"horizon_hours: got {scenario.horizon_hours!r}, expected more than counted_from + counted_tail = "
            f"{scenario.counted_from + scenario.counted_tail:g}"
        )
    _check_capacity_changes(scenario)
    for key in _BED_FACTORS:
        benefit, stay = getattr(scenario, key)
        if benefit > 1 or stay <= 0:
            raise ValueError(
                f"{key}: got {getattr(scenario, key)!r}, expected a factor on the benefit in [0, 1] and one on the stay > 0"
            )
    days = [day for day, _ in scenario.ramp]
    if days != sorted(set(days)):
        raise ValueError(f"ramp: got days {days!r}, expected strictly increasing days")
    _check_size(scenario)


def _check_text(key: str, value: Any) -> None:
    if key in _CHOICES:
        if not isinstance(value, str) or value not in _CHOICES[key]:
            raise ValueError(f"{key}: got {value!r}, expected {' or '.join(_CHOICES[key])}")
    elif not isinstance(value, str) or not _NAME.fullmatch(value):  # results go to a folder of this name
        raise ValueError(
            f"{key}: got {value!r}, expected 1 to 100 letters, digits, spaces, '-', '_' and '.', the first neither ' ' nor '.'"
        )


def _check_profile(value: Any) -> tuple[tuple[float, ...], ...]:
    """Shares of a week's arrivals by weekday and hour as nested tuples, or a ValueError."""
    rows = _nested_tuple(value)
    if not isinstance(rows, tuple) or not _all_numbers(rows):
        raise ValueError(
            f"profile: got {value!r}, expected {' or '.join(_CHOICES['profile'])}, or 7 rows (Monday first) of 24 shares, "
            "sum 1"
        )
    profile_shares(rows)
    return tuple(tuple(map(float, row)) for row in rows)


def _check_capacity_changes(scenario: "Scenario") -> None:
    changes = scenario.capacity_changes
    for row in changes:
        if row[0] >= row[1] or row[2] not in (0.0, 1.0, 2.0) or row[0] < 0 or row[3] != round(row[3]):
            raise ValueError(
                f"capacity_changes: got {row!r}, expected (from hour >= 0, later to hour, bed type 0, 1 or 2, "
                "whole number of beds)"
            )
    for begin, _, bed, _ in changes:  # capacity is least at the beginning of some change
        left = scenario.beds[int(bed)] + sum(row[3] for row in changes if row[2] == bed and row[0] <= begin < row[1])
        if left < 0:
            raise ValueError(
                f"capacity_changes: got {changes!r}, with {left:g} beds of type {bed:g} at hour {begin:g}, expected at "
                f"least 0 of beds = {scenario.beds}"
            )


def _check_size(scenario: "Scenario") -> None:
    factor = max((factor for _, factor in scenario.ramp), default=1.0)
    hours = scenario.burn_in_hours + scenario.horizon_hours
    requests = scenario.requests_per_day * factor * hours / 24.0
    if requests > _MOST_REQUESTS:
        raise ValueError(
            f"requests_per_day: got {scenario.requests_per_day:g}, which with the greatest factor of the ramp ({factor:g}) "
            f"and burn_in_hours + horizon_hours = {hours:g} is {requests:.3g} requests in an episode, expected at most "
            f"{_MOST_REQUESTS}"
        )


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def write_yaml(scenario: "Scenario", path: str) -> None:
    """Write every field with its unit, range and source as a comment."""
    lines = [
        "# A hospital for Hospital-v0. Keys left out keep their defaults; `base: Rural` (say) takes those of that hospital."
    ]
    for f in fields(scenario):
        bounds = f.metadata.get("bounds")
        if bounds is not None:
            span = "" if bounds.low == bounds.high else f" Range [{bounds.low:g}, {bounds.high:g}]."
            lines.append(f"# {bounds.unit}.{span} Source: {bounds.source}.")
        text = yaml.safe_dump(_plain(getattr(scenario, f.name)), default_flow_style=True, width=10_000)
        lines.append(f"{f.name}: {text.removesuffix('...' + chr(10)).strip()}")
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


class _UniqueKeyLoader(yaml.SafeLoader):
    """Reads YAML, but no mapping in which a key occurs twice: of its two values one would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping of a node.

        :raises ValueError: if a key occurs twice, naming it and its line
        """
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise ValueError(f"line {key.start_mark.line + 1}: the key {key.value!r} occurs twice, expected once")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: str) -> dict[str, Any]:
    """The mapping in a YAML file.

    :raises ValueError: naming the file and, where YAML itself is broken, line and column
    """
    if not Path(path).is_file():
        raise ValueError(f"scenario: no file {path!r}; expected a YAML file, for instance one that Scenario.to_yaml() wrote")
    text = decode_text(Path(path).read_bytes(), path)
    try:
        values = yaml.load(text, Loader=_UniqueKeyLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None
    except ValueError as error:  # also what looks like a date and is none
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a mapping of keys to values, got {type(values).__name__}")
    return values
