"""One object of a clip is hidden; a tokenizer that forgets, one that does not, and one that mistakes."""

import numpy as np
import pytest
import torch

from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.video_clips import VideoClips
from cjepa.evaluation.tokenizers import hiding
from cjepa.evaluation.tokenizers.hiding import Hiding, choose, is_kept, measure_hiding, num_hiding_frames, paint_out
from cjepa.tokenizers.base import TokenizerInfo, TrainableTokenizer
from cjepa.tokenizers.training import TokenizerTraining
from cjepa.types import Tokens, VideoBatch
from tests.conftest import RecordedProgress, ignore_progress

BACKGROUND = torch.full((8, 8, 3), 9, dtype=torch.uint8)
SIDE = 16
COLOURS = torch.tensor([[0, 0, 0], [255, 0, 0], [0, 255, 0]], dtype=torch.uint8)


def labels_of(*frames: dict[int, int], side: int = 8) -> torch.Tensor:
    """A clip of 8 x 8 label images in which label k has the given number of pixels, in row 2k."""
    labels_TYX = torch.zeros(len(frames), side, side, dtype=torch.uint8)
    for t, pixels in enumerate(frames):
        for label, count in pixels.items():
            labels_TYX[t, 2 * label - 1 : 2 * label + 1].view(-1)[:count] = label
    return labels_TYX


def test_the_object_is_in_view_throughout():
    clip = labels_of({1: 8}, *[{1: 8, 2: 16}] * 8, {2: 16}, {2: 7})  # 1 at frames 0 to 8, 2 at frames 1 to 9
    draws = torch.linspace(0, 0.999, 60)
    fitting, found = choose(clip.expand(60, -1, -1, -1), draws)
    assert fitting.all()
    chosen = list(zip(found.label_B.tolist(), found.before_B.tolist(), strict=True))
    assert {(label, before) for label, before in chosen} == {(1, 0), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3)}
    assert min(chosen.count(each) for each in set(chosen)) == max(chosen.count(each) for each in set(chosen)) == 10
    assert torch.equal(found.back_B, found.before_B + 6)


def test_too_little_of_an_object_is_not_in_view():
    seven_frames = {"few": [{1: 7}] * 7, "half": [{1: 8}] * 7, "less": [*[{1: 15}] * 3, {1: 7}, *[{1: 15}] * 3]}
    clips = torch.stack([labels_of(*frames) for frames in seven_frames.values()])
    fitting, found = choose(clips, torch.full((3,), 0.5))
    assert fitting.tolist() == [False, True, False] and found.label_B.tolist() == [1]


def test_without_objects_nothing_is_chosen():
    fitting, found = choose(torch.zeros(2, 7, 8, 8, dtype=torch.uint8), torch.zeros(2))
    assert not fitting.any() and len(found.label_B) == 0


def test_a_choice_does_not_depend_on_the_batch():
    labels = torch.stack([labels_of(*[{1: 8, 2: 8}] * 9), labels_of(*[{2: 8}] * 9), labels_of(*[{1: 8, 2: 8}] * 9)])
    draws = torch.tensor([0.1, 0.5, 0.9])
    together = choose(labels, draws)[1]
    for index in range(3):
        alone = choose(labels[index : index + 1], draws[index : index + 1])[1]
        assert [int(value) for value in alone] == [int(value[index]) for value in together]


@pytest.mark.parametrize("frames", [0, 1, 5])
def test_only_the_hidden_object_is_painted_over(frames):
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(2, 8, 8, 8, dtype=torch.uint8)
    labels[:, :, 2:5, 2:5] = 1
    labels[:, :, 2:5, 5:7] = 2  # touches it
    pixels = torch.randint(10, 255, (2, 8, 8, 8, 3), generator=generator, dtype=torch.uint8)
    batch = VideoBatch(pixels, labels, None, None, None)
    chosen = Hiding(torch.tensor([1, 2]), torch.tensor([0, 1]), torch.tensor([6, 7]))
    painted = paint_out(batch, chosen, frames, BACKGROUND)
    assert torch.equal(painted.labels_BTYX, labels)
    expected = pixels.clone()
    for clip, rows, columns in ((0, slice(1, 6), slice(1, 6)), (1, slice(1, 6), slice(4, 8))):
        back = 6 + clip
        hidden = expected[clip, back - frames : back, rows, columns]
        other = labels[clip, back - frames : back, rows, columns] == 2 - clip
        hidden.copy_(torch.where(other[..., None], hidden, BACKGROUND[rows, columns]))
    assert torch.equal(painted.pixels_BTYXC, expected)


def test_kept_by_hand():
    """The object has 12 pixels at both frames; of slots 0 and 1 and of none."""
    labels = labels_of(*[{1: 12}] * 7)
    where = labels[0] == 1
    owned = {"all of 0": (12, 0), "half of 0": (6, 0), "most of 1": (2, 10), "a third each": (5, 4), "none": (0, 0)}

    def masks(zero: int, one: int) -> torch.Tensor:
        image = torch.zeros(2, 8, 8)
        pixels = torch.zeros(2, 12)
        pixels[0, :zero], pixels[1, zero : zero + one] = 0.9, 0.8
        image[:, where] = pixels
        return image

    names = list(owned)
    pairs = [(before, after) for before in names for after in names]
    many = labels.expand(len(pairs), -1, -1, -1)
    chosen = Hiding(*(torch.full((len(pairs),), value) for value in (1, 0, 6)))
    images = {name: masks(*counts) for name, counts in owned.items()}
    kept = is_kept(*(torch.stack([images[name] for name in side]) for side in zip(*pairs, strict=True)), many, chosen)
    same = {"all of 0", "half of 0"}
    expected = [{*pair} <= same or pair == ("most of 1", "most of 1") for pair in pairs]
    assert kept.tolist() == expected


