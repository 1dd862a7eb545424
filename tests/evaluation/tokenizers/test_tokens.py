"""A tokenizer that is right by construction gets full marks, on episodes that its probes have not seen."""

import pickle

import numpy as np
import pytest
import torch

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.video_clips import VideoClips
from cjepa.data.video_dataset import VideoDataset
from cjepa.evaluation import probes
from cjepa.evaluation.metrics import EffectiveRank, ForegroundARI, SlotConsistency, every_metric
from cjepa.evaluation.probes import read_bodies, run_probes
from cjepa.evaluation.tokenizers.tokens import EpisodeScores, encode_dataset, measure, num_frames
from cjepa.tokenizers.base import TokenizerInfo, TrainableTokenizer
from cjepa.tokenizers.grid import centroids
from cjepa.tokenizers.training import TokenizerTraining
from cjepa.types import Tokens
from tests.conftest import RecordedProgress, ignore_progress

AGENT, BLOCK, TABLE = (65, 105, 225), (119, 136, 153), (255, 255, 255)  # as Push-T draws them


class ColourTokenizer(TrainableTokenizer):
    """Knows the colours of agent and block: each token is a centre; it draws nothing."""

    def __init__(self):
        super().__init__(TokenizerInfo(num_slots=2, slot_dim=2))
        self.colours_33 = torch.nn.Parameter(torch.tensor([AGENT, BLOCK, TABLE]) / 255)

    def encode(self, pixels_BT3YX):
        table = self.colours_33[2]
        unmix = torch.linalg.pinv(table - self.colours_33[:2])  # how much of each colour a pixel has
        masks = torch.einsum("btcyx,cs->btsyx", table[:, None, None] - pixels_BT3YX, unmix).clamp(0, 1)
        places = centroids(masks.where(masks > 0.5, 0))
        return Tokens(places, masks, places, torch.ones_like(places[..., :1]))

    def decode(self, slots_BTSD):
        return None

    def loss_terms(self, pixels_BT3YX):
        return {"none": pixels_BT3YX.sum() * 0}


@pytest.fixture(autouse=True, scope="module")
def short():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "_STEPS", 300)
        yield


@pytest.fixture(scope="module")
def data(episodes_path) -> VideoClips:
    data = VideoClips(str(episodes_path), frame_stride=2, val_blocks=8, batch_size=4, val_clips=6)
    data.setup("test")
    return data


@pytest.fixture(scope="module")
def module() -> TokenizerTraining:
    return TokenizerTraining(ColourTokenizer(), [], {})


@pytest.fixture(scope="module")
def quality(module, data):
    return measure(module, every_metric(2), data, ignore_progress)


def test_full_marks(quality):
    found = quality.intervals
    for name in ("fg_ari", "fg_ari_video", "mbo", "mbo_video", "mean_iou", "mean_iou_video"):
        assert found[name].value > 0.9, name
    assert found["clip_consistency"].value == found["slot_consistency"].value == 1.0
    assert found["empty_slots"].value == 0.0 and 1 < found["effective_rank"].value <= 2
    assert {interval.n for interval in found.values()} == {1}  # six clips of the one test episode
    assert "psnr" not in found  # nothing is drawn


@pytest.mark.slow
def test_probes_read_places_from_centres(quality, data):
    scores = run_probes(**quality.samples, bodies=read_bodies(data.file), progress=ignore_progress)
    for name in ("agent_x", "agent_y"):  # in the one test episode the block hardly moves
        assert scores[f"linear_r2@{name}"].value > 0.95, name
    assert scores["linear_r2@agent_velocity"].value > scores["linear_r2@agent_velocity_one_frame"].value + 0.3


def test_probes_are_fitted_on_training_episodes_and_scored_on_test_episodes(quality, data):
    for split, samples in quality.samples.items():
        assert set(samples.episode_N.tolist()) <= set(data.splits[split].tolist())
        objects = np.concatenate([data.file.episode(e, ["objects"])["objects"] for e in data.splits[split]])
        rows = {tuple(row) for row in objects.reshape(-1, objects.shape[-1])}
        assert {tuple(row) for row in samples.truth_NF.numpy()} <= rows
    frames = 8 * 6 * 8  # eight times those of six clips of eight blocks
    assert len(quality.samples["train"].episode_N) == 2 * frames  # two bodies in view


