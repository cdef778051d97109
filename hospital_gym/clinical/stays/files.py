"""Stays in a file, so that what took long to read is read once."""

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from hospital_gym.clinical.icu_stays import Channel, IcuStays

FORMAT: Final = "hospital_gym stays 1"

_ARRAYS: Final = ("values", "offsets", "static", "died", "stay_ids", "patient_ids")


def write_stays(stays: IcuStays, path: str | os.PathLike[str]) -> None:
    """
    Write stays to a file, at once or not at all.

    :param stays: the stays; their ids must be numbers or texts
    :param path: of the file, ending in ``.npz``
    :raises ValueError: if it does not, or ids are neither numbers nor texts
    """
    target = _checked(path)
    arrays: dict[str, Any] = {name: np.asarray(getattr(stays, name)) for name in _ARRAYS}
    for name, array in arrays.items():
        if array.dtype.kind == "O":
            raise ValueError(f"{name}: got {array.dtype}, expected numbers or texts, which can be written to a file")
    arrays |= {f"attribute {name}": values for name, values in stays.attributes.items()}
    channels = [[channel.name, channel.modality, channel.unit] for channel in stays.channels]
    told = {"format": FORMAT, "channels": channels, "static_names": stays.static_names, "notes": stays.notes}
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            np.savez_compressed(file, told=np.array(json.dumps(told)), **arrays)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def read_stays(path: str | os.PathLike[str]) -> IcuStays:
    """
    Read stays that :func:`write_stays` wrote. Nothing in the file is executed.

    :param path: of the file
    :raises FileNotFoundError: if it is not there
    :raises ValueError: if it is no file of stays, or is damaged
    """
    file = _checked(path)
    try:
        with file.open("rb") as opened, np.load(opened) as content:
            told = json.loads(str(content["told"]))
            if told["format"] != FORMAT:
                raise ValueError(f"its format is {told['format']!r}, expected {FORMAT!r}")
            arrays: dict[str, Any] = {name: content[name] for name in _ARRAYS}
            marked = [name for name in content.files if name.startswith("attribute ")]
            attributes = {name.removeprefix("attribute "): content[name] for name in marked}
            channels = tuple(Channel(*channel) for channel in told["channels"])
            names, notes = tuple(told["static_names"]), tuple(told["notes"])
            return IcuStays(**arrays, attributes=attributes, channels=channels, static_names=names, notes=notes)
    except (AttributeError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{file}: is no file of stays, or is damaged: {error}") from error


def _checked(path: str | os.PathLike[str]) -> Path:
    file = Path(path)
    if file.suffix != ".npz":
        raise ValueError(f"path: got {str(file)!r}, expected a name that ends in .npz")
    return file
