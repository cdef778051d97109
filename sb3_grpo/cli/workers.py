"""Worker processes for jobs, one progress display fed by all of them, and how they are interrupted."""

import heapq
import itertools
import multiprocessing
import queue
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from types import FrameType, TracebackType
from typing import Any, Final, Protocol

import torch as th
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sb3_grpo.cli.jobs import Stopped

_POLL_SECONDS: Final = 0.1
_LINE_SECONDS: Final = 15.0


class Interrupted(Exception):
    """Ctrl-C or a request to terminate; every worker has stopped.

    :param status: exit status of the command: 130 for Ctrl-C, 143 for SIGTERM
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Job(Protocol):
    """What a worker can do. Sent to another process, so it must be picklable."""

    @property
    def total(self) -> int:
        """What ``report`` counts up to."""

    def run(self, report: Callable[[int], None], stopped: Callable[[], bool]) -> Any:
        """Do it; raises :class:`Stopped` soon after ``stopped()`` turns true."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    :param key: what the job was submitted under
    :param result: what it returned; None if it failed
    :param error: traceback of a job that failed; None if it did not
    """

    key: Any
    result: Any
    error: str | None


@dataclass(order=True)
class _Queued:
    priority: tuple[int, ...]
    number: int
    key: Any = field(compare=False)
    label: str = field(compare=False)
    job: Job = field(compare=False)


class Workers:
    """Run jobs in worker processes, a few at a time, and show their progress.

    Workers are not forked from this process, whose threads would not survive that, but from a server that has imported
    everything once (spawned where there is no such server: Windows). A terminal sends Ctrl-C to all processes at
    once; workers ignore it, and this process answers it by asking them to stop. So a job either ends or leaves no trace, and
    whoever handles outcomes is never interrupted half-way. A second Ctrl-C raises :class:`KeyboardInterrupt` at once.

    :param n_processes: number of workers
    :param console: where progress is shown: bars on a terminal, else a line now and then
    """

    def __init__(self, n_processes: int, console: Console) -> None:
        context = _context()
        self._reports: multiprocessing.Queue[tuple[int, int]] = context.Queue()
        self._stop = context.Event()
        self._pool = ProcessPoolExecutor(n_processes, context, _initialize, (self._reports, self._stop))
        self._n_processes = n_processes
        self._numbers = itertools.count()
        self._waiting: list[_Queued] = []
        self._running: dict[Future[Any], _Queued] = {}
        self._display = Display(console)
        self._handlers: dict[int, Any] = {}
        self._status = 0

    def __enter__(self) -> "Workers":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._interrupt)
        self._display.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._display.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._status and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._status = 128 + number  # no more: a lock taken here could be one that the interrupted code holds

    def submit(self, key: Any, job: Job, label: str, priority: tuple[int, ...] = ()) -> None:
        """Queue a job; it begins when a worker is free and no job with a smaller priority waits.

        :param key: given back with the outcome
        :param job: what to do
        :param label: what the progress display calls it
        :param priority: smaller begins first; equal ones in the order submitted
        """
        heapq.heappush(self._waiting, _Queued(priority, next(self._numbers), key, label, job))

    def outcomes(self) -> Iterator[Outcome]:
        """Yield each job's outcome as it ends, until none is left; jobs may be submitted meanwhile.

        :raises Interrupted: after Ctrl-C or SIGTERM, when all workers have stopped and what they finished has been yielded
        """
        while self._running or (self._waiting and not self._status):
            if self._status:
                self._stop.set()
            self._begin_jobs()
            self._show_reports()
            for future in [future for future in self._running if future.done()]:
                job = self._running.pop(future)
                self._display.end(job.number)
                outcome = _outcome(job.key, future)
                if outcome is not None:
                    yield outcome
        if self._status:
            raise Interrupted(self._status)

    def _begin_jobs(self) -> None:
        while self._waiting and len(self._running) < self._n_processes and not self._status:
            job = heapq.heappop(self._waiting)
            self._display.begin(job.number, job.label, job.job.total)
            self._running[self._submit(job)] = job

    def _submit(self, job: _Queued) -> Future[Any]:
        try:
            return self._pool.submit(_execute, job.number, job.job)
        except BrokenProcessPool as error:  # a worker died before: this job's outcome says so
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

    def _show_reports(self) -> None:
        """Pass on what workers report, waiting a moment for the first report."""
        try:
            number, done = self._reports.get(timeout=_POLL_SECONDS)
            while True:
                self._display.advance(number, done)
                number, done = self._reports.get_nowait()
        except queue.Empty:
            return


def _context() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sb3_grpo.cli.jobs"])
    return context


class Display:
    """Bars on a terminal; elsewhere a line for a job that takes long."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=console) if console.is_terminal else None
        self._tasks: dict[int, TaskID] = {}
        self._lines: dict[int, tuple[str, int, float]] = {}

    def start(self) -> None:
        if self._bars is not None:
            self._bars.start()

    def stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()

    def begin(self, number: int, label: str, total: int) -> None:
        if self._bars is not None:
            self._tasks[number] = self._bars.add_task(label, total=total)
        else:
            self._lines[number] = label, total, time.monotonic()

    def advance(self, number: int, done: int) -> None:
        if self._bars is not None:
            self._bars.update(self._tasks[number], completed=done)
            return
        label, total, shown = self._lines[number]
        if time.monotonic() - shown > _LINE_SECONDS:
            self._lines[number] = label, total, time.monotonic()
            self._console.print(f"{label}: {done:,} of {total:,}", highlight=False)

    def end(self, number: int) -> None:
        if self._bars is not None:
            self._bars.update(self._tasks[number], visible=False)


def _outcome(key: Any, future: Future[Any]) -> Outcome | None:
    """What a finished future says; None if its job was stopped."""
    try:
        return Outcome(key, future.result(), None)
    except Stopped:
        return None
    except BrokenProcessPool:
        return Outcome(key, None, "a worker process died (killed, or out of memory)")
    except Exception as error:
        return Outcome(key, None, "".join(traceback.format_exception(error)))


# What follows runs in the workers.

_reports: "multiprocessing.Queue[tuple[int, int]]"
_stopped: Callable[[], bool]


def _initialize(reports: "multiprocessing.Queue[tuple[int, int]]", stop: Any) -> None:
    global _reports, _stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    th.set_num_threads(1)  # the workers share the machine's cores
    parent = multiprocessing.parent_process()

    def stopped() -> bool:
        return stop.is_set() or (parent is not None and not parent.is_alive())

    _reports, _stopped = reports, stopped


def _execute(number: int, job: Job) -> Any:
    return job.run(lambda done: _reports.put((number, done)), _stopped)
