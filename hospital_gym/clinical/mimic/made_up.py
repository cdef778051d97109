"""Made-up tables with the schema of MIMIC-III 1.4: to try the reader without the data, and to measure it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hospital_gym.clinical.mimic.items import Item, read_items
from hospital_gym.clinical.mimic.tables import SUFFIXES, database, literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

COLUMNS: Final = {
    "PATIENTS": "row_id subject_id gender dob dod dod_hosp dod_ssn expire_flag",
    "ADMISSIONS": (
        "row_id subject_id hadm_id admittime dischtime deathtime admission_type admission_location discharge_location "
        "insurance language religion marital_status ethnicity edregtime edouttime diagnosis hospital_expire_flag "
        "has_chartevents_data"
    ),
    "ICUSTAYS": (
        "row_id subject_id hadm_id icustay_id dbsource first_careunit last_careunit first_wardid last_wardid "
        "intime outtime los"
    ),
    "CHARTEVENTS": (
        "row_id subject_id hadm_id icustay_id itemid charttime storetime cgid value valuenum valueuom warning error "
        "resultstatus stopped"
    ),
    "LABEVENTS": "row_id subject_id hadm_id itemid charttime value valuenum valueuom flag",
    "INPUTEVENTS_CV": (
        "row_id subject_id hadm_id icustay_id charttime itemid amount amountuom rate rateuom storetime cgid orderid "
        "linkorderid stopped newbottle originalamount originalamountuom originalroute originalrate "
        "originalrateuom originalsite"
    ),
    "INPUTEVENTS_MV": (
        "row_id subject_id hadm_id icustay_id starttime endtime itemid amount amountuom rate rateuom storetime cgid orderid "
        "linkorderid ordercategoryname secondaryordercategoryname ordercomponenttypedescription ordercategorydescription "
        "patientweight totalamount totalamountuom isopenbag continueinnextdept cancelreason statusdescription "
        "comments_editedby comments_canceledby comments_date originalamount originalrate"
    ),
    "OUTPUTEVENTS": (
        "row_id subject_id hadm_id icustay_id charttime itemid value valueuom storetime cgid stopped newbottle iserror"
    ),
}
"""Columns of the files, which have them in upper case."""

SHARES: Final = {
    "CHARTEVENTS": 330_712_483,
    "LABEVENTS": 27_854_055,
    "INPUTEVENTS_CV": 17_527_935,
    "INPUTEVENTS_MV": 3_618_991,
    "OUTPUTEVENTS": 4_349_218,
}
"""Rows of the tables of MIMIC-III 1.4 (https://mimic.mit.edu/docs/iii/tables/): made-up tables have the same shares."""

WANTED: Final = 0.25
"""Share of the rows that have an item which is read; the others are there to be skipped. Assumed."""

_INVERSE: Final = {
    "none": lambda y: y,
    "fahrenheit": lambda y: 1.8 * y + 32,
    "pounds": lambda y: y / 0.45359237,
    "per_cent": lambda y: 100 * y,
    "share_or_per_cent": lambda y: 100 * y,
    "negative": lambda y: -y,
}


def write_made_up_tables(
    folder: str | os.PathLike[str], stays: int = 200, events: int = 200_000, seed: int = 0, suffix: str = ".csv"
) -> None:
    """
    Write all eight tables. Every stay has a patient of its own; values lie in the middle of their limits and say nothing about
    who dies. One entry in ten lies outside its stay, one in a hundred is marked as an error, one in three names no stay.

    :param folder: where to; it is made if it is not there
    :param stays: number of stays of 24 to 223 hours, at least 1
    :param events: rows of the five tables of events together, at least 0
    :param seed: of everything
    :param suffix: ``".csv"`` or ``".csv.gz"``
    :raises ValueError: if an argument is not what it must be
    """
    for key, number, least in (("stays", stays, 1), ("events", events, 0), ("seed", seed, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise ValueError(f"{key}: got {number!r}, expected a whole number >= {least}")
    if suffix not in SUFFIXES:
        raise ValueError(f"suffix: got {suffix!r}, expected one of {SUFFIXES}")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    items = read_items().items
    with database(0.5) as connection:
        connection.execute(_DRAW.format(seed=seed))
        connection.execute(_STAYS.format(stays=stays))
        for name, query in _COHORT.items():
            _write(connection, name, query, target / f"{name}{suffix}")
        for name, share in SHARES.items():
            own = [item for item in items if item.table == name]
            connection.execute(_items(own))
            rows = round(events * share / sum(SHARES.values()))
            query = _EVENTS.format(table=name, rows=rows, stays=stays, wanted=round(1000 * WANTED), items=len(own))
            _write(connection, name, query + _VALUES[name], target / f"{name}{suffix}")


def _items(items: list[Item]) -> str:
    """The items of a table, with a usual value as it is charted."""
    rows = ", ".join(
        f"({place}, {item.itemid}, {_INVERSE[item.conversion]((item.low + item.high) / 2)})"
        for place, item in enumerate(items)
    )
    return f"CREATE OR REPLACE TABLE items AS SELECT * FROM (VALUES {rows}) AS given (place, itemid, usual)"


def _write(connection: "DuckDBPyConnection", name: str, query: str, path: Path) -> None:
    """Write the columns that a query gives, and empty ones in place of the others."""
    given = {row[0] for row in connection.execute(f"DESCRIBE {query}").fetchall()}
    columns = ", ".join(f"{column if column in given else 'NULL'} AS {column.upper()}" for column in COLUMNS[name].split())
    connection.execute(f"COPY (SELECT {columns} FROM ({query})) TO {literal(path)} (HEADER, DELIMITER ',')")


# Draws are hashes of the seed, the name of what is drawn and the number of the row: they do not depend on threads
_DRAW: Final = "CREATE OR REPLACE MACRO draw(name, number, n) AS (hash({seed}, name, number) % n)::BIGINT"

_STAYS: Final = """
CREATE TABLE stays AS
SELECT s AS number, 10000 + s AS subject_id, 100000 + s AS hadm_id, 200000 + s AS icustay_id,
    TIMESTAMP '2150-01-01' + to_hours(draw('begin', s, 100000)) AS intime, 86400 + draw('length', s, 720000) AS seconds,
    draw('dies', s, 100) < 12 AS dies, 16 + draw('age', s, 75) AS years, ['F', 'M'][1 + draw('gender', s, 2)] AS gender,
    ['CCU', 'CSRU', 'MICU', 'SICU', 'TSICU'][1 + draw('unit', s, 5)] AS careunit,
    ['WHITE', 'BLACK/AFRICAN AMERICAN', 'ASIAN', 'UNKNOWN/NOT SPECIFIED'][1 + draw('ethnicity', s, 4)] AS ethnicity,
    ['Medicare', 'Private', 'Medicaid'][1 + draw('insurance', s, 3)] AS insurance,
    ['EMERGENCY', 'EMERGENCY', 'EMERGENCY', 'ELECTIVE'][1 + draw('type', s, 4)] AS admission_type
FROM range({stays}) AS given (s)
"""

_COHORT: Final = {
    "PATIENTS": (
        "SELECT number AS row_id, subject_id, gender, dies::INTEGER AS expire_flag, "
        "(intime - to_years(CASE WHEN years > 89 THEN 300 ELSE years END))::DATE::TIMESTAMP AS dob FROM stays"
    ),
    "ADMISSIONS": (
        "SELECT number AS row_id, subject_id, hadm_id, intime - INTERVAL 3 HOUR AS admittime, "
        "intime + to_seconds(seconds + 86400) AS dischtime, CASE WHEN dies THEN dischtime END AS deathtime, admission_type, "
        "insurance, ethnicity, dies::INTEGER AS hospital_expire_flag, 1 AS has_chartevents_data FROM stays"
    ),
    "ICUSTAYS": (
        "SELECT number AS row_id, subject_id, hadm_id, icustay_id, 'metavision' AS dbsource, careunit AS first_careunit, "
        "careunit AS last_careunit, intime, intime + to_seconds(seconds) AS outtime, seconds / 86400 AS los FROM stays"
    ),
}

_EVENTS: Final = """
WITH drawn AS (
    SELECT i AS row_id, draw('{table} stay', i, {stays}) AS number, draw('{table} wanted', i, 1000) < {wanted} AS wanted,
        draw('{table} item', i, 5000) AS which, draw('{table} time', i, 10000) / 10000 AS moment,
        draw('{table} value', i, 1000) / 1000 AS u, draw('{table} error', i, 100) = 0 AS wrong,
        draw('{table} stay is named', i, 3) > 0 AS named, 1 + draw('{table} minutes', i, 480) AS minutes
    FROM range({rows}) AS given (i)
), entries AS (
    SELECT d.row_id, s.subject_id, s.hadm_id, CASE WHEN named THEN s.icustay_id END AS icustay_id,
        date_trunc('minute', s.intime + to_seconds(s.seconds * (1.1 * moment - 0.05))) AS noted, minutes, wrong,
        15000 + which AS cgid, coalesce(i.itemid, 900000 + which) AS itemid,
        round(coalesce(i.usual, 100) * (0.8 + 0.4 * u), 3) AS x
    FROM drawn d JOIN stays s USING (number) LEFT JOIN items i ON d.wanted AND i.place = d.which % {items}
)
"""

_VALUES: Final = {
    "CHARTEVENTS": (
        "SELECT *, noted AS charttime, noted + INTERVAL 7 MINUTE AS storetime, x AS value, x AS valuenum, 'unit' AS valueuom, "
        "0 AS warning, wrong::INTEGER AS error FROM entries"
    ),
    "LABEVENTS": "SELECT *, noted AS charttime, x AS value, x AS valuenum, 'unit' AS valueuom FROM entries",
    "INPUTEVENTS_CV": "SELECT *, noted AS charttime, x / 10 AS amount, 'ml' AS amountuom, row_id AS orderid FROM entries",
    "INPUTEVENTS_MV": (
        "SELECT *, noted AS starttime, noted + to_minutes(minutes) AS endtime, x / 10 AS amount, 'ml' AS amountuom, "
        "row_id AS orderid, CASE WHEN wrong THEN 'Rewritten' ELSE 'FinishedRunning' END AS statusdescription FROM entries"
    ),
    "OUTPUTEVENTS": "SELECT *, noted AS charttime, x / 10 AS value, 'ml' AS valueuom, wrong::INTEGER AS iserror FROM entries",
}
