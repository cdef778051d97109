"""What all compiled entry points share: the digest of the sources, and the word on stderr that compilation has begun.

Compiled code is kept on disk. Numba notices a change only in the file of the function it has compiled, so a digest of all
files of the simulator is part of what the entry points close over: a change in any of them compiles anew.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core import event


def source_digest() -> int:
    """A number that changes with any file of the simulator."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:7], "big")


_entry_points: list[Any] = []


def announced(*functions: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
    """The same functions; when the first of all those that were passed here is compiled, the user is told."""
    _entry_points.extend(functions)
    return functions


class _Announcement(event.Listener):
    """Says on stderr, once, that compilation has begun; code that is kept on disk is not compiled."""

    def on_start(self, event: event.Event) -> None:
        """Called before a function is compiled."""
        if not self.made and event.data["dispatcher"] in _entry_points:
            self.made = True
            sys.stderr.write("hospital_gym: compiling the simulator; this takes some seconds, once after each installation\n")

    def on_end(self, event: event.Event) -> None:
        """Called when it is compiled."""

    made = False


event.register("numba:compile", _Announcement())
