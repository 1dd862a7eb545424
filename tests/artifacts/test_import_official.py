"""Released weights become a model that every command takes; nothing that their files name is run."""

import json
import sys
import types

import pytest
import torch
from torch import nn

from cjepa.cli import main
from cjepa.types import Clip
from cjepa.world_models.loading import load_world_model
from tests.conftest import configs, tokenize
from tests.published import Published, published_weights
from tests.sharing import once

D, P, A, HISTORY = 16, 4, 10, 3
HEADS = "--num_heads=4"


@pytest.fixture(scope="session")
def tokens(tmp_path_factory, episodes_path):
    return once(tmp_path_factory, "tokens-16.h5", tokenize("oracle:16", episodes_path))


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return published_weights(D, HISTORY + 1, proprio_dim=P, action_dim=A)


def pickled_module(weights: dict, path):
    """As the published code saves: a whole module, of classes that are gone when it is read. One acts if built."""
    code = types.ModuleType("src_of_others")
    exec(
        "from torch import nn\n"
        "class World(nn.Module): pass\n"
        "class Settings(dict): pass\n"
        "class Acts:\n"
        "    def __reduce__(self): return (open, (self.path, 'w'))\n",
        code.__dict__,
    )
    sys.modules[code.__name__] = code
    for name in ("World", "Settings", "Acts"):
        getattr(code, name).__module__ = code.__name__
    whole = code.World()
    for name, value in weights.items():
        *folders, leaf = name.split(".")
        inner = whole
        for folder in folders:
            if folder not in dict(inner.named_children()):
                inner.add_module(folder, code.World())
            inner = getattr(inner, folder)
        inner.register_parameter(leaf, nn.Parameter(value))
    whole.register_buffer("seen", torch.tensor(3))
    whole.settings, whole.acts = code.Settings(rate=1.0), code.Acts()
    whole.acts.path = str(path.with_suffix(".made"))
    torch.save(whole, path)
    path.with_suffix(".made").unlink(missing_ok=True)
    del sys.modules[code.__name__]


def save(kind: str, weights: dict, path) -> None:
    if kind == "module":
        pickled_module(weights, path)
    elif kind == "checkpoint":
        torch.save({"state_dict": weights, "epoch": 3}, path)
    else:
        bare = {name.removeprefix("model."): value for name, value in weights.items()}
        torch.save({name.removeprefix("predictor."): value for name, value in bare.items()}, path)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["module", "checkpoint", "state-dict"])
