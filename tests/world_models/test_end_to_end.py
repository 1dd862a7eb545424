"""LeWorldModel: by hand, and through the product's commands."""

import json
import re

import pytest
import torch
from torch import nn

from cjepa.cli import main
from cjepa.data.video_clips import VideoClips
from cjepa.errors import TrainingFailed, UserError
from cjepa.moving_average import move_towards
from cjepa.tokenizers.base import Tokenizer, TokenizerInfo
from cjepa.tokenizers.baselines.global_token import whole_frame
from cjepa.tokenizers.baselines.vit import ViTTokenizer
from cjepa.tokenizers.encode import fingerprint
from cjepa.tokenizers.training import load_tokenizer
from cjepa.types import Tokens, VideoBatch
from cjepa.world_models import end_to_end
from cjepa.world_models.end_to_end import LeWorldModel
from cjepa.world_models.loading import load_world_model
from cjepa.world_models.predictors.adaln_transformer import AdaLNTransformer
from cjepa.world_models.predictors.base import Prediction, Predictor
from cjepa.world_models.predictors.ensemble import Ensemble
from cjepa.world_models.predictors.prefix_transformer import PrefixTransformer
from cjepa.world_models.predictors.vjepa2_ac import VJepa2AC
from cjepa.world_models.regularisers import NoGuard, Regulariser, SIGReg
from tests.conftest import FEW_FRAMES, configs, fit
from tests.contracts import stirred
from tests.sharing import once
from tests.small_experiments import ONE_PAIR, TINY_SEARCH
from tests.trainers import quiet_trainer
from tests.world_models.small import fit as fit_on_tokens

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
DIM = 4


class Table(Tokenizer):
    """Gives the tokens that it is told, whatever it sees."""

    def __init__(self, tokens_BTSD: torch.Tensor):
        super().__init__(TokenizerInfo(1, DIM))
        self.tokens_BTSD = nn.Parameter(tokens_BTSD)

    def encode(self, pixels_BT3YX: torch.Tensor) -> Tokens:
        return whole_frame(self.tokens_BTSD, *pixels_BT3YX.shape[-2:])

    def decode(self, slots_BTSD: torch.Tensor) -> None:
        return None


class Nothing(Regulariser):
    """No loss."""

    weights = {"nothing": 1.0}

    def forward(self, tokens_TBD, generator, predicted_UBD=None) -> dict[str, torch.Tensor]:
        self.shape, self.predicted_UBD = tuple(tokens_TBD.shape), predicted_UBD
        return {"nothing": tokens_TBD.new_zeros(())}


def batch(clips: int = 6) -> VideoBatch:
    pixels = torch.zeros(clips, 4, 8, 8, 3, dtype=torch.uint8)
    actions = torch.randn(clips, 4, 2, generator=torch.Generator().manual_seed(1))
    return VideoBatch(pixels, proprio_BTP=torch.zeros(clips, 4, 4), actions_BTA=actions)


def made(tokens_BTSD: torch.Tensor, regulariser: Regulariser | None = None, **changes) -> LeWorldModel:
    torch.manual_seed(0)
    sizes = {"dim": 8, "depth": 1, "num_heads": 2, "mlp_dim": 16, "dropout": 0.0}
    predictor = AdaLNTransformer(DIM, 0, 2, 3, **sizes)
    return LeWorldModel(Table(tokens_BTSD), predictor, regulariser or Nothing(), **changes)


def tokens(clips: int = 6) -> torch.Tensor:
    return torch.randn(clips, 4, 1, DIM, generator=torch.Generator().manual_seed(2))


def test_the_loss_by_hand():
    """All three blocks after the first are predicted, each from those before; the target's gradient is kept."""
    model = made(tokens())
    terms = model.loss_terms(batch(), torch.Generator())
    clip = model.clip_of(batch())
    nothing = torch.zeros(6, 3, 1, dtype=torch.bool)
    said = []
    for blocks in (1, 2, 3):
        history = (values[:, :blocks] for values in (clip.tokens_BTSD, torch.zeros(6, 4, 0), clip.actions_BTA, nothing))
        said.append(model.dynamics.predictor(*history).future_BFSD)
    difference = torch.cat(said, dim=1) - clip.tokens_BTSD[:, 1:]
    torch.testing.assert_close(terms["prediction"], difference.square().mean())
    terms["prediction"].backward()
    only_a_target = model.tokenizer.tokens_BTSD.grad[:, 3]
    torch.testing.assert_close(only_a_target, -2 * difference[:, 2].detach() / difference.numel())
    assert model.regulariser.shape == (4, 6, DIM)  # time by time
    torch.testing.assert_close(model.regulariser.predicted_UBD, torch.cat(said, dim=1)[:, :, 0].transpose(0, 1))


