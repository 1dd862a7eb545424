"""Files of the wrong shape: each is one line with the file's name, in every verb that reads it; nothing is written."""

import copy
import json
import math
import re
import shutil

import h5py
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from cjepa.checkpoints import ZOO, check_finite, load_module, read_checkpoint
from cjepa.configuration.run_config import read_config
from cjepa.errors import UserError
from cjepa.tokenizers.training import TokenizerTraining, load_tokenizer


@pytest.fixture
def model(tmp_path):
    """A copy of a model of the zoo."""
    return shutil.copytree(ZOO / "pusht-slots", tmp_path / "model")


def inside_itself() -> list:
    value: list = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("state_dict", None, "state_dict is not a mapping"),
        ("state_dict", {3: torch.zeros(1)}, "state_dict is not a mapping"),
        ("state_dict", {"a": "text"}, "state_dict is not a mapping of names to tensors"),
        ("state_dict", {"a": torch.zeros(1).expand(10**12)}, "a: a tensor .* of which fewer values are stored"),
        ("hyper_parameters", None, "hyper_parameters do not name a class"),
        ("hyper_parameters", [], "hyper_parameters is"),
        ("hyper_parameters", {"_class_path": 3}, "hyper_parameters do not name a class"),
        ("hyper_parameters", {"_class_path": "a.B", "_instantiator": "os.system"}, "another _instantiator"),
        ("hyper_parameters", {"_class_path": "a.B", "x": inside_itself()}, "contains itself"),
        ("datamodule_hyper_parameters", 3, "datamodule_hyper_parameters is 3, expected dict"),
        ("tokenizer", [1], "tokenizer is"),
        ("tokenizer_fingerprint", 3, "tokenizer_fingerprint is 3, expected str"),
        ("lineage", {"split_seed": 0}, "lineage: episodes_fingerprint is None"),
        ("loops", [], "loops is"),
        ("global_step", "many", "global_step is 'many', expected int"),
    ],
)
def test_parts_of_a_checkpoint(part, value, message, episodes_path, tmp_path, refused):
    path = tmp_path / "model.ckpt"
    content = {"state_dict": {}, "hyper_parameters": {"_class_path": "a.B"}, "global_step": 1, part: value}
    torch.save(content, path)
    with pytest.raises(UserError, match=f"model.ckpt.*{message}"):
        read_checkpoint(path)
    for words in (("inspect", path), ("export", path, "--out", tmp_path / "out")):
        assert "model.ckpt" in refused(*words)
    assert "model.ckpt" in refused("tokenize", path, episodes_path, "--out", tmp_path / "out.h5")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.ckpt"]


@pytest.mark.parametrize(
    "change",
    [
        lambda parameters: parameters.pop("tokenizer"),
        lambda parameters: parameters.update(tokenizer=3),
        lambda parameters: parameters.update(loss_weights=[1]),
        lambda parameters: parameters["tokenizer"].update(class_path="cjepa.planning.planners.cem.CEM"),
        lambda parameters: parameters["tokenizer"]["init_args"].update(num_slots="many"),
    ],
)
def test_parameters_that_are_not_those_of_the_class(change, model, tmp_path):
    config = json.loads((model / "config.json").read_text())
    change(config["hyper_parameters"])
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="model.safetensors: its parameters do not fit TokenizerTraining"):
        load_tokenizer(model)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda weights, name: weights.pop(name), "they lack {name}"),
        (lambda weights, name: weights.update(other=torch.ones(1)), "they have other, which the model does not"),
        (lambda weights, name: weights.update({name: torch.ones(1, 7)}), "{name} has another shape"),
    ],
)
def test_weights_that_do_not_fit_are_not_exported(change, told, model, tmp_path, refused):
    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if name.endswith(".weight"))
    change(weights, name)
    save_file(weights, model / "model.safetensors")
    line = refused("export", model, "--out", tmp_path / "out")
    assert f"{model / 'model.safetensors'}: its weights come from another version" in line
    assert told.format(name=name) in line and not (tmp_path / "out").exists()


