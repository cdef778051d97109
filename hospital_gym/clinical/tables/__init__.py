"""The tables that have an environment of their own, by name."""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from hospital_gym.clinical.case_table import CaseTable
from hospital_gym.clinical.tables.breast_cancer import read_breast_cancer
from hospital_gym.clinical.tables.eicu_mortality import read_eicu_mortality
from hospital_gym.clinical.tables.heart_disease import read_heart_disease
from hospital_gym.clinical.tables.icu_mortality import read_icu_mortality

_Reader = Callable[[str | None], CaseTable]

READERS: Final[dict[str, _Reader]] = {
    "breast-cancer": read_breast_cancer,
    "eicu-mortality": read_eicu_mortality,
    "heart-disease": read_heart_disease,
    "icu-mortality": read_icu_mortality,
}
"""What reads each table from a data directory."""


def load_table(name: str, data: str | os.PathLike[str] | None = None) -> CaseTable:
    """
    One of the tables in :data:`READERS`. Read once, and shared: a table does not change.

    :param name: of the table
    :param data: the data directory; None for the environment variable ``HOSPITAL_GYM_DATA``
    :raises ValueError: if no table has that name
    :raises hospital_gym.clinical.data_directory.MissingDataError: if a file is not there
    """
    if name not in READERS:
        raise ValueError(f"table: got {name!r}, expected a CaseTable or one of {sorted(READERS)}")
    from hospital_gym.clinical.data_directory import data_directory

    directory = data_directory(data)
    return _load(name, None if directory is None else str(directory))


@lru_cache(maxsize=8)
def _load(name: str, directory: str | None) -> CaseTable:
    return READERS[name](directory)