def test_targets_of_a_moving_average_take_no_gradient():
    """The second tokenizer is half-way between where the first one was and where it is."""
    model = made(tokens(), target_momentum=0.5)
    model.tokenizer.tokens_BTSD.data.add_(1.0)
    move_towards(model.target_tokenizer, model.tokenizer, model.target_momentum)
    torch.testing.assert_close(model.target_tokenizer.tokens_BTSD, tokens() + 0.5)
    terms = model.loss_terms(batch(), torch.Generator())
    predicted_UBD = model.regulariser.predicted_UBD
    expected = predicted_UBD - (tokens() + 0.5)[:, 1:, 0].transpose(0, 1)
    torch.testing.assert_close(terms["prediction"], expected.square().mean())
    terms["prediction"].backward()
    grad = model.tokenizer.tokens_BTSD.grad
    assert grad[:, :3].abs().sum() > 0 and not grad[:, 3].any()  # the last token was only a target
    assert model.target_tokenizer.tokens_BTSD.grad is None
    assert model.describe_objective()["against_collapse"].endswith("moving average (momentum 0.5), without gradient")


def test_the_moving_average_follows_every_step(episodes_path):
    predictor = AdaLNTransformer(8, 0, 10, 3, dim=8, depth=1, num_heads=2, mlp_dim=16)
    model = LeWorldModel(ViTTokenizer(8, 1, 2, 32, 8), predictor, NoGuard(), target_momentum=0.25, warmup_steps=0)
    before = model.target_tokenizer.embed.weight.clone()
    data = VideoClips(str(episodes_path), train_blocks=4, val_blocks=4, batch_size=4)
    quiet_trainer(limit_val_batches=0).fit(model, datamodule=data)
    expected = 0.25 * before + 0.75 * model.tokenizer.embed.weight
    assert not torch.equal(model.tokenizer.embed.weight, before)
    torch.testing.assert_close(model.target_tokenizer.embed.weight, expected)


def test_fast_lewm_predicts_all_blocks_from_the_first():
    torch.manual_seed(0)
    predictor = stirred(PrefixTransformer(DIM, 0, 2, 1, dim=8, depth=1, num_heads=2, mlp_dim=16, dropout=0.0))
    model = LeWorldModel(Table(tokens()), predictor, Nothing())
    terms = model.loss_terms(batch(), torch.Generator())
    clip = model.clip_of(batch())
    state = predictor.observe(clip.tokens_BTSD[:, :1], clip.proprio_BTP[:, :1, :0], clip.actions_BTA[:, :0])
    futures = predictor.rollout(state, clip.actions_BTA[:, :3]).tokens_BHSD
    torch.testing.assert_close(terms["prediction"], (futures - clip.tokens_BTSD[:, 1:]).square().mean())


class Drift(Predictor):
    """Every block, a token grows by a fixed amount."""

    token_dim, proprio_dim, action_dim, history_blocks = DIM, 0, 2, 1

    def __init__(self, by: float):
        super().__init__()
        self.by = by

    def forward(self, tokens_BTSD, proprio_BTP, actions_BTA, mask_BTS) -> Prediction:
        return Prediction(tokens_BTSD, tokens_BTSD[:, -1:] + self.by, proprio_BTP[:, -1:])


def test_every_member_of_an_ensemble_has_its_own_error():
    """Three futures of tokens that stay 0; the mean of members that drift by 1 and by -1 would be right."""
    left = [1.0, -1.0]
    ensemble = Ensemble(lambda: Drift(left.pop(0)), members=2)
    model = LeWorldModel(Table(torch.zeros(6, 4, 1, DIM)), ensemble, Nothing())
    assert model.loss_terms(batch(), torch.Generator())["prediction"].item() == pytest.approx((1 + 4 + 9) / 3)
    assert model.describe_uncertainty() == ["disagreement of 2 members"]