class Forgetful(TrainableTokenizer):
    """Slots are red and green; what was out of view for longer than ``memory`` frames comes back into the third."""

    def __init__(self, memory: int):
        super().__init__(TokenizerInfo(num_slots=3, slot_dim=1))
        self.memory = torch.nn.Parameter(torch.tensor(float(memory)))

    def encode(self, pixels_BT3YX):
        colour = pixels_BT3YX[:, :, :2] > 0.5
        missing, lost = torch.zeros(len(colour), 2), torch.zeros(len(colour), 2, dtype=torch.bool)
        masks = []
        for t in range(colour.shape[1]):
            in_view = colour[:, t].flatten(2).any(dim=2)
            lost |= in_view & (missing > self.memory)
            missing = torch.where(in_view, 0, missing + 1)
            known = colour[:, t] & ~lost[..., None, None]
            masks.append(torch.cat([known, (colour[:, t] & lost[..., None, None]).any(dim=1, keepdim=True)], dim=1))
        masks_BTSYX = torch.stack(masks, dim=1).float()
        values = masks_BTSYX.mean(dim=(3, 4))[..., None]
        return Tokens(values, masks_BTSYX, values.expand(-1, -1, -1, 2), values)

    def decode(self, slots_BTSD):
        return None

    def loss_terms(self, pixels_BT3YX):
        return {"none": pixels_BT3YX.sum() * 0}


def write_squares(path, with_labels: bool = True):
    """Forty episodes: in even ones a red square of 4 x 4 pixels moves about, in odd ones two."""
    with EpisodeWriter(path, "cjepa-episodes", {}) as writer:
        for episode in range(40):
            labels_TYX = np.zeros((10, SIDE, SIDE), np.uint8)
            for t in range(10):
                labels_TYX[t, 2:6, t : t + 4] = 1
                if episode % 2:
                    labels_TYX[t, 9:13, 12 - t : 16 - t] = 2
            columns = {"pixels": COLOURS.numpy()[labels_TYX]}
            writer.append(columns | ({"masks": labels_TYX} if with_labels else {}))


def clips_of(path, **changes) -> VideoClips:
    data = VideoClips(str(path), **({"frame_stride": 1, "val_blocks": 9, "batch_size": 3, "val_clips": 4} | changes))
    data.setup("test")
    return data


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    path = tmp_path_factory.mktemp("squares") / "squares.h5"
    write_squares(path)
    return path


@pytest.mark.parametrize(("memory", "kept"), [(9, [1, 1, 1, 1]), (3, [1, 1, 1, 0]), (0, [1, 0, 0, 0])])
def test_what_is_forgotten_is_not_kept(squares, memory, kept):
    data = clips_of(squares)
    found = measure_hiding(TokenizerTraining(Forgetful(memory), [], {}), data, ignore_progress)
    assert {name: interval.value for name, interval in found.items()} == {
        f"kept_hidden@{frames}": share for frames, share in zip((0, 1, 3, 5), kept, strict=True)
    }
    assert {interval.n for interval in found.values()} == {len(data.splits["test"])} == {2}


def test_the_size_of_batches_makes_no_difference(squares, monkeypatch):
    choices = []
    monkeypatch.setattr(hiding, "HIDDEN_FRAMES", (0,))
    monkeypatch.setattr(hiding, "paint_out", lambda batch, found, *_: choices.append(found) or batch)
    for batch_size in (1, 4):
        measure_hiding(
            TokenizerTraining(Forgetful(9), [], {}), clips_of(squares, batch_size=batch_size), ignore_progress
        )
    *alone, together = choices
    assert len(alone) == 4 and [torch.cat(values).tolist() for values in zip(*alone, strict=True)] == [
        values.tolist() for values in together
    ]


def test_progress_counts_every_frame_and_the_module_keeps_its_mode(squares):
    data, module, frames = clips_of(squares), TokenizerTraining(Forgetful(9), [], {}), RecordedProgress()
    for mode in (True, False):
        module.train(mode)
        measure_hiding(module, data, frames)
        assert module.training == mode
    clips = len(data.test_dataloader().dataset)
    assert sum(frames.amounts) == 2 * num_hiding_frames(data) == 2 * 4 * clips * 9


def test_no_more_clips_than_needed(squares, monkeypatch):
    monkeypatch.setattr(hiding, "_CLIPS", 2)
    data = clips_of(squares, val_clips=99)
    assert len(data.test_dataloader().dataset) == 4 and num_hiding_frames(data) == 4 * 2 * 9


def test_short_clips_and_clips_without_labels_are_left_out(squares, tmp_path):
    write_squares(tmp_path / "bare.h5", with_labels=False)
    module = TokenizerTraining(Forgetful(9), [], {})
    for data in (clips_of(squares, val_blocks=6), clips_of(tmp_path / "bare.h5")):
        assert num_hiding_frames(data) == 0 and measure_hiding(module, data, ignore_progress) == {}
    assert measure_hiding(module, clips_of(squares, val_blocks=7), ignore_progress)["kept_hidden@5"].value == 1


def test_where_nothing_is_in_view_for_long_there_is_nothing_to_say(squares, monkeypatch):
    monkeypatch.setattr(hiding, "_FEWEST_PIXELS", 17)
    frames = RecordedProgress()
    assert measure_hiding(TokenizerTraining(Forgetful(9), [], {}), clips_of(squares), frames) == {}
    assert sum(frames.amounts) == num_hiding_frames(clips_of(squares))
