import shutil
import struct
import subprocess
import time
import zlib

import imageio_ffmpeg
import numpy as np
import pytest

from cjepa.data.converters.columns import resize_images
from cjepa.data.converters.video import VideoReader
from cjepa.errors import UserError
from cjepa.reporting.videos import write_video
from tests.data.converters.episodes import frames


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", frames(0, 40), 10)


def brightest_column(pixels: np.ndarray) -> np.ndarray:
    """Where the square of ``frames`` begins: the row that a frame is."""
    ground = np.median(pixels.reshape(len(pixels), -1, 3), axis=1)[:, None]
    off = np.abs(pixels[:, 16].astype(int) - ground).sum(axis=-1)
    return np.argmax(off > off.max(axis=1, keepdims=True) / 2, axis=1) - 4


def test_frames_come_in_order_and_each_once(video):
    with VideoReader(video, 0) as reader:
        parts = [reader.read(count) for count in (1, 20, 0, 19)]
        assert reader.at_end()
    assert brightest_column(np.concatenate(parts)).tolist() == list(range(40))


def test_frames_can_be_passed_over(video):
    with VideoReader(video, 0) as reader:
        reader.skip_to(13)
        assert brightest_column(reader.read(2)).tolist() == [13, 14]
        assert reader.position == 15 and not reader.at_end()


def test_time_stamps_make_and_drop_no_frames(tmp_path):
    """29.97 frames a second: players that keep time would repeat or skip some."""
    path = write_video(tmp_path / "odd.mp4", frames(0, 40), 29.97)
    with VideoReader(path, 0) as reader:
        assert brightest_column(reader.read(40)).tolist() == list(range(40)) and reader.at_end()


def test_scaled_frames_are_means_over_areas(video):
    with VideoReader(video, 0) as whole, VideoReader(video, 16) as small:
        expected = resize_images("pixels", whole.read(40), 16)
        assert np.abs(small.read(40).astype(int) - expected).mean() < 1.5


def test_the_end_is_an_error_that_says_what_was_wanted(video):
    with VideoReader(video, 0) as reader:
        reader.skip_to(38)
        with pytest.raises(UserError, match="a.mp4: ends after 40 frames, expected 3 more"):
            reader.read(5)


def test_damage_within_a_video_is_no_shorter_video(video, tmp_path):
    content = bytearray(video.read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    (tmp_path / "damaged.mp4").write_bytes(content)
    with pytest.raises(UserError, match="damaged.mp4"):
        with VideoReader(tmp_path / "damaged.mp4", 0) as reader:
            reader.read(40)


def test_a_machine_too_busy_to_start_ffmpeg_in_time_is_given_time(video, monkeypatch):
    real, clock, calls = imageio_ffmpeg.read_frames, iter(range(0, 1000, 10)), []

    def slow(*arguments, **options):
        calls.append(arguments)
        if len(calls) < 3:
            return iter(())  # nothing said
        return real(*arguments, **options)

    monkeypatch.setattr(imageio_ffmpeg, "read_frames", slow)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with VideoReader(video, 0) as reader:
        assert len(calls) == 3 and len(reader.read(40)) == 40


def test_what_is_no_video_is_not_tried_again(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_text("hello")
    real, calls = imageio_ffmpeg.read_frames, []
    monkeypatch.setattr(imageio_ffmpeg, "read_frames", lambda *a, **k: calls.append(a) or real(*a, **k))
    with pytest.raises(UserError, match="a.mp4: ffmpeg cannot read this video"):
        VideoReader(tmp_path / "a.mp4", 0)
    assert len(calls) == 1


def test_a_declared_size_that_fills_memory_is_refused(tmp_path):
    """One PNG as a video, whose header then says 12,000 x 12,000: 430 MB a frame."""
    path, ffmpeg = tmp_path / "a.mp4", imageio_ffmpeg.get_ffmpeg_exe()
    source = ["-f", "lavfi", "-i", "color=s=64x64:r=1", "-frames:v", "1", "-c:v", "png", "-f", "mov", str(path)]
    subprocess.run([ffmpeg, "-loglevel", "error", *source], check=True)
    with VideoReader(path, 0) as reader:
        assert reader.read(1).shape == (1, 64, 64, 3)
    content = bytearray(path.read_bytes())
    header = content.index(b"IHDR")
    content[header + 4 : header + 12] = struct.pack(">II", 12_000, 12_000)
    content[header + 17 : header + 21] = struct.pack(">I", zlib.crc32(content[header : header + 17]))
    path.write_bytes(content)
    with pytest.raises(UserError, match="a.mp4: its frames have more than 67,108,864 pixels"):
        VideoReader(path, 64)


def test_more_frames_than_memory_can_hold_are_refused(video):
    with VideoReader(video, 0) as reader, pytest.raises(UserError, match="a.mp4: 1000000000000 frames .* into memory"):
        reader.read(10**12)


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {video}\n",
    ],
)
def test_a_playlist_opens_no_other_file(playlist, video, tmp_path):
    """A source must not get at files beside it by naming them."""
    shutil.copy(video, tmp_path / "other.mp4")
    (tmp_path / "a.mp4").write_text(playlist.format(video="other.mp4"))
    with pytest.raises(UserError, match="a.mp4: ffmpeg cannot read this video"):
        VideoReader(tmp_path / "a.mp4", 0)
