"""Checking the numbers of a hospital, and reading and writing them as YAML."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import yaml

if TYPE_CHECKING:
    from hospital_gym.scenarios import Scenario

_SHARES: Final = ("age_mix", "severity_mix", "skill_mix")
_CHOICES: Final = {
    "alternative_bed": ("critical", "paediatric"),
    "service_law": ("lognormal", "exponential"),
}


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
    return tuple(_nested_tuple(v) for v in value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _check_numbers(key: str, value: Any, default: Any, bounds: Bounds) -> Any:
    """The value as nested tuples of numbers of the default's kind, or a ValueError."""
    wanted = f"{bounds.unit}: {'numbers' if bounds.shape else 'a number'} in [{bounds.low:g}, {bounds.high:g}]"
    if bounds.shape:
        wanted += f", shape {tuple('any' if n < 0 else n for n in bounds.shape)}"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    value = _nested_tuple(value)
    try:
        numbers = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{key}: got {value!r}, expected {wanted}") from None
    if numbers.size == 0 and bounds.shape and bounds.shape[0] < 0:
        return ()
    fits = numbers.ndim == len(bounds.shape) and all(n in (-1, m) for n, m in zip(bounds.shape, numbers.shape, strict=True))
    if not fits or isinstance(value, bool) or not np.all((numbers >= bounds.low) & (numbers <= bounds.high)):
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
        if f.type in ("str", str):
            if not isinstance(value, str) or not value or value not in _CHOICES.get(f.name, (value,)):
                raise ValueError(f"{f.name}: got {value!r}, expected {' or '.join(_CHOICES.get(f.name, ('a name',)))}")
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
    for row in scenario.capacity_changes:
        if row[0] >= row[1] or row[2] not in (0.0, 1.0, 2.0) or row[0] < 0:
            raise ValueError(
                f"capacity_changes: got {row!r}, expected (from hour >= 0, later to hour, bed type 0, 1 or 2, change in beds)"
            )
    days = [day for day, _ in scenario.ramp]
    if days != sorted(set(days)):
        raise ValueError(f"ramp: got days {days!r}, expected strictly increasing days")


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


def read_yaml(path: str) -> dict[str, Any]:
    """The mapping in a YAML file.

    :raises ValueError: naming the file and, where YAML itself is broken, line and column
    """
    if not Path(path).is_file():
        raise ValueError(f"scenario: no file {path!r}; expected a YAML file, for instance one that Scenario.to_yaml() wrote")
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a mapping of keys to values, got {type(values).__name__}")
    return values
