"""One line, whatever the terminal's width: times are whole, the note gives way."""

import re

import pytest

from cjepa.progress import ProgressBar


def drawn(capsys, monkeypatch, columns: int, title: str, note: str) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(KeyboardInterrupt), ProgressBar(title, 1e6, "frames") as bar:
        bar.advance(64, note=note)
        raise KeyboardInterrupt  # as the line looks on the way
    return capsys.readouterr().err


@pytest.mark.parametrize("columns", [50, 80, 200])
@pytest.mark.parametrize("title", ["collect", "plan baselines"])
def test_times_are_never_cut(capsys, monkeypatch, columns, title):
    text = drawn(capsys, monkeypatch, columns, title, "1,234,567 contacts")
    assert text.count("\n") == 1 and len(text.rstrip()) <= columns
    assert re.search(r" 0 % \d+:\d\d:\d\d left (-:--:--|\d+:\d\d:\d\d) ", text) and text.startswith(title)


def test_eighty_columns_hold_the_note_of_collect(capsys, monkeypatch):
    assert re.search(r" frames/s +1,234 contacts\n", drawn(capsys, monkeypatch, 80, "collect", "1,234 contacts"))


def test_what_an_earlier_run_did_counts_as_done_but_not_for_the_rate(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with ProgressBar("collect", 200, "frames") as bar:
        bar.advance(150, new=False)
        assert bar.rate == "nothing new"
        bar.advance(50)
    assert "100 %" in capsys.readouterr().err and re.fullmatch(r"[\d,.]+ frames/s", bar.rate)


def test_work_that_was_less_than_expected_ends_at_100(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with ProgressBar("preview", 8, "episodes") as bar:
        bar.advance(1)
    assert "preview" in (shown := capsys.readouterr().err) and "100 %" in shown
    with pytest.raises(ValueError), ProgressBar("preview", 8, "episodes") as bar:
        bar.advance(1)
        raise ValueError
    assert "100 %" not in capsys.readouterr().err


def test_where_nothing_was_done_no_bar_stays(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with ProgressBar("verify", 8, "files"):
        pass
    assert capsys.readouterr().err == ""


def test_steps_that_are_minutes_apart_say_when_all_will_be_done():
    with ProgressBar("plan", 50, "env steps") as bar:
        started = bar._progress.get_time()
        for step in (1, 2):
            bar._progress.get_time = lambda step=step: started + 60 * step
            bar.advance(5)
            assert bar._progress.tasks[0].time_remaining == pytest.approx(600 - 60 * step, abs=2)
        bar._started -= 120
        assert bar.rate == "0.083 env steps/s"
