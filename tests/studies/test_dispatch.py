"""Which stages run when, with how much of the machine, and how failures and interrupts end them."""

from collections.abc import Iterable

import pytest

from cjepa.studies import dispatch as module
from cjepa.studies.definition import Stage
from cjepa.studies.dispatch import Running, default_jobs, dispatch
from cjepa.studies.executors import Job, Outcome
from cjepa.studies.resources import Machine as Computer
from cjepa.studies.resources import Resources, Share
from tests.studies.fakes import done, failure

EIGHT_CORES = 8


ONE_COMPUTER = [Computer(EIGHT_CORES, 2, 16.0)]


def stage(name: str, reads: str = "", command: str = "fit", **resources) -> Stage:
    return Stage(name, command, [f"${{{other}}}" for other in reads.split()], [], {}, Resources(**resources))


# as in the quickstart
PIPELINE = [
    stage("episodes", command="collect"),
    stage("slots", "episodes"),
    stage("tokens", "slots episodes", "tokenize"),
    stage("patches", "slots episodes", "tokenize"),
    stage("masked", "tokens"),
    stage("unmasked", "tokens"),
    stage("plan-masked", "masked", "plan"),
    stage("plan-unmasked", "unmasked", "plan"),
    stage("baselines", "episodes", "plan-baselines"),
]


class Polled(Job):
    """A command that ends when it has been looked at so many times, or at the n-th interrupt."""

    def __init__(self, polls: int, outcome: Outcome, ends_at_interrupt: int):
        self.polls, self.ended_with, self.ends_at = polls, outcome, ends_at_interrupt
        self.interrupts = 0

    def outcome(self) -> Outcome | None:
        self.polls -= 1
        return self.ended_with if self.polls < 0 or self.interrupts >= self.ends_at else None

    def interrupt(self) -> None:
        self.interrupts += 1


class Machine:
    """Runs stages that last for a number of polls, and writes down what happens."""

    def __init__(self, monkeypatch):
        self.events: list[str] = []
        self.shares: dict[str, Share] = {}
        self.ended: dict[str, Running] = {}
        self.jobs: dict[str, Polled] = {}
        self.lasts: dict[str, int] = {}
        self.failing: set[str] = set()
        self.lost: dict[str, int] = {}
        self.ends_at_interrupt = 1
        self.at_sleep = lambda: None
        monkeypatch.setattr(module.time, "sleep", lambda _: self.at_sleep())

    def run(self, stages: Iterable[Stage], jobs: int, finished: Iterable[str] = (), on=ONE_COMPUTER) -> list[str]:
        callbacks = (self._start, self._end, lambda running: None)
        return [left.name for left in dispatch(list(stages), set(finished), jobs, on, *callbacks)]

    def _start(self, stage: Stage, share: Share) -> Job:
        self.events.append(f"+{stage.name}")
        self.shares[stage.name] = share
        outcome = failure(RuntimeError("broken")) if stage.name in self.failing else done()
        if self.lost.get(stage.name):
            self.lost[stage.name] -= 1
            outcome = failure(RuntimeError("gone"))._replace(lost=True)
        self.jobs[stage.name] = Polled(self.lasts.get(stage.name, 2), outcome, self.ends_at_interrupt)
        return self.jobs[stage.name]

    def _end(self, one: Running, outcome: Outcome) -> None:
        self.events.append(f"-{one.stage.name}")
        self.ended[one.stage.name] = one


@pytest.fixture
def machine(monkeypatch) -> Machine:
    return Machine(monkeypatch)


def test_one_job_runs_the_stages_in_their_order_with_all_cores(machine):
    assert machine.run(PIPELINE, jobs=1) == []
    assert machine.events == [sign + one.name for one in PIPELINE for sign in "+-"]
    assert set(machine.shares.values()) == {Share(EIGHT_CORES, alone=True)}
    assert all(one.beside == set() for one in machine.ended.values())


