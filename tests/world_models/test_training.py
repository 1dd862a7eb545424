import lightning as L
import pytest
import torch

from cjepa.checkpoints import find_checkpoint, read_checkpoint
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.token_clips import TokenClips
from cjepa.data.video_clips import VideoClips
from cjepa.errors import UserError
from cjepa.types import Clip
from cjepa.world_models.masks import Mask, ObjectMask
from cjepa.world_models.predictors.base import Prediction, Predictor
from cjepa.world_models.predictors.ensemble import Ensemble
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from cjepa.world_models.predictors.flat_mlp import FlatMLP
from cjepa.world_models.predictors.prefix_transformer import PrefixTransformer
from cjepa.world_models.training import WorldModel
from tests.conftest import token_attributes
from tests.contracts import stirred
from tests.reporting.test_fit import fit_with

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SMALL = {"history_blocks": 3, "dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 32, "dropout": 0.0}


class Zeros(Predictor):
    """Predicts 0 for everything and remembers what it was given."""

    token_dim, proprio_dim, action_dim, history_blocks = 2, 2, 1, 3

    def forward(self, tokens_BTSD, proprio_BTP, actions_BTA, mask_BTS):
        self.given = (tokens_BTSD, proprio_BTP, actions_BTA, mask_BTS)
        batch, blocks, slots, dim = tokens_BTSD.shape
        zeros = tokens_BTSD.new_zeros(batch, blocks + 1, slots, dim)
        return Prediction(zeros[:, :-1], zeros[:, -1:], torch.zeros_like(proprio_BTP[:, :1]))


def a_clip(blocks: int, batch: int = 2, slots: int = 3, dims=(6, 4, 10), seed: int = 0) -> Clip:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, blocks, slots, dims[0]), (batch, blocks, dims[1]), (batch, blocks, dims[2])]
    return Clip(*(torch.randn(shape, generator=generator) for shape in shapes))


def small_model(mask: Mask | None = None, seed: int = 0, **changes) -> WorldModel:
    torch.manual_seed(seed)
    predictor = stirred(EntityTransformer(token_dim=6, **SMALL), seed)
    return WorldModel(predictor, mask or ObjectMask(1), **changes).eval()


def test_nothing_hidden_costs_nothing():
    terms = small_model(ObjectMask(0)).loss_terms(a_clip(4), torch.Generator())
    assert terms["masked"].item() == 0.0 and terms["future"] > 0


def test_hidden_proprioception_never_reaches_the_loss_of_objects():
    """Only its next block is a target, which the last of four blocks is, after the longest history."""
    model, clip = small_model(ObjectMask(1, hide_proprio=1.0)), a_clip(4, batch=16)
    other = clip._replace(proprio_BTP=torch.cat([clip.proprio_BTP[:, :1], clip.proprio_BTP[:, 1:] + 1], dim=1))
    terms, found = (model.loss_terms(batch, torch.Generator().manual_seed(0)) for batch in (clip, other))
    assert torch.equal(terms["masked"], found["masked"]) and torch.equal(terms["future"], found["future"])
    assert terms["masked"] > 0 and not torch.equal(terms["proprio"], found["proprio"])


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 0.0), (0.0, 3.0)])
def test_the_loss_is_the_weighted_sum(weights):
    model = small_model(ObjectMask(1), masked_weight=weights[0], proprio_weight=weights[1])
    logged = {}
    model.log_dict = lambda values, **_: logged.update(values)
    model.log = lambda name, value, **_: logged.update({name: value})
    loss = model.training_step(a_clip(4), 0)
    expected = logged["train/future"] + weights[0] * logged["train/masked"] + weights[1] * logged["train/proprio"]
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logged["train/loss"], loss)


