"""How many frames are encoded at once, and whole episodes as a tokenizer is given them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cjepa.tokenizers.episode_batches import CarriedColumns, batches_of, frames_at_once, padded, read_batches

PEAK = 400 * 64 * 64 * 3


@pytest.mark.parametrize(
    ("device", "frames_of_memory", "frames"),
    [
        ("cpu", 0, 512),
        ("cuda", 1_000.5, 1_000),  # of the card's memory, whatever of it is free
        ("cuda:1", 40_000, 32_768),
        ("cuda", 0.5, 1),
    ],
)
def test_a_batch_is_as_large_as_the_device_likes(monkeypatch, device, frames_of_memory, frames):
    asked = []

    def properties(device: torch.device) -> SimpleNamespace:
        asked.append(device)
        return SimpleNamespace(total_memory=int(frames_of_memory * PEAK))

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    assert frames_at_once(torch.device(device), PEAK) == frames
    assert asked == ([] if device == "cpu" else [torch.device(device)])


def test_batches_are_of_whole_episodes_and_their_padding_counts():
    assert batches_of(np.array([3, 4, 9, 1, 1, 0, 2]), 8) == [[0, 1], [2], [3, 4, 5, 6]]
    assert batches_of(np.array([6, 1, 1, 6, 0, 0]), 12) == [[0, 1], [2, 3], [4, 5]]
    assert batches_of(np.array([], int), 7) == [[]]


def test_what_is_read_is_padded_behind(episodes):
    lengths = episodes.lengths.copy()
    lengths[1] = 0  # left out
    batches = [[0, 1, 2], [3]]
    read = list(read_batches(episodes, lengths, {"pixels", "masks"}, batches, torch.device("cpu")))
    assert [[len(rows["masks"]) for rows in batch] for batch in read] == [[45, 0, 45], [45]]
    rows = [part["pixels"][:length] for part, length in zip(read[0], (2, 0, 4), strict=True)]
    clips = padded(rows, torch.device("cpu"))
    assert clips.shape == (3, 4, 64, 64, 3) and clips.dtype == torch.uint8
    for clip, index, length in zip(clips.numpy(), (0, 1, 2), (2, 0, 4), strict=True):
        np.testing.assert_array_equal(clip[:length], episodes.episode(index)["pixels"][:length])
        assert not clip[length:].any()


def test_columns_are_carried_over_but_for_what_is_left_out(episodes):
    lengths = episodes.lengths.copy()
    lengths[1] = 0
    carried = CarriedColumns(episodes, lengths, ("action", "state", "none"))
    assert {name: values.shape for name, values in carried.of(1).items()} == {"action": (0, 2), "state": (0, 7)}
    for index in (0, 2, len(episodes) - 1):
        for name, values in carried.of(index).items():
            np.testing.assert_array_equal(values, episodes.episode(index)[name])