def test_its_rollouts_are_the_published_ones(kind, weights, tokens, tmp_path):
    save(kind, weights, tmp_path / "official.ckpt")
    words = ["import-official", str(tmp_path / "official.ckpt"), "--data", str(tokens), "--out", str(tmp_path / "run")]
    assert main([*words, HEADS]) == 0
    assert not (tmp_path / "official.made").exists()
    loaded = load_world_model(tmp_path / "run" / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    clip = Clip(*(torch.randn(shape, generator=generator) for shape in ((2, 1, 2, D), (2, 1, P), (2, 1, A))))
    later = torch.randn(2, 4, A, generator=generator)
    found = loaded.dynamics.rollout(loaded.dynamics.observe(clip), later)
    published, scales = Published(weights, 4, 1), loaded.dynamics
    proprio, actions = scales.proprio_scale(clip.proprio_BTP), scales.action_scale(later)
    start = torch.cat([clip.tokens_BTSD, published.embed("proprio", proprio)], dim=2)
    expected = published.rollout(start, published.embed("action", actions), 4, HISTORY, matched=True)
    torch.testing.assert_close(found.tokens_BHSD, expected[:, :, :2], atol=1e-5, rtol=0)
    assert scales.action_scale.fitted and (scales.action_scale.std != 1).any()  # of the tokens' training episodes


def test_every_command_takes_it(weights, tokens, episodes_path, tmp_path, small_card, capsys):
    save("state-dict", weights, tmp_path / "official.ckpt")
    run = tmp_path / "run"
    words = ["import-official", str(tmp_path / "official.ckpt"), "--data", str(tokens), "--out", str(run), HEADS]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "history_blocks 3, predict_blocks 1" in out and out.endswith(f"next: cjepa test {run}\n")
    assert main(["inspect", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["class"] == "cjepa.world_models.official.OfficialWorldModel"
    small = ["--data.init_args.val_clips=8", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    assert main(["test", str(run), "--run_dir", str(tmp_path / "tested"), *small]) == 0
    metrics = {row["metric"] for row in json.loads((tmp_path / "tested" / "results_test.json").read_text())}
    assert {"rollout_error@1", "rollout_error@5", "rollout_error_proprio@5"} <= metrics
    search = {"num_samples": 4, "iterations": 1, "num_elites": 2}
    words = ["plan", str(run), *configs("pusht/plan.yaml"), f"--episodes={episodes_path}", "--pairs=1"]
    words += ["--budget_env_steps=25", "--num_videos=0", f"--out={tmp_path / 'plan'}"]
    assert main(words + [f"--planner.init_args.{key}={value}" for key, value in search.items()]) == 0
    assert (tmp_path / "plan" / "results.json").is_file()


def test_a_model_of_ten_blocks_without_actions(collide_table_path, tmp_path):
    tokens = tmp_path / "tokens.h5"
    tokenize("oracle:16", collide_table_path)(tokens)
    save("state-dict", published_weights(D, 16), tmp_path / "official.ckpt")
    words = ["import-official", str(tmp_path / "official.ckpt"), "--data", str(tokens), "--out", str(tmp_path / "run")]
    assert main([*words, HEADS]) == 0
    dynamics = load_world_model(tmp_path / "run" / "model.safetensors").dynamics
    assert (dynamics.history_blocks, dynamics.predictor.predict_blocks, dynamics.predictor.matching) == (6, 10, "index")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["datamodule_hyper_parameters"]["frame_stride"] == 2


WRONG = {
    "no file": (lambda w: None, "no such file"),
    "text": (b"no weights", "not a file of torch.save"),
    "nothing in it": ({"epoch": 3}, "contains no weights"),
    "other weights": ({"linear.weight": torch.ones(2, 2)}, "0 tensors named time_pos_embed"),
    "two predictors": (lambda w: w | {"old.time_pos_embed": torch.ones(1, 4, 1, D)}, "2 tensors named time_pos_embed"),
    "a tensor missing": (lambda w: {k: v for k, v in w.items() if "id_projector.bias" not in k}, "embed_anchor.bias"),
    "another shape": (lambda w: w | {"model.predictor.to_out.bias": torch.ones(3)}, "token_head.bias has shape (3,)"),
    "axes missing": (lambda w: w | {"model.predictor.time_pos_embed": torch.ones(4)}, "time_embedding has shape (4,)"),
    "a tensor more": (
        lambda w: w | {"model.predictor.slot_embed": torch.ones(1, 1, 4, D)},
        "has a tensor model.predictor.slot_embed that the published predictor does not have",
    ),
    "a tensor more in a state dict": (
        lambda w: (
            {name.removeprefix("model.predictor.").removeprefix("model."): v for name, v in w.items()}
            | {"query.weight": torch.ones(D, D)}
        ),
        "has a tensor query.weight that the published predictor does not have",
    ),
    "a time embedding per entity": (
        lambda w: w | {"model.predictor.time_pos_embed": torch.ones(1, 4, 3, D)},
        f"time_embedding has shape (1, 4, 3, {D})",
    ),
    "a convolution over two blocks": (
        lambda w: w | {"model.action_encoder.patch_embed.weight": torch.ones(D, A, 2)},
        f"embed_action.weight has shape ({D}, {A}, 2)",
    ),
    "two mask tokens": (
        lambda w: w | {"model.predictor.mask_token": torch.ones(1, 2, D)},
        f"mask_token has shape (2, {D})",
    ),
    "not finite": (lambda w: w | {"model.predictor.to_out.bias": torch.full((D,), torch.nan)}, "not finite"),
    "no such blocks": (
        lambda w: w | {"model.predictor.time_pos_embed": torch.ones(1, 7, 1, D)},
        "has 7 time embeddings; give --predict_blocks",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files(name, weights, tokens, tmp_path, refused):
    content, message = WRONG[name]
    content = content(weights) if callable(content) else content
    path = tmp_path / "official.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    line = refused("import-official", path, "--data", tokens, "--out", tmp_path / "run", HEADS)
    assert str(path) in line and message in line
    assert not (tmp_path / "run").exists()


def test_wrong_calls(weights, tokens, tokens_path, tmp_path, refused):
    path = tmp_path / "official.ckpt"
    torch.save(weights, path)
    words = ["import-official", path, "--out", tmp_path / "run"]
    assert "num_heads is 5, expected a divisor" in refused(*words, "--data", tokens, "--num_heads", "5")
    line = refused(*words, "--data", tokens, HEADS, "--predict_blocks", "4")
    assert "--predict_blocks 4: the file has 4 time embeddings, expected 1 to 3" in line
    assert "no such file" in refused(*words, "--data", tmp_path / "none.h5", HEADS)
    assert "token_dim is 6, but the weights take 16" in refused(*words, "--data", tokens_path, HEADS)
    assert "action_dim is 2, but the weights take 10" in refused(*words, "--data", tokens, HEADS, "--frame_stride", "1")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    assert "not an empty folder" in refused(*words, "--data", tokens, HEADS)
