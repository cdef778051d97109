"""Files: atomic writes, and what a result must say about where it came from."""

import hashlib
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from sb3_grpo import __version__

_LIBRARIES: Final = ("stable_baselines3", "gymnasium", "torch", "numpy", "scipy", "numba")


def write_json(path: Path, content: Any) -> None:
    """Write JSON, see :func:`write_text`."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text at once or not at all: a reader never sees half a file."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


class replacing:
    """A temporary path beside ``path`` that takes its place when the block ends without an error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unfinished = path.with_name(path.name + ".unfinished")

    def __enter__(self) -> Path:
        return self.unfinished

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            os.replace(self.unfinished, self.path)
        else:
            self.unfinished.unlink(missing_ok=True)


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of everything that numbers depend on."""
    return {"python": platform.python_version(), "sb3_grpo": __version__, **{name: version(name) for name in _LIBRARIES}}


def machine() -> dict[str, Any]:
    """What ran it."""
    return {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()}
