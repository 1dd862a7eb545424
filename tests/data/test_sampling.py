"""The order of training: new in every epoch, shared out among processes, and continued where it was."""

import pytest

from cjepa.data.sampling import ResumableShuffle

ROWS, BATCH = 50, 4


def epochs(count: int, *progress: int) -> list[list[int]]:
    sampler = ResumableShuffle(ROWS, BATCH, 3, *progress)
    return [list(sampler) for _ in range(count)]


def test_every_row_once_an_epoch_in_an_order_of_its_own():
    first, second = epochs(2)
    assert sorted(first) == sorted(second) == list(range(ROWS)) and first != second
    assert [first, second] == epochs(2)
    assert list(ResumableShuffle(ROWS, BATCH, 4)) != first


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batches_done", [1, 5, 12, 14])
def test_a_resumed_run_goes_on_behind_the_batches_that_were_taken(batches_done, world_size):
    for rank in range(world_size):
        whole = epochs(8, 0, rank, world_size)
        a_epoch = ROWS // world_size // BATCH  # the loader drops the rest
        epoch, batch = divmod(batches_done, a_epoch)
        resumed = epochs(2, batches_done, rank, world_size)
        assert resumed == [whole[epoch][batch * BATCH :], whole[epoch + 1]]


def test_processes_share_the_rows():
    shares = [epochs(1, 0, rank, 3)[0] for rank in range(3)]
    assert [len(share) for share in shares] == [16, 16, 16] == [len(ResumableShuffle(ROWS, BATCH, 3, 0, 0, 3))] * 3
    assert len({row for share in shares for row in share}) == 48


def test_lightnings_count_of_epochs_changes_nothing():
    sampler = ResumableShuffle(ROWS, BATCH, 3)
    sampler.set_epoch(7)
    assert list(sampler) == epochs(1)[0]
