"""Pages hold the most telling pictures and videos that fit, and name the others."""

from pathlib import Path

import pytest

from cjepa.reporting import media


@pytest.fixture
def stages(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "video_size", lambda path: (16, 16))
    for stage in ("plan-a", "plan-b"):
        folder = tmp_path / stage / "media"
        folder.mkdir(parents=True)
        names = ["paths.png", *(f"trial0{i}-{end}.mp4" for i, end in enumerate(["failure", "failure", "success"]))]
        for name in names:
            (folder / name).write_bytes(bytes(300))
    return [tmp_path / "plan-a", tmp_path / "plan-b"]


def held(found: media.StageMedia) -> list[str]:
    return [one.caption for one in (*found.images, *found.videos)]


def test_every_stage_shows_a_picture_a_success_and_a_failure_before_any_shows_more(stages):
    a, b = media.embedded(stages, most_bytes=6 * 400)
    assert held(a) == held(b) == ["paths", "trial 00: failure", "trial 02: success"]
    assert a.left_out == ["trial01-failure.mp4"]
    a, b = media.embedded(stages, most_bytes=3 * 400)
    assert (held(a), held(b)) == (["paths", "trial 02: success"], ["paths"])


def test_what_is_too_large_leaves_room_for_what_follows(stages):
    Path(stages[0] / "media" / "paths.png").write_bytes(bytes(3000))
    a, b = media.embedded(stages, most_bytes=8 * 400)
    assert "paths.png" in a.left_out and len(held(a)) == 3 and len(held(b)) == 4
    assert sum(len(one.address) for found in (a, b) for one in (*found.images, *found.videos)) < 8 * 430


def test_at_most_twelve_of_a_kind(stages):
    for index in range(20):
        (stages[0] / "media" / f"z{index:02}.png").write_bytes(bytes(3))
    (a,) = media.embedded(stages[:1])
    assert (
        len(a.images) == 12
        and a.left_out[0] == "z11.png"
        and media.embedded([stages[0] / "nowhere"])[0] == ([], [], [], [])
    )


def test_drawings_count_as_pictures_and_as_long_as_they_are(stages):
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" width="10pt" height="10pt"></svg>'
    (stages[0] / "media" / "influence-worst-2.svg").write_text(drawing)
    (a,) = media.embedded(stages[:1], most_bytes=2 * 400 + len(drawing))
    assert [one.caption for one in a.drawings] == ["influence: worst: 2"] and len(held(a)) == 2 and not a.images
    (a,) = media.embedded(stages[:1], most_bytes=len(drawing) - 1)
    assert not a.drawings and a.left_out[0] == "influence-worst-2.svg"
