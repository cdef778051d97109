"""What a study can be about: one module (or package) per task, which knows its grid and how to do one run of it.

A task's module has two functions::

    def expand(grid, protocol, phase) -> list[Run]    # the runs that a grid declares, in order
    def run(config, inputs) -> Output                 # do one; the same for the same configuration, wherever it runs

To add a task, write its module and name it here; a grid may also name a module of one's own (``task: my.task``).
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, Protocol, cast

from sb3_grpo.study.protocol import Phase, StudyProtocol
from sb3_grpo.study.runs import Output, Run, StudyError

TASKS: Final = {
    "hospital": "sb3_grpo.study.tasks.hospital",
    "diagnosis": "sb3_grpo.study.tasks.diagnosis",
    "sepsis": "sb3_grpo.study.tasks.sepsis",
}
"""Modules by name of the task, which is what ``task:`` says in a grid."""


class Task(Protocol):
    """A task's module."""

    def expand(self, grid: Mapping[str, Any], protocol: StudyProtocol | None, phase: Phase) -> list[Run]:
        """The runs of a grid.

        :param grid: the grid as its file says it, without ``task`` and ``protocol``
        :param protocol: what was fixed beforehand; None if the grid names no protocol: the task decides whether it needs one
        :param phase: how far the study may go
        :raises StudyError: if the grid cannot be used, naming key, value and what is accepted
        """

    def run(self, config: Mapping[str, Any], inputs: Mapping[str, bytes]) -> Output:
        """Do one run.

        :param config: its configuration
        :param inputs: files of other runs, by name
        """


def load_task(name: str) -> Task:
    """The module of a task.

    :param name: a key of :data:`TASKS`, or the name of a module of one's own, with a dot in it
    :raises StudyError: if there is no such module, or it is no task
    """
    module = TASKS.get(name, name if "." in name else None)
    if module is None:
        raise StudyError(f"task: got {name!r}, expected one of {', '.join(TASKS)}, or a module of your own such as my.task")
    try:
        found = import_module(module)
    except ImportError as error:
        raise StudyError(f"task: got {name!r}, which cannot be imported: {error}") from None
    if not (hasattr(found, "expand") and hasattr(found, "run")):
        raise StudyError(f"task: got {name!r}, expected a module with the functions expand and run")
    return cast(Task, found)
