"""The patient table from which every metric is computed: the simulator's records, or a hospital's own log.

One row per patient, a :class:`pandas.DataFrame`, categories by name. No column is required as such: each metric says which
ones it needs (:data:`sb3_grpo.fairness.metrics.definitions.DEFINITIONS`) and reads "not available: column x" without them. Any
further column may define groups.

The state and the fate of a patient can be told in two ways: by ``outcome``, one of :data:`hospital_gym.records.OUTCOMES`, or,
where a log does not know that much, by the yes/no columns ``treated`` and ``success``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from hospital_gym.records import AGE_BANDS, BED_TYPES, OUTCOMES, QUINTILES, RECORD_DTYPE, SEVERITIES, SEXES

if TYPE_CHECKING:
    import pandas as pd

MISSING: Final = "(missing)"
"""Group of the patients whose attribute was not recorded: they are shown, not dropped."""

_CATEGORIES: Final[dict[str, tuple[str, ...]]] = {
    "age_band": AGE_BANDS,
    "sex": SEXES,
    "quintile": QUINTILES,
    "severity_arrival": SEVERITIES,
    "severity_decision": SEVERITIES,
    "bed": BED_TYPES,
    "outcome": OUTCOMES,
}
_FIRST_NUMBER: Final = {"quintile": 1}  # the other categories are numbered from 0 in records


class HasRecords(Protocol):
    """Anything with patient records and the names of their groups, as :class:`sb3_grpo.common.evaluation.EpisodeSet`."""

    @property
    def records(self) -> npt.NDArray[Any]:
        """(N,) of :data:`hospital_gym.records.RECORD_DTYPE`."""

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the G groups."""


@dataclass(frozen=True)
class Column:
    """A column of the patient table.

    :param unit: unit or type
    :param meaning: what it says
    :param accepted: the accepted values, in words, for error messages
    :param valid: which entries are accepted, (N,)
    """

    unit: str
    meaning: str
    accepted: str
    valid: Callable[["pd.Series"], npt.NDArray[np.bool_]]


def _numbers(series: "pd.Series") -> npt.NDArray[np.float64]:
    import pandas as pd

    numeric = pd.to_numeric(series, errors="coerce") if series.dtype == object else series
    try:
        return numeric.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        return np.full(len(series), np.nan)


def _at_least_zero(series: "pd.Series") -> npt.NDArray[np.bool_]:
    values = _numbers(series)
    return np.isfinite(values) & (values >= 0)


def _at_least_zero_or_missing(series: "pd.Series") -> npt.NDArray[np.bool_]:
    return _at_least_zero(series) | series.isna().to_numpy()


def _finite(series: "pd.Series") -> npt.NDArray[np.bool_]:
    return np.isfinite(_numbers(series))


def _positive(series: "pd.Series") -> npt.NDArray[np.bool_]:
    values = _numbers(series)
    return np.isfinite(values) & (values > 0)


def _whole(series: "pd.Series") -> npt.NDArray[np.bool_]:
    values = _numbers(series)
    return np.isfinite(values) & (values == np.floor(values))


def _yes_no(series: "pd.Series") -> npt.NDArray[np.bool_]:
    return np.isin(_numbers(series), (0.0, 1.0))


def _yes_no_or_missing(series: "pd.Series") -> npt.NDArray[np.bool_]:
    return _yes_no(series) | series.isna().to_numpy()


def _anything(series: "pd.Series") -> npt.NDArray[np.bool_]:
    return np.ones(len(series), dtype=np.bool_)


def _one_of(values: Sequence[str]) -> Callable[["pd.Series"], npt.NDArray[np.bool_]]:
    return lambda series: series.isin(list(values)).to_numpy()


def _one_of_or_missing(values: Sequence[str]) -> Callable[["pd.Series"], npt.NDArray[np.bool_]]:
    return lambda series: (series.isin(list(values)) | series.isna()).to_numpy()


def _hours(meaning: str) -> Column:
    return Column("hours", meaning, "a finite number >= 0", _at_least_zero)


_YES_NO: Final = "True or False (1 or 0)"

