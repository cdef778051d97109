"""From rows of events to values of an hour, in SQL."""

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from hospital_gym.clinical.icu_stays import Floats
from hospital_gym.clinical.mimic.items import CONVERSIONS, ItemTable
from hospital_gym.clinical.mimic.tables import fetch, literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class EventTable(NamedTuple):
    """
    How a table tells what was measured, and when.

    :param value: column of the number
    :param begin: column of the time, or of the first time
    :param end: column of the last time; None: the entry is of one moment
    :param unit: column of the unit of a volume; None: the unit belongs to the item
    :param unless: column, its type, and what it holds in rows that do not count; None: all count
    :param stay: whether the table has a column ICUSTAY_ID
    """

    value: str
    begin: str
    end: str | None = None
    unit: str | None = None
    unless: tuple[str, str, str] | None = None
    stay: bool = True

    def columns(self) -> dict[str, str]:
        """SQL type by name of the columns that are needed."""
        columns = {"subject_id": "BIGINT", "itemid": "BIGINT", self.value: "DOUBLE", self.begin: "TIMESTAMP"}
        columns |= {"icustay_id": "BIGINT"} if self.stay else {}
        columns |= {self.end: "TIMESTAMP"} if self.end else {}
        columns |= {self.unit: "VARCHAR"} if self.unit else {}
        return columns | ({self.unless[0]: self.unless[1]} if self.unless else {})


EVENTS: Final = {
    "CHARTEVENTS": EventTable("valuenum", "charttime", unless=("error", "INTEGER", "1")),
    "LABEVENTS": EventTable("valuenum", "charttime", stay=False),
    "INPUTEVENTS_CV": EventTable("amount", "charttime", unit="amountuom"),
    # Rewritten rows were not given: they are kept in MIMIC-III for auditing
    "INPUTEVENTS_MV": EventTable(
        "amount", "starttime", "endtime", unit="amountuom", unless=("statusdescription", "VARCHAR", "'Rewritten'")
    ),
    "OUTPUTEVENTS": EventTable("value", "charttime", unless=("iserror", "INTEGER", "1")),
}

MILLILITRES: Final = {"ml": 1.0, "cc": 1.0, "l": 1000.0, "ul": 0.001}
"""Units of volume, in lower case. Amounts in others (milligrams, units) are no fluid."""

BOLUS: Final = 60.0
"""Seconds of an input that does not end later than it begins: MetaVision writes a bolus as one minute."""


def prepare(connection: "DuckDBPyConnection", items: ItemTable) -> None:
    """Make the tables ``items`` and ``events``, the second one empty."""
    rows = ", ".join(
        f"({literal(i.table)}, {i.itemid}, {i.channel}, {literal(i.part)}, {literal(i.conversion)}, {i.low}, {i.high})"
        for i in items.items
    )
    names = "table_name, itemid, channel, part, conversion, low, high"
    connection.execute(f"CREATE TABLE items AS SELECT * FROM (VALUES {rows}) AS given ({names})")
    connection.execute('CREATE TABLE events ("row" BIGINT, channel SMALLINT, part VARCHAR, value DOUBLE, believed BOOLEAN)')


def add_events(connection: "DuckDBPyConnection", name: str, query: str) -> int:
    """
    Append what one table says of the stays to ``events``.

    An entry belongs to the stay of its patient in which it was made, and to the one that it names, if it names one. What was
    given over a period belongs to each hour by the share of the period that lies in it.

    :param connection: a database with the tables ``stays``, ``items`` and ``events``
    :param name: of the table
    :param query: SQL that gives its columns
    :return: how many values were appended
    """
    table = EVENTS[name]
    conversion = " ".join(f"WHEN '{key}' THEN {sql}" for key, sql in CONVERSIONS.items())
    volume = " ".join(f"WHEN '{unit}' THEN {factor}" for unit, factor in MILLILITRES.items())
    appended = connection.execute(
        _EVENTS.format(
            query=query,
            table=name,
            value=table.value,
            stay="icustay_id" if table.stay else "NULL::BIGINT",
            begin=table.begin,
            length=f"epoch({table.end}) - epoch({table.begin})" if table.end else "0",
            least=BOLUS if table.end else 0.0,
            scale=f"CASE lower(trim({table.unit})) {volume} END" if table.unit else "1",
            counts=f"{table.unless[0]} IS DISTINCT FROM {table.unless[2]}" if table.unless else "true",
            conversion=f"CASE conversion {conversion} END",
        )
    ).fetchone()
    return int(appended[0]) if appended else 0


# `a` and `b`: seconds from the beginning of the stay to that of the entry, and to its end. Entries of a moment (a = b) lie in
# the hour that has begun by then. Values beyond the limits are kept once, to be counted
_EVENTS: Final = """
INSERT INTO events
WITH entries AS ({query}), numbers AS (
    SELECT subject_id, {stay} AS stay, itemid, {value} * {scale} AS x, epoch({begin}) AS begin,
        greatest(coalesce({length}, 0), {least}) AS length
    FROM entries WHERE {counts}
), known AS (
    SELECT n.subject_id, n.stay, n.begin, n.length, i.channel, i.part, i.low, i.high, {conversion} AS y
    FROM numbers n JOIN items i ON n.itemid = i.itemid AND i.table_name = '{table}' WHERE x IS NOT NULL
), placed AS (
    SELECT s.first_row, s.seconds, k.begin - s.begin AS a, k.begin - s.begin + k.length AS b, channel, part, y,
        y BETWEEN low AND high AS believed
    FROM known k JOIN stays s ON k.subject_id = s.subject_id AND (k.stay IS NULL OR k.stay = s.icustay_id)
    WHERE k.begin < s.begin + s.seconds AND (k.begin >= s.begin OR k.begin + k.length > s.begin)
), hourly AS (
    SELECT *, unnest(range(
        greatest(floor(a / 3600), 0)::BIGINT,
        CASE WHEN b > a AND believed THEN ceil(least(b, seconds) / 3600) ELSE greatest(floor(a / 3600), 0) + 1 END::BIGINT
    )) AS hour FROM placed
)
SELECT first_row + hour, channel, part,
    CASE WHEN b > a THEN y * (least(b, (hour + 1) * 3600, seconds) - greatest(a, hour * 3600)) / (b - a) ELSE y END, believed
FROM hourly
"""


def hourly_values(connection: "DuckDBPyConnection", items: ItemTable, channel: int, values: Floats) -> None:
    """
    Write the values of one channel into its column.

    :param connection: a database with the table ``events``
    :param items: channels
    :param channel: number of the channel
    :param values: (rows, C), changed in place
    """
    combine = {"mean": "avg", "sum": "sum"}[items.combine[channel]]
    found = fetch(
        connection,
        f'SELECT "row", sum(value) AS value FROM (SELECT "row", part, {combine}(value) AS value FROM events '
        'WHERE channel = $1 AND believed GROUP BY "row", part) GROUP BY "row" HAVING count(*) = $2',
        [channel, items.parts(channel)],
    )
    values[found["row"], channel] = found["value"].astype(np.float32)


def refused(connection: "DuckDBPyConnection", items: ItemTable) -> tuple[str, ...]:
    """
    :return: a note on how many values lie beyond the limits of their channels, if any
    """
    rows = connection.execute(
        "SELECT channel, count(*) FROM events WHERE NOT believed GROUP BY channel ORDER BY channel"
    ).fetchall()
    if not rows:
        return ()
    listed = ", ".join(f"{items.channels[channel].name} {count}" for channel, count in rows)
    return (f"Values beyond the limits of their channel are taken as missing: {listed}.",)
