import sys
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from cjepa.data.clip_windows import as_is
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.token_clips import TokenClips
from cjepa.data.video_clips import VideoClips
from cjepa.data.video_dataset import VideoDataset
from cjepa.errors import UserError
from cjepa.types import VideoBatch
from tests.trainers import quiet_trainer


@pytest.fixture
def numbered(tmp_path):
    """Makes an episode file of episodes with the given lengths whose values say which row they are from."""

    def make(lengths: list[int], without: tuple[str, ...] = ()) -> Path:
        path = tmp_path / "numbered.h5"
        rows = np.split(np.arange(sum(lengths), dtype=np.float32), np.cumsum(lengths)[:-1])
        with EpisodeWriter(path, "cjepa-episodes", {}) as writer:
            for row in rows:
                image = np.broadcast_to(row.astype(np.uint8)[:, None, None], (len(row), 16, 16))
                columns = {
                    "pixels": np.stack([image, image + 1, image + 2], axis=-1),
                    "masks": image + 3,
                    "proprio": np.repeat(row[:, None], 4, axis=1),
                    "action": np.stack([row, -row], axis=1),
                }
                writer.append({name: values for name, values in columns.items() if name not in without})
        return path

    return make


def opened(module: VideoClips) -> VideoClips:
    module.setup("fit")
    return module


def clips_of(path: Path, episodes, **windows) -> VideoDataset:
    return VideoDataset(EpisodeFile(path), np.array(episodes, dtype=int), **windows)


def rows_of(batch: VideoBatch) -> list[list[int]]:
    return batch.pixels_BTYXC[:, :, 0, 0, 0].tolist()


def test_a_clip_by_hand(numbered):
    dataset = clips_of(numbered([7, 12]), [1], blocks=3, frame_stride=2)
    assert len(dataset) == 12 - 6 + 1
    clip = dataset.__getitems__([6, 0])
    assert clip.pixels_BTYXC.shape == (2, 3, 16, 16, 3) and clip.pixels_BTYXC.dtype == torch.uint8
    assert clip.labels_BTYX.shape == (2, 3, 16, 16) and clip.labels_BTYX.dtype == torch.uint8
    assert rows_of(clip) == [[13, 15, 17], [7, 9, 11]]
    assert clip.pixels_BTYXC[0, 0, 5, 5].tolist() == [13, 14, 15]
    assert clip.labels_BTYX[:, :, 15, 15].tolist() == [[16, 18, 20], [10, 12, 14]]
    assert clip.proprio_BTP[:, :, 3].tolist() == [[13, 15, 17], [7, 9, 11]]
    # action row t is (t, -t): both env steps of a block, in time order
    assert clip.actions_BTA[1].tolist() == [[7, -7, 8, -8], [9, -9, 10, -10], [11, -11, 12, -12]]


def test_actions_are_those_of_the_clips_and_read_no_frame(numbered, monkeypatch):
    dataset = clips_of(numbered([7, 12]), [1], blocks=3, frame_stride=2)
    expected = dataset.__getitems__([6, 0]).actions_BTA
    monkeypatch.setattr(dataset, "pixels", None)
    assert torch.equal(dataset.actions(np.array([6, 0])), expected)


def test_what_the_file_lacks_is_none(numbered):
    path = numbered([20], without=("masks", "proprio", "action"))
    batch = clips_of(path, [0], blocks=4, frame_stride=5).__getitems__([0])
    assert rows_of(batch) == [[0, 5, 10, 15]]
    assert batch[1:] == (None, None, None, None)
    assert clips_of(path, [0], blocks=4, frame_stride=5).actions(np.array([0])) is None


def test_labels_are_left_out_of_training_on_request(numbered):
    data = opened(VideoClips(str(numbered([20] * 20)), train_blocks=2, val_blocks=2, batch_size=4, labels=False))
    assert next(iter(data.train_dataloader())).labels_BTYX is None
    assert next(iter(data.val_dataloader())).labels_BTYX is not None


def test_windows_never_cross_episodes_and_none_is_missed(numbered):
    lengths = [7, 12, 3, 6]
    dataset = clips_of(numbered(lengths), range(4), blocks=3, frame_stride=2)
    starts = [row[0] for row in rows_of(dataset.__getitems__(list(range(len(dataset)))))]
    assert starts == [0, 1, *range(7, 14), 22]


def test_splits_are_those_of_the_tokens(episodes_path, tokens_path):
    tokens, clips = TokenClips(str(tokens_path)), VideoClips(str(episodes_path), batch_size=7)
    tokens.setup("fit"), clips.setup("fit")
    held_out = clips.splits["test"]
    assert {name: rows.tolist() for name, rows in clips.splits.items()} == {
        name: rows.tolist() for name, rows in tokens.splits.items()
    }
    (episode,) = [EpisodeFile(episodes_path).episode(index) for index in held_out]
    batch = next(iter(clips.test_dataloader()))
    np.testing.assert_array_equal(batch.pixels_BTYXC[0], episode["pixels"][:40:5])
    np.testing.assert_array_equal(batch.labels_BTYX[3], episode["masks"][3:43:5])
    np.testing.assert_array_equal(batch.actions_BTA[5].reshape(-1, 2), episode["action"][5:45])


