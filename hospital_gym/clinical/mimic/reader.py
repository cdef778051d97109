"""MIMIC-III: stays in intensive care, hour by hour, from the tables as PhysioNet publishes them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hospital_gym.clinical.icu_stays import MODALITIES, IcuStays
from hospital_gym.clinical.mimic.cohort import COHORT_TABLES, STATIC, make_cohort
from hospital_gym.clinical.mimic.events import EVENTS, add_events, hourly_values, prepare, refused
from hospital_gym.clinical.mimic.items import read_items
from hospital_gym.clinical.mimic.tables import database, find_tables, readable, scan

HOURS: Final = 48
"""Most hours of a stay, unless told otherwise: those of PhysioNet 2012."""


def read_mimic3(
    data: str | os.PathLike[str] | None = None,
    hours: int | None = HOURS,
    modalities: Sequence[str] = MODALITIES,
    items: str | os.PathLike[str] | None = None,
    neonates: bool = False,
    memory: float = 1.0,
    workspace: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> IcuStays:
    """
    Read PATIENTS, ADMISSIONS, ICUSTAYS and those of CHARTEVENTS, LABEVENTS, INPUTEVENTS_CV, INPUTEVENTS_MV and OUTPUTEVENTS
    that the channels need. Tables are streamed: memory does not grow with them, only with the hours that are returned.

    Several values of a channel in one hour are their mean; volumes are their sum, and those given over a period are spread
    over its hours. Entries marked as errors, rewritten orders, and what was charted before or after the stay do not count.
    ``died`` means death in this hospital stay, also for the earlier of several stays in the unit.

    :param data: the folder of the tables (.csv or .csv.gz), or one with a folder ``mimic3``; None for the environment variable
        ``HOSPITAL_GYM_DATA``
    :param hours: most hours of a stay, at least 1; None: all hours
    :param modalities: what is read, some of :data:`~hospital_gym.clinical.icu_stays.MODALITIES`
    :param items: a YAML file that says which items become which channel; None for ``items.yml`` beside this module
    :param neonates: keep stays of patients below one year of age
    :param memory: gigabytes that DuckDB may hold in memory, at least 0.1; what is more goes to the workspace
    :param workspace: folder for temporary files; None for the system's place
    :param progress: show a progress bar; None: on a terminal
    :return: stays ordered by patient and time; attributes ``sex``, ``age_band``, ``unit``, ``ethnicity`` and ``insurance``
    :raises hospital_gym.clinical.data_directory.MissingDataError: naming the tables that are not there, and how to get them
    :raises ValueError: if an argument or a table is not what it must be
    """
    if hours is not None and (isinstance(hours, bool) or not isinstance(hours, (int, np.integer)) or hours < 1):
        raise ValueError(f"hours: got {hours!r}, expected a whole number >= 1, or None for all hours")
    table = read_items(items, modalities)
    files = find_tables([*COHORT_TABLES, *table.tables], data)
    with database(memory, workspace) as connection:
        queries = {name: scan(connection, files[name], columns) for name, columns in COHORT_TABLES.items()}
        with readable(files["ICUSTAYS"].parent):
            cohort = make_cohort(connection, queries, hours, neonates)
        prepare(connection, table)
        silent: list[str] = []
        for name in _shown(table.tables, files, progress):
            query = scan(connection, files[name], EVENTS[name].columns())
            with readable(files[name]):
                if not add_events(connection, name, query):
                    silent.append(name)
        values = np.full((cohort.offsets[-1], len(table.channels)), np.nan, dtype=np.float32)
        for channel in range(len(table.channels)):
            hourly_values(connection, table, channel, values)
        notes = [*cohort.notes, *refused(connection, table)]
        notes += [f"{name}: none of its entries is a value of a channel in one of the stays." for name in silent]
    return IcuStays(
        values=values,
        offsets=cohort.offsets,
        static=cohort.static,
        died=cohort.died,
        stay_ids=cohort.stay_ids,
        channels=table.channels,
        static_names=STATIC,
        attributes=cohort.attributes,
        patient_ids=cohort.patient_ids,
        notes=tuple(notes),
    )


def _shown(names: Sequence[str], files: Mapping[str, Path], progress: bool | None) -> Iterator[str]:
    """The names, while a bar that grows with the bytes read shows which table it is."""
    console = Console(stderr=True)
    columns = (TextColumn("reading {task.description}"), BarColumn(), TimeElapsedColumn())
    sizes = {name: files[name].stat().st_size for name in names}
    shown = console.is_terminal if progress is None else progress
    with Progress(*columns, console=console, disable=not shown) as bars:
        task = bars.add_task("", total=sum(sizes.values()))
        for name in names:
            bars.update(task, description=f"{files[name].name} ({sizes[name] / 1e6:,.0f} MB)")
            yield name
            bars.advance(task, sizes[name])
