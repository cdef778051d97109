"""What a study can be about: one module (or package) per task, which knows its grid and how to do one run of it.

A task's module has two functions::

    def expand(grid, protocol, phase) -> list[Run]    # the runs that a grid declares, in order
    def run(config, inputs) -> Output                 # do one; the same for the same configuration, wherever it runs

and may have ``report(study, folder) -> Report``, which says what came out. To add a task, write its module and name it here.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, Protocol, cast

from sb3_grpo.study.protocol import Phase, StudyProtocol
from sb3_grpo.study.runs import Output, Run

TASKS: Final = {"hospital": "sb3_grpo.study.tasks.hospital"}
"""Modules by name of the task, which is what ``task:`` says in a grid."""


class Task(Protocol):
    """A task's module."""

    def expand(self, grid: Mapping[str, Any], protocol: StudyProtocol, phase: Phase) -> list[Run]:
        """The runs of a grid.

        :param grid: the grid as its file says it, without ``task`` and ``protocol``
        :param protocol: what was fixed beforehand
        :param phase: how far the study may go
        :raises StudyError: if the grid cannot be used, naming key, value and what is accepted
        """

    def run(self, config: Mapping[str, Any], inputs: Mapping[str, bytes]) -> Output:
        """Do one run.

        :param config: its configuration
        :param inputs: files of other runs, by name
        """


def load_task(name: str) -> Task:
    """The module of a task."""
    return cast(Task, import_module(TASKS[name]))