COLUMNS: Final[dict[str, Column]] = {
    "episode": Column("number", "independent stretch of time the patient belongs to (the unit)", "a whole number", _whole),
    "patient_id": Column("any", "identifies the patient within the episode", "anything", _anything),
    "arrival": Column("hours", "when the patient came, since any fixed moment", "a finite number", _finite),
    "age": Column("years", "age", "a number >= 0, or missing", _at_least_zero_or_missing),
    "age_band": Column("category", "age band", "anything", _anything),
    "sex": Column("category", "sex", "anything", _anything),
    "quintile": Column("category", "deprivation quintile, q1 most deprived", "anything", _anything),
    "group": Column("category", "group of the patient, fixed at arrival", "anything", _anything),
    "severity_arrival": Column("category", "triage severity at arrival", "anything", _anything),
    "severity_decision": Column("category", "severity when the fate was decided", "anything", _anything),
    "target_wait": Column("hours", "longest wait that counts as in time", "a finite number > 0", _positive),
    "wait": _hours("from arrival to treatment, leaving, death, or the end of observation"),
    "bed": Column(
        "category", "type of the bed, missing without one", f"one of {BED_TYPES}, or missing", _one_of_or_missing(BED_TYPES)
    ),
    "matched": Column("yes/no", "the bed was of the type the patient needed", _YES_NO, _yes_no),
    "service_time": Column(
        "hours", "stay in the bed, missing without one", "a number >= 0, or missing", _at_least_zero_or_missing
    ),
    "outcome": Column("category", "what became of the patient", f"one of {OUTCOMES}", _one_of(OUTCOMES)),
    "treated": Column("yes/no", "treatment began (used where there is no outcome)", _YES_NO, _yes_no),
    "success": Column(
        "yes/no", "the treatment succeeded, missing while unknown", f"{_YES_NO}, or missing", _yes_no_or_missing
    ),
    "need": Column("yes/no", "must not wait (default: severity at arrival above routine)", _YES_NO, _yes_no),
    "demand": Column("need weight", "need of the patient, fixed at arrival", "a finite number >= 0", _at_least_zero),
    "benefit": Column("need weight", "what the hospital gave, at most the demand", "a finite number >= 0", _at_least_zero),
    "cost": Column("any price", "what the patient's care cost", "a finite number >= 0", _at_least_zero),
    "counted": Column("yes/no", "enters the metrics (default: everybody does)", _YES_NO, _yes_no),
}
"""The columns with a meaning of their own, all optional. Others may be there, to define groups or similarity by."""


def to_frame(
    records: "npt.NDArray[Any] | HasRecords | pd.DataFrame", group_names: Sequence[str] | None = None
) -> "pd.DataFrame":
    """Patient records as a table with categories by name.

    :param records: (N,) of :data:`hospital_gym.records.RECORD_DTYPE`, something that has them
        (:class:`sb3_grpo.common.evaluation.EpisodeSet`), or a table, which is returned as it is
    :param group_names: names of the groups, where ``records`` does not know them
    :return: one row per patient, columns as in :data:`COLUMNS`
    :raises ValueError: if the names are missing or too few, or a category number is unknown
    """
    import pandas as pd

    if isinstance(records, pd.DataFrame):
        return records
    if not isinstance(records, np.ndarray):
        group_names = records.group_names if group_names is None else group_names
        records = records.records
    if group_names is None:
        raise ValueError("group_names: got None, expected the names of the groups that the records number")
    if records.dtype.names != RECORD_DTYPE.names:
        raise ValueError(f"records: got the fields {records.dtype.names}, expected {RECORD_DTYPE.names}")
    columns: dict[str, Any] = {}
    for name in RECORD_DTYPE.names or ():
        values = np.ascontiguousarray(records[name])
        categories = tuple(group_names) if name == "group" else _CATEGORIES.get(name)
        columns[name] = values if categories is None else _categorical(name, values, categories)
    return pd.DataFrame(columns)


def _categorical(name: str, numbers: npt.NDArray[Any], categories: tuple[str, ...]) -> "pd.Categorical":
    import pandas as pd

    first = _FIRST_NUMBER.get(name, 0)
    least = first - 1 if name == "bed" else first  # -1: no bed
    bad = (numbers < least) | (numbers >= first + len(categories))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"records[{row}]: {name}: got {numbers[row]!r}, expected a number from {least} to {first + len(categories) - 1}"
        )
    ordered = name in ("age_band", "quintile", "severity_arrival", "severity_decision")
    dtype = pd.CategoricalDtype(list(categories), ordered=ordered)
    return pd.Categorical.from_codes((numbers - first).astype(np.int64), dtype=dtype)


def check_frame(frame: "pd.DataFrame", required: Sequence[str] = ()) -> None:
    """Refuse a table whose columns hold what they must not; columns without a meaning of their own are not looked at.

    :param frame: the patient table
    :param required: columns that have to be there
    :raises ValueError: naming the column, the row, the value and what is accepted
    """
    for name in required:
        if name not in frame.columns:
            raise ValueError(f"column {name!r}: missing, expected it among {[str(column) for column in frame.columns]}")
    for name, column in COLUMNS.items():
        if name not in frame.columns:
            continue
        valid = column.valid(frame[name])
        if not valid.all():
            _refuse(frame, name, int(np.argmin(valid)), column.accepted)
    if "benefit" in frame.columns and "demand" in frame.columns:
        # The benefit is a product of factors <= 1 and the demand: allow for its rounding.
        within = _numbers(frame["benefit"]) <= _numbers(frame["demand"]) * (1 + 1e-9)
        if not within.all():
            _refuse(frame, "benefit", int(np.argmin(within)), "at most the patient's demand")


def _refuse(frame: "pd.DataFrame", name: str, row: int, accepted: str) -> None:
    raise ValueError(f"row {frame.index[row]}: column {name!r}: got {frame[name].iloc[row]!r}, expected {accepted}")


def counted_rows(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The rows that enter metrics: those whose ``counted`` is true, all without such a column."""
    return frame[_numbers(frame["counted"]) == 1.0] if "counted" in frame.columns else frame


def yes_no(frame: "pd.DataFrame", name: str) -> npt.NDArray[np.float64]:
    """A yes/no column as 0 and 1, missing as NaN, (N,)."""
    return _numbers(frame[name])


TREATED: Final = ("treated-success", "treated-failure", "in-treatment", "transferred")
"""Outcomes of the patients whose treatment began; a transferred one's begins on arrival at the other hospital."""
