"""Which items of MIMIC-III become which channel: the table in items.yml, or one of your own."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from hospital_gym.clinical.icu_stays import Channel

DEFAULT: Final = Path(__file__).with_name("items.yml")

EVENT_TABLES: Final = ("CHARTEVENTS", "LABEVENTS", "INPUTEVENTS_CV", "INPUTEVENTS_MV", "OUTPUTEVENTS")
"""Tables that items are read from."""

CONVERSIONS: Final = {
    "none": "x",
    "fahrenheit": "(x - 32) / 1.8",
    "pounds": "x * 0.45359237",
    "per_cent": "x / 100",
    "share_or_per_cent": "CASE WHEN x <= 1 THEN x ELSE x / 100 END",
    "negative": "-x",
}
"""From the unit of an item to that of its channel: SQL in which x is the value."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML has it

COMBINE: Final = ("mean", "sum")
"""What becomes of several values of a channel in one hour."""


@dataclass(frozen=True)
class Item:
    """
    A kind of entry in one of the tables.

    :param table: one of :data:`EVENT_TABLES`
    :param itemid: ITEMID of the entries
    :param label: what MIMIC-III calls it
    :param channel: number of the channel
    :param part: which part of the channel it measures; a channel in one part has ``""`` throughout
    :param conversion: one of :data:`CONVERSIONS`
    :param low: smallest value that is believed, after conversion
    :param high: largest value that is believed
    """

    table: str
    itemid: int
    label: str
    channel: int
    part: str
    conversion: str
    low: float
    high: float


@dataclass(frozen=True)
class ItemTable:
    """
    Channels and the items they are made of.

    :param channels: the channels
    :param combine: (C,) one of :data:`COMBINE` for each
    :param items: at least one for each channel
    """

    channels: tuple[Channel, ...]
    combine: tuple[str, ...]
    items: tuple[Item, ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables that an item is read from, in the order of :data:`EVENT_TABLES`."""
        used = {item.table for item in self.items}
        return tuple(table for table in EVENT_TABLES if table in used)

    def parts(self, channel: int) -> int:
        """
        :param channel: number of the channel
        :return: in how many parts it is measured, mostly 1
        """
        return len({item.part for item in self.items if item.channel == channel})


def read_items(path: str | os.PathLike[str] | None = None, modalities: Sequence[str] | None = None) -> ItemTable:
    """
    :param path: a file like items.yml; None for that one
    :param modalities: read the channels of these alone; None for all
    :return: the channels in the order of the file
    :raises ValueError: naming the file, the channel, the key and what is expected
    """
    file = DEFAULT if path is None else Path(path)
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"items: {file} cannot be read as YAML: {error}") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"items: {file}: expected a mapping from names of channels to their modality, unit, limits and items")
    known = list(dict.fromkeys(_text(f"{file}: {name}", entry, "modality") for name, entry in content.items()))
    wanted = known if modalities is None else _chosen(modalities, known)
    chosen = {name: entry for name, entry in content.items() if entry["modality"] in wanted}
    items = [item for number, (name, entry) in enumerate(chosen.items()) for item in _items(f"{file}: {name}", entry, number)]
    names = list(chosen)
    seen: dict[tuple[str, int], Item] = {}
    for item in items:
        other = seen.setdefault((item.table, item.itemid), item)
        if other is not item:
            both = f"{names[other.channel]} and {names[item.channel]}"
            raise ValueError(
                f"items: {file}: {item.table} {item.itemid} belongs to {both}, expected one channel for each item"
            )
    channels = [Channel(str(name), entry["modality"], str(entry.get("unit", ""))) for name, entry in chosen.items()]
    combine = [_one_of(f"{file}: {name}", "combine", entry.get("combine", "mean"), COMBINE) for name, entry in chosen.items()]
    return ItemTable(tuple(channels), tuple(combine), tuple(items))


def _chosen(modalities: Sequence[str], known: list[str]) -> list[str]:
    wanted = [modalities] if isinstance(modalities, str) else list(modalities)
    if not wanted or not set(wanted) <= set(known):
        raise ValueError(f"modalities: got {modalities!r}, expected some of {known}")
    return wanted


def _items(where: str, entry: dict[str, Any], number: int) -> list[Item]:
    """The items of a channel."""
    tables = [key for key in entry if key not in ("modality", "unit", "limits", "combine")]
    for table in tables:
        _one_of(where, "table", table, EVENT_TABLES)
    items = [
        _item(f"{where}: {table}", table, itemid, given, number, entry.get("limits"))
        for table in tables
        for itemid, given in _mapping(where, table, entry[table]).items()
    ]
    if not items:
        raise ValueError(f"items: {where}: has no items, expected a table such as CHARTEVENTS with numbers and labels")
    if len({item.part == "" for item in items}) != 1:
        raise ValueError(f"items: {where}: some items have a `part` and some have none, expected all or none")
    return items


def _item(where: str, table: str, itemid: Any, given: Any, channel: int, limits: Any) -> Item:
    if isinstance(itemid, bool) or not isinstance(itemid, int):
        raise ValueError(f"items: {where}: got the item {itemid!r}, expected a whole number")
    where = f"{where} {itemid}"
    entry = given if isinstance(given, dict) else {"label": given}
    unknown = set(entry) - {"label", "conversion", "part", "limits"}
    if unknown:
        raise ValueError(f"items: {where}: unknown key {min(map(str, unknown))!r}, expected label, conversion, part or limits")
    conversion = _one_of(where, "conversion", entry.get("conversion", "none"), tuple(CONVERSIONS))
    low, high = _limits(where, entry.get("limits", limits))
    return Item(table, itemid, str(entry.get("label", "")), channel, str(entry.get("part", "")), conversion, low, high)


def _limits(where: str, given: Any) -> tuple[float, float]:
    numbers = isinstance(given, list) and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in given)
    if not numbers or len(given) != 2 or not all(map(math.isfinite, given)) or given[0] > given[1]:
        raise ValueError(f"items: {where}: limits: got {given!r}, expected [least, largest]")
    return float(given[0]), float(given[1])


def _mapping(where: str, key: str, given: Any) -> dict[Any, Any]:
    if not isinstance(given, dict):
        raise ValueError(f"items: {where}: {key}: got {given!r}, expected a mapping from numbers of items to labels")
    return given


def _text(where: str, entry: Any, key: str) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get(key), str):
        got = entry.get(key) if isinstance(entry, dict) else entry
        raise ValueError(f"items: {where}: {key}: got {got!r}, expected a text")
    return str(entry[key])


def _one_of(where: str, key: str, given: Any, allowed: tuple[str, ...]) -> str:
    if given not in allowed:
        raise ValueError(f"items: {where}: {key}: got {given!r}, expected one of {', '.join(allowed)}")
    return str(given)
