"""Whether items are what the table of items says: a check against the dictionaries that come with MIMIC-III."""

import os
import re

from hospital_gym.clinical.mimic.items import read_items
from hospital_gym.clinical.mimic.tables import database, find_tables, readable, scan

_COLUMNS = {"itemid": "BIGINT", "label": "VARCHAR"}


def check_items(
    data: str | os.PathLike[str] | None = None, items: str | os.PathLike[str] | None = None
) -> tuple[tuple[int, str, str | None], ...]:
    """
    Compare the labels in a table of items with those in D_ITEMS and D_LABITEMS. Case, spaces and punctuation do not count.

    Worth doing once for a table of one's own: a wrong number would otherwise be read as something that it is not.

    :param data: the folder of the tables, see :func:`~hospital_gym.clinical.mimic.read_mimic3`
    :param items: a YAML file; None for ``items.yml``
    :return: number of each item that differs, its label in the file, and that in MIMIC-III; None if it has no such item
    :raises hospital_gym.clinical.data_directory.MissingDataError: naming the tables that are not there, and how to get them
    :raises ValueError: if a file is not what it must be
    """
    table = read_items(items)
    files = find_tables(["D_ITEMS", "D_LABITEMS"], data)
    labels: dict[str, dict[int, str]] = {}
    with database(0.2) as connection:
        for name, path in files.items():
            query = scan(connection, path, _COLUMNS)
            with readable(path):
                labels[name] = dict(connection.execute(query).fetchall())
    found = [
        (item.itemid, item.label, labels["D_LABITEMS" if item.table == "LABEVENTS" else "D_ITEMS"].get(item.itemid))
        for item in table.items
    ]
    return tuple(entry for entry in found if entry[2] is None or _plain(entry[1]) != _plain(entry[2]))


def _plain(label: str) -> str:
    return re.sub(r"[^a-z0-9%#]+", "", label.lower())
