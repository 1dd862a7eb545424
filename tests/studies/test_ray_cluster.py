"""Studies on a Ray cluster: what a lost machine costs, and refusals. Without Ray, the first is left out."""

import os
import signal
import threading
from pathlib import Path

import pytest
import yaml

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.errors import UserError
from cjepa.studies import ray_cluster
from cjepa.studies.ray_cluster import RayCluster
from cjepa.studies.study import run_study
from tests.processes import wait_for
from tests.studies.fakes import InProcess

WAITING = """
import os, time
from pathlib import Path
from cjepa.envs.policies import StillPolicy

class Waiting(StillPolicy):
    '''The first who comes says on which machine it is, and stays.'''
    def reset(self, rng):
        try:
            Path("machine").symlink_to(os.environ.get("RAY_RAYLET_PID", "nobody"))
        except FileExistsError:
            return
        time.sleep(600)
"""
SIZES = {"env_id": "cjepa/PushT-v0", "episodes": 2, "episode_env_steps": 2, "workers": 1, "out": "${self}/e.h5"}
STAGES = {
    "killed": {"command": "collect", "args": SIZES | {"policy": "waiting.Waiting"}},
    "other": {"command": "collect", "args": SIZES | {"policy": "cjepa.envs.policies.StillPolicy", "seed": 1}},
}


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "waiting.py").write_text(WAITING)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"name": "two", "stages": STAGES}))
    return path


def made(root: Path) -> dict[str, str]:
    """Files of the stages, with what is in those of episodes; not what they have shown."""
    files = [path for name in STAGES for path in (root / "two" / name).rglob("*") if path.name != "output.txt"]
    names = {str(path.relative_to(root)): path for path in files}
    return {name: EpisodeFile(path).fingerprint if path.suffix == ".h5" else "" for name, path in names.items()}


@pytest.mark.slow
def test_a_study_loses_a_machine_and_ends_as_on_one(study, monkeypatch):
    """Two workers, of which one is killed in the middle of a stage."""
    ray = pytest.importorskip("ray")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    cluster = cluster_utils.Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    said: list[str] = []
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        executor = RayCluster(cluster.address)
        assert [machine.cpus for machine in executor.machines()] == [1, 1]
        killer = threading.Thread(target=kill_machine, args=(Path("machine"),), daemon=True)
        killer.start()
        done = run_study(study, Path("ray"), executor, said.append, jobs=2)
        assert len(executor.machines()) == 1
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert not done.failed and not killer.is_alive()
    starts = [line.split(":")[0] for line in said if "cjepa collect" in line]
    assert sorted(starts) == ["[1/2] killed", "[1/2] killed", "[2/2] other"]
    assert run_study(study, Path("local"), InProcess(), said.append).failed is False
    assert made(Path("ray")) == made(Path("local"))
    assert run_study(study, Path("ray"), InProcess(), said.append).lines[0] == "2 stages, 0 s of new work"


def kill_machine(mark: Path) -> None:
    """The Ray daemon of the machine on which the stage waits, and its workers: as if the machine had lost its power."""
    wait_for(mark.is_symlink, seconds=200)
    daemon = int(os.readlink(mark))
    for pid in (*children(daemon), daemon):
        os.kill(pid, signal.SIGKILL)


def children(parent: int) -> list[int]:
    paths = [*Path("/proc").glob("[0-9]*/stat")]
    states = [path.read_text().rpartition(")")[2].split() for path in paths]
    return [int(path.parent.name) for path, state in zip(paths, states, strict=True) if int(state[1]) == parent]


class NoRay:
    """Ray where no cluster answers."""

    @staticmethod
    def init(address, **options):
        raise ConnectionError(f"no cluster at\n{address}")


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(ray_cluster, "optional", lambda module, extra: NoRay)
    with pytest.raises(UserError) as refused:
        RayCluster("10.0.0.1:6379")
    said = "--ray_address 10.0.0.1:6379: no cluster at 10.0.0.1:6379; `ray start --head` starts a cluster"
    assert str(refused.value).startswith(said)


def test_an_address_without_ray_is_refused(study, refused):
    assert "--ray_address: add --executor ray" in refused("study", "study.yaml", "--ray_address", "x")


class LosingRay:
    """Ray whose worker is lost at once."""

    class exceptions:  # noqa: N801 - as in Ray
        class RayError(Exception):
            pass

        class TaskCancelledError(RayError):
            pass

    class NodeDiedError(exceptions.RayError):
        pass

    def wait(self, references, timeout):
        return references, []

    def get(self, reference):
        raise self.NodeDiedError


def test_a_lost_command_has_ended_before_it_counts_as_lost(monkeypatch):
    """Its launcher gives it ten seconds to end; what starts again must not write beside it."""
    now = [100.0]
    monkeypatch.setattr(ray_cluster.time, "monotonic", lambda: now[0])
    task = ray_cluster._Task(LosingRay(), "reference")
    assert task.outcome() is None
    now[0] += 10
    assert task.outcome() is None
    now[0] += 3
    assert task.outcome().lost
