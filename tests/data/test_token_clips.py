import numpy as np
import pytest
import torch

from cjepa.data import token_clips
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.token_clips import ClipDataset, StoredTokens, TokenClips, halved
from cjepa.errors import UserError
from cjepa.types import Clip


def opened(module):
    module.setup("fit")
    return module


def clips_of(path, episodes, **windows) -> ClipDataset:
    file = EpisodeFile(path)
    columns = (torch.from_numpy(file.read(name, 0, file.env_steps)) for name in ("tokens", "proprio", "action"))
    return ClipDataset(file, Clip(*columns), np.array(episodes, dtype=int), **windows)


def all_clips(dataset: ClipDataset):
    return dataset.__getitems__(list(range(len(dataset))))


def test_a_clip_by_hand(numbered_tokens):
    dataset = clips_of(numbered_tokens([7, 12]), [1], blocks=3, frame_stride=2)
    clip = dataset.__getitems__([0, 6])
    assert clip.tokens_BTSD.dtype == torch.float32
    assert clip.tokens_BTSD.flatten(1).tolist() == [[7, 9, 11], [13, 15, 17]]
    assert clip.proprio_BTP[:, :, 0].tolist() == [[7, 9, 11], [13, 15, 17]]
    # action row t is (t, -t): both env steps of a block, in time order
    assert clip.actions_BTA[0].tolist() == [[7, -7, 8, -8], [9, -9, 10, -10], [11, -11, 12, -12]]
    assert clip.actions_BTA[1, -1].tolist() == [17, -17, 18, -18]  # the last row of the episode


def test_windows_never_cross_episodes_and_none_is_missed(numbered_tokens):
    lengths = [7, 12, 3, 6]
    dataset = clips_of(numbered_tokens(lengths), range(4), blocks=3, frame_stride=2)
    assert len(dataset) == sum(max(0, length - 5) for length in lengths)
    episode_of_row = np.repeat(np.arange(4), lengths)
    rows = all_clips(dataset).actions_BTA[..., ::2].flatten(1).long().numpy()
    assert (np.diff(rows, axis=1) == 1).all()
    assert (episode_of_row[rows] == episode_of_row[rows[:, :1]]).all()


@pytest.mark.parametrize(("episodes", "said"), [([0, 1], "10 env steps"), ([], "none of its 3 episodes")])
def test_no_clip_at_all_is_the_users_error(numbered_tokens, episodes, said):
    path = numbered_tokens([7, 9, 40])
    with pytest.raises(UserError, match=f"numbered.h5.*{said}"):
        clips_of(path, episodes, blocks=5, frame_stride=2)