def test_progress_counts_every_frame(module, data):
    frames = RecordedProgress()
    measure(module, [], data, frames)
    assert sum(frames.amounts) == num_frames(data) == (1 + 8) * 6 * 8


@pytest.mark.slow
def test_the_module_keeps_its_mode(module, data):
    for mode in (True, False):
        module.train(mode)
        measure(module, [], data, ignore_progress)
        assert module.training == mode


def test_without_an_account_of_the_objects_there_is_nothing_to_probe(module, episodes, tmp_path):
    with EpisodeWriter(tmp_path / "bare.h5", "cjepa-episodes", {}) as writer:
        for episode in episodes.episodes(["pixels"]):
            writer.append(episode)
    data = VideoClips(str(tmp_path / "bare.h5"), val_blocks=4, val_clips=3)
    data.setup("test")
    quality = measure(module, every_metric(2), data, ignore_progress)
    assert quality.samples == {} and set(quality.intervals) == {"effective_rank"}  # nor are there labels
    assert EpisodeFile(tmp_path / "bare.h5").columns.keys() == {"pixels"}


@pytest.mark.slow
def test_scores_over_episodes_are_those_over_all_clips(module, data):
    scores, metric, rank = EpisodeScores([ForegroundARI(), EffectiveRank()]), ForegroundARI(), EffectiveRank()
    dataset = VideoDataset(data.file, data.splits["train"], 4, data.frame_stride)
    batches = list(encode_dataset(module, data, dataset, ignore_progress))[:3]
    for clips in batches:
        scores.add(clips)
        metric.update(clips.encoded.masks_BTSYX, clips.batch.labels_BTYX)
        rank.update(clips.encoded.tokens.slots_BTSD)
    found = scores.intervals()
    assert found["fg_ari"].value == pytest.approx(float(metric.compute()))
    assert found["effective_rank"].value == pytest.approx(float(rank.compute()))
    assert found["fg_ari"].n == len({e for clips in batches for e in clips.episode_B.tolist()})


@pytest.mark.slow
def test_labels_up_to_255_need_little_memory_for_each_episode(module, data):
    scores, metric = EpisodeScores([SlotConsistency(max_slots=64)]), SlotConsistency()
    high = torch.arange(256).flip(0).roll(1).to(torch.uint8)  # 0 stays, 1 becomes 255, 2 becomes 254
    dataset = VideoDataset(data.file, data.splits["train"], 4, data.frame_stride)
    for clips in list(encode_dataset(module, data, dataset, ignore_progress))[:2]:
        labels = high[clips.batch.labels_BTYX.long()]
        scores.add(clips._replace(batch=clips.batch._replace(labels_BTYX=labels)))
        metric.update(clips.encoded.masks_BTSYX, labels)
    assert len(pickle.dumps(scores)) < 2 * 255 * 64 * 8 * 1.4  # the metric's state and its default, no third of them
    assert scores.intervals()["slot_consistency"].value == pytest.approx(float(metric.compute()))


def test_psnr_is_of_the_mean_error(module, data):
    """Frames that are off by 0.1 and by 0.2 have a mean squared error of 0.025."""
    clips = next(encode_dataset(module, data, data.test_dataloader().dataset, ignore_progress))
    pixels = clips.batch.pixels_BTYXC.movedim(-1, 2) / 255
    off = torch.tensor([0.1, 0.2, 0.1, 0.2])[:, None, None, None, None]
    scores = EpisodeScores([])
    scores.add(clips._replace(encoded=clips.encoded._replace(frames_BT3YX=pixels + off)))
    assert scores.intervals()["psnr"].value == pytest.approx(-10 * np.log10(0.025), abs=1e-3)


def test_rows_and_episodes_of_clips(module, data):
    dataset = data.test_dataloader().dataset
    parts = list(encode_dataset(module, data, dataset, ignore_progress))
    assert [len(part.episode_B) for part in parts] == [4, 2]
    for part in parts:
        for clip, rows in enumerate(part.row_BT):
            pixels = np.stack([data.file.read("pixels", row, row + 1)[0] for row in rows])
            assert np.array_equal(pixels, part.batch.pixels_BTYXC[clip].numpy())
            start = data.file.offsets[part.episode_B[clip]]
            assert start <= rows[0] and rows[-1] < start + data.file.lengths[part.episode_B[clip]]
