"""Stays in intensive care, hour by hour: what environments on clinical time series are made of."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.case_table import UNKNOWN, Ints, checked_rows

Floats = npt.NDArray[np.float32]

MODALITIES: Final = ("vitals", "blood_gas", "chemistry", "haematology", "fluids")
"""What channels measure: vital signs; blood gas and ventilation; blood chemistry; blood count; fluids."""

Part = Literal["train", "validation", "test"]

SPLITS: Final[tuple[Part, ...]] = ("train", "validation", "test")
"""Parts that patients are split into."""

SHARES: Final = (0.6, 0.2, 0.2)
"""Share of the patients in each part."""


@dataclass(frozen=True)
class Channel:
    """
    One series of measurements.

    :param name: of what is measured
    :param modality: the device or laboratory it comes from, one of :data:`MODALITIES` (or another, for other data)
    :param unit: of the values
    """

    name: str
    modality: str
    unit: str = ""


@dataclass(frozen=True, eq=False)
class IcuStays:
    """
    N stays of one or more hours each. Row r of stay i is its hour r: [r, r + 1) hours after admission.

    Nothing is filled in: what was not measured in an hour is NaN.

    :param values: (rows, C) float32, the stays one after the other; NaN where not measured
    :param offsets: (N + 1,) first row of each stay, then the number of rows
    :param static: (N, S) float32, what is known at admission; NaN where unknown
    :param died: (N,) int8, 1 for patients who died in hospital
    :param stay_ids: (N,) what the data's owner calls each stay; all different
    :param channels: the C channels, no two with one name; those of a modality need not be neighbours
    :param static_names: names of the S columns of ``static``
    :param attributes: by name, (N,) texts that stays can be grouped by, such as sex; ``"unknown"`` where missing
    :param patient_ids: (N,) whose stay it is: a patient is never split between training and test. None: every stay has
        a patient of its own
    :param notes: sentences about what was changed or left out
    :raises ValueError: naming the field, what was found and what is expected
    """

    values: Floats = field(repr=False)
    offsets: Ints = field(repr=False)
    static: Floats = field(repr=False)
    died: npt.NDArray[np.int8] = field(repr=False)
    stay_ids: npt.NDArray[Any] = field(repr=False)
    channels: tuple[Channel, ...] = field(repr=False)
    static_names: tuple[str, ...] = ()
    attributes: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict, repr=False)
    patient_ids: npt.NDArray[Any] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        values = _numbers("values", self.values, 2, np.float32)
        offsets = np.asarray(self.offsets)
        ids, channels, names = np.asarray(self.stay_ids), tuple(self.channels), tuple(map(str, self.static_names))
        n = len(ids)
        if ids.ndim != 1 or not n or len(np.unique(ids)) != n:
            raise ValueError(f"stay_ids: got {ids.size} values in the shape {ids.shape}, expected one different id per stay")
        if offsets.shape != (n + 1,) or offsets.dtype.kind not in "iu":
            raise ValueError(f"offsets: got {offsets.dtype} of shape {offsets.shape}, expected {n + 1} whole numbers")
        if offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets.astype(np.int64)) < 1).any():
            raise ValueError(f"offsets: expected increasing numbers from 0 to the {len(values)} rows of `values`")
        if np.isinf(values).any():
            raise ValueError("values: got infinite numbers, expected finite ones, or NaN where not measured")
        if values.shape[1] != len(channels) or not channels:
            raise ValueError(f"channels: got {len(channels)}, expected one for each of {values.shape[1]} columns of `values`")
        if len({channel.name for channel in channels}) != len(channels):
            raise ValueError("channels: two have the same name, expected different names")
        static = _numbers("static", self.static, 2, np.float32)
        if static.shape != (n, len(names)) or len(set(names)) != len(names):
            raise ValueError(f"static: got the shape {static.shape}, expected {(n, len(names))} for the names {names}")
        if np.isinf(static).any():
            raise ValueError("static: got infinite numbers, expected finite ones, or NaN where unknown")
        died = np.asarray(self.died)
        if died.shape != (n,) or not np.isin(died, (0, 1)).all():
            raise ValueError(f"died: got {died.dtype} of shape {died.shape}, expected {n} values, 0 or 1")
        patients = ids if self.patient_ids is None else np.asarray(self.patient_ids)
        if patients.shape != (n,):
            raise ValueError(f"patient_ids: got the shape {patients.shape}, expected {(n,)}")
        changed = {
            "values": values,
            "offsets": offsets.astype(np.int64),
            "static": static,
            "died": died.astype(np.int8),
            "stay_ids": ids,
            "channels": channels,
            "static_names": names,
            "attributes": MappingProxyType({str(key): _texts(key, of, n) for key, of in self.attributes.items()}),
            "patient_ids": patients,
            "notes": tuple(self.notes),
        }
        for name, value in changed.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.stay_ids)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "attributes": dict(self.attributes)}  # a mapping proxy cannot be pickled

    @cached_property
    def hours(self) -> Ints:
        """(N,) hours of each stay, at least 1."""
        return np.diff(self.offsets)

    @cached_property
    def modalities(self) -> dict[str, Ints]:
        """Columns of ``values`` by modality, in the order in which modalities first occur in ``channels``."""
        names = dict.fromkeys(channel.modality for channel in self.channels)
        return {
            name: np.array([k for k, channel in enumerate(self.channels) if channel.modality == name], dtype=np.int64)
            for name in names
        }

    def stay(self, number: int) -> Floats:
        """
        :param number: of the stay, 0 to N - 1
        :return: (hours, C) its values, a view
        """
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def groups(self, *names: str) -> tuple[Ints, tuple[str, ...]]:
        """
        Groups by the combinations of attributes that occur. Stays of which one is unknown are one group, the last.

        :param names: of the attributes; none: one group of all stays
        :return: (N,) group of each stay, 0 to G - 1; and the names of the G groups, as ``"female & 65-79"``, the last
            attribute varying fastest
        :raises ValueError: if one is no attribute, or named twice
        """
        if not set(names) <= set(self.attributes) or len(set(names)) != len(names):
            raise ValueError(f"groups: got {names!r}, expected different attributes among {sorted(self.attributes)}")
        if not names:
            return np.zeros(len(self), dtype=np.int64), ("all",)
        columns = [self.attributes[name].tolist() for name in names]
        cells = [(UNKNOWN,) if UNKNOWN in cell else cell for cell in zip(*columns, strict=True)]
        present = sorted(set(cells), key=lambda cell: (cell == (UNKNOWN,), tuple(map(_order, cell))))
        number = {cell: place for place, cell in enumerate(present)}
        return np.array([number[cell] for cell in cells], dtype=np.int64), tuple(" & ".join(cell) for cell in present)

    def subset(self, stays: npt.ArrayLike) -> "IcuStays":
        """
        Some of the stays, in the order given.

        :param stays: numbers of the stays, (M,), each at most once
        :raises ValueError: if a number is out of range or named twice
        """
        chosen = checked_rows("stays", stays, len(self))
        if len(np.unique(chosen)) != len(chosen):
            raise ValueError("stays: a number is named twice, expected each at most once")
        assert self.patient_ids is not None
        hours = self.hours[chosen]
        offsets = np.concatenate([[0], np.cumsum(hours)])
        # Row numbers of all chosen stays: each stay's first row, plus 0, 1, 2, ...
        rows = np.repeat(self.offsets[:-1][chosen] - offsets[:-1], hours) + np.arange(offsets[-1])
        return replace(
            self,
            values=self.values[rows],
            offsets=offsets,
            static=self.static[chosen],
            died=self.died[chosen],
            stay_ids=self.stay_ids[chosen],
            attributes={key: of[chosen] for key, of in self.attributes.items()},
            patient_ids=self.patient_ids[chosen],
        )

    def split(self, shares: tuple[float, float, float] = SHARES, seed: int = 0) -> dict[Part, Ints]:
        """
        Patients at random into training, validation and test: of those with a death, and of the others, each part has its
        share.

        What is drawn for a patient hangs on the seed and the patient's id alone: neither the order of stays nor NumPy's
        generators move anybody.

        :param shares: of training, validation and test, positive, with the sum 1
        :param seed: of the split
        :return: numbers of the stays by the names in :data:`SPLITS`, ascending
        :raises ValueError: if a share is not positive, they do not sum to 1, or a part would have no stay
        """
        if len(shares) != 3 or not all(share > 0 for share in shares) or abs(sum(shares) - 1) > 1e-9:
            raise ValueError(f"shares: got {shares!r}, expected three positive numbers with the sum 1")
        patients, owner = np.unique(np.asarray(self.patient_ids), return_inverse=True)
        lost = np.zeros(len(patients), dtype=np.bool_)
        np.logical_or.at(lost, owner, self.died == 1)
        draws = np.array([hashlib.sha256(f"{seed}:{patient}".encode()).hexdigest() for patient in patients.tolist()])
        part = np.zeros(len(patients), dtype=np.int64)
        for outcome in (False, True):
            members = np.flatnonzero(lost == outcome)
            members = members[np.argsort(draws[members], kind="stable")]
            ends = np.round(np.cumsum(shares) * len(members)).astype(np.int64)
            part[members] = np.searchsorted(ends, np.arange(len(members)), side="right")
        found = {name: np.flatnonzero(part[owner] == number) for number, name in enumerate(SPLITS)}
        empty = [name for name, stays in found.items() if not len(stays)]
        if empty:
            raise ValueError(f"shares: {shares!r} of {len(patients)} patients leaves no stay for {', '.join(empty)}")
        return found


def _numbers(key: str, given: npt.ArrayLike, ndim: int, dtype: Any) -> npt.NDArray[Any]:
    values = np.asarray(given)
    if values.ndim != ndim or values.dtype.kind not in "fiub":
        raise ValueError(f"{key}: got {values.dtype} of shape {values.shape}, expected numbers in {ndim} dimensions")
    return values.astype(dtype, copy=False)


def _texts(key: str, given: npt.ArrayLike, n: int) -> npt.NDArray[np.str_]:
    values = np.asarray(given)
    if values.shape != (n,) or values.dtype.kind not in "UOS":
        raise ValueError(f"attributes[{key!r}]: got {values.dtype} of shape {values.shape}, expected {n} texts")
    return values.astype(np.str_)


def _order(text: str) -> tuple[int, str]:
    """Age bands in the order of age: ``"<45"`` comes before ``"45-64"``; other texts by the alphabet."""
    digits = "".join(character for character in text.split("-")[0] if character.isdigit())
    return (-1 if text.startswith("<") else int(digits or 0), text)
