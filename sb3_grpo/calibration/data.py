"""What a hospital is fitted to: arrivals, attributes and stays of the patients of a log."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from hospital_gym.records import AGE_BANDS, SEVERITIES, SEXES
from sb3_grpo.fairness.audit.columns import ColumnMap
from sb3_grpo.fairness.audit.files import RecordsError
from sb3_grpo.fairness.audit.log import PatientLog
from sb3_grpo.fairness.records import counted_rows

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
CodeArray = npt.NDArray[np.int8]

FIELDS: Final = (
    *("arrival", "episode", "age", "age_band", "sex", "severity_arrival", "severity_decision"),
    *("service_time", "matched", "counted"),
    "wait",  # where it runs between two moments, the first is the arrival
)
"""Fields that are read."""

LONGEST_YEARS: Final = 30
"""A log that spans more years has dates that were shifted patient by patient."""


@dataclass(frozen=True, eq=False)
class Stays:
    """The patients of a log, N of them.

    :param file: name of the file
    :param arrival: (N,) hours; None where arrivals are not known
    :param stretch: (N,) number of the stretch of time a patient belongs to; several in a simulator's records
    :param age_band: (N,) index into ``AGE_BANDS``, -1 where not known; likewise the next three
    :param sex: index into ``SEXES``
    :param severity: at arrival, index into ``SEVERITIES``
    :param severity_stay: the severity that the stay is of: at the decision if that is known, else at arrival
    :param stay: (N,) hours in a bed, so far if it has not ended; NaN where not known
    :param ended: (N,) whether the stay has ended
    :param until: moment up to which unended stays were observed; None if all have ended
    :param sentences: what was left out
    """

    file: str
    arrival: FloatArray | None
    stretch: npt.NDArray[np.int64]
    age_band: CodeArray
    sex: CodeArray
    severity: CodeArray
    severity_stay: CodeArray
    stay: FloatArray
    ended: npt.NDArray[np.bool_]
    until: float | None
    sentences: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.stay)


def read_stays(path: str | Path, columns: ColumnMap, bad_rows: int = 0) -> Stays:
    """Read a log.

    :param path: a ``.csv``, ``.csv.gz`` or ``.parquet`` file, one row per patient admitted or waiting
    :param columns: what its columns are called; age bands are those of the scenarios whatever it says
    :param bad_rows: rows that may be left out
    :raises RecordsError: naming file, line and column of what cannot be used
    """
    log = PatientLog(path, replace(columns, age_bands=(18.0, 65.0)), bad_rows=bad_rows, only=FIELDS)
    if not any(name in log for name in ("arrival", "age_band", "sex", "severity_arrival", "service_time")):
        raise RecordsError(
            f"{log.file.name}, line 1: nothing to fit: expected at least one of arrival, age or age_band, sex, "
            f"severity_arrival, service_time; the columns are {', '.join(log.file.columns)}"
        )
    parts = [_compact(frame) for frame in log.tables()]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    n = len(joined["stay"])
    arrival = joined.get("arrival")
    if arrival is not None and np.ptp(arrival) > LONGEST_YEARS * 365.25 * 24:
        raise RecordsError(
            f"{log.file.name}: arrivals span {np.ptp(arrival) / 365.25 / 24:.0f} years, as where each patient's dates were "
            "shifted; expected one calendar: leave out the arrival to fit mix and stays alone"
        )
    ended, stay, until, sentences = _open_ends(joined, log.until)
    unknown = np.full(n, -1, dtype=np.int8)
    severity = joined.get("severity_arrival", unknown)
    return Stays(
        file=log.file.name,
        arrival=arrival,
        stretch=joined.get("episode", np.zeros(n, dtype=np.int64)),
        age_band=joined.get("age_band", unknown),
        sex=joined.get("sex", unknown),
        severity=severity,
        severity_stay=joined.get("severity_decision", severity),
        stay=stay,
        ended=ended,
        until=until,
        sentences=(*log.problems.sentences(), *sentences),
    )


def _compact(frame: "pd.DataFrame") -> dict[str, npt.NDArray[np.generic]]:
    """A chunk in few bytes for each patient."""
    kept = counted_rows(frame)
    found: dict[str, npt.NDArray[np.generic]] = {}
    for name in ("arrival", "service_start"):
        if name in kept:
            found[name] = kept[name].to_numpy(dtype=np.float64)
    if "episode" in kept:
        found["episode"] = kept["episode"].to_numpy(dtype=np.int64)
    for name, names in (
        ("age_band", AGE_BANDS),
        ("sex", SEXES),
        ("severity_arrival", SEVERITIES),
        ("severity_decision", SEVERITIES),
    ):
        if name in kept:
            found[name] = kept[name].cat.set_categories(list(names)).cat.codes.to_numpy(dtype=np.int8)
    stay = kept["service_time"].to_numpy(dtype=np.float64) if "service_time" in kept else np.full(len(kept), np.nan)
    if "matched" in kept:  # a stay in a bed of another type is of another length
        stay = np.where(kept["matched"].to_numpy(dtype=np.float64) == 1.0, stay, np.nan)
        found["unmatched"] = (kept["matched"].to_numpy(dtype=np.float64) != 1.0) & kept["service_time"].notna().to_numpy()
    found["stay"] = stay
    return found


def _open_ends(
    joined: dict[str, npt.NDArray[np.generic]], until: float | None
) -> tuple[npt.NDArray[np.bool_], FloatArray, float | None, list[str]]:
    """Stays that have not ended, up to the moment of the last observation."""
    stay = np.asarray(joined["stay"], dtype=np.float64)
    ended, sentences = ~np.isnan(stay), []
    if "unmatched" in joined and joined["unmatched"].any():
        n = int(joined["unmatched"].sum())
        sentences.append(
            f"{n} stays in a bed of another type than the patient needed are not fitted: they are of other length."
        )
    start = joined.get("service_start")
    if start is not None and not ended.all():
        begin = np.asarray(start, dtype=np.float64)
        if until is None:
            until = float(np.nanmax(np.where(ended, begin + np.nan_to_num(stay), begin)))
            sentences.append(
                "The map names no observed_until: open stays are taken as observed up to the last moment in the file."
            )
        so_far = until - begin
        late = ~ended & (so_far <= 0)
        if late.any():
            sentences.append(f"{int(late.sum())} open stays begin at or after the end of observation and say nothing.")
        stay = np.where(ended, stay, np.where(so_far > 0, so_far, np.nan))
    nothing = ended & (stay <= 0)
    if nothing.any():
        sentences.append(f"{int(nothing.sum())} stays of 0 hours are not fitted: a log-normal law has none.")
        stay = np.where(nothing, np.nan, stay)
    return ended & ~np.isnan(stay), stay, until, sentences