def test_splits_share_no_episode(numbered_tokens):
    length = 12
    data = TokenClips(str(numbered_tokens([length] * 20)), frame_stride=2, train_blocks=2, val_blocks=4, batch_size=3)
    opened(data)
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
    seen = {
        name: {int(row) // length for clip in loader for row in clip.tokens_BTSD.flatten()}
        for name, loader in loaders.items()
    }
    assert {name: len(found) for name, found in seen.items()} == {"train": 18, "val": 1, "test": 1}
    assert set.union(*seen.values()) == set(range(20))
    sample = data.normalisation_sample()
    assert {int(row) // length for row in sample.tokens_BTSD.flatten()} == seen["train"]


def test_validation_is_the_same_every_time_and_thinned(numbered_tokens):
    path = str(numbered_tokens([60] * 20))
    data = opened(TokenClips(path, frame_stride=1, val_blocks=2, val_clips=10))
    first, second = (torch.cat([clip.tokens_BTSD for clip in data.val_dataloader()]) for _ in range(2))
    assert torch.equal(first, second)
    assert 10 <= len(first) <= 12


def test_training_order_is_new_in_every_epoch_and_the_same_in_every_run(numbered_tokens):
    def orders():
        train = opened(TokenClips(str(numbered_tokens([60] * 20)), frame_stride=1, batch_size=64)).train_dataloader()
        for _epoch in range(2):
            yield torch.cat([clip.tokens_BTSD for clip in train])

    first, second = orders()
    assert not torch.equal(first, second)
    assert torch.equal(first, next(orders()))


def test_clips_of_the_token_fixture(tokens_path):
    data = opened(TokenClips(str(tokens_path), frame_stride=5, train_blocks=4, val_blocks=8, batch_size=16))
    clip = next(iter(data.train_dataloader()))
    assert clip.tokens_BTSD.shape == (16, 4, 3, 6)
    assert clip.proprio_BTP.shape == (16, 4, 4) and clip.actions_BTA.shape == (16, 4, 10)
    assert next(iter(data.val_dataloader())).tokens_BTSD.shape[1] == 8
    assert data.tokenizer_fingerprint == "0123456789abcdef"


def test_the_wrong_kind_of_file_is_named(episodes_path):
    with pytest.raises(UserError, match="cjepa tokenize"):
        opened(TokenClips(str(episodes_path)))
    with pytest.raises(UserError, match="nowhere.h5"):
        opened(TokenClips("nowhere.h5"))


def test_the_episodes_of_a_batch_are_those_of_its_clips(numbered_tokens):
    """Counted over two epochs, as a training counts them."""
    path = numbered_tokens([9, 4, 20] * 7)
    first_row_E = EpisodeFile(path).offsets
    data = opened(TokenClips(str(path), frame_stride=2, train_blocks=2, val_blocks=4, batch_size=5))
    loader = data.train_dataloader()
    batches = [clip.tokens_BTSD for _ in range(2) for clip in loader]
    for number, rows in enumerate(batches):
        expected = {int(np.flatnonzero(first_row_E <= row)[-1]) for row in rows.flatten().tolist()}
        assert data.episodes_of_batch(number) == sorted(expected)
    assert len(batches) > 20


def test_tokens_that_do_not_fit_are_read_from_the_file(numbered_tokens, monkeypatch):
    path = str(numbered_tokens([30] * 20))
    options = {"frame_stride": 2, "train_blocks": 2, "val_blocks": 4, "batch_size": 16}
    held = opened(TokenClips(path, **options))
    size = held.rows.tokens_BTSD.numel() * np.dtype(held.file.columns["tokens"][1]).itemsize
    for budget, kind in ((size, torch.Tensor), (size - 1, StoredTokens)):
        monkeypatch.setattr(token_clips, "tokens_budget", lambda budget=budget: budget)
        data = opened(TokenClips(path, **options))
        assert isinstance(data.rows.tokens_BTSD, kind)
        for ours, theirs in zip(held.train_dataloader(), data.train_dataloader(), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert torch.equal(held.normalisation_sample().tokens_BTSD, data.normalisation_sample().tokens_BTSD)


def test_rounding_by_hand():
    """Between 1 and 2, float16 has steps of 2^-10, so that no value moves by more than 2^-11."""
    spread = torch.rand(1_000, 2, 3, generator=torch.Generator().manual_seed(0)) + 1
    rounded = halved(spread)
    assert rounded.dtype == torch.float16 and 0 < (rounded.float() - spread).abs().max() <= 2**-11
    assert halved(rounded) is rounded
    constant = spread.clone()
    constant[..., 1] = 0.1  # not a float16
    assert halved(constant).dtype == torch.float16


@pytest.mark.parametrize("value", [70_000.0, float("nan")])
def test_what_float16_cannot_hold_stays_as_it_is(value):
    tokens = torch.rand(50, 2, 3, generator=torch.Generator().manual_seed(0))
    close = 1_000 + 0.01 * tokens  # float16 has steps of 0.5 there
    assert halved(close) is close
    tokens[3, 1, 2] = value
    assert halved(tokens) is tokens


@pytest.mark.parametrize(("free", "moved"), [(10_000, True), (500, False)])
def test_rows_are_held_on_a_gpu_that_has_room(numbered_tokens, monkeypatch, free, moved):
    """The device meta stands for the GPU: it keeps shapes and no values."""
    dataset = clips_of(numbered_tokens([7, 12]), [1], blocks=3, frame_stride=2)
    before = dataset.rows
    assert 500 < 2 * sum(values.nbytes for values in before) < 10_000
    gpu, on_meta = torch.device("cuda"), torch.Tensor.to
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 0))
    monkeypatch.setattr(torch.Tensor, "to", lambda values, device, **_: on_meta(values, "meta"))
    dataset.move_rows_to(torch.device("cpu"))
    assert dataset.rows is before
    dataset.move_rows_to(gpu)
    assert dataset.rows.tokens_BTSD.is_meta == moved
    if moved:
        clip = dataset.__getitems__([0, 6])
        assert all(values.is_meta for values in clip)
        assert [tuple(values.shape[:2]) for values in clip] == [(2, 3)] * 3
