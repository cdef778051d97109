"""Read the file that declares a study."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import yaml

from sb3_grpo.study.protocol import Phase, StudyProtocol, read_protocol
from sb3_grpo.study.runs import Run, StudyError
from sb3_grpo.study.tasks import load_task

SHIPPED: Final = ("core", "sensitivity", "quick", "diagnosis", "sepsis")
"""Grids that come with the package, in ``sb3_grpo/study/grids``."""


@dataclass(frozen=True)
class Study:
    """A declared study.

    :param name: name of its file, without the suffix
    :param task: what it is about
    :param grid: what its file says, without task and protocol
    :param protocol: what is fixed beforehand; None where the grid names nothing, which not every task accepts
    """

    name: str
    task: str
    grid: Mapping[str, Any]
    protocol: StudyProtocol | None

    def runs(self, phase: Phase) -> list[Run]:
        """All runs up to a phase, each configuration once.

        :raises StudyError: if the grid cannot be used, or two runs would have the same name
        """
        runs = load_task(self.task).expand(self.grid, self.protocol, phase)
        return list({run.key: run for run in runs}.values())

    def description(self) -> dict[str, Any]:
        """Everything that it declares, as JSON can hold it."""
        protocol = None if self.protocol is None else self.protocol.to_dict()
        return {"name": self.name, "task": self.task, "grid": dict(self.grid), "protocol": protocol}


def read_study(name: str, protocol: str | None = None) -> Study:
    """A study from its file.

    :param name: one of :data:`SHIPPED`, or the path of a YAML file
    :param protocol: path of the protocol, in place of what the grid says
    :raises StudyError: if it cannot be used, naming key, value and what is accepted
    """
    text = _text(name)
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StudyError(f"{name} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise StudyError(f"{name}: got {content!r}, expected a mapping with the keys task, protocol and those of the task")
    task = content.pop("task", None)
    try:
        load_task(str(task))
    except StudyError as error:
        raise StudyError(f"{name}: {error}") from None
    source = content.pop("protocol", None) if protocol is None else protocol
    content.pop("protocol", None)
    if source is None:
        return Study(Path(name).stem, task, content, None)
    if isinstance(source, str) and protocol is None:  # beside the grid
        source = _beside(name, source)
    return Study(Path(name).stem, task, content, read_protocol(source, f"{name}: protocol"))


def _beside(name: str, file: str) -> str:
    folder = Path(str(resources.files("sb3_grpo.study") / "grids")) if name in SHIPPED else Path(name).parent
    return str(folder / file)


def _text(name: str) -> str:
    if name in SHIPPED:
        return (resources.files("sb3_grpo.study") / "grids" / f"{name}.yml").read_text(encoding="utf-8")
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise StudyError(f"got {name!r}, expected one of {', '.join(SHIPPED)}, or a YAML file: {reason}") from None
