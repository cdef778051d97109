"""Which models of a folder are finished, so that an interrupted command goes on where it was."""

import json
from pathlib import Path
from typing import Any

from sb3_grpo.common.files import file_hash, write_json


class FinishedModels:
    """The models ``<name>.zip`` of a folder that were finished, as ``settings.json`` beside them says.

    :param folder: where they are
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where a model stands or will stand."""
        return self.folder / f"{name}.zip"

    def entries(self) -> dict[str, Any]:
        """``settings``, ``seconds`` of training and ``sha256`` of each model; nothing if the file is not there or not ours."""
        try:
            content = json.loads((self.folder / "settings.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        models = content.get("models") if isinstance(content, dict) else None
        return models if isinstance(models, dict) else {}

    def add(self, name: str, settings: Any, seconds: float) -> None:
        """Say that a model is finished.

        :param name: its name
        :param settings: everything that it depends on, as JSON can hold it
        :param seconds: seconds of training
        """
        entry = {"settings": settings, "seconds": seconds, "sha256": file_hash(self.path(name))}
        write_json(self.folder / "settings.json", {"models": {**self.entries(), name: entry}})

    def has(self, name: str, settings: Any) -> bool:
        """Whether a model is there, whole, and was trained with exactly these settings."""
        entry = self.entries().get(name)
        return (
            entry is not None
            and self.path(name).is_file()
            and entry.get("sha256") == file_hash(self.path(name))
            and entry.get("settings") == json.loads(json.dumps(settings))
        )