def test_sampled_frames_are_of_training_episodes(episodes, episodes_path):
    data = opened(VideoClips(str(episodes_path)))
    sample = data.sample_frames(40)
    assert sample.shape == (40, 64, 64, 3) and sample.dtype == torch.uint8
    assert torch.equal(sample, data.sample_frames(40)) and not torch.equal(sample, data.sample_frames(40, seed=1))
    train = {frame.tobytes() for index in data.splits["train"] for frame in episodes.episode(index)["pixels"]}
    assert {frame.tobytes() for frame in sample.numpy()} <= train


def test_validation_is_thinned_and_the_same_every_time(numbered):
    data = opened(VideoClips(str(numbered([60] * 20)), frame_stride=1, val_blocks=2, batch_size=4, val_clips=10))
    first, second = (torch.cat([batch.pixels_BTYXC for batch in data.val_dataloader()]) for _ in range(2))
    assert torch.equal(first, second)
    assert 10 <= len(first) <= 12


@pytest.mark.slow
def test_the_order_of_training(numbered):
    path = str(numbered([12] * 20))

    def epochs() -> list[list[list[int]]]:
        loader = opened(VideoClips(path, frame_stride=1, train_blocks=2, batch_size=9)).train_dataloader()
        return [[rows for batch in loader for rows in rows_of(batch)] for _ in range(2)]

    first, second = epochs()
    assert [first, second] == epochs() and first != second
    assert len(first) == len({tuple(rows) for rows in first}) == 18 * 11 // 9 * 9  # each clip once


@pytest.mark.parametrize(("start", "workers"), [("fork", 2), pytest.param("spawn", 1, marks=pytest.mark.slow)])
def test_worker_processes_give_the_same_batches(numbered, start, workers):
    dataset = clips_of(numbered([30, 25]), [0, 1], blocks=4, frame_stride=5)
    dataset.__getitems__([0])  # its files are open here already
    loaders = [
        DataLoader(dataset, batch_size=4, collate_fn=as_is, num_workers=number, multiprocessing_context=context)
        for number, context in ((0, None), (workers, start))
    ]
    here, there = ([*loader] for loader in loaders)
    assert len(here) == 5
    for own, other in zip(here, there, strict=True):
        assert type(other) is VideoBatch
        assert own.objects_BTOF is other.objects_BTOF is None  # which this file has not
        given = ([value for value in batch if value is not None] for batch in (own, other))
        assert all(torch.equal(a, b) for a, b in zip(*given, strict=True))


class CountsFrames(L.LightningModule):
    """Learns nothing; checks what arrives in a training step."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch: VideoBatch, batch_idx: int) -> torch.Tensor:
        self.seen += rows_of(batch)
        return self.weight

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("workers", [0, 1])
def test_lightning_trains_on_clips_and_goes_on_where_it_was(numbered, tmp_path, workers):
    path = str(numbered([12] * 20, without=("masks",)))

    def train(steps: int, folder: str, checkpoint: Path | None = None) -> list[list[int]]:
        model = CountsFrames()
        data = VideoClips(path, frame_stride=1, train_blocks=2, batch_size=9, num_workers=workers)
        saving = ModelCheckpoint(tmp_path / folder, filename="{step}", every_n_train_steps=5)
        trainer = quiet_trainer(steps, limit_val_batches=0, callbacks=[saving], enable_checkpointing=True)
        trainer.fit(model, data, ckpt_path=checkpoint, weights_only=True)
        return model.seen

    whole = train(26, "whole")  # more than one epoch of 22
    half = train(5, "half")
    assert half + train(26, "rest", tmp_path / "half" / "step=5.ckpt") == whole


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    path, rng = tmp_path / "noise.h5", np.random.default_rng(0)  # noise is as large on disk as in memory
    with EpisodeWriter(path, "cjepa-episodes", {}) as writer:
        for _ in range(2_000):
            writer.append({"pixels": rng.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)})

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    data = opened(VideoClips(str(path), frame_stride=1, batch_size=32))
    loader = data.train_dataloader()
    batches = iter(loader)
    next(batches)
    before = resident()
    most = max(resident() for _ in batches)
    assert len(loader) == 2_000 * 9 // 10 // 32
    assert most - before < 16 * 2**20 < path.stat().st_size / 5


def test_the_wrong_file_is_named(numbered, tokens_path):
    with pytest.raises(UserError, match="no column 'pixels'"):
        opened(VideoClips(str(tokens_path))).train_dataloader()
    with pytest.raises(UserError, match="numbered.h5.*40 env steps"):
        opened(VideoClips(str(numbered([20] * 20)))).val_dataloader()
