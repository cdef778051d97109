"""Where clinical data lie, and what to do where they do not.

No data come with this package: each data set has a licence and a source of its own. They lie in one folder, with a folder for
each data set in it, and the folder is an argument or the environment variable ``HOSPITAL_GYM_DATA``.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ENVIRONMENT_VARIABLE: Final = "HOSPITAL_GYM_DATA"


class MissingDataError(FileNotFoundError):
    """A file of a data set is not there; the message says where it comes from and where to put it."""


@dataclass(frozen=True)
class DataSet:
    """
    A data set that somebody else publishes.

    :param folder: name of its folder in the data directory
    :param title: what it is called where it is published
    :param url: where it is published
    :param licence: on which terms
    :param how: how to get its files, one or more sentences
    """

    folder: str
    title: str
    url: str
    licence: str
    how: str

    def path(self, name: str, directory: str | os.PathLike[str] | None = None) -> Path:
        """
        Find one of its files.

        :param name: name of the file, relative to the folder
        :param directory: the data directory; None for the environment variable ``HOSPITAL_GYM_DATA``
        :return: path of the file
        :raises MissingDataError: if it is not there; the message names the file, its source and how to get it
        """
        root = data_directory(directory)
        if root is not None and (root / self.folder / name).is_file():
            return root / self.folder / name
        wanted = f"{self.folder}/{name}"
        if root is None:
            place = f"no data directory is known: set {ENVIRONMENT_VARIABLE} to a folder that holds it, or pass `data=`"
        else:
            place = f"it is not in the data directory {root}"
        raise MissingDataError(f"{wanted}: {place}. It is part of {self.title} ({self.url}; {self.licence}). {self.how}")


def data_directory(directory: str | os.PathLike[str] | None = None) -> Path | None:
    """
    :param directory: a folder, or None for that of the environment variable ``HOSPITAL_GYM_DATA``
    :return: the folder, None if none is named
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE) if directory is None else os.fspath(directory)
    return Path(named).expanduser() if named else None
