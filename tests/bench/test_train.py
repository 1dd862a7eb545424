import json

import pytest
import torch
import yaml

from cjepa.bench import train
from cjepa.cli import main
from cjepa.world_models.model import PredictorDynamics
from tests.conftest import configs
from tests.contracts import stirred


def options_of(*names: str) -> dict:
    """The predictor's in an experiment."""
    (path,) = [word for word in configs(*names) if word != "-c"]
    with open(path) as file:
        return yaml.safe_load(file)["model"]["init_args"]["predictor"]["init_args"]


def test_the_sizes_are_those_of_the_experiments():
    assert options_of("pusht/cjepa_paper.yaml") == train.PAPER
    found = options_of("pusht/object_filter.yaml")
    assert {name: found[name] for name in ("dim", "rounds")} == {name: train.FILTER[name] for name in ("dim", "rounds")}
    assert tuple(found["place"]) == train.FILTER["place"]


def test_the_reference_is_the_same_network(monkeypatch):
    monkeypatch.setattr(train, "PAPER", {"dim": 16, "depth": 2, "num_heads": 4, "mlp_dim": 24, "dropout": 0.1})
    ours, reference = stirred(train.paper_predictor()).eval(), train.multihead_predictor().eval()
    renamed = {"attention.in_proj_": "to_qkv.", "attention.out_proj.": "to_out."}
    weights = ours.state_dict()
    for name in reference.state_dict():
        source = name
        for theirs, own in renamed.items():
            source = source.replace(theirs, own)
        reference.state_dict()[name].copy_(weights[source])
    clip = train.random_clip(3)
    mask_BTS = torch.rand(3, 3, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    mask_BTS[:, 0] = False
    predictions = [PredictorDynamics(network)(clip, mask_BTS) for network in (ours, reference)]
    assert (predictions[0].future_BFSD - clip.tokens_BTSD[:, -2:-1]).abs().max() > 0.1  # not just the last frame
    for own, theirs in zip(*predictions, strict=True):
        assert torch.allclose(own, theirs, atol=1e-5)
    assert len(weights) == len(reference.state_dict())


def test_a_step_trains():
    torch.manual_seed(0)
    dynamics = PredictorDynamics(train.filter_predictor()).train()
    before = {name: values.clone() for name, values in dynamics.named_parameters()}
    step = train.training_step(dynamics, train.random_clip(4), half_precision=True)
    step()  # the heads are zero at first, so that nothing behind them learns yet
    step()
    moved = {name for name, values in dynamics.named_parameters() if not torch.equal(values, before[name])}
    assert moved == set(before)


def test_rows_for_programs(monkeypatch, capsys):
    monkeypatch.setattr(train, "PAPER", {"dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16, "dropout": 0.1})
    threads = torch.get_num_threads()
    assert main(["bench", "train", "--batch_size=2", "--steps=3", "--rounds=2", "--cores=1", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(train.CONTENDERS) and torch.get_num_threads() == threads
    assert rows["multihead-fp32"]["ratio"] == pytest.approx(1.0)
    assert rows["cjepa"]["parameters"] == rows["multihead-fp32"]["parameters"]
    for row in rows.values():
        assert row["samples_per_s"] == pytest.approx(3 / row["seconds"]) and (row["n"], row["cores"]) == (2, 1)
        assert row["ratio"] == pytest.approx(rows["multihead-fp32"]["seconds"] / row["seconds"])


def test_an_unknown_reference_is_one_line(capsys):
    assert main(["bench", "train", "--against=magic"]) == 2
    assert "object-filter" in capsys.readouterr().err
