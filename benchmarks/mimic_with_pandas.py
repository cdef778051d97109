"""The hours of MIMIC-III read with pandas, table by table into memory: the peer of ``read_mimic3``, and a check of it."""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from hospital_gym.clinical.mimic.items import ItemTable, read_items

MILLILITRES: Final = {"ml": 1.0, "cc": 1.0, "l": 1000.0, "ul": 0.001}

# Column of the value, of the time, of its end, of the unit, and of what rules a row out
_TABLES: Final[dict[str, tuple[str, str, str, str, str, object]]] = {
    "CHARTEVENTS": ("VALUENUM", "CHARTTIME", "", "", "ERROR", 1),
    "LABEVENTS": ("VALUENUM", "CHARTTIME", "", "", "", None),
    "INPUTEVENTS_CV": ("AMOUNT", "CHARTTIME", "", "AMOUNTUOM", "", None),
    "INPUTEVENTS_MV": ("AMOUNT", "STARTTIME", "ENDTIME", "AMOUNTUOM", "STATUSDESCRIPTION", "Rewritten"),
    "OUTPUTEVENTS": ("VALUE", "CHARTTIME", "", "", "ISERROR", 1),
}


def read_with_pandas(folder: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """
    All hours of all stays of adults.

    :param folder: all eight tables as .csv
    :return: (N,) ICUSTAY_ID, and (rows, C) values as of ``read_mimic3(folder, hours=None)``
    """
    stays, table = _stays(folder), read_items()
    events = pd.concat([_events(folder, name, stays, table) for name in _TABLES], ignore_index=True)
    values = np.full((int(stays["hours"].sum()), len(table.channels)), np.nan, dtype=np.float32)
    for channel, combine in enumerate(table.combine):
        chosen = events.loc[events["channel"] == channel]
        parts = chosen.groupby(["row", "part"])["y"].agg(combine).groupby(level="row").agg(["sum", "count"])
        parts = parts.loc[parts["count"] == table.parts(channel)]
        values[parts.index.to_numpy(), channel] = parts["sum"]
    return stays["ICUSTAY_ID"].to_numpy(), values


def _stays(folder: Path) -> pd.DataFrame:
    stays = pd.read_csv(folder / "ICUSTAYS.csv", parse_dates=["INTIME", "OUTTIME"])
    admissions = pd.read_csv(folder / "ADMISSIONS.csv", parse_dates=["DEATHTIME"])[["HADM_ID", "DEATHTIME"]]
    stays = stays.merge(admissions, on="HADM_ID").sort_values(["SUBJECT_ID", "INTIME"], ignore_index=True)
    dies = (stays["DEATHTIME"] > stays["INTIME"]) & (stays["DEATHTIME"] < stays["OUTTIME"])
    until = stays["OUTTIME"].where(~dies, stays["DEATHTIME"])
    stays["seconds"] = (until - stays["INTIME"]).dt.total_seconds()
    stays["hours"] = np.ceil(stays["seconds"] / 3600).astype(int)
    stays["first_row"] = stays["hours"].cumsum() - stays["hours"]
    return stays[["SUBJECT_ID", "ICUSTAY_ID", "INTIME", "seconds", "hours", "first_row"]]


def _events(folder: Path, name: str, stays: pd.DataFrame, table: ItemTable) -> pd.DataFrame:
    """
    :return: row, channel, part and y of every value
    """
    value, begin, end, unit, flag, ruled_out = _TABLES[name]
    columns = ["SUBJECT_ID", "ITEMID", *filter(None, (value, begin, end, unit, flag))]
    frame = pd.read_csv(
        folder / f"{name}.csv",
        usecols=lambda column: column in {*columns, "ICUSTAY_ID"},
        parse_dates=[column for column in (begin, end) if column],
    )
    if flag:
        frame = frame.loc[frame[flag] != ruled_out]
    items = pd.DataFrame([item for item in table.items if item.table == name])
    frame = frame.merge(items, left_on="ITEMID", right_on="itemid").merge(stays, on="SUBJECT_ID", suffixes=("", "_stay"))
    if "ICUSTAY_ID_stay" in frame:
        frame = frame.loc[frame["ICUSTAY_ID"].isna() | (frame["ICUSTAY_ID"] == frame["ICUSTAY_ID_stay"])]
    x = frame[value] * (frame[unit].str.lower().map(MILLILITRES) if unit else 1.0)
    frame = frame.assign(y=_converted(x, frame["conversion"]), a=(frame[begin] - frame["INTIME"]).dt.total_seconds())
    length = (frame[end] - frame[begin]).dt.total_seconds().clip(lower=60.0) if end else 0.0
    frame["b"] = frame["a"] + length
    frame = frame.loc[frame["y"].between(frame["low"], frame["high"])]
    frame = frame.loc[(frame["a"] < frame["seconds"]) & ((frame["a"] >= 0) | (frame["b"] > 0))]
    return _spread(frame) if end else _of_a_moment(frame)


def _converted(x: pd.Series, conversion: pd.Series) -> pd.Series:
    y = x.where(conversion != "fahrenheit", (x - 32) / 1.8)
    y = y.where(conversion != "pounds", x * 0.45359237)
    y = y.where(conversion != "negative", -x)
    return y.where(~((conversion == "per_cent") | ((conversion == "share_or_per_cent") & (x > 1))), x / 100)


def _of_a_moment(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame["first_row"] + (frame["a"] // 3600).astype(int)
    return frame.assign(row=rows)[["row", "channel", "part", "y"]]


def _spread(frame: pd.DataFrame) -> pd.DataFrame:
    first = (frame["a"] // 3600).clip(lower=0).astype(int)
    last = np.ceil(frame[["b", "seconds"]].min(axis=1) / 3600).astype(int)
    count = (last - first).to_numpy()
    long = frame.loc[frame.index.repeat(count)]
    hour = np.repeat(first.to_numpy(), count) + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    until = np.minimum(np.minimum(long["b"], long["seconds"]), (hour + 1) * 3600)
    share = (until - np.maximum(long["a"], hour * 3600)) / (long["b"] - long["a"])
    return long.assign(row=long["first_row"] + hour, y=long["y"] * share)[["row", "channel", "part", "y"]]
