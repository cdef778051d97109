"""Cases with features, a label, groups and a source: what a diagnosis is learned from."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Ints = npt.NDArray[np.int64]

UNKNOWN: Final = "unknown"
"""Name of the group, or source, of the cases whose value is missing: they stay, and are seen."""

MOST_VALUES: Final = 50
"""A column with more values than this is no attribute: it has to be cut into bands."""


@dataclass(frozen=True, eq=False)
class CaseTable:
    """
    N cases. Missing features are NaN and stay so: :class:`~hospital_gym.clinical.preprocessing.Preprocessing` fills them in,
    with what it learned from the training cases alone.

    :meth:`from_frame` and :meth:`from_arrays` make one, and check what they are given.

    :param features: (N, F) table; columns of numbers (float64, NaN where missing) and of categories (dtype ``category``)
    :param label: (N,) number of the right answer, 0 to K - 1
    :param label_names: names of the K answers
    :param attributes: (N, A) table of categories without missing values (they are :data:`UNKNOWN`), one column per attribute
        that cases can be grouped by; A may be 0
    :param group_by: the attributes whose combinations are the groups; empty: one group of all cases
    :param source_id: (N,) number of the hospital, region or ward that a case comes from, 0 to S - 1
    :param source_names: names of the S sources
    :param case_ids: (N,) what the table's owner calls each case
    :param patient_id: (N,) number of the patient; cases of one patient are never split between training and test
    :param notes: sentences about what was changed or left out, and how many cases it concerned
    """

    features: "pd.DataFrame"
    label: Ints
    label_names: tuple[str, ...]
    attributes: "pd.DataFrame"
    group_by: tuple[str, ...]
    source_id: Ints
    source_names: tuple[str, ...]
    case_ids: npt.NDArray[Any]
    patient_id: Ints
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.label)

    @property
    def n_classes(self) -> int:
        """Number of possible answers, K."""
        return len(self.label_names)

    @cached_property
    def _groups(self) -> tuple[Ints, tuple[str, ...]]:
        if not self.group_by:
            return np.zeros(len(self), dtype=np.int64), ("all",)
        columns = [self.attributes[name].cat for name in self.group_by]
        shape = tuple(len(column.categories) for column in columns)
        cells = np.ravel_multi_index([column.codes.to_numpy(dtype=np.int64) for column in columns], shape)
        # Only combinations that occur are groups: nobody can learn from, or be judged by, an empty one
        present, ids = np.unique(cells, return_inverse=True)
        values = np.stack(np.unravel_index(present, shape), axis=1).tolist()
        names = tuple(
            " & ".join(str(column.categories[value]) for column, value in zip(columns, row, strict=True)) for row in values
        )
        return ids.reshape(-1).astype(np.int64), names

    @property
    def group_id(self) -> Ints:
        """(N,) number of each case's group, 0 to G - 1."""
        return self._groups[0]

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the G groups; those of combinations as ``"female & 65+"``, the last attribute varying fastest."""
        return self._groups[1]

    def grouped_by(self, *names: str) -> "CaseTable":
        """
        The same cases in other groups.

        :param names: attributes whose combinations are the groups; none: one group of all cases
        :raises ValueError: if one is no attribute of the table, or named twice
        """
        return replace(self, group_by=_checked_group_by(names, list(self.attributes.columns)))

    def take(self, rows: npt.ArrayLike) -> "CaseTable":
        """
        Some of the cases, with the names of all.

        :param rows: row numbers, (M,)
        :raises ValueError: if a number is out of range
        """
        chosen = checked_rows("rows", rows, len(self))
        return replace(
            self,
            features=self.features.iloc[chosen].reset_index(drop=True),
            label=self.label[chosen],
            attributes=self.attributes.iloc[chosen].reset_index(drop=True),
            source_id=self.source_id[chosen],
            case_ids=self.case_ids[chosen],
            patient_id=self.patient_id[chosen],
        )

    @classmethod
    def from_frame(
        cls,
        frame: "pd.DataFrame",
        label: str,
        groups: Sequence[str] = (),
        source: str | None = None,
        features: Sequence[str] | None = None,
        attributes: Sequence[str] | None = None,
        bands: Mapping[str, Sequence[float]] | None = None,
        case: str | None = None,
        patient: str | None = None,
        unlabelled: Literal["error", "drop"] = "error",
        notes: Sequence[str] = (),
    ) -> "CaseTable":
        """
        Cases from a table.

        Columns of numbers are features as they are; all others are categories. Nothing is filled in.

        :param frame: one row per case
        :param label: column of the right answer; its values, sorted, are the answers 0 to K - 1
        :param groups: columns whose combinations are the groups
        :param source: column that says where a case comes from; None: all from one source
        :param features: columns to decide by; None for all but label, source, case and patient
        :param attributes: further columns that cases can be grouped by; None for ``groups``
        :param bands: where a column of numbers is to be cut, when cases are grouped by it: ``{"age": (50, 65)}``
        :param case: column that names the case; None: the row number
        :param patient: column that names the patient; None: every case is a patient of its own
        :param unlabelled: ``"error"``, or ``"drop"`` to leave out cases without label and say in ``notes`` how many
        :param notes: sentences to keep with the table
        :raises ValueError: naming the column, what was found and what is expected
        """
        import pandas as pd

        groups, bands = tuple(groups), dict(bands or {})
        listed = list(dict.fromkeys([*groups, *(attributes or ())]))
        ids = [name for name in (source, case, patient) if name is not None]
        _check_columns(frame, [label, *ids, *listed, *bands, *(features or ())])
        if unlabelled not in ("error", "drop"):
            raise ValueError(f"unlabelled: got {unlabelled!r}, expected 'error' or 'drop'")
        missing = frame[label].isna().to_numpy()
        if missing.any() and unlabelled == "error":
            raise ValueError(
                f"column {label!r}: {int(missing.sum())} of {len(frame)} cases have no label, the first in row "
                f"{int(np.argmax(missing))}; give them one, or leave them out with unlabelled='drop'"
            )
        said = list(notes)
        if missing.any():
            said.append(f"{int(missing.sum())} of {len(frame)} cases have no label in column {label!r} and are left out.")
            frame = frame.loc[~missing]
        frame = frame.reset_index(drop=True)
        n_answers = frame[label].nunique()
        if n_answers > MOST_VALUES:
            raise ValueError(
                f"column {label!r}: got {n_answers} different answers, expected a label with at most {MOST_VALUES}"
            )
        labels, label_names = _coded(frame[label])
        if len(label_names) < 2:
            raise ValueError(f"column {label!r}: got the values {list(label_names)}, expected at least two different answers")
        chosen = [name for name in frame.columns if name not in (label, *ids)] if features is None else list(features)
        if label in chosen or not chosen:
            raise ValueError(f"features: got {chosen}, expected at least one column, and not the label {label!r}")
        sources, source_names = (np.zeros(len(frame), np.int64), ("all",)) if source is None else _coded(frame[source])
        return cls(
            features=pd.DataFrame({name: _feature(frame[name]) for name in chosen}),
            label=labels,
            label_names=label_names,
            attributes=pd.DataFrame({name: _attribute(frame[name], bands.get(name)) for name in listed}, index=frame.index),
            group_by=_checked_group_by(groups, listed),
            source_id=sources,
            source_names=source_names,
            case_ids=np.arange(len(frame)) if case is None else frame[case].to_numpy(),
            patient_id=np.arange(len(frame)) if patient is None else _patients(frame[patient]),
            notes=tuple(said),
        )

    @classmethod
    def from_arrays(
        cls,
        features: npt.ArrayLike,
        label: npt.ArrayLike,
        group: npt.ArrayLike | None = None,
        group_names: Sequence[str] | None = None,
        source: npt.ArrayLike | None = None,
        source_names: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
        n_classes: int | None = None,
    ) -> "CaseTable":
        """
        Cases from arrays of numbers; the arrays of features are not copied.

        :param features: (N, F) numbers, NaN where missing
        :param label: (N,) right answers, 0 to K - 1
        :param group: (N,) groups, 0 to G - 1; None: one group
        :param group_names: names of the G groups
        :param source: (N,) sources, 0 to S - 1; None: one source
        :param source_names: names of the S sources
        :param feature_names: names of the F features
        :param n_classes: K; None: one more than the largest label, at least 2
        :raises ValueError: naming the argument, what was found and what is expected
        """
        import pandas as pd

        matrix = np.asarray(features)
        if matrix.ndim != 2 or not matrix.size or matrix.dtype.kind not in "fiub":
            raise ValueError(f"features: got shape {matrix.shape} of {matrix.dtype}, expected (N, F) numbers")
        n = len(matrix)
        labels = _numbers("label", label, n, n_classes)
        group_id = np.zeros(n, np.int64) if group is None else _numbers("group", group, n, _length(group_names))
        source_id = np.zeros(n, np.int64) if source is None else _numbers("source", source, n, _length(source_names))
        names = _names("group_names", group_names, "group", int(group_id.max()) + 1)
        columns = _names("feature_names", feature_names, "feature", matrix.shape[1])
        if len(columns) != matrix.shape[1]:
            raise ValueError(f"feature_names: got {len(columns)} names, expected one for each of {matrix.shape[1]} features")
        grouping = pd.DataFrame(index=range(n))
        if group is not None:
            grouping["group"] = _categories(group_id, list(names))
        return cls(
            features=pd.DataFrame(matrix if matrix.dtype.kind == "f" else matrix.astype(np.float64), columns=list(columns)),
            label=labels,
            label_names=tuple(str(k) for k in range(max(n_classes or 0, int(labels.max()) + 1, 2))),
            attributes=grouping,
            group_by=() if group is None else ("group",),
            source_id=source_id,
            source_names=_names("source_names", source_names, "source", int(source_id.max()) + 1),
            case_ids=np.arange(n),
            patient_id=np.arange(n),
        )


def checked_rows(key: str, rows: npt.ArrayLike, n: int) -> Ints:
    """
    :param key: name of the argument, for the message
    :param rows: row numbers
    :param n: number of rows
    :return: the row numbers, (M,)
    :raises ValueError: if there is none, or one is no whole number from 0 to n - 1
    """
    numbers = np.asarray(rows)
    if numbers.ndim != 1 or not len(numbers) or numbers.dtype.kind not in "iu":
        raise ValueError(f"{key}: got {rows!r}, expected a list of row numbers, at least one")
    if numbers.min() < 0 or numbers.max() >= n:
        raise ValueError(f"{key}: got row numbers from {numbers.min()} to {numbers.max()}, expected 0 to {n - 1}")
    return numbers.astype(np.int64)


def _check_columns(frame: "pd.DataFrame", names: Sequence[str]) -> None:
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()].tolist()
        raise ValueError(f"columns: {twice} occur twice, expected different names")
    for name in names:
        if name not in frame.columns:
            raise ValueError(f"column {name!r} is not in the table; it has {', '.join(map(str, frame.columns))}")
    if not len(frame):
        raise ValueError("the table has no rows, expected at least one case")


def _checked_group_by(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str) or len(set(names)) != len(names) or not set(names) <= set(known):
        raise ValueError(f"group_by: got {names!r}, expected different attributes among {list(known)}")
    return tuple(names)


def _is_numeric(column: "pd.Series") -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(column.dtype)) and not pd.api.types.is_bool_dtype(column.dtype)


def _categories(codes: npt.ArrayLike, names: list[str]) -> Any:
    import pandas as pd

    # The stubs know no codes of 64 bits
    return pd.Categorical.from_codes(np.asarray(codes), categories=names, ordered=True)  # type: ignore[call-overload]


def _feature(column: "pd.Series") -> "pd.Series":
    if _is_numeric(column):
        values = column.astype(np.float64)
        return values.where(np.isfinite(values))  # an infinite measurement is none
    return column.astype(object).where(column.notna()).map(str, na_action="ignore").astype("category")


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, (float, np.floating)) and float(value).is_integer() else str(value)


def _coded(column: "pd.Series") -> tuple[Ints, tuple[str, ...]]:
    """Numbers and names of the values of a column; those missing come last, as :data:`UNKNOWN`."""
    attribute = _attribute(column, None)
    return np.asarray(attribute.cat.codes, dtype=np.int64), tuple(map(str, attribute.cat.categories))


def _attribute(column: "pd.Series", edges: Sequence[float] | None) -> "pd.Series":
    import pandas as pd

    if edges is not None:
        return pd.Series(_banded(column, edges), index=column.index)
    present = column.dropna()
    if isinstance(column.dtype, pd.CategoricalDtype):
        values = [value for value in column.cat.categories if (present == value).any()]
    else:
        values = sorted(present.unique().tolist(), key=lambda value: (isinstance(value, str), value))
    if len(values) > MOST_VALUES:
        hint = f"cut it with bands={{{column.name!r}: (...)}}" if _is_numeric(column) else "merge values first"
        raise ValueError(f"column {column.name!r}: got {len(values)} different values, expected at most {MOST_VALUES}; {hint}")
    names = [_text(value) for value in values]
    codes = pd.Categorical(column, categories=values).codes
    if len(present) < len(column):
        codes = np.where(codes < 0, len(names), codes)
        names.append(UNKNOWN)
    return pd.Series(_categories(codes, names), index=column.index)


def _banded(column: "pd.Series", edges: Sequence[float]) -> Any:
    cuts = [float(edge) for edge in edges]
    if not cuts or not all(map(math.isfinite, cuts)) or any(b <= a for a, b in itertools.pairwise(cuts)):
        raise ValueError(f"bands of {column.name!r}: got {edges!r}, expected increasing numbers, at least one")
    if not _is_numeric(column):
        raise ValueError(f"bands of {column.name!r}: the column holds {column.dtype}, expected numbers")
    texts = [_text(cut) for cut in cuts]
    whole = all(cut.is_integer() for cut in cuts) and bool((column.dropna() % 1 == 0).all())
    names = [f"<{texts[0]}"]
    for low, high in itertools.pairwise(cuts):
        names.append(f"{_text(low)}-{_text(high - 1) if whole else _text(high)}")
    names.append(f"{texts[-1]}+")
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    codes = np.searchsorted(cuts, values, side="right")
    if np.isnan(values).any():
        codes = np.where(np.isnan(values), len(names), codes)
        names.append(UNKNOWN)
    return _categories(codes, names)


def _patients(column: "pd.Series") -> Ints:
    import pandas as pd

    codes, _ = pd.factorize(column)
    numbers = np.asarray(codes, dtype=np.int64)
    if (numbers < 0).any():
        row = int(np.argmax(numbers < 0))
        raise ValueError(f"column {column.name!r}: the patient is missing in row {row}, expected one for every case")
    return numbers


def _length(names: Sequence[str] | None) -> int | None:
    return None if names is None else len(names)


def _names(key: str, names: Sequence[str] | None, word: str, n: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"{word} {k}" for k in range(n))
    if isinstance(names, str) or len(set(names)) != len(names) or len(names) < n:
        raise ValueError(f"{key}: got {names!r}, expected {n} different names")
    return tuple(map(str, names))


def _numbers(key: str, values: npt.ArrayLike, n: int, count: int | None) -> Ints:
    numbers = np.asarray(values)
    if numbers.shape != (n,) or numbers.dtype.kind not in "iub":
        raise ValueError(f"{key}: got shape {numbers.shape} of {numbers.dtype}, expected {n} whole numbers from 0")
    if numbers.min() < 0 or (count is not None and numbers.max() >= count):
        most = "" if count is None else f" to {count - 1}"
        raise ValueError(f"{key}: got numbers from {numbers.min()} to {numbers.max()}, expected 0{most}")
    return numbers.astype(np.int64)
