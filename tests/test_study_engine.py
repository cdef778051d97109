"""A study does every run once, whatever happens to some of them."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sb3_grpo.study.engine import execute, missing_runs
from sb3_grpo.study.protocol import StudyProtocol
from sb3_grpo.study.runs import Output, Run
from sb3_grpo.study.store import Store
from tests import study_task


class Notes:
    """Notes how runs ended."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.done = 0
        self.ended: dict[str, str | None] = {}

    def begin(self, runs: Sequence[Run], done: int) -> None:
        self.begun, self.done = [run.label for run in runs], done

    def end(self, run: Run, seconds: float, error: str | None) -> None:
        self.ended[run.label] = error


def runs_of(tmp_path: Path, *kinds: str) -> list[Run]:
    grid = {"log": str(tmp_path / "log.txt"), "runs": kinds}
    return study_task.expand(grid, StudyProtocol({}), "test")


def done(tmp_path: Path) -> list[int]:
    return sorted(int(line) for line in (tmp_path / "log.txt").read_text(encoding="utf-8").split())


def test_every_run_is_done_once_and_resuming_repeats_nothing(tmp_path: Path) -> None:
    runs, store, notes = runs_of(tmp_path, "count", "read"), Store(tmp_path / "study"), Notes()
    assert execute(runs, store, notes, n_jobs=1) == []
    assert list(notes.ended) == ["first", "count/1", "read/2"]  # what needs another's file comes last
    assert done(tmp_path) == [0, 1, 2]
    result = store.result(runs[2])
    assert result is not None and result["result"] == {"number": 2, "read": {"model": "model"}}
    again = Notes()
    assert execute(runs, store, again, n_jobs=1) == []
    assert (again.begun, again.done, done(tmp_path)) == ([], 3, [0, 1, 2])


def test_a_failed_run_is_kept_as_an_error_and_stops_nobody(tmp_path: Path) -> None:
    runs, store, notes = runs_of(tmp_path, "fail", "count"), Store(tmp_path / "study"), Notes()
    assert execute(runs, store, notes, n_jobs=1) == ["fail/1"]
    error = (tmp_path / "study" / "errors" / f"{runs[1].key}.txt").read_text(encoding="utf-8")
    assert "RuntimeError: no such number" in error and '"kind": "fail"' in error
    assert "RuntimeError: no such number" in (notes.ended["fail/1"] or "") and notes.ended["count/2"] is None
    assert execute(runs, store, Notes(), n_jobs=1) == ["fail/1"]
    assert done(tmp_path) == [0, 1, 1, 2]  # only the failed one is tried again


@pytest.mark.slow
def test_a_run_that_kills_its_process_stops_nobody(tmp_path: Path) -> None:
    runs, store, notes = runs_of(tmp_path, "die", "count", "count"), Store(tmp_path / "study"), Notes()
    assert execute(runs, store, notes, n_jobs=2) == ["die/1"]
    assert "died" in (notes.ended["die/1"] or "")
    assert all(store.has(run) for run in runs if run.label != "die/1")


def test_a_run_whose_need_failed_says_so(tmp_path: Path) -> None:
    runs, store = runs_of(tmp_path, "read"), Store(tmp_path / "study")
    failing = replace(runs[0], config={**runs[0].config, "kind": "fail"})
    reading = replace(runs[1], needs={"model": replace(runs[1].needs["model"], key=failing.key)})
    notes = Notes()
    assert execute([failing, reading], store, notes, n_jobs=1) == ["first", "read/1"]
    assert "needs has failed" in (notes.ended["read/1"] or "")


def test_a_lost_file_is_made_again_only_if_somebody_needs_it(tmp_path: Path) -> None:
    runs, store = runs_of(tmp_path, "read"), Store(tmp_path / "study")
    execute(runs, store, Notes(), n_jobs=1)
    os.remove(tmp_path / "study" / "models" / f"{runs[0].key}.model.zip")
    assert missing_runs(runs, store) == []
    os.remove(tmp_path / "study" / "results" / f"{runs[1].key}.json")
    assert missing_runs(runs, store) == runs


@pytest.mark.parametrize("harm", ["array", "lost array", "half a file", "another run"])
def test_a_damaged_result_does_not_count(tmp_path: Path, harm: str) -> None:
    (run, *_), store = runs_of(tmp_path), Store(tmp_path / "study")
    execute([run], store, Notes(), n_jobs=1)
    result, array = (tmp_path / "study" / "results" / f"{run.key}.{name}" for name in ("json", "numbers.bin"))
    if harm == "array":
        array.write_bytes(b"1")
    elif harm == "lost array":
        array.unlink()
    elif harm == "half a file":
        result.write_text(result.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    else:
        result.write_text(json.dumps({**json.loads(result.read_text(encoding="utf-8")), "hash": "x"}), encoding="utf-8")
    assert not store.has(run)


def test_another_configuration_is_another_run(tmp_path: Path) -> None:
    (run, *_), store = runs_of(tmp_path), Store(tmp_path / "study")
    execute([run], store, Notes(), n_jobs=1)
    other = replace(run, config={**run.config, "number": 7})
    assert other.key != run.key and not store.has(other)
    assert replace(run, label="renamed").hash == run.hash


def test_the_result_holds_no_times(tmp_path: Path) -> None:
    (run, *_), store = runs_of(tmp_path), Store(tmp_path / "study")
    written = []
    for seconds in (1.0, 2.0):
        store.write(run, Output({"number": 1}), seconds)
        written.append((tmp_path / "study" / "results" / f"{run.key}.json").read_bytes())
    assert written[0] == written[1]
    assert store.pace() == 2.0
