"""Jobs run in other processes; what they finish is kept, whatever happens to the others."""

import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from sb3_grpo.cli.jobs import Stopped
from sb3_grpo.cli.workers import Interrupted, Workers


@dataclass(frozen=True)
class Toy:
    """A job that does as it is told.

    :param what: "square", "fail", "die", "wait" until stopped, or "append" to a file
    :param number: a number
    :param file: the file
    """

    what: str
    number: int = 0
    file: Path = Path()

    @property
    def total(self) -> int:
        return max(self.number, 1)

    def run(self, report: Callable[[int], None], stopped: Callable[[], bool]) -> int:
        report(self.number)
        if self.what == "fail":
            raise RuntimeError(f"no such number: {self.number}")
        if self.what == "die":
            os._exit(1)
        if self.what == "append":
            with self.file.open("a") as file:
                file.write(f"{self.number}\n")
        while self.what == "wait":
            if stopped():
                raise Stopped
        return self.number**2


def make_workers(n_processes: int = 1) -> Workers:
    return Workers(n_processes, Console(file=io.StringIO()))


def test_results_failures_and_follow_up_jobs() -> None:
    results: dict[str, int] = {}
    errors: dict[str, str] = {}
    with make_workers(2) as workers:
        for name, what in (("three", "square"), ("bad", "fail")):
            workers.submit(name, Toy(what, 3), name)
        for outcome in workers.outcomes():
            if outcome.error is not None:
                errors[outcome.key] = outcome.error
                continue
            results[outcome.key] = outcome.result
            if outcome.key == "three":
                workers.submit("nine", Toy("square", outcome.result), "nine")
    assert results == {"three": 9, "nine": 81}
    assert list(errors) == ["bad"] and "RuntimeError: no such number: 3" in errors["bad"]


def test_priorities_then_order_of_submission(tmp_path: Path) -> None:
    file = tmp_path / "order"
    with make_workers() as workers:
        for number, priority in ((1, (1,)), (2, (0, 5)), (3, (0, 1)), (4, (0, 1))):
            workers.submit(number, Toy("append", number, file), "", priority)
        assert [outcome.key for outcome in workers.outcomes()] == [3, 4, 2, 1]
    assert file.read_text().split() == ["3", "4", "2", "1"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_keeps_what_is_finished(number: int, status: int) -> None:
    """The signal comes while a finished job is being handled: this goes on, the running job stops, the third never begins."""
    before = signal.getsignal(number)
    handled: list[tuple[str, int]] = []
    with make_workers(2) as workers:
        workers.submit("forever", Toy("wait"), "")
        workers.submit("two", Toy("square", 2), "")
        workers.submit("later", Toy("square", 3), "")
        with pytest.raises(Interrupted) as interrupted:
            for outcome in workers.outcomes():
                if not handled:
                    signal.raise_signal(number)
                handled.append((outcome.key, outcome.result))
    assert handled == [("two", 4)]
    assert interrupted.value.status == status
    assert signal.getsignal(number) == before


def test_a_worker_that_dies_is_reported() -> None:
    with make_workers() as workers:
        for key in ("dies", "after"):
            workers.submit(key, Toy("die"), "")
        outcomes = list(workers.outcomes())
    assert [outcome.key for outcome in outcomes] == ["dies", "after"]
    assert all(outcome.error is not None and "a worker process died" in outcome.error for outcome in outcomes)
