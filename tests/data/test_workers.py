"""Several processes for one function: order, errors, and what happens when one of them is killed."""

import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from cjepa.data.workers import _in_worker, default_workers, held_in_workers, parallel_map, thread_map
from cjepa.envs.pusht.policy import PushTBehaviour
from cjepa.errors import UserError


def square(number: int) -> int:
    time.sleep(0.02 * (number % 3))  # later ones are finished earlier
    return number**2


def refuse(number: int) -> int:
    if number == 3:
        raise UserError(f"not {number}")
    return number


def kill_itself(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def sleep_and_tell(finished: Path) -> None:
    time.sleep(0 if finished.name == "0" else 100)
    finished.touch()


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_in_the_order_of_the_tasks(workers):
    with parallel_map(square, range(10), workers) as results:
        assert list(results) == [number**2 for number in range(10)]
    with parallel_map(square, [], workers) as results:
        assert list(results) == []


class ForgetsSpeed(PushTBehaviour):
    def __init__(self):
        pass


def test_a_worker_tells_of_a_class_that_was_never_set_up():
    with pytest.raises(UserError, match=r"^ForgetsSpeed.__init__ \(test_workers.py, line \d+\) never calls super"):
        _in_worker(lambda policy: policy.start_state(None), ForgetsSpeed())


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")  # nothing else is said
@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_refuses_is_raised_here(workers):
    with pytest.raises(UserError, match="^not 3$"), parallel_map(refuse, range(60), workers) as results:
        list(results)


def test_a_killed_worker_is_said_and_not_waited_for():
    with pytest.raises(UserError, match="a worker process was killed.*--workers"):
        with parallel_map(kill_itself, range(6), 2) as results:
            list(results)


class Sum:
    def __init__(self, first: int):
        self.value = first

    def add(self, number: int) -> tuple[int, int]:
        self.value += number
        if self.value == 100:
            raise UserError("not 100")
        if self.value > 1000:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.value, os.getpid()


def test_objects_stay_in_their_processes_until_the_block_ends():
    before = set(multiprocessing.active_children())
    for workers in (1, 2):
        with held_in_workers([partial(Sum, first) for first in range(5)], workers) as each:
            each(Sum.add, [(10,)] * 5)
            values, processes = zip(*each(Sum.add, [(1,), None, (2,), (3,), (4,)]), strict=True)
            assert values == (11, 14, 16, 18) and len(set(processes)) == workers
            assert (os.getpid() in processes) == (workers == 1)
            with pytest.raises(UserError, match="^not 100$"):
                each(Sum.add, [None] * 4 + [(82,)])
    with pytest.raises(UserError, match="a worker process was killed.*--workers"):
        with held_in_workers([partial(Sum, first) for first in range(2)], 2) as each:
            each(Sum.add, [(1,), (2000,)])
    assert set(multiprocessing.active_children()) <= before


def test_an_interrupt_stops_what_still_runs(tmp_path):
    before = set(multiprocessing.active_children())
    tasks = [tmp_path / str(number) for number in range(4)]
    with pytest.raises(KeyboardInterrupt), parallel_map(sleep_and_tell, tasks, 2) as results:
        next(results)
        raise KeyboardInterrupt
    assert set(multiprocessing.active_children()) <= before
    assert list(tmp_path.iterdir()) == tasks[:1]  # nobody waited for the others


def test_default_workers():
    assert 1 <= default_workers() <= (os.cpu_count() or 1)


def test_threads_work_ahead_and_keep_the_order():
    taken, done = [], []

    def tasks():
        for number in range(9):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        time.sleep(0.01 / (1 + number))  # the later the faster
        done.append(number)
        return number**2

    results = thread_map(work, tasks(), threads=3, ahead=2)
    assert next(results) == 0 and taken == [0, 1, 2]
    assert list(results) == [number**2 for number in range(1, 9)]
    assert sorted(done) == list(range(9))


def test_an_error_in_a_thread_is_raised_here_and_the_rest_is_dropped():
    done = []

    def work(number: int) -> int:
        done.append(number)
        return refuse(number)

    with pytest.raises(UserError, match="^not 3$"):
        list(thread_map(work, range(60), threads=1, ahead=50))
    assert len(done) < 60
