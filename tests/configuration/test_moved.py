"""Class paths of before still lead to their classes."""

import importlib

import pytest
import yaml

from cjepa.checkpoints import find_checkpoint, read_checkpoint
from cjepa.cli import main
from cjepa.configuration.moved import MOVED, current, original
from tests.conftest import configs

# every class path that stood in experiments/ or cjepa/zoo/ up to 0.2.0
EVER = """
cjepa.data.clips.VideoClips
cjepa.data.modules.TokenClips
cjepa.envs.collide_policy.CollideBehaviour
cjepa.envs.policies.PushTBehaviour
cjepa.envs.policies.RandomPolicy
cjepa.envs.policies.StillPolicy
cjepa.evaluation.metrics.BestOverlap
cjepa.evaluation.metrics.ClipConsistency
cjepa.evaluation.metrics.EmptySlots
cjepa.evaluation.metrics.ForegroundARI
cjepa.evaluation.metrics.MeanIoU
cjepa.evaluation.metrics.SlotConsistency
cjepa.planning.demonstrators.SimulatorMPC
cjepa.planning.objectives.LastStepMSE
cjepa.planning.planners.CEM
cjepa.reporting.fit.SlotOverlays
cjepa.reporting.slots.SlotOverlays
cjepa.tokenizers.features.ConvFeatures
cjepa.tokenizers.features.DinoV2Features
cjepa.tokenizers.frozen.FrozenTokenizer
cjepa.tokenizers.global_token.GlobalTokenizer
cjepa.tokenizers.initialisers.ConditionedSlots
cjepa.tokenizers.initialisers.GaussianSlots
cjepa.tokenizers.initialisers.LearnedSlots
cjepa.tokenizers.queries.QueryTokenizer
cjepa.tokenizers.savi.SAVi
cjepa.tokenizers.slots.SlotTokenizer
cjepa.tokenizers.starts.LearnedStart
cjepa.tokenizers.starts.SeededStart
cjepa.tokenizers.training.TokenizerTraining
cjepa.tokenizers.videosaur.VideoSAUR
cjepa.world_models.masks.CentralityMask
cjepa.world_models.masks.FixedMask
cjepa.world_models.masks.ObjectMask
cjepa.world_models.masks.TokenMask
cjepa.world_models.masks.TubeMask
cjepa.world_models.module.WorldModel
cjepa.world_models.predictor.EntityTransformer
""".split()


@pytest.mark.parametrize("path", EVER)
def test_every_class_path_that_ever_was_leads_to_a_class(path):
    module, _, name = current(path).rpartition(".")
    assert isinstance(getattr(importlib.import_module(module), name), type)


def test_paths_are_renamed_at_any_depth_and_other_texts_are_not():
    old = {"class_path": "cjepa.planning.planners.CEM", "init_args": {"parts": [{"class_path": "cjepa.mine.Mask"}, 3]}}
    new = current(old)
    assert new["class_path"] == "cjepa.planning.planners.cem.CEM"
    assert new["init_args"] == old["init_args"]
    assert current(new) == new
    assert current("cjepa.planning.planners.cem") == "cjepa.planning.planners.cem"


def test_a_fingerprint_of_a_config_survives_a_move():
    assert original("cjepa.tokenizers.slots.tokenizer.SlotTokenizer") == "cjepa.tokenizers.slots.SlotTokenizer"
    assert original(current(EVER[:15])) == EVER[:15]


def test_arguments_that_a_class_no_longer_takes_are_left_out_of_old_files():
    path = "cjepa.evaluation.metrics.SlotConsistency"
    old = [{"class_path": path, "init_args": {"num_labels": 16, "max_slots": 9}}, {"class_path": path}]
    assert current({"metrics": old}) == {"metrics": [{"class_path": path, "init_args": {"max_slots": 9}}, old[1]]}
    other = {"class_path": "mine.Metric", "init_args": {"num_labels": 16}}
    assert current(other) == other


def test_nothing_moves_twice():
    assert not set(map(current, MOVED.values())) - set(MOVED.values())


def test_the_zoo_was_written_before_the_move():
    hparams = read_checkpoint(find_checkpoint("zoo:pusht-slots"))["hyper_parameters"]
    assert hparams["tokenizer"]["class_path"] == "cjepa.tokenizers.slots.tokenizer.SlotTokenizer"


def test_a_yaml_and_a_command_line_of_before(tmp_path, capsys):
    config = tmp_path / "old.yaml"
    config.write_text(
        "policy: {class_path: cjepa.envs.policies.PushTBehaviour, init_args: {noise: 0.25}}\n"
        "env_id: cjepa/PushT-v0\nepisodes: 1\nepisode_env_steps: 2\nworkers: 1\n"
    )
    assert main(["collect", "-c", str(config), "--out", str(tmp_path / "a.h5")]) == 0
    old = ["--policy", "cjepa.envs.policies.PushTBehaviour"]
    assert main(["collect", "-c", str(config), *old, "--out", str(tmp_path / "b.h5")]) == 0


def test_null_reaches_an_option_of_a_class_within_a_class(capsys):
    """jsonargparse writes it as None on its way there."""
    words = ["fit", *configs("pusht/cjepa.yaml", "pusht/object_filter.yaml"), "--print_config"]
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--model.init_args.predictor.init_args.place", "null"])
    predictor = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["predictor"]
    assert predictor["init_args"]["place"] is None