def test_what_a_step_draws_depends_on_the_step_alone(monkeypatch):
    clip = a_clip(4, batch=16)

    def losses(steps, mask_seed=0, rank=0):
        model = small_model(ObjectMask(1), mask_seed=mask_seed)
        model.log_dict = model.log = lambda *_, **__: None
        monkeypatch.setattr(WorldModel, "global_rank", rank)
        found = []
        for step in steps:
            monkeypatch.setattr(WorldModel, "global_step", step)
            found.append(model.training_step(clip, 0).item())
        return found

    whole = losses(range(8))
    assert len(set(whole)) > 4  # histories of one block have nothing to hide
    assert losses(range(5, 8)) == whole[5:]  # resumed
    assert losses(range(8), mask_seed=1) != whole
    assert losses(range(8), rank=1) != whole


def test_every_history_length_is_trained(monkeypatch):
    model = WorldModel(Zeros(), ObjectMask(0))
    model.log_dict = model.log = lambda *_, **__: None
    lengths = []
    for step in range(40):
        monkeypatch.setattr(WorldModel, "global_step", step)
        model.training_step(a_clip(4, dims=(2, 2, 1)), 0)
        lengths.append(model.dynamics.predictor.given[0].shape[1])
    assert set(lengths) == {1, 2, 3}


def test_histories_may_be_long_alone():
    model = WorldModel(Zeros(), ObjectMask(0), shortest_history=3)
    for seed in range(5):
        model.loss_terms(a_clip(4, dims=(2, 2, 1)), torch.Generator().manual_seed(seed))
        assert model.dynamics.predictor.given[0].shape[1] == 3
    with pytest.raises(ValueError, match="shortest_history is 4, expected 1..3"):
        WorldModel(Zeros(), ObjectMask(0), shortest_history=4)


def test_validation_by_hand():
    model = WorldModel(Zeros(), ObjectMask(0), proprio_weight=2.0)
    logged = {}
    model.log_dict = lambda values, **_: logged.update(values)
    tokens = torch.zeros(1, 5, 1, 2)
    tokens[0, :, 0, 0] = torch.tensor([9.0, 9.0, 1.0, 2.0, 4.0])  # 3 of history, then 2 to predict
    proprio = torch.zeros(1, 5, 2)
    proprio[0, 3] = 3.0
    model.validation_step(Clip(tokens, proprio, torch.arange(5.0).reshape(1, 5, 1)), 0)
    assert model.dynamics.predictor.given[2].flatten().tolist() == [1, 2, 3]  # the last action leads out of the clip
    assert {name: float(value) for name, value in logged.items()} == {
        "val/loss": 2.0 + 2 * 9.0,
        "val/future": 2.0,
        "val/proprio": 9.0,
        "val/error@1": 2.0,
        "val/copy_error@1": 0.5,
        "val/error@2": 8.0,
        "val/copy_error@2": 4.5,
    }