def test_two_jobs_run_side_by_side_what_can_and_timed_stages_alone(machine):
    machine.lasts = {"tokens": 5, "patches": 1, "masked": 9, "unmasked": 3}
    assert machine.run(PIPELINE, jobs=2) == []
    assert " ".join(machine.events) == (
        "+episodes -episodes +slots -slots +tokens +patches -patches -tokens +masked +unmasked -unmasked -masked "
        "+plan-masked -plan-masked +plan-unmasked -plan-unmasked +baselines -baselines"
    )
    half = Share(EIGHT_CORES // 2, alone=False)
    assert [machine.shares[name] for name in ("tokens", "patches", "masked", "unmasked")] == [half] * 4
    alone = [name for name, share in machine.shares.items() if share == Share(EIGHT_CORES, alone=True)]
    assert alone == ["episodes", "slots", "plan-masked", "plan-unmasked", "baselines"]
    assert machine.ended["masked"].beside == {"unmasked"} and machine.ended["tokens"].beside == {"patches"}
    assert machine.ended["plan-masked"].beside == set()


def test_no_more_stages_at_a_time_than_jobs_and_a_free_place_is_filled(machine):
    machine.lasts = {"a": 1, "b": 9, "c": 2, "d": 2}
    machine.run([stage(name) for name in "abcd"], jobs=2)
    assert machine.events == ["+a", "+b", "-a", "+c", "-c", "+d", "-d", "-b"]
    assert machine.ended["b"].beside == {"a", "c", "d"} and machine.ended["c"].beside == {"b"}


def test_a_stage_that_becomes_ready_beside_one_that_runs_has_its_share(machine):
    machine.lasts = {"a": 1, "b": 9}
    machine.run([stage("a"), stage("b"), stage("c", "a")], jobs=3)
    assert machine.events == ["+a", "+b", "-a", "+c", "-c", "-b"]
    assert machine.shares["c"] == Share(EIGHT_CORES // 3, alone=False)


def test_more_jobs_than_cores(machine):
    machine.run([stage("a"), stage("b")], jobs=20)
    assert machine.shares["a"].cores == 1


def test_bench_is_timed_too(machine):
    machine.run([stage("a", command="bench"), stage("b"), stage("c")], jobs=2)
    assert machine.events == ["+b", "+c", "-b", "-c", "+a", "-a"]


def test_timed_stages_that_declare_cpus_run_beside_stages_that_do_so_too(machine):
    timed, held = {"command": "plan", "cpus": 4}, {"cpus": 4}
    machine.lasts = {"plan-1": 1, "plan-2": 4, "train": 9, "free": 1}
    stages = [stage("plan-1", **timed), stage("plan-2", **timed), stage("train", **held), stage("free")]
    machine.run(stages, jobs=3)
    assert machine.events == ["+plan-1", "+plan-2", "-plan-1", "+train", "-plan-2", "+free", "-free", "-train"]
    assert machine.shares["plan-2"] == Share(4, alone=False, declared=Resources(cpus=4))
    assert machine.ended["plan-2"].beside == {"plan-1", "train"} and machine.ended["free"].beside == {"train"}


def test_a_timed_stage_waits_for_a_stage_that_could_take_its_cpus(machine):
    machine.lasts = {"free": 5}
    machine.run([stage("free"), stage("plan", command="plan", cpus=1), stage("held", cpus=1)], jobs=2)
    assert machine.events == ["+free", "+held", "-held", "-free", "+plan", "-plan"]


@pytest.mark.parametrize(("cpus", "jobs"), [((), 2), ((3, 2), 3), ((6,), 2)])
def test_as_many_jobs_as_fit_where_stages_declare_cpus(cpus, jobs):
    stages = [stage("free"), *(stage(f"held-{number}", cpus=number) for number in cpus)]
    assert default_jobs(stages, [Computer(4, 0, 8.0), Computer(2, 0, 8.0)]) == jobs


def test_finished_stages_do_not_run(machine):
    assert machine.run(PIPELINE[4:6], jobs=2, finished=["episodes", "slots", "tokens"]) == []
    assert machine.events[:2] == ["+masked", "+unmasked"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_stops_only_what_reads_it(machine, jobs):
    machine.failing = {"tokens"}
    assert machine.run(PIPELINE, jobs) == ["masked", "unmasked", "plan-masked", "plan-unmasked"]
    assert set(machine.ended) == {"episodes", "slots", "tokens", "patches", "baselines"}


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_an_interrupt_ends_every_stage_that_runs(machine, patience):
    """The user repeats it until all have ended."""

    def interrupt() -> None:
        if {"tokens", "patches"} <= machine.jobs.keys():
            raise KeyboardInterrupt

    machine.at_sleep, machine.ends_at_interrupt = interrupt, patience
    with pytest.raises(KeyboardInterrupt):
        machine.run(PIPELINE, jobs=2)
    assert [machine.jobs[name].interrupts for name in ("tokens", "patches")] == [patience] * 2
    assert machine.jobs["slots"].interrupts == 0 and set(machine.ended) == {"episodes", "slots"}


def test_an_error_of_the_study_itself_ends_its_stages(machine):
    machine.lasts = {"tokens": 1, "patches": 9}
    record = machine._end

    def full_disk(one: Running, outcome: Outcome) -> None:
        record(one, outcome)
        if one.stage.name == "tokens":
            raise OSError("disk full")

    machine._end = full_disk
    with pytest.raises(OSError, match="disk full"):
        machine.run(PIPELINE, jobs=2)
    assert machine.jobs["patches"].interrupts == 1


def test_stages_that_declare_resources_run_together_where_they_fit(machine):
    machine.lasts = {"a": 9, "b": 2, "c": 2, "d": 2}
    machine.run([stage("a", memory_gb=10), stage("b", memory_gb=6.5), stage("c", memory_gb=6), stage("d")], jobs=4)
    assert machine.events == ["+a", "+c", "+d", "-c", "-d", "-a", "+b", "-b"]
    assert machine.shares["c"].declared == Resources(memory_gb=6) and machine.shares["d"].declared == Resources()


def test_cpus_and_gpus_are_counted_too(machine):
    """A stage that declares no CPUs takes those that are left."""
    machine.lasts = {"a": 9, "b": 3}
    machine.run([stage("a", cpus=7, gpus=1), stage("b"), stage("c", cpus=1), stage("d", gpus=2)], jobs=2)
    assert machine.events == ["+a", "+b", "-b", "+c", "-c", "-a", "+d", "-d"]
    assert [machine.shares[name].cores for name in "abcd"] == [7, 1, 1, 8]
    assert machine.shares["d"] == Share(8, alone=True, declared=Resources(gpus=2))


def test_a_stage_alone_is_held_to_the_cpus_that_it_declares(machine):
    machine.run([stage("plan", command="plan", cpus=2)], jobs=1)
    assert machine.shares["plan"] == Share(2, alone=True, declared=Resources(cpus=2))


def test_on_several_machines_a_timed_stage_has_one_to_itself_and_others_run_elsewhere(machine):
    machine.lasts = {"plan": 9}
    two = [Computer(4, 0, 8.0), Computer(4, 0, 8.0)]
    machine.run([stage("plan", command="plan"), stage("a"), stage("b"), stage("c")], jobs=4, on=two)
    assert machine.shares["plan"].cores == 4 and machine.shares["a"].cores == 2
    assert machine.ended["plan"].beside == {"a", "b", "c"} and machine.events[:3] == ["+plan", "+a", "+b"]


@pytest.mark.parametrize(("losses", "starts", "left"), [(1, 2, []), (9, 4, ["b"])])
def test_a_stage_whose_worker_goes_starts_again_but_not_for_ever(machine, losses, starts, left):
    machine.lost = {"a": losses}
    assert machine.run([stage("a"), stage("b", "a")], jobs=1) == left
    assert machine.events.count("+a") == starts and machine.events.count("-a") == 1
