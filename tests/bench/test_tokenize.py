import json

import pytest

from cjepa.bench import tokenize
from cjepa.cli import main
from cjepa.tokenizers.base import Tokenizer
from tests.contracts import concrete_subclasses


def test_what_is_timed_takes_the_frames_that_it_is_timed_on():
    """The list is of this benchmark only: a tokenizer that somebody adds need not stand in it."""
    timed = [build() for build in tokenize.CONTENDERS.values()]
    assert {type(tokenizer) for tokenizer in timed} <= set(concrete_subclasses("cjepa.tokenizers", Tokenizer))
    assert {tokenizer.image_size for tokenizer in timed if tokenizer.info.column == "pixels"} == {64}


@pytest.mark.slow
def test_rows_for_programs(monkeypatch, capsys):
    reference, file = "oracle", "slots-2-to-file"
    monkeypatch.setattr(tokenize, "CONTENDERS", {reference: tokenize.CONTENDERS[reference]})
    assert main(["bench", "tokenize", "--clips=2", "--blocks=3", "--rounds=2", "--against", reference, "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {reference, file}
    assert rows[reference]["ratio"] == pytest.approx(1.0)
    assert rows[file]["ratio"] == pytest.approx(rows[reference]["seconds"] / rows[file]["seconds"])
    assert all(row["peak_memory_mb"] > 50 and row["unit"] == "frames" for row in rows.values())
    assert rows[reference]["samples_per_s"] == pytest.approx(2 * 3 / rows[reference]["seconds"])


def test_an_unknown_reference_is_one_line(capsys):
    assert main(["bench", "tokenize", "--against=magic"]) == 2
    assert "slots-2" in capsys.readouterr().err
