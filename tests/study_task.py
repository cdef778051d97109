"""A task without hospitals, for tests of the machinery: runs do as their configuration says, and note that they ran."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sb3_grpo.study.protocol import Phase, StudyProtocol
from sb3_grpo.study.runs import Need, Output, Run

NAME = "tests.study_task"


def expand(grid: Mapping[str, Any], protocol: StudyProtocol | None, phase: Phase) -> list[Run]:
    """One run for each entry of ``runs``; those of kind ``read`` need the first one's file."""
    first = Run("first", NAME, {"kind": "leave", "log": grid["log"], "number": 0}, 1.0, leaves=("model.zip",))
    runs = [first]
    for number, kind in enumerate(grid["runs"], start=1):
        needs = {"model": Need(first.key, "model.zip")} if kind == "read" else {}
        runs.append(Run(f"{kind}/{number}", NAME, {"kind": kind, "log": grid["log"], "number": number}, 1.0, needs))
    return runs


def run(config: Mapping[str, Any], inputs: Mapping[str, bytes]) -> Output:
    """Note that this run was done, and do as the configuration says."""
    with Path(config["log"]).open("a", encoding="utf-8") as log:
        log.write(f"{config['number']}\n")
    if config["kind"] == "fail":
        raise RuntimeError("no such number")
    if config["kind"] == "die":
        os._exit(1)
    if config["kind"] == "leave":
        return Output({"number": 0}, arrays={"numbers.bin": b"0"}, leaves={"model.zip": b"model"})
    return Output({"number": config["number"], "read": {name: data.decode() for name, data in inputs.items()}})
