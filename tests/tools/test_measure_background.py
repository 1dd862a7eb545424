"""Tokenizers on other backgrounds: the changes of frames, and the page."""

import measure_background as tool
import numpy as np
import update_results

from cjepa.files import read_json


def test_the_page_of_tokenizers_says_what_was_measured_of_backgrounds():
    results = read_json(tool.RESULTS)
    assert update_results.block_of(tool.PAGE, "background") == tool.page_block(results)
    for result in results:  # no picking: every change is there
        names = [change.name for change in tool.changes(result["environment"])]
        assert [row["frames"] for row in result["rows"]] == names


def test_changes_of_frames():
    frames = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    moved = tool.shifted(frames)
    assert (moved[:, 1:, 1:] == frames[:, :-1, :-1]).all() and (moved[:, 0, 0] == frames[:, 0, 0]).all()
    assert tool.brighter(np.uint8([0, 100, 250]), 1.1).tolist() == [0, 110, 255]
    white = np.full((1, 2, 3, 3), 200, np.uint8)
    assert tool.shaded(white)[0, :, :, 0].tolist() == [[200, 190, 180]] * 2
    grey = np.full((1, 16, 16, 3), 77, np.uint8)
    assert np.abs(tool.jpeg(grey, 75).astype(int) - 77).max() <= 2 and (tool.jpeg(frames, 75) != frames).any()