def test_what_the_regulariser_draws_depends_on_the_seed():
    def loss(step_seed: int) -> float:
        model = made(tokens(), SIGReg(num_directions=4), step_seed=step_seed)
        model.log_dict = model.log = lambda *_, **__: None
        return model.training_step(batch(), 0).item()

    assert loss(0) == loss(0) and loss(0) != loss(1)


def test_the_weights_of_the_terms():
    assert made(tokens(), SIGReg(num_directions=8)).loss_weights == {"prediction": 1.0, "sigreg": 0.09}
    described = made(tokens(), SIGReg()).describe_objective()
    assert described["against_collapse"] == "SIGReg of the tokens; targets keep their gradient"


@pytest.mark.parametrize(("step", "stops"), [(0, False), (100, True), (101, False), (150, True)])
def test_collapsed_tokens_stop_the_training_after_the_warm_up(monkeypatch, step, stops):
    model = made(torch.ones(6, 4, 1, DIM), warmup_steps=100)
    monkeypatch.setattr(LeWorldModel, "global_step", step)
    if not stops:
        model.loss_terms(batch(), torch.Generator())
        return
    with pytest.raises(TrainingFailed, match=f"step {step}: the tokens have collapsed: their effective rank is 1"):
        model.loss_terms(batch(), torch.Generator())
    monkeypatch.setattr(LeWorldModel, "global_step", step)
    made(tokens(), warmup_steps=100).loss_terms(batch(), torch.Generator())


def test_parts_that_do_not_fit():
    with pytest.raises(ValueError, match="proprio_dim is 4, expected 0: LeWorldModel sees pixels alone"):
        LeWorldModel(Table(tokens()), AdaLNTransformer(DIM, 4), Nothing())
    with pytest.raises(ValueError, match="token_dim is 5, expected the tokenizer's dim = 4"):
        LeWorldModel(Table(tokens()), AdaLNTransformer(5, 0), Nothing())
    with pytest.raises(ValueError, match="history_blocks is 3, expected 1 for a PrefixTransformer"):
        LeWorldModel(Table(tokens()), PrefixTransformer(DIM, 0, history_blocks=3), Nothing())
    with pytest.raises(ValueError, match="VJepa2AC predicts layer-normed tokens, LeWorldModel has others"):
        LeWorldModel(Table(tokens()), VJepa2AC(DIM, 0, 2, 1, dim=12, depth=1, num_heads=2), Nothing())
    several = Table(tokens())
    several.info = several.info._replace(num_slots=2)
    with pytest.raises(ValueError, match="the tokenizer has 2 tokens per frame, expected 1 for LeWorldModel"):
        LeWorldModel(several, AdaLNTransformer(DIM, 0), Nothing())


def test_a_validation_clip_is_encoded_once(monkeypatch):
    model, logged, seen = made(tokens()), {}, []
    monkeypatch.setattr(model, "log_dict", lambda values, **_: logged.update(values))
    encode = model.tokenizer.encode
    monkeypatch.setattr(model.tokenizer, "encode", lambda frames: seen.append(len(frames)) or encode(frames))
    model.validation_step(batch(), 0)
    assert seen == [6] and {"val/loss", "val/effective_rank", "val/deviation"} <= set(logged)


def test_tokens_are_refused(tokens_path):
    line = "LeWorldModel is trained on frames, but TokenClips .* data.class_path to cjepa.data.video_clips.VideoClips"
    with pytest.raises(UserError, match=line):
        fit_on_tokens(tokens_path, made(tokens()))


def test_a_pass_is_no_longer_than_training_clips(episodes_path):
    predictor = PrefixTransformer(8, 0, 10, 1, dim=8, depth=1, num_heads=2, mlp_dim=16, prefix_blocks=4)
    model = LeWorldModel(ViTTokenizer(8, 1, 2, 32, 8), predictor, Nothing())
    model.on_train_start = lambda: pytest.fail("training began")
    data = VideoClips(str(episodes_path), train_blocks=4, val_blocks=4, batch_size=4)
    with pytest.raises(UserError, match="prefix_blocks is 4, .* set it to 3, or data.init_args.train_blocks to 5"):
        quiet_trainer().fit(model, datamodule=data)


