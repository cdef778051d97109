"""Stays in intensive care, read from public data or made up."""

import os
from functools import lru_cache
from typing import Final

from hospital_gym.clinical.data_directory import data_directory
from hospital_gym.clinical.icu_stays import IcuStays
from hospital_gym.clinical.stays.files import read_stays
from hospital_gym.clinical.stays.physionet_2012 import read_physionet_2012
from hospital_gym.clinical.stays.synthetic import synthetic_stays

SYNTHETIC: Final = "synthetic"
"""In place of a data directory: made-up stays of the same form."""


def load_stays(data: IcuStays | str | os.PathLike[str] | None = None) -> IcuStays:
    """
    The stays of PhysioNet 2012 set A, or others. Read once, and shared: stays do not change.

    :param data: the data directory; None for the environment variable ``HOSPITAL_GYM_DATA``; ``"synthetic"`` for 400 made-up
        stays; a ``.npz`` file of :func:`~hospital_gym.clinical.stays.files.write_stays`; or stays, which are returned
    :raises ValueError: if it is none of them
    :raises hospital_gym.clinical.data_directory.MissingDataError: if the file is not there
    """
    if isinstance(data, IcuStays):
        return data
    if data is not None and not isinstance(data, (str, os.PathLike)):
        raise ValueError(f"data: got {data!r}, expected a data directory, {SYNTHETIC!r}, a .npz file, IcuStays or None")
    if data == SYNTHETIC:
        return _made_up()
    if data is not None and os.fspath(data).endswith(".npz"):
        return _kept(os.path.abspath(data))
    directory = data_directory(data)
    return _read(None if directory is None else str(directory))


@lru_cache(maxsize=2)
def _read(directory: str | None) -> IcuStays:
    return read_physionet_2012(directory)


@lru_cache(maxsize=2)
def _kept(path: str) -> IcuStays:
    return read_stays(path)


@lru_cache(maxsize=1)
def _made_up() -> IcuStays:
    return synthetic_stays()
