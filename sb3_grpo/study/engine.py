"""Do the runs of a study, several at a time, with joblib: on the cores of this machine, or on a cluster by Ray or dask."""

import functools
import logging
import os
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import BrokenProcessPool

from sb3_grpo.study.runs import Output, Run, StudyError
from sb3_grpo.study.store import Store
from sb3_grpo.study.tasks import load_task

BACKENDS: Final = ("loky", "ray", "dask")
"""Where runs are done: processes of this machine, a Ray cluster, a dask cluster."""


class Finished(NamedTuple):
    """How a run ended.

    :param key: its key
    :param output: what it gave back, None if it failed
    :param error: traceback of one that failed
    :param seconds: how long it took
    """

    key: str
    output: Output | None
    error: str | None
    seconds: float


class Watcher(Protocol):
    """Is told how a study goes."""

    def begin(self, runs: Sequence[Run], done: int) -> object:
        """Runs are about to be done.

        :param runs: those
        :param done: how many others are finished already
        """

    def end(self, run: Run, seconds: float, error: str | None) -> object:
        """A run ended.

        :param run: the run
        :param seconds: how long it took
        :param error: why it failed and where that is kept, None if it did not
        """


def missing_runs(runs: Sequence[Run], store: Store) -> list[Run]:
    """The runs that are still to be done, in order: those without a result, and those whose files somebody needs and has not.

    :param runs: all runs of a study
    :param store: where results are kept
    """
    missing = {run.key for run in runs if not store.has(run)}
    needed: dict[str, set[str]] = {}
    for run in runs:
        if run.key in missing:
            for need in run.needs.values():
                needed.setdefault(need.key, set()).add(need.file)
    return [run for run in runs if run.key in missing or (run.key in needed and not store.has(run, needed[run.key]))]


def execute(
    runs: Sequence[Run],
    store: Store,
    watcher: Watcher,
    n_jobs: int,
    backend: str = "loky",
    address: str | None = None,
) -> list[str]:
    """Do the runs that are not finished; the longest first, and those that need another's files after all others.

    :param runs: all runs of the study
    :param store: where results are kept
    :param watcher: who is told
    :param n_jobs: how many at a time
    :param backend: one of :data:`BACKENDS`
    :param address: of a running cluster; None begins one on this machine
    :return: labels of the runs that failed
    """
    todo = missing_runs(runs, store)
    watcher.begin(todo, len(runs) - len(todo))
    failed: list[str] = []
    if not todo:
        return failed
    owner = os.getpid() if backend == "loky" else None
    with _joblib(backend, n_jobs, address):
        for wave in ([run for run in todo if not run.needs], [run for run in todo if run.needs]):
            by_key = {run.key: run for run in sorted(wave, key=lambda run: -run.seconds)}
            for ended in _ended(by_key, store, n_jobs, owner):
                run, error = by_key[ended.key], ended.error
                if ended.output is not None:
                    store.write(run, ended.output, ended.seconds)
                else:
                    path = store.write_error(run, error or "")
                    error = f"{(error or '').strip().splitlines()[-1]} ({path})"
                    failed.append(run.label)
                watcher.end(run, ended.seconds, error)
    return failed


def _ended(runs: Mapping[str, Run], store: Store, n_jobs: int, owner: int | None) -> Iterator[Finished]:
    """How every run ends, as they end. A run that kills its process takes those beside it along: they are done once more, each
    by itself, so that the one that kills is found and the others are done."""
    waiting = dict(runs)
    for key, run in runs.items():
        try:
            store.inputs(run)
        except OSError as error:
            yield Finished(waiting.pop(key).key, None, f"a run that this one needs has failed: {error}", 0.0)
    while waiting:
        begun: set[str] = set()
        try:
            for ended in _in_parallel(list(waiting.values()), begun, store, n_jobs, owner):
                waiting.pop(ended.key)
                begun.discard(ended.key)
                yield ended
        except BrokenProcessPool:
            for key in sorted(begun):
                yield _alone(waiting.pop(key), store, owner)


