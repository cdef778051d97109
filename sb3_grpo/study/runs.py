"""What a study is made of: runs, whose results depend on their configuration alone."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_HASH_LENGTH: Final = 12
_LONGEST_SLUG: Final = 60


class StudyError(Exception):
    """A grid, protocol or folder that cannot be used; the message names key, value and what is accepted."""


@dataclass(frozen=True)
class Need:
    """A file that another run leaves and this one reads.

    :param key: the other run's key
    :param file: the file's name there
    """

    key: str
    file: str


@dataclass(frozen=True)
class Run:
    """One run.

    :param label: what people call it, such as ``Urban/lam=0.3/seed 2``
    :param task: name of the task that knows how to do it
    :param config: everything that its result depends on, as JSON can hold it
    :param seconds: how long it takes on the machine on which the task's rates were measured
    :param needs: files of other runs that it reads, by the name under which it gets them
    :param leaves: names of the files that it leaves for other runs
    """

    label: str
    task: str
    config: Mapping[str, Any]
    seconds: float
    needs: Mapping[str, Need] = field(default_factory=dict)
    leaves: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """SHA-256 of task and configuration."""
        text = json.dumps([self.task, self.config], sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def key(self) -> str:
        """Name of its files: readable, and another one for another configuration."""
        slug = re.sub(r"[^a-z0-9.=]+", "-", self.label.lower()).strip("-")
        return f"{slug[:_LONGEST_SLUG]}-{self.hash[:_HASH_LENGTH]}"


@dataclass(frozen=True)
class Output:
    """What a run gives back.

    :param result: what it found, as JSON can hold it; the same for the same configuration, so no times and dates
    :param arrays: files of numbers that belong to the result, by name
    :param leaves: files for other runs, by name: models, which nobody needs to read the result
    """

    result: Mapping[str, Any]
    arrays: Mapping[str, bytes] = field(default_factory=dict)
    leaves: Mapping[str, bytes] = field(default_factory=dict)
