"""The same function for many tasks in several threads, or in processes that end with the one that started them."""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

from cjepa.configuration.own_code import forgotten_init
from cjepa.errors import UserError

CORES = "CJEPA_CORES"
"""Environment variable: the most cores that a command may use, for commands that run side by side."""
_Task, _Result = TypeVar("_Task"), TypeVar("_Result")
Each = Callable[[Callable, Sequence[tuple | None]], list[Any]]
"""Calls a function with each of several objects and its arguments; those whose arguments are None are left out."""


def thread_map(
    function: Callable[[_Task], _Result],
    tasks: Iterable[_Task],
    threads: int,
    ahead: int,
    prepare: Callable[[], None] | None = None,
) -> Iterator[_Result]:
    """Results in the order of the tasks, made by threads before they are asked for; closing it drops the rest.

    Args:
        function: of one task.
        tasks: taken in the calling thread.
        threads: how many.
        ahead: the most results and running tasks that wait while another is used.
        prepare: called in every thread first.
    """
    pending: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(threads, initializer=prepare) as pool:
        try:
            for task in tasks:
                pending.append(pool.submit(function, task))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def parallel_map(function: Callable, tasks: Sequence[Any], workers: int) -> Iterator[Iterator[Any]]:
    """Gives an iterator over the results, in the order of the tasks; leaving the block stops what still runs.

    Args:
        function: of one task; a function of a module, so that other processes find it.
        tasks: what can be pickled.
        workers: processes; 1 stays in this one.

    Raises:
        UserError: a worker was killed.
    """
    if workers <= 1 or not tasks:
        yield map(function, tasks)
        return
    with _pools([min(workers, len(tasks))]) as (pool,):
        yield pool.map(partial(_in_worker, function), tasks)


@contextmanager
def held_in_workers(makers: Sequence[Callable[[], Any]], workers: int) -> Iterator[Each]:
    """Objects that stay in several processes, an equal share in each; gives a function that calls one with all of them.

    Args:
        makers: of the objects, what can be pickled.
        workers: processes; 1 keeps the objects in this one.

    Raises:
        UserError: a worker was killed.
    """
    workers = min(workers, len(makers))
    if workers <= 1:
        objects = [make() for make in makers]
        yield partial(_call_each, objects)
        return
    shares = [slice(at * len(makers) // workers, (at + 1) * len(makers) // workers) for at in range(workers)]

    with _pools([1] * workers) as pools:

        def all_at_once(function: Callable, values: Sequence[Any]) -> list[Any]:
            parts = zip(pools, shares, strict=True)
            futures = [pool.submit(_in_worker, function, values[share]) for pool, share in parts]
            return [result for future in futures for result in future.result() or ()]

        def each(function: Callable, arguments: Sequence[tuple | None]) -> list[Any]:
            return all_at_once(partial(_call_held, function), arguments)

        all_at_once(_hold, makers)
        yield each


_held: list[Any] = []
"""What this worker process keeps."""


def _hold(makers: Sequence[Callable[[], Any]]) -> None:
    _held[:] = [make() for make in makers]


def _call_held(function: Callable, arguments: Sequence[tuple | None]) -> list[Any]:
    return _call_each(_held, function, arguments)


def _call_each(objects: Sequence[Any], function: Callable, arguments: Sequence[tuple | None]) -> list[Any]:
    return [function(one, *given) for one, given in zip(objects, arguments, strict=True) if given is not None]


@contextmanager
def _pools(sizes: Sequence[int]) -> Iterator[list[ProcessPoolExecutor]]:
    """Pools of so many processes each; leaving the block stops what still runs."""
    others = set(multiprocessing.active_children())
    # spawn: a forked child would inherit torch's and HDF5's locks
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pools = [stack.enter_context(ProcessPoolExecutor(size, context, end_with_parent)) for size in sizes]
        try:
            yield pools
        except BaseException as error:
            # else Python 3.11 trips over tasks that were cancelled, with a traceback of its own
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
                while worker.is_alive():  # join() gives up where the pool's own thread was the first to wait for it
                    time.sleep(0.01)
            if isinstance(error, BrokenProcessPool):
                why = "a worker process was killed, perhaps because memory ran out"
                raise UserError(f"{why}; try fewer --workers, or {CORES}=1 in the environment") from None
            raise


def _in_worker(function: Callable, task: Any) -> Any:
    """An error loses its frames between processes: what they say of a class of the user's own is told here."""
    try:
        return function(task)
    except AttributeError as error:
        if forgotten := forgotten_init(error):
            raise UserError(forgotten) from error
        raise


def default_workers() -> int:
    """All cores that this process may use; a stage beside others has only a share of them."""
    share = os.environ.get(CORES, "")
    return min(all_cores(), max(1, int(share))) if share.isdecimal() else all_cores()


def all_cores() -> int:
    """Cores that the machine, or the container, gives to all our processes together."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def end_with_parent() -> None:
    """Begin a worker process, which ignores Ctrl-C and ends as soon as the one that started it has."""
    # Ctrl-C reaches every process of a terminal: the first one decides. A kill reaches only that one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