def _in_parallel(runs: Sequence[Run], begun: set[str], store: Store, n_jobs: int, owner: int | None) -> Iterator[Finished]:
    def jobs() -> Iterator[Any]:
        for run in runs:
            begun.add(run.key)
            yield delayed(perform)(run.key, run.task, dict(run.config), store.inputs(run), owner)

    # No more than can begin at once is handed out: each carries its files with it
    yield from Parallel(n_jobs, return_as="generator_unordered", pre_dispatch=n_jobs, batch_size=1)(jobs())


def _alone(run: Run, store: Store, owner: int | None) -> Finished:
    """Do one run in a process of its own."""
    try:
        (ended,) = _in_parallel([run], set(), store, 2, owner)  # with 1, joblib would do it in this process
    except BrokenProcessPool:
        return Finished(run.key, None, "the process that did it died (killed, or out of memory)", 0.0)
    return ended


def perform(key: str, task: str, config: Mapping[str, Any], inputs: Mapping[str, bytes], owner: int | None = None) -> Finished:
    """Do one run; what runs in a worker.

    :param key: its key
    :param task: name of its task
    :param config: its configuration
    :param inputs: the files that it reads
    :param owner: process of this machine that asks for it, without which the worker has no reason to go on
    """
    import torch as th

    if owner is not None and owner != os.getpid():
        _end_with(owner)
    th.set_num_threads(1)  # the runs share the cores
    began = time.perf_counter()
    try:
        output = load_task(task).run(config, inputs)
    except Exception as error:
        return Finished(key, None, "".join(traceback.format_exception(error)), time.perf_counter() - began)
    return Finished(key, output, None, time.perf_counter() - began)


@functools.cache
def _end_with(owner: int) -> None:
    """End this process soon after the one that asks for its work is gone, e.g. killed: nobody waits for the result."""

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _joblib(backend: str, n_jobs: int, address: str | None) -> Iterator[None]:
    """joblib with one of its backends, with one thread for each run.

    :raises StudyError: if the backend is not installed or its cluster cannot be reached
    """
    if backend == "loky":
        if address is not None:
            raise StudyError(f"--address: got {address!r} with --backend loky, expected --backend ray or dask")
        with parallel_config("loky", n_jobs=n_jobs, inner_max_num_threads=1):
            yield
        return
    extra = {"ray": "ray", "dask": "dask"}[backend]
    try:
        cluster = {"ray": _ray, "dask": _dask}[backend]
        with cluster(n_jobs, address), parallel_config(backend, n_jobs=n_jobs):
            yield
    except ImportError as error:
        raise StudyError(f"--backend: got {backend!r}, but {error}: pip install 'sb3-grpo[{extra}]'") from None


@contextmanager
def _ray(n_jobs: int, address: str | None) -> Iterator[None]:
    """Ray: the cluster at an address (``auto``: that of this machine), or a new one here."""
    import ray
    from joblib import register_parallel_backend
    from ray.util.joblib.ray_backend import RayBackend

    class OneByOne(RayBackend):
        supports_return_generator = True  # its results come by callback, one by one, but it does not say so

    register_parallel_backend("ray", OneByOne)
    try:
        if address is None:
            ray.init(num_cpus=n_jobs, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise StudyError(f"--address: got {address!r}, expected that of a running Ray cluster: {error}") from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _dask(n_jobs: int, address: str | None) -> Iterator[None]:
    """dask: the scheduler at an address such as ``tcp://host:8786``, or a new cluster here."""
    from distributed import Client, LocalCluster

    here = None
    try:
        if address is None:
            here = LocalCluster(n_workers=n_jobs, threads_per_worker=1, dashboard_address=None)
        client = Client(here or address)
    except (OSError, ValueError) as error:
        raise StudyError(f"--address: got {address!r}, expected that of a running dask scheduler: {error}") from None
    try:
        yield
    finally:
        client.close()
        if here is not None:
            here.close()
