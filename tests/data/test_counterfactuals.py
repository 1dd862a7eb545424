import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cjepa.cli import main
from cjepa.data.collect import Collection, collect
from cjepa.data.counterfactuals import (
    SHARE_COLLIDING,
    CounterfactualCollection,
    collect_counterfactuals,
    counterfactuals_path,
    draw_intervention,
)
from cjepa.data.recording import resimulate
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.envs.collide.env import Collide
from cjepa.envs.collide.world import POSITION
from cjepa.envs.interventions import KINDS, WITH_VALUE, Intervention
from cjepa.envs.policies import StillPolicy
from cjepa.errors import UserError
from tests.conftest import RecordedProgress, configs, ignore_progress

EPISODES, ENV_STEPS, TWINS = 6, 24, 2
JOB = Collection("cjepa/Collide-v0", StillPolicy(), EPISODES, ENV_STEPS, seed=3)
ATTRIBUTES = {
    "env_id": "cjepa/Collide-v0",
    "env_kwargs": {},
    "env_steps_per_second": 20,
    "body_names": list(Collide().body_names),
    "attribute_names": list(Collide().attribute_names),
}


@pytest.fixture(scope="module")
def factual(tmp_path_factory) -> EpisodeFile:
    return collect(JOB, tmp_path_factory.mktemp("factual") / "collide.h5", ATTRIBUTES, 1, ignore_progress)


@pytest.fixture(scope="module")
def twins(factual) -> EpisodeFile:
    return collect_counterfactuals(
        CounterfactualCollection(factual, TWINS, 0), counterfactuals_path(factual.path), 1, ignore_progress
    )


def intervention_of(twin: dict) -> Intervention:
    """What the columns of a twin say was changed."""
    kind = KINDS[twin["twin_kind"][0]]
    value = tuple(twin["twin_value"][0].tolist()) if kind in WITH_VALUE else None
    return Intervention(kind, int(twin["twin_body"][0]), int(twin["twin_env_step"][0]), value)


def test_the_file_is_an_episode_file_that_names_its_origin(factual, twins):
    assert twins.path.name == "collide.twins.h5" and len(twins) == EPISODES * TWINS
    assert twins.attributes["episodes_fingerprint"] == factual.fingerprint
    assert json.loads(twins.attributes["twin_kinds"]) == list(KINDS)
    for name in ATTRIBUTES:
        assert twins.attributes[name] == factual.attributes[name]
    extra = {"twin_episode": "int32", "twin_kind": "uint8", "twin_body": "int32", "twin_env_step": "int32"}
    extra["twin_value"] = "float32"
    columns = {name: (shape[1:], str(dtype)) for name, (shape, dtype) in twins.columns.items()}
    assert {name: columns.pop(name)[1] for name in extra} == extra
    assert columns == {name: (shape[1:], str(dtype)) for name, (shape, dtype) in factual.columns.items()}


def test_a_twin_is_its_episode_but_for_what_its_columns_say(factual, twins):
    for index, twin in enumerate(twins.episodes()):
        intervention = intervention_of(twin)
        assert twin["twin_episode"].tolist() == [index // TWINS] * ENV_STEPS
        assert 1 <= intervention.env_step < ENV_STEPS // 2
        original = factual.episode(index // TWINS)
        before = slice(intervention.env_step)
        for name, values in original.items():
            np.testing.assert_array_equal(twin[name][before], values[before])
        assert (twin["state"][intervention.env_step] != original["state"][intervention.env_step]).any()
        again = resimulate(Collide(), original["state"][0], original["action"], [intervention])
        for name, values in again.items():
            np.testing.assert_array_equal(twin[name], values)


def test_twins_of_one_episode_differ(twins):
    changes = [intervention_of(twin) for twin in twins.episodes()]
    assert len(set(changes)) == len(changes) and len({change.kind for change in changes}) > 1


@pytest.mark.slow
def test_workers_and_interruptions_change_no_byte(factual, twins, tmp_path):
    job, out = CounterfactualCollection(factual, TWINS, 0), tmp_path / "again.h5"
    with pytest.raises(KeyboardInterrupt):
        collect_counterfactuals(job, out, 1, RecordedProgress(interrupt_at=1))
    assert not out.exists()
    progress = RecordedProgress()
    again = collect_counterfactuals(job, out, 2, progress)
    assert again.fingerprint == twins.fingerprint
    assert 0 < progress.new.count(False) < len(progress.new) == EPISODES * TWINS
    other = collect_counterfactuals(replace(job, seed=1), tmp_path / "other.h5", 1, ignore_progress)
    assert other.fingerprint != twins.fingerprint


def test_bodies_that_collide_later_are_preferred(factual):
    env, collides, could = Collide(), [], []
    for index in range(EPISODES):
        episode = factual.episode(index, ["state", "contacts"])
        for seed in range(60):
            change = draw_intervention(env, episode, np.random.default_rng(seed))
            later = episode["contacts"][change.env_step :].any(axis=(0, 2))
            env.set_state(episode["state"][change.env_step])
            assert change.body in env.free_bodies()
            if change.kind == "set_position":
                others = [body for body in np.flatnonzero(env.objects()[:, 0]) if body != change.body]
                assert np.linalg.norm(env.objects()[others, POSITION] - change.value, axis=1).min() > 64
            could.append(later[env.free_bodies()].any() and not later[env.free_bodies()].all())
            collides.append(later[change.body])
    share = np.mean(np.array(collides)[could])
    assert np.sum(could) > 50 and SHARE_COLLIDING < share < 1  # the rest is drawn from all, colliding or not


def test_an_environment_without_interventions_is_refused_before_anything_is_made(tmp_path, capsys):
    out = tmp_path / "pusht.h5"
    words = ["collect", *configs("pusht/collect.yaml"), "--episodes=2", "--workers=1", f"--out={out}"]
    assert main([*words, "--twins=1"]) == 2
    assert "PushT has no interventions" in capsys.readouterr().err
    assert main([*words[:1], *configs("collide/collect.yaml"), *words[3:], "--twins=-1"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_command_makes_both_files_and_goes_on_with_what_is_missing(tmp_path, capsys):
    out = tmp_path / "collide.h5"
    words = ["collect", *configs("collide/collect.yaml"), "--episodes=2", "--workers=1", f"--out={out}"]
    assert main(words) == 0
    assert main([*words, "--twins=2"]) == 0
    printed = capsys.readouterr().out
    assert "nothing new" in printed and "cjepa fit -c experiments/collide/tokenizer.yaml" in printed
    assert len(EpisodeFile(counterfactuals_path(out))) == 4


def test_episodes_that_do_not_come_out_the_same_are_refused(factual, tmp_path):
    path = Path(tmp_path / "old.h5")
    with EpisodeWriter(path, "cjepa-episodes", {**ATTRIBUTES, "seed": 3}) as writer:
        for episode in factual.episodes():
            episode["state"][1:, 1] += 0.5
            writer.append(episode)
    with pytest.raises(UserError, match="old.h5: episode 0 gives other states when simulated again"):
        collect_counterfactuals(
            CounterfactualCollection(EpisodeFile(path), 1, 0), tmp_path / "twins.h5", 1, ignore_progress
        )
