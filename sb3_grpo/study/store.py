"""The folder of a study: each finished run once, whole or not at all.

============ ===========================================================================================
study.json   the grid and the protocol, as they were when the study was last begun
results/     ``<run>.json`` with its numbers and ``<run>.<name>`` with its arrays: what is worth keeping
models/      ``<run>.<name>``: what other runs need
timing/      ``<run>.json``: how long it took, when and where; apart, because it is never the same twice
errors/      ``<run>.txt``: why a run failed
============ ===========================================================================================

A result is finished when its JSON file is there; the files that belong to it are written before, and it holds their hashes.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sb3_grpo.common.files import file_hash, machine, replacing, versions, write_json, write_text
from sb3_grpo.study.runs import Output, Run

RESULTS, MODELS, TIMING, ERRORS = "results", "models", "timing", "errors"


class Store:
    """The results in a folder.

    :param folder: where they are
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def describe(self, description: Mapping[str, Any]) -> None:
        """Write ``study.json``."""
        write_json(self.folder / "study.json", description)

    def description(self) -> dict[str, Any]:
        """What ``study.json`` says; empty if it is not there or not ours."""
        content = _read(self.folder / "study.json")
        return content if isinstance(content, dict) else {}

    def result(self, run: Run) -> dict[str, Any] | None:
        """The finished result of a run whose files are whole, None if there is none."""
        content = _read(self._result(run))
        if not isinstance(content, dict) or content.get("hash") != run.hash:
            return None
        for name, sha256 in content["arrays"].items():
            path = self.array(run, name)
            if not path.is_file() or file_hash(path) != sha256:
                return None
        return content

    def array(self, run: Run, name: str) -> Path:
        """Where a run's file of numbers is, once it is finished."""
        return self.folder / RESULTS / f"{run.key}.{name}"

    def has(self, run: Run, leaves: Iterable[str] = ()) -> bool:
        """Whether a run is finished.

        :param run: the run
        :param leaves: names of the files that it must have left as well
        """
        there = (self.folder / MODELS / f"{run.key}.{name}" for name in leaves)
        return self.result(run) is not None and all(path.is_file() for path in there)

    def inputs(self, run: Run) -> dict[str, bytes]:
        """The files of other runs that a run reads.

        :raises OSError: if one is not there
        """
        return {name: (self.folder / MODELS / f"{need.key}.{need.file}").read_bytes() for name, need in run.needs.items()}

    def write(self, run: Run, output: Output, seconds: float) -> None:
        """Keep what a run gave back; the file that says so comes last."""
        for kind, files in ((MODELS, output.leaves), (RESULTS, output.arrays)):
            for name, data in files.items():
                with replacing(self._made(kind) / f"{run.key}.{name}") as unfinished:
                    unfinished.write_bytes(data)
        finished = datetime.now(timezone.utc).isoformat(timespec="seconds")
        timing = {"seconds": seconds, "expected": run.seconds, "finished": finished, "machine": machine()}
        write_json(self._made(TIMING) / f"{run.key}.json", timing)
        content = {
            "label": run.label,
            "task": run.task,
            "hash": run.hash,
            "config": run.config,
            "versions": versions(),
            "arrays": {name: hashlib.sha256(data).hexdigest() for name, data in output.arrays.items()},
            "result": output.result,
        }
        self._made(RESULTS)
        write_json(self._result(run), content)
        (self.folder / ERRORS / f"{run.key}.txt").unlink(missing_ok=True)

    def write_error(self, run: Run, error: str) -> Path:
        """Keep why a run failed."""
        path = self._made(ERRORS) / f"{run.key}.txt"
        write_text(path, f"{run.label}\n{json.dumps(run.config, indent=2)}\n\n{error}\n")
        return path

    def pace(self) -> float | None:
        """How much longer the finished runs took than expected, all together; None if there are none."""
        timings = [_read(path) for path in (self.folder / TIMING).glob("*.json")]
        known = [timing for timing in timings if isinstance(timing, dict) and timing.get("expected", 0) > 0]
        if not known:
            return None
        return float(sum(timing["seconds"] for timing in known) / sum(timing["expected"] for timing in known))

    def other_versions(self, runs: Iterable[Run]) -> set[str]:
        """Labels of the finished runs that were made with other versions of the libraries than those here."""
        here = versions()
        results = (self.result(run) for run in runs)
        return {result["label"] for result in results if result is not None and result["versions"] != here}

    def _result(self, run: Run) -> Path:
        return self.folder / RESULTS / f"{run.key}.json"

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        os.makedirs(folder, exist_ok=True)
        return folder


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
