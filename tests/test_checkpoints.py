"""Checkpoints are found by what a user types, and read safely."""

import os

import pytest
import torch

from cjepa.artifacts.export import export_checkpoint
from cjepa.checkpoints import ZOO, config_of, find_checkpoint, read_checkpoint
from cjepa.cli import main
from cjepa.errors import UserError
from cjepa.policies.loading import load_policy
from cjepa.questions.aloe_training import load_reader
from cjepa.tokenizers.baselines.patches import PatchTokenizer
from cjepa.tokenizers.encode import fingerprint
from cjepa.tokenizers.training import load_tokenizer
from cjepa.world_models.loading import load_world_model


def test_a_folder_means_its_last_checkpoint(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    last, best = (tmp_path / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    best.touch()
    with pytest.raises(UserError, match="last.ckpt: no such checkpoint"):
        find_checkpoint(str(tmp_path))
    last.touch()
    assert find_checkpoint(str(tmp_path)) == last and find_checkpoint(str(best)) == best


def test_an_exported_tokenizer_is_the_same_without_the_optimiser(tmp_path, slots_run):
    last = slots_run / "checkpoints" / "last.ckpt"
    weights = export_checkpoint(last, tmp_path / "model")
    assert find_checkpoint(str(tmp_path / "model")) == weights
    assert fingerprint(load_tokenizer(weights)) == fingerprint(load_tokenizer(last))
    assert "optimizer_states" not in read_checkpoint(weights)
    assert weights.stat().st_size < 0.5 * last.stat().st_size
    with pytest.raises(UserError, match="already contains a model"):
        export_checkpoint(last, tmp_path / "model")


def test_a_path_does_not_lead_out_of_the_zoo(tmp_path, slots_run):
    weights = export_checkpoint(slots_run / "checkpoints" / "last.ckpt", tmp_path / "model")
    for name in (f"zoo:{weights.parent}", f"zoo:{os.path.relpath(weights.parent, ZOO)}"):
        with pytest.raises(
            UserError, match="no such model; expected one of zoo:collide-best, zoo:collide-bodies, zoo:col"
        ):
            find_checkpoint(name)


def test_what_is_no_checkpoint_is_named(tmp_path):
    for unknown in (str(tmp_path / "nowhere.ckpt"), "zoo:nothing"):
        with pytest.raises(UserError, match="no such"):
            find_checkpoint(unknown)
    with pytest.raises(UserError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "nowhere.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(UserError, match="text.ckpt: not a checkpoint"):
        read_checkpoint(tmp_path / "text.ckpt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="other.ckpt: not a checkpoint of"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_weights_of_another_version_are_one_clear_line(tmp_path, slots_run):
    content = torch.load(slots_run / "checkpoints" / "last.ckpt", weights_only=True)
    del content["state_dict"]["tokenizer.decoder.to_colour.weight"]
    torch.save(content, tmp_path / "old.ckpt")
    told = r"old.ckpt: its weights come from another version of cjepa \(they lack tokenizer.decoder.to_colour.weight\)"
    with pytest.raises(UserError, match=told):
        load_tokenizer(tmp_path / "old.ckpt")
    with pytest.raises(UserError, match=told):
        export_checkpoint(tmp_path / "old.ckpt", tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["old.ckpt"]


def test_other_options_are_another_tokenizer(tmp_path, slots_run):
    """The same weights, but one round of attention instead of two: other tokens."""
    content = torch.load(slots_run / "checkpoints" / "last.ckpt", weights_only=True)
    content["hyper_parameters"]["tokenizer"]["init_args"]["later_iterations"] = 1
    torch.save(content, tmp_path / "other.ckpt")
    ours, other = load_tokenizer(slots_run / "checkpoints" / "last.ckpt"), load_tokenizer(tmp_path / "other.ckpt")
    assert fingerprint(ours) != fingerprint(other)
    assert fingerprint(PatchTokenizer(ours, 4)) != fingerprint(PatchTokenizer(other, 4))
    assert fingerprint(PatchTokenizer(ours, 4)) != fingerprint(PatchTokenizer(ours, 2))


def test_a_tokenizer_knows_whose_frames_it_was_trained_on(slots_run, collide_episodes_path, tmp_path, capfd):
    assert load_tokenizer(find_checkpoint(str(slots_run))).info.env_id == "cjepa/PushT-v0"
    other = str(collide_episodes_path)
    for words in (
        ["tokenize", str(slots_run), other, "--out", str(tmp_path / "tokens.h5")],
        ["test", str(slots_run), "--data.init_args.path", other, "--run_dir", str(tmp_path / "tested")],
    ):
        assert main(words) == 2
        assert "trained on cjepa/PushT-v0" in capfd.readouterr().err
    assert not (tmp_path / "tokens.h5").exists()


RUNS = {
    "cjepa.tokenizers.training.TokenizerTraining": ("a tokenizer", "cjepa tokenize RUN EPISODES --out TOKENS"),
    "cjepa.world_models.training.WorldModel": ("a world model", "cjepa plan RUN -c experiments/pusht/plan.yaml"),
    "cjepa.world_models.pixels.PixelWorldModel": ("a world model of pixels", "cjepa plan RUN"),
    "cjepa.policies.training.PolicyTraining": ("a policy", "cjepa plan WORLD_MODEL"),
    "cjepa.policies.goal_value_training.GoalValueTraining": ("a value of goals", "cjepa plan WORLD_MODEL"),
    "cjepa.questions.aloe_training.AloeTraining": ("a reader of questions", "cjepa answer RUN QUESTIONS"),
    "cjepa.language.training.LanguageTraining": ("a language model", "cjepa plan WORLD_MODEL"),
    "lightning.pytorch.demos.boring_classes.BoringModel": ("BoringModel", None),
}
LOADERS = {
    load_tokenizer: ("a tokenizer", "experiments/pusht/tokenizer.yaml"),
    load_world_model: ("a world model", "experiments/pusht/cjepa.yaml"),
    load_policy: ("a policy", "experiments/pusht/policy.yaml"),
    load_reader: ("a reader of questions", "experiments/collide/aloe.yaml"),
}


@pytest.mark.parametrize("trained_as", RUNS)
def test_a_run_of_another_kind_is_refused_by_its_name(trained_as, tmp_path):
    """One line: what the run is, what was expected, and a command for either."""
    checkpoint = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {"_class_path": trained_as}}, checkpoint)
    name, used_by = RUNS[trained_as]
    for load, (expected, made_by) in LOADERS.items():
        if name.startswith(expected):
            continue
        with pytest.raises(UserError) as raised:
            load(checkpoint)
        line = f"{checkpoint}: {name}, not {expected}; give a run of `cjepa fit -c {made_by}`"
        assert str(raised.value).startswith(f"{line}, or use this one with `{used_by}" if used_by else line)
        assert used_by or str(raised.value) == line


def test_a_file_in_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match=r"notes.md: in no run folder \(.*config.yaml is missing\)"):
        config_of(tmp_path / "notes.md")
