"""A module names its evaluation; what that measures becomes rows."""

import sys
from types import ModuleType, SimpleNamespace

import lightning as L
import pytest
import torch

from cjepa.errors import UserError
from cjepa.evaluation.intervals import Interval
from cjepa.evaluation.measurements import Measurement, evaluation_of
from cjepa.files import read_json
from cjepa.progress import ProgressBar
from cjepa.reporting.fit import write_test_results


class Silent(L.LightningModule):
    """Says nothing of its evaluation."""


class Named(L.LightningModule):
    """One in a package of the user's own."""

    evaluation = "somebody.scores:evaluate"


def test_an_evaluation_outside_the_package_becomes_rows(monkeypatch, tmp_path):
    def evaluate(module, data, split, progress):
        with progress("count", 2, "clips") as bar:
            bar.advance(2)
        return [Measurement.of("hits", Interval(0.5, 0.1, 0.9, 2), "rate", 3, 4), Measurement(f"{data}@{split}", 7.0)]

    package, module = ModuleType("somebody"), ModuleType("somebody.scores")
    module.evaluate = evaluate
    monkeypatch.setitem(sys.modules, "somebody", package)
    monkeypatch.setitem(sys.modules, "somebody.scores", module)
    rows = read_json(write_test_results(Named(), "data", tmp_path / "mine"))
    assert [row["metric"] for row in rows] == ["hits", "data@test"]
    assert {row["model"] for row in rows} == {"mine"} and {row["split"] for row in rows} == {"test"}
    keys = ("value", "low", "high", "n", "unit", "tokens", "token_dim")
    assert [rows[0][key] for key in keys] == [0.5, 0.1, 0.9, 2, "rate", 3, 4]
    assert [rows[1][key] for key in keys] == [7.0, None, None, None, "", None, None]


def test_without_one_what_was_logged_for_the_split_counts():
    module = Silent()
    metrics = {"val/loss": torch.tensor(2.0), "test/loss": torch.tensor(3.0), "train/loss": torch.tensor(4.0)}
    module._trainer = SimpleNamespace(callback_metrics=metrics)
    assert evaluation_of(module)(module, None, "test", ProgressBar) == [Measurement("loss", 3.0)]


@pytest.mark.parametrize(
    "name", ["somebody.nowhere:evaluate", "cjepa.evaluation.tokenizers.tokens:nothing", "no name", None]
)
def test_a_name_that_leads_nowhere_is_one_line(name, monkeypatch):
    monkeypatch.setattr(Named, "evaluation", name)
    with pytest.raises(UserError, match="Named.evaluation is .* expected an entry point") as caught:
        evaluation_of(Named())
    assert "\n" not in str(caught.value)