SMALL = ["tokenizer.init_args.dim=16", "tokenizer.init_args.depth=1", "tokenizer.init_args.projection_dim=16"]
SMALL += [f"predictor.init_args.{size}=16" for size in ("token_dim", "dim", "mlp_dim", "projection_dim")]
SMALL += ["predictor.init_args.depth=1", "regulariser.init_args.num_directions=16"]
LEWM = [*configs("pusht/lewm.yaml"), *(f"--model.init_args.{size}" for size in SMALL), *FEW_FRAMES]


@pytest.fixture(scope="module")
def lewm_run(tmp_path_factory, episodes_path):
    """A run folder of a tiny one, two steps old."""
    return once(tmp_path_factory, "lewm", lambda folder: fit(folder, episodes_path, *LEWM))


@pytest.mark.slow
def test_it_is_trained_and_comes_back(lewm_run, episodes):
    record = json.loads((lewm_run / "run.json").read_text())
    assert record["objective"]["terms"] == {"prediction": 1.0, "sigreg": 0.09}
    checkpoint = lewm_run / "checkpoints" / "last.ckpt"
    loaded = load_world_model(checkpoint)
    assert bool(loaded.dynamics.action_scale.fitted) and not bool(loaded.dynamics.token_scale.fitted)
    assert loaded.lineage["episodes_fingerprint"] == episodes.fingerprint
    assert loaded.tokenizer.info.env_id == "cjepa/PushT-v0"
    assert fingerprint(load_tokenizer(checkpoint)) == loaded.tokenizer_fingerprint


@pytest.mark.slow
def test_it_plans(lewm_run, episodes_path, tmp_path):
    tiny = [f"--planner.init_args.{key}={value}" for key, value in TINY_SEARCH.items() if key != "num_starts"]
    words = [
        "plan",
        str(lewm_run),
        *configs("pusht/plan.yaml"),
        f"--episodes={episodes_path}",
        f"--out={tmp_path}/plan",
    ]
    assert main([*words, *ONE_PAIR, *tiny, "--num_videos=1"]) == 0
    rows = json.loads((tmp_path / "plan" / "results.json").read_text())
    assert {(row["tokens"], row["token_dim"]) for row in rows if row["metric"] == "success"} == {(1, 16)}


@pytest.mark.slow
def test_its_tokenizer_makes_tokens_for_other_models(lewm_run, episodes_path, tmp_path):
    out = tmp_path / "tokens.h5"
    assert main(["tokenize", str(lewm_run), str(episodes_path), "--out", str(out)]) == 0
    sizes = {"token_dim": 16, "dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 32}
    words = [f"--model.init_args.predictor.init_args.{name}={value}" for name, value in sizes.items()]
    fit(tmp_path / "model", out, *configs("pusht/cjepa.yaml"), *words, "--data.init_args.val_clips=4")


@pytest.mark.slow
def test_it_is_tested(lewm_run, small_card, capsys):
    assert main(["test", str(lewm_run), "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]) == 0
    rows = json.loads((lewm_run / "results_test.json").read_text())
    assert {"rollout_error@1", "effective_rank"} <= {row["metric"] for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.init_args.train_blocks=3"], "train_blocks is 3, .* set it to 4"),
        (["--model.init_args.predictor.init_args.action_dim=4"], "action_dim is 4, but the data have 10; set it to 10"),
    ],
)
def test_data_that_do_not_fit(refused, episodes_path, words, message):
    quiet = ["--trainer.max_steps=1", "--trainer.enable_progress_bar=false", "--data.init_args.batch_size=4"]
    line = refused("fit", *LEWM, f"--data.init_args.path={episodes_path}", *quiet, *words)
    assert re.search(message, line)


@pytest.mark.slow
def test_a_collapse_ends_the_command_with_one_line(refused, episodes_path, monkeypatch):
    monkeypatch.setattr(end_to_end, "_WATCH_EVERY", 1)
    words = ["--model.init_args.warmup_steps=1", "--model.init_args.least_deviation=1000", "--trainer.max_steps=4"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.val_check_interval=1", "--data.init_args.batch_size=4"]
    line = refused("fit", *LEWM, f"--data.init_args.path={episodes_path}", *quiet, *words, code=1)
    assert "step 1: the tokens have collapsed: their standard deviation is" in line