def test_weights_that_are_not_finite(model, tmp_path, refused):
    content = read_checkpoint(model / "model.safetensors")
    name = next(name for name, value in content["state_dict"].items() if value.is_floating_point())
    content["state_dict"][name] = torch.full_like(content["state_dict"][name], math.nan)
    path = tmp_path / "diverged.ckpt"
    torch.save(content, path)
    message = f"diverged.ckpt: {name} contains values that are not finite"
    for check in (check_finite, lambda *parts: load_module(TokenizerTraining, *parts)):
        with pytest.raises(UserError, match=message):
            check(copy.deepcopy(content), path)
    assert message in refused("export", path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_test_of_weights_that_are_not_finite_writes_nothing(model, episodes_path, tmp_path, refused):
    weights = load_file(model / "model.safetensors")
    name = next(name for name, value in weights.items() if value.is_floating_point())
    save_file(weights | {name: torch.full_like(weights[name], math.inf)}, model / "model.safetensors")
    before = sorted(tmp_path.rglob("*"))
    line = refused("test", model, "--data.init_args.path", episodes_path, "--run_dir", tmp_path / "out")
    assert f"{model / 'model.safetensors'}: {name} contains values that are not finite" in line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.json", '{"model": 3}', "model is 3, expected dict"),
        ("run.json", '{"model": {"class": 3}}', "model: class is 3, expected str"),
        ("run.json", "{}", "the record: model is None, expected dict"),
        ("run.json", '{"seconds": NaN}', "not finite"),
        ("run.json", "[" * 60 + "]" * 60, "deeper than 50"),
        ("results.json", '[{"metric": "success", "model": "a", "seed": [1]}]', "row 0: seed is"),
        ("results.json", '[{"metric": "rollout_error@x", "model": "a"}]', "expected rollout_error@BLOCKS"),
        ("results.json", '[{"metric": "a", "model": "a", "value": 1e300}]', "row 0: value is 1e.300, expected at most"),
        ("results.json", '[{"metric": "a", "model": "a", "value": 1.5, "unit": "rate"}]', "expected 0 to 1"),
        ("config.json", "[]", "config.json is not a mapping"),
    ],
)
def test_records_of_a_model_to_export(name, text, message, model, tmp_path, refused):
    (model / name).write_text(text)
    line = refused("export", model, "--out", tmp_path / "out")
    assert name in line and re.search(message, line), line
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "the config is not a mapping"),
        ("model: 3", "the config: model is 3, expected dict"),
        ("data: {init_args: {}}", "data: class_path is None, expected str"),
        ("data: {class_path: a.B, init_args: [1]}", r"data: init_args is \[1\], expected dict"),
        ("trainer: &a {callbacks: *a}", "inside of what it names"),
    ],
)
def test_the_config_of_a_run(text, message, model):
    (model / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=f"config.yaml.*{message}"):
        read_config(model / "config.yaml")


def test_options_that_the_clips_do_not_take(model, refused, tmp_path):
    config = yaml.safe_load((model / "config.yaml").read_text())
    config["data"]["init_args"]["val_blocks"] = "many"
    (model / "config.yaml").write_text(yaml.safe_dump(config))
    line = refused("preview", model, "--out", tmp_path / "out")
    assert "config.yaml: data.init_args.val_blocks: expected int, got many" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe", b'"' + b"x" * 200_000])
def test_metrics_that_are_no_table(content, model, refused):
    (model / "metrics.csv").write_bytes(content)
    assert "metrics.csv" in refused("report", model)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("tokenizer", "[1]", r"its attribute tokenizer is \[1\], expected a JSON object"),
        ("tokenizer", "{", "its attribute tokenizer: not valid JSON"),
        ("tokenizer_fingerprint", 3, "tokenizer_fingerprint is 3, expected str"),
        ("episodes_path", [1, 2], "episodes_path is"),
        ("excluded_episodes", "{}", "excluded_episodes is .* expected a JSON list"),
        ("fingerprint", 3, "fingerprint is 3, expected str"),
        ("crc32", "text", "its index is damaged"),
    ],
)
def test_attributes_of_a_token_file(attribute, value, message, tokens_path, tmp_path, refused):
    path = shutil.copy(tokens_path, tmp_path / "tokens.h5")
    with h5py.File(path, "r+") as file:
        file.attrs[attribute] = value
    line = refused("inspect", path)
    assert "tokens.h5" in line and re.search(message, line), line
