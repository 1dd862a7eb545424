"""Tokenizers that are measured without being trained: what they make is scored by the same tables."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch

from cjepa.cli import main
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.origins import tokenizer_of
from cjepa.data.video_clips import VideoClips
from cjepa.evaluation.tokenizers.tokens import measure
from cjepa.tokenizers.encode import fingerprint
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.tokenizers.scoring import ScoredTokenizer
from cjepa.tokenizers.specs import TokenizerSpec, build_tokenizer, tokenizer_spec
from tests.conftest import configs, ignore_progress, shorten_probes

QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.callbacks", "[]"]
SMALL = ["--data.init_args.val_clips", "4", "--data.init_args.val_blocks", "8", "--trainer.accelerator", "cpu", *QUIET]


@pytest.fixture(autouse=True, scope="module")
def short():
    with pytest.MonkeyPatch.context() as patch:
        shorten_probes(patch)
        yield


def measured(path, run_dir, *more: str, code: int = 0) -> dict[str, dict]:
    """`cjepa test` of a frozen tokenizer: its rows by metric."""
    words = [*configs("pusht/frozen.yaml"), "--data.init_args.path", str(path), "--run_dir", str(run_dir), *SMALL]
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["test", *words, *more]) == code
    if code:
        return {}
    return {row["metric"]: row for row in json.loads((run_dir / "results_test.json").read_text())}


def source(name: str, grid: int = 0) -> list[str]:
    return ["--model.init_args.source", name, "--model.init_args.patch_grid", str(grid)]


@pytest.mark.slow
def test_an_oracle_has_full_marks(episodes_path, tmp_path):
    rows = measured(episodes_path, tmp_path / "oracle", *source("oracle"))
    for name in ("fg_ari_video", "mean_iou", "slot_consistency"):
        assert rows[name]["value"] == pytest.approx(1.0), name
    assert rows["linear_r2@agent_x"]["value"] > 0.99 and rows["linear_r2@agent_velocity_one_frame"]["value"] > 0.99
    assert "psnr" not in rows


def test_patches_are_of_the_size_that_was_asked_for(episodes_path, slots_run, tmp_path):
    rows = measured(episodes_path, tmp_path / "patches", *source(str(slots_run), 4))
    assert {(row["tokens"], row["token_dim"]) for row in rows.values()} == {(16, 96)}
    assert 0 < rows["mean_iou"]["value"] < 0.5  # an object is not a sixteenth of a frame


@pytest.mark.slow
def test_patches_of_a_dinov2(episodes_path, tiny_dinov2, tmp_path):
    rows = measured(episodes_path, tmp_path / "dino", *source(f"dino:{tiny_dinov2}", 2))
    assert {(row["tokens"], row["token_dim"]) for row in rows.values()} == {(4, 96)}
    assert -5 < rows["linear_r2@agent_x"]["value"] <= 1


OUTSIDE = '''
import torch
from torch.nn.functional import adaptive_avg_pool2d

from cjepa.tokenizers.base import Tokenizer, TokenizerInfo
from cjepa.types import Tokens


class Stripes(Tokenizer):
    """Mean colours of vertical stripes."""

    def __init__(self, stripes: int = 4):
        super().__init__(TokenizerInfo(stripes, 3))
        self.register_buffer("zero", torch.zeros(1))

    def encode(self, pixels_BT3YX):
        batch, blocks = pixels_BT3YX.shape[:2]
        colours = adaptive_avg_pool2d(pixels_BT3YX.flatten(0, 1), (1, self.num_slots))
        slots = colours[:, :, 0].transpose(1, 2).reshape(batch, blocks, self.num_slots, 3)
        owner = torch.eye(self.num_slots).repeat_interleave(64 // self.num_slots, dim=1)
        masks = owner[None, None, :, None].expand(batch, blocks, -1, 64, -1)
        return Tokens(slots, masks, slots[..., :2] * 0, slots[..., :1] * 0 + 0.1)

    def decode(self, slots_BTSD):
        return None
'''


@pytest.mark.slow
def test_a_class_of_another_package(episodes, episodes_path, tmp_path, monkeypatch):
    """From `cjepa tokenize` and back from what the token file says; and measured by `cjepa test`."""
    (tmp_path / "outside_tokenizers.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "tokens.h5"
    assert main(["tokenize", "outside_tokenizers.Stripes", str(episodes_path), "--out", str(out), "--device=cpu"]) == 0
    file = EpisodeFile(out)
    found = file.episode(3)["tokens"][5]
    expected = episodes.episode(3)["pixels"][5].reshape(64, 4, 16, 3).mean(axis=(0, 2)) / 255
    np.testing.assert_allclose(found, expected, atol=0.01)
    again = build_tokenizer(TokenizerSpec.from_plain(tokenizer_of(file)))
    assert fingerprint(again) == file.attributes["tokenizer_fingerprint"]
    named = "{class_path: outside_tokenizers.Stripes, init_args: {stripes: 8}}"
    rows = measured(episodes_path, tmp_path / "stripes", *source(named))
    assert {(row["tokens"], row["token_dim"]) for row in rows.values()} == {(8, 3)}


def test_probes_know_which_cell_a_patch_is_of(episodes_path, slots_run):
    """And nobody else is told where a token is: that has to be in it."""
    data = VideoClips(str(episodes_path), frame_stride=2, val_blocks=4, val_clips=2, batch_size=4)
    data.setup("test")
    widths = {}
    for grid in (0, 4):
        module = ScoredTokenizer([])
        module.tokenizer = build_tokenizer(tokenizer_spec(str(slots_run), data.file, grid))
        samples = measure(module, [], data, ignore_progress).samples["test"]
        widths[grid] = samples.tokens_ND.shape[1] - module.tokenizer.slot_dim
    places = {(x, y) for x in (-0.75, -0.25, 0.25, 0.75) for y in (-0.75, -0.25, 0.25, 0.75)}
    assert {tuple(place) for place in samples.tokens_ND[:, -2:].tolist()} <= places and widths == {0: 0, 4: 2}


def test_an_oracle_sees_nothing_of_the_pixels(episodes_path):
    data = VideoClips(str(episodes_path), frame_stride=2, val_blocks=4, val_clips=2)
    data.setup("test")
    module = ScoredTokenizer([])
    module.tokenizer = OracleTokenizer(2, ("present", "x", "y", "angle", "vx", "vy")).eval()
    batch = next(iter(data.test_dataloader()))
    batch = batch._replace(objects_BTOF=batch.objects_BTOF[..., :6])
    black = batch._replace(pixels_BTYXC=torch.zeros_like(batch.pixels_BTYXC))
    assert torch.equal(*(module.encode_and_decode(b).tokens.slots_BTSD for b in (batch, black)))
    without = module.encode_and_decode(batch._replace(labels_BTYX=None))
    assert without.masks_BTSYX.shape == batch.labels_BTYX.shape[:2] + (2, 64, 64) and not without.masks_BTSYX.any()


@pytest.mark.slow
def test_what_cannot_be_measured_is_said_in_one_line(episodes_path, collide_episodes_path, tmp_path, capfd):
    for path, words, said in (
        (episodes_path, source("nowhere"), "nowhere: no such checkpoint"),
        (episodes_path, source("oracle", 4), "an oracle has no grid; leave out patch_grid"),
        (episodes_path, source("zoo:pusht-slots", 5), "a grid of 5 does not divide"),
        (collide_episodes_path, source("zoo:pusht-slots", 4), "was trained on cjepa/PushT-v0"),
    ):
        capfd.readouterr()
        measured(path, tmp_path / "refused", *words, code=2)
        err = capfd.readouterr().err
        assert err.count("\n") == 1 and said in err and not (tmp_path / "refused").exists(), err
    words = [*configs("pusht/frozen.yaml"), "--data.init_args.path", str(episodes_path), *QUIET]
    assert main(["fit", *words, "--run_dir", str(tmp_path / "fit")]) == 2
    assert "training_step" in capfd.readouterr().err
