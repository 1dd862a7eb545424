"""Options that are on or off, ``--flag`` and ``--no_flag``; options that take several numbers."""

from dataclasses import dataclass

import pytest
from jsonargparse.typing import PositiveInt

from cjepa.cli import main
from cjepa.configuration.function_options import call


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ([], False),
        (["--flag"], True),
        (["--flag", "true"], True),
        (["--flag=false"], False),
        (["--no_flag"], False),
        (["--no_flag", "false"], True),
        (["--flag", "--number", "2"], True),
        (["-c", "flag.yaml"], True),
        (["-c", "flag.yaml", "--no_flag"], False),
    ],
)
@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_flag_needs_no_value(words, value, place, tmp_path, monkeypatch):
    def command(path: str, number: int = 1, flag: bool = False):
        """Say what came.

        Args:
            path: a file.
            number: of things.
            flag: or not.
        """
        return path, flag

    monkeypatch.chdir(tmp_path)
    (tmp_path / "flag.yaml").write_text("flag: true")
    line = ["a.h5", *words] if place == "behind" else [*words, "a.h5"]
    assert call(command, ("path",), line, "cjepa say", "says what came") == ("a.h5", value)


@dataclass(frozen=True)
class Task:
    """Where to go.

    Args:
        distances: of goals.
    """

    distances: list[PositiveInt] | None = None


@pytest.mark.parametrize(
    ("words", "distances", "place"),
    [
        ([], None, None),
        (["--distances", "25,50,75"], [25, 50, 75], None),
        (["--distances=25, 50", "--place", "-1,2.5e1,0"], [25, 50], [-1.0, 25.0, 0.0]),
        (["--distances", "25"], [25], None),
        (["--distances", "[25, 50]", "--place=[1]"], [25, 50], [1.0]),
        (["-c", "task.yaml", "--distances", "null"], None, [3.0]),
    ],
)
def test_several_numbers_need_no_brackets(words, distances, place, tmp_path, monkeypatch):
    def command(path: str, task: Task, place: list[float] | None = None):
        """Say what came.

        Args:
            path: a file.
            task: to do.
            place: of the goal.
        """
        return path, task.distances, place

    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.yaml").write_text("{distances: [1, 2], place: [3]}")
    for line in (["1,2", *words], [*words, "1,2"]):  # only values of these options are lists
        assert call(command, ("path",), line, "cjepa say", "says what came") == ("1,2", distances, place)


def test_a_flag_explains_itself(capsys):
    with pytest.raises(SystemExit):
        main(["collect", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--masks [{true,yes,false,no}], --no_masks" in text
    assert "store label images too. (type: bool, default: True)" in text