def fit(tokens_path, model: WorldModel, max_steps: int = 2) -> L.Trainer:
    data = TokenClips(str(tokens_path), train_blocks=4, val_blocks=8, batch_size=16)
    trainer = L.Trainer(
        max_steps=max_steps,
        val_check_interval=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    return trainer


def test_a_short_training(tokens_path):
    model = small_model()
    metrics = fit(tokens_path, model).callback_metrics
    assert {"train/loss", "train/masked", "train/future", "train/proprio"} <= set(metrics)
    assert {"val/loss", "val/future", "val/proprio", "val/rollout_error@1", "val/rollout_error@5"} <= set(metrics)
    for block in (1, 5):
        ratio = metrics[f"val/error@{block}"] / metrics[f"val/copy_error@{block}"]
        torch.testing.assert_close(metrics[f"val/rollout_error@{block}"], ratio)
    assert model.dynamics.token_scale.fitted and model.dynamics.action_scale.fitted
    assert model.tokenizer_fingerprint == "0123456789abcdef"


def test_scales_make_training_values_standard(tokens_path):
    model = small_model()
    fit(tokens_path, model, max_steps=1)
    data = TokenClips(str(tokens_path))
    data.setup("fit")
    for values in model.dynamics.normalise(data.normalisation_sample()):
        flat = values.reshape(-1, values.shape[-1])
        torch.testing.assert_close(flat.mean(dim=0), torch.zeros(flat.shape[1]), atol=1e-3, rtol=0)
        torch.testing.assert_close(flat.std(dim=0), torch.ones(flat.shape[1]), atol=1e-2, rtol=0)


@pytest.fixture
def bare_tokens_path(tmp_path, tokens_path):
    """The same tokens in a file that knows of no actions and no proprioception."""
    source, path = EpisodeFile(tokens_path), tmp_path / "bare.h5"
    with EpisodeWriter(path, "cjepa-tokens", token_attributes()) as writer:
        for episode in source.episodes(["tokens"]):
            writer.append(episode)
    return path


@pytest.mark.parametrize("bare", [False, True], ids=["columns-unused", "no-columns"])
def test_nobody_acts(tokens_path, bare_tokens_path, bare):
    torch.manual_seed(0)
    model = WorldModel(EntityTransformer(token_dim=6, proprio_dim=0, action_dim=0, **SMALL), ObjectMask(1))
    trainer = fit(bare_tokens_path if bare else tokens_path, model)
    metrics = trainer.callback_metrics
    assert "train/proprio" not in metrics and "val/proprio" not in metrics
    torch.testing.assert_close(metrics["val/loss"], metrics["val/future"])
    assert all(torch.isfinite(value) for value in metrics.values())
    clip = next(iter(trainer.datamodule.val_dataloader()))
    predicted = model.eval().predict_step(clip, 0)
    assert predicted.tokens_BHSD.shape[1] == 5 and torch.isfinite(predicted.tokens_BHSD).all()
    assert predicted.proprio_BHP.shape[2] == 0
    changed = clip._replace(actions_BTA=clip.actions_BTA + 1, proprio_BTP=clip.proprio_BTP + 1)
    assert torch.equal(model.predict_step(changed, 0).tokens_BHSD, predicted.tokens_BHSD)


def test_entities_that_the_data_do_not_have_are_named(bare_tokens_path):
    with pytest.raises(UserError, match="proprio_dim is 4, but the data have 0; set it to 0"):
        fit(bare_tokens_path, small_model())


def test_other_sizes_and_other_tokens_are_refused(tokens_path):
    model = WorldModel(EntityTransformer(token_dim=7, **SMALL), ObjectMask(1))
    with pytest.raises(UserError, match="token_dim is 7.*set it to 6"):
        fit(tokens_path, model)
    model, checkpoint = small_model(), {}
    model.on_save_checkpoint(checkpoint)
    model.on_load_checkpoint(checkpoint | {"tokenizer_fingerprint": "another one"})
    with pytest.raises(UserError, match="another one.*0123456789abcdef"):
        fit(tokens_path, model)


def test_frames_are_refused(episodes_path):
    data = VideoClips(str(episodes_path), train_blocks=4, val_blocks=4, batch_size=4)
    trainer = L.Trainer(max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    line = "WorldModel is trained on tokens, but VideoClips .* data.class_path to cjepa.data.token_clips.TokenClips"
    with pytest.raises(UserError, match=line):
        trainer.fit(small_model(), datamodule=data)


@pytest.mark.parametrize(
    ("predictor", "num_masked", "named"),
    [
        (EntityTransformer(token_dim=6, num_positions=2, **SMALL), 1, "for 2 tokens a block, but the data have 3"),
        (FlatMLP(token_dim=6, num_tokens=4, dim=4), 1, "for 4 tokens a block, but the data have 3"),
        (Ensemble(lambda: FlatMLP(token_dim=6, num_tokens=4, dim=4), 2), 1, "for 4 tokens a block"),
        (EntityTransformer(token_dim=6, **SMALL), 4, "num_masked is 4, expected 0 to 3"),
        (PrefixTransformer(token_dim=6, **SMALL), 1, "prefix_blocks is 5, but the loss is over 1 of the predicted"),
    ],
    ids=["positions", "flat", "ensemble", "mask", "pass"],
)
def test_what_does_not_fit_is_refused_before_the_first_step(tokens_path, predictor, num_masked, named):
    model = WorldModel(predictor, ObjectMask(num_masked))
    model.on_train_start = lambda: pytest.fail("training began")
    with pytest.raises(UserError, match=named):
        fit(tokens_path, model)


def test_the_fingerprint_is_in_the_checkpoint():
    model, checkpoint = small_model(), {}
    model.tokenizer_fingerprint = "abc"
    model.on_save_checkpoint(checkpoint)
    other = small_model()
    other.on_load_checkpoint(checkpoint)
    assert other.tokenizer_fingerprint == "abc"


@pytest.mark.parametrize(("blocks", "name"), [({"train_blocks": 3}, "train_blocks"), ({"val_blocks": 3}, "val_blocks")])
def test_clips_that_are_not_longer_than_the_history(tokens_path, blocks, name):
    data = TokenClips(str(tokens_path), **{"train_blocks": 4, "val_blocks": 8, "batch_size": 16} | blocks)
    trainer = L.Trainer(max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(UserError, match=f"{name} is 3, .*history_blocks of 3 .*; set it to 4 or more"):
        trainer.fit(small_model(), datamodule=data)


def test_training_clips_have_the_blocks_to_predict(tokens_path):
    data = TokenClips(str(tokens_path), train_blocks=5, val_blocks=8, batch_size=16)
    trainer = L.Trainer(max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(UserError, match="train_blocks is 5, .* and 3 to predict; set it to 6 or more"):
        trainer.fit(small_model(predict_blocks=3), datamodule=data)


def test_blocks_after_the_history_are_weighted():
    """Predictions of 0: the loss is the mean square of what followed, block by block."""
    model = WorldModel(Zeros(), ObjectMask(0), predict_blocks=3, future_decay=0.5)
    clip = a_clip(6, dims=(2, 2, 1))
    terms = model.loss_terms(clip, torch.Generator())
    blocks = model.dynamics.predictor.given[0].shape[1]  # of the last call, whose window is full
    squares_T = [values.square().mean(dim=(0, *range(2, values.ndim))) for values in clip[:2]]
    for name, square_T in zip(("future", "proprio"), squares_T, strict=True):
        expected = {
            (4 * square_T[b] + 2 * square_T[b + 1] + square_T[b + 2]).item() / 7 for b in range(1, min(blocks, 3) + 1)
        }
        assert min(abs(terms[name].item() - value) for value in expected) < 1e-6


def test_a_resumed_training_remembers_all_that_it_learned_from(tokens_path):
    """Also episodes of the run that it began with, which its data do not name."""
    model, checkpoint = small_model(), {}
    fit(tokens_path, model, max_steps=1)
    model.remember_episodes([123])
    model.on_save_checkpoint(checkpoint)
    resumed = small_model()
    resumed.on_load_checkpoint({"state_dict": {}, **checkpoint})
    fit(tokens_path, resumed, max_steps=1)
    assert resumed.lineage["identities"] == model.lineage["identities"] and 123 in resumed.lineage["identities"]


def test_a_checkpoint_of_before_has_other_names(tokens_path):
    model, checkpoint = small_model(), {}
    fit(tokens_path, model, max_steps=1)
    model.on_save_checkpoint(checkpoint)
    weights = {name.removeprefix("dynamics."): value for name, value in model.state_dict().items()}
    old = {
        "state_dict": weights,
        "tokens_fingerprint": checkpoint["tokenizer_fingerprint"],
        "tokenizer": {"source": "x"},
    }
    other = small_model(seed=1)
    other.on_load_checkpoint(old)
    other.load_state_dict(old["state_dict"])
    assert other.tokenizer_fingerprint == "0123456789abcdef" and other.lineage == {}
    clip = a_clip(5)
    expected, found = (m.eval().predict_step(clip, 0).tokens_BHSD for m in (model, other))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("option", "value"), [("norm", "l1"), ("matching", "hungarian")])
def test_options_of_the_loss_reach_it(option, value):
    """Predictions in the order of objects that the targets have not."""

    class LastBlockReversed(Zeros):
        def forward(self, tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE):
            reversed_B1SD = self.target_BTSD[:, tokens_BTSD.shape[1], None].flip(2)
            return super().forward(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)._replace(future_BFSD=reversed_B1SD)

    clip, terms = a_clip(4, dims=(2, 2, 1)), []
    for changes in ({}, {option: value}):
        model = WorldModel(LastBlockReversed(), ObjectMask(0), **changes)
        model.dynamics.predictor.target_BTSD = clip.tokens_BTSD
        terms.append(model.loss_terms(clip, torch.Generator().manual_seed(0)))
        assert model.describe_objective()[option] == changes.get(option, {"norm": "l2", "matching": "index"}[option])
    assert not torch.equal(terms[0]["future"], terms[1]["future"])
    assert (terms[1]["future"] == 0) == (option == "matching")
    assert torch.equal(terms[0]["proprio"], terms[1]["proprio"]) == (option == "matching")


def test_what_was_held_out_is_in_the_checkpoint(tokens_path):
    model, checkpoint = small_model(), {}
    trainer = fit(tokens_path, model, max_steps=1)
    model.on_save_checkpoint(checkpoint)
    assert checkpoint["lineage"] == trainer.datamodule.lineage._asdict()
    other = small_model()
    other.on_load_checkpoint(checkpoint)
    assert other.lineage == checkpoint["lineage"]


def test_the_objective_is_described():
    described = small_model(ObjectMask(1, random_count=True), masked_weight=0.5).describe_objective()
    assert described["terms"] == {"future": 1.0, "masked": 0.5, "proprio": 1.0}
    drawn = {"num_masked": 1, "random_count": True, "shared_in_batch": False, "hide_proprio": 0.0}
    assert described["mask"] == {"class": "ObjectMask"} | drawn
    assert "frozen tokenizer" in described["against_collapse"]


def test_values_are_weighted():
    model = WorldModel(Zeros(), ObjectMask(0), value_weights=[(1, 0.5), (1, 1.5)], shortest_history=3)
    clip = a_clip(4, dims=(2, 2, 1))
    found = model.loss_terms(clip, torch.Generator())["future"]
    expected = (clip.tokens_BTSD[:, 3].square() * torch.tensor([0.5, 1.5])).mean()
    torch.testing.assert_close(found, expected)
    norm_l1 = WorldModel(Zeros(), ObjectMask(0), value_weights=[(1, 1.0), (1, 3.0)], shortest_history=3, norm="l1")
    expected = (clip.tokens_BTSD[:, 3].abs() * torch.tensor([0.5, 1.5])).mean()
    torch.testing.assert_close(norm_l1.loss_terms(clip, torch.Generator())["future"], expected)


WRONG_WEIGHTS = [
    ([], "expected 2 values"),
    ([(1, 1.0)], "expected 2 values"),
    ([(1, -1.0), (1, 1.0)], "below 0"),
    ([(1, float("nan")), (1, 1.0)], "expected finite ones"),
]


@pytest.mark.parametrize(("parts", "line"), WRONG_WEIGHTS)
def test_weights_of_other_values_are_refused(parts, line):
    with pytest.raises(ValueError, match=line):
        WorldModel(Zeros(), ObjectMask(0), value_weights=parts)


def test_a_training_begins_with_the_weights_of_a_run(world_model_run, slot_tokens, tmp_path, capfd):
    begin = [f"--model.init_args.init_from={world_model_run}", "--trainer.max_steps=1", "--trainer.limit_val_batches=0"]
    rates = ["--model.init_args.lr=1e-9", "--model.init_args.matrix_lr=1e-9"]
    run = fit_with(tmp_path / "more", slot_tokens, [*begin, *rates])
    old, new = (read_checkpoint(find_checkpoint(str(folder)))["state_dict"] for folder in (world_model_run, run))
    for name, values in old.items():
        torch.testing.assert_close(new[name], values, atol=1e-6, rtol=0)
    other = "--model.init_args.predictor.init_args.mlp_dim=24"
    fit_with(tmp_path / "other", slot_tokens, [*begin, other], code=2)
    assert "its predictor is another one than model.init_args.predictor" in capfd.readouterr().err
    fit_with(tmp_path / "held-out", slot_tokens, [*begin, "--data.init_args.split_seed=1"], code=2)
    assert "which is held out here; set data.init_args.split_seed to 0" in capfd.readouterr().err
