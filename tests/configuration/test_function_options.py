"""Options that are on or off: ``--flag`` and ``--no_flag``."""

import pytest

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


def test_a_flag_explains_itself(capsys):
    with pytest.raises(SystemExit):
        main(["collect", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--masks [{true,yes,false,no}], --no_masks" in text
    assert "store label images too. (type: bool, default: True)" in text
