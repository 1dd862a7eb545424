"""I-JEPA and V-JEPA: who learns from whom, by hand, and the published sizes."""

import pytest
import torch
import yaml
from torch.nn.functional import layer_norm

from cjepa.tokenizers.jepa.ijepa import IJepa
from cjepa.tokenizers.jepa.joint_embedding import JointEmbedding
from cjepa.tokenizers.jepa.patch_encoder import PatchEncoder
from cjepa.tokenizers.jepa.vjepa import VJepa
from tests.conftest import EXPERIMENTS
from tests.contracts import stirred

SMALL = {"dim": 16, "depth": 2, "num_heads": 2, "predictor_width": 8, "predictor_depth": 1, "predictor_heads": 2}
KINDS = [(IJepa, {}), (VJepa, {}), (VJepa, {"visible": True, "levels": 2})]
each_kind = pytest.mark.parametrize(("cls", "options"), KINDS, ids=["ijepa", "vjepa", "vjepa2_1"])


def made(cls: type[JointEmbedding], **options) -> JointEmbedding:
    torch.manual_seed(0)
    return cls(**SMALL, patch_size=8, image_size=32, **options)


def clips(frames: int = 4) -> torch.Tensor:
    return torch.rand(3, frames, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@each_kind
def test_the_gradient_reaches_encoder_and_predictor_alone(cls, options):
    model = made(cls, **options)
    sum(model.loss_terms(clips()).values()).backward()
    for name, parameter in model.named_parameters():
        if name.startswith("target_encoder."):
            assert parameter.grad is None and not parameter.requires_grad, name
        else:
            assert parameter.grad.abs().sum() > 0, name


@each_kind
def test_hidden_patches_do_not_reach_the_encoder(cls, options):
    """To the bit; and through the targets they do reach the loss."""
    model = stirred(made(cls, **options))
    seen = model.clips(clips())
    times = seen.shape[1] // model.encoder.tubelet
    for view in model.views(len(seen), times, torch.Generator().manual_seed(0)):
        hidden_BL = torch.zeros(len(seen), times * 16).scatter(1, view.targets_BGM.flatten(1), 1.0).bool()
        pixels = hidden_BL.view(-1, times, 1, 4, 4).repeat_interleave(model.encoder.tubelet, dim=1)
        pixels = pixels.repeat_interleave(8, dim=3).repeat_interleave(8, dim=4)
        changed = torch.where(pixels, 1 - seen, seen)
        assert not torch.equal(changed, seen)
        assert torch.equal(model.encoder(changed, view.context_BK), model.encoder(seen, view.context_BK))
        assert not torch.equal(model.targets(changed), model.targets(seen))


def test_the_moving_average_by_hand():
    model = made(IJepa, momentum=0.5)
    weight = model.encoder.embed.weight
    before = weight.detach().clone()
    weight.data.add_(1.0)
    model.after_step(0.0)
    torch.testing.assert_close(model.target_encoder.embed.weight, before + 0.5)
    model.after_step(0.5)  # a momentum of 0.75
    torch.testing.assert_close(model.target_encoder.embed.weight, before + 0.625)
    model.after_step(1.0)
    torch.testing.assert_close(model.target_encoder.embed.weight, before + 0.625)
    assert torch.equal(weight, before + 1) and int(model.steps) == 3


@torch.no_grad()
def test_the_loss_of_an_image_by_hand():
    """Smooth L1: half the square below 1, the difference less a half above."""
    model = made(IJepa).eval()
    frames = clips().flatten(0, 1)[:, None]
    (view,) = model.views(len(frames), 1, torch.Generator().manual_seed(0))
    target = layer_norm(model.target_encoder(frames), (16,))
    context = model.encoder(frames, view.context_BK)
    predicted = model.predictor(context, view, model.encoder.places(1, 8, frames.device)).targets_BGMD
    errors = []
    for row, targets_GM in enumerate(view.targets_BGM):
        for group, target_M in enumerate(targets_GM):
            difference = (predicted[row, group] - target[row, target_M]).abs()
            errors.append(torch.where(difference < 1, difference.square() / 2, difference - 0.5))
    assert set(model.loss_terms(clips())) == {"prediction"}
    torch.testing.assert_close(model.loss_terms(clips())["prediction"], torch.stack(errors).mean())


@torch.no_grad()
def test_the_losses_of_a_clip_by_hand():
    """L1 of the two views, and of visible patches over the root of their distance to the nearest hidden one."""
    model = made(VJepa, visible=True, levels=2).eval()
    levels = model.target_encoder(clips()).split(16, dim=-1)
    target = torch.cat([layer_norm(level, (16,)) for level in levels], dim=-1)
    hidden, visible = [], []
    for view in model.views(3, 2, torch.Generator().manual_seed(0)):
        context = model.encoder(clips(), view.context_BK)
        predicted = model.predictor(context, view, model.encoder.places(2, 8, context.device))
        at_targets = torch.stack([target[row, index] for row, index in enumerate(view.targets_BGM[:, 0])])
        hidden.append((predicted.targets_BGMD[:, 0] - at_targets).abs().mean())
        for row in range(3):
            targets = {(i // 16, i // 4 % 4, i % 4) for i in view.targets_BGM[row, 0].tolist()}
            for place, index in enumerate(view.context_BK[row].tolist()):
                own = (index // 16, index // 4 % 4, index % 4)
                apart = min(sum((a - b) ** 2 for a, b in zip(own, other, strict=True)) ** 0.5 for other in targets)
                error = (predicted.visible_BKD[row, place] - target[row, index]).abs().mean()
                visible.append((error / apart**0.5, view.context_BK.numel()))
    terms = model.loss_terms(clips())
    torch.testing.assert_close(terms["prediction"], torch.stack(hidden).mean())
    torch.testing.assert_close(terms["visible"], sum(error / count for error, count in visible) / 2)


def test_a_group_of_targets_does_not_see_the_others():
    model = stirred(made(IJepa))
    frames = clips().flatten(0, 1)[:, None]
    (view,) = model.views(len(frames), 1, torch.Generator().manual_seed(0))
    context = model.encoder(frames, view.context_BK)
    places = model.encoder.places(1, 8, frames.device)
    alone = model.predictor(context, view._replace(targets_BGM=view.targets_BGM[:, 1:2]), places).targets_BGMD
    torch.testing.assert_close(model.predictor(context, view, places).targets_BGMD[:, 1:2], alone)


@torch.no_grad()
def test_tokens_are_the_moving_averages_and_know_their_place():
    model = stirred(made(IJepa)).eval()
    tokens = model.encode(clips())
    grid = model.features(clips()[:, 1])
    assert grid.shape == (3, *model.feature_shape, 4)
    torch.testing.assert_close(grid.flatten(2).transpose(1, 2), tokens.slots_BTSD[:, 1])
    assert tokens.masks_BTSYX[0, 0, 6, 8:16, 16:24].eq(1).all() and tokens.masks_BTSYX[0, 0, 6].sum() == 64
    stirred(model.encoder)
    assert torch.equal(model.encode(clips()).slots_BTSD, tokens.slots_BTSD)


@torch.no_grad()
def test_patches_see_all_of_their_frame_and_nothing_of_others():
    model = stirred(made(VJepa)).eval()
    changed = clips()
    changed[:, 1, :, :8, :8] = 0
    apart = (model.encode(changed).slots_BTSD - model.encode(clips()).slots_BTSD).abs().amax(dim=(0, 3))
    assert apart[1].min() > 0 and apart[[0, 2, 3]].max() == 0


def seeds(model: JointEmbedding) -> list[int]:
    """Of the masks of two steps."""
    found = []
    for _ in range(2):
        found.append(model._generator().initial_seed())
        model.after_step(0.0)
    return found


def test_masks_are_drawn_anew_at_every_step_and_never_in_evaluation():
    first, second = seeds(made(IJepa).train())
    assert first != second and len(set(seeds(made(IJepa).eval()))) == 1


def test_batches_of_one_step_are_hidden_apart(monkeypatch):
    """Where gradients are accumulated; what is looked at in between, for validation, changes no mask of training."""
    model, drawn, views = made(IJepa).train(), [], IJepa.views
    monkeypatch.setattr(
        IJepa, "views", lambda *given: drawn.append((given[0].training, given[-1].initial_seed())) or views(*given)
    )
    for _ in range(2):
        for _ in range(2):
            model.train().loss_terms(clips(1))
        model.eval().loss_terms(clips(1))
        model.after_step(0.0)
        model.eval().loss_terms(clips(1))
    trained = [seed for training, seed in drawn if training]
    assert len(trained) == len(set(trained)) == 4
    assert trained[::2] == seeds(made(IJepa).train())  # a step of one batch


def test_masks_are_those_of_the_seed_wherever_a_training_goes_on():
    def of_seed(seed: int, steps_before: int = 0, drawn_before: int = 0) -> list[int]:
        model = made(IJepa).train()
        torch.manual_seed(seed)
        torch.rand(drawn_before)  # by other parts of the training
        model.load_state_dict(model.state_dict() | {"steps": torch.tensor(steps_before)})
        return seeds(model)

    with torch.random.fork_rng(devices=[]):
        whole = [*of_seed(7), *of_seed(7, steps_before=2)]
        assert whole[1:3] == of_seed(7, steps_before=1, drawn_before=99)
        assert len({*whole, *of_seed(8), *of_seed(8, steps_before=2)}) == 8


def test_the_step_is_known_without_a_wait_for_the_gpu():
    """A meta tensor has no value to read; a checkpoint has the step all the same, wherever the model is within."""
    model, again = made(IJepa).train(), torch.nn.Sequential(made(IJepa).train())
    seeds(model)
    again.load_state_dict({f"0.{name}": value for name, value in model.state_dict().items()})
    expected = model._generator().initial_seed()
    assert model.to("meta")._generator().initial_seed() == again[0]._generator().initial_seed() == expected


@torch.no_grad()
def test_places_are_sines_of_time_row_and_column():
    encoder = PatchEncoder(16, 1, 2, 8, tubelet=2, image_size=32)
    places = encoder.places(3, 16, torch.device("cpu"))
    assert places.shape == (48, 16) and len(places.unique(dim=0)) == 48
    torch.testing.assert_close(places[0], torch.tensor([0.0, 0, 1, 1] + 2 * [0, 0, 0, 1, 1, 1]))
    # the same place one tubelet later: angles of 1 and 1 / 100
    torch.testing.assert_close(places[16, :4], torch.tensor([0.841471, 0.0099998, 0.540302, 0.99995]))
    assert torch.equal(places[16, 4:], places[0, 4:])


def test_a_clip_that_is_no_multiple_of_the_tubelet_repeats_its_last_frame():
    model = made(VJepa)
    for frames, whole in ((1, 2), (2, 2), (3, 4)):
        seen = model.clips(clips(frames))
        assert seen.shape[1] == whole and torch.equal(seen[:, -1], clips(frames)[:, -1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 18}, "dim is 18, expected a multiple of 4"),
        ({"num_heads": 3}, "num_heads is 3, expected a divisor of dim = 16"),
        ({"predictor_width": 10}, "predictor_width is 10, expected a multiple of 4"),
        ({"patch_size": 5}, "patch_size is 5, expected a divisor of image_size = 32"),
        ({"patch_size": 16}, "patch_size is 16, expected a quarter of image_size = 32 at most"),
        ({"levels": 3}, "levels is 3, expected a divisor of depth = 2"),
        ({"tubelet": 1}, "tubelet is 1, expected 2 or more"),
        ({"mlp_dim": 0}, "mlp_dim is 0, expected 1 or more"),
        ({"momentum": 1.5}, "momentum is 1.5, expected a share in 0..1"),
    ],
)
def test_sizes_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        VJepa(**SMALL | {"patch_size": 8, "image_size": 32} | options)


def blocks(count: int, width: int, mlp: int | None = None) -> int:
    """Weights of pre-norm blocks with biases: attention 4 W^2, MLP 8 W^2 or as wide as said."""
    mlp = mlp or 4 * width
    return count * (4 * width**2 + 2 * width * mlp + mlp + 9 * width)


@pytest.mark.parametrize(
    ("name", "cls", "pixels", "depth", "width", "published"),
    [("ijepa", IJepa, 3 * 14**2, 32, 1280, 630e6), ("vjepa", VJepa, 3 * 2 * 16**2, 24, 1024, 300e6)],
)
def test_the_published_sizes(name, cls, pixels, depth, width, published):
    """ViT-H/14 and ViT-L/16 over tubelets, with predictors of 12 blocks of 384; sine tables do not learn."""
    content = yaml.safe_load((EXPERIMENTS / "pusht" / f"{name}_paper.yaml").read_text())
    with torch.device("meta"):
        model = cls(**content["model"]["init_args"]["tokenizer"]["init_args"])
    encoder, predictor = (sum(p.numel() for p in part.parameters()) for part in (model.encoder, model.predictor))
    assert encoder == (pixels + 1) * width + blocks(depth, width) + 2 * width
    assert predictor == (width + 1) * 384 + blocks(12, 384) + 3 * 384 + (384 + 1) * width
    assert encoder == pytest.approx(published, rel=0.015)


def chain(*names: str) -> tuple[dict, dict]:
    """Arguments of the training and of the model that YAMLs give, later ones first."""
    training, model = {}, {}
    for name in names:
        content = yaml.safe_load((EXPERIMENTS / "pusht" / f"{name}.yaml").read_text())["model"]["init_args"]
        model |= content["tokenizer"]["init_args"]
        training |= content
    return training, model


def test_version_2_1_is_what_its_yaml_says():
    training, model = chain("ijepa", "vjepa", "vjepa2_1")
    terms = VJepa(**model).loss_terms(torch.rand(1, 4, 3, 64, 64))
    assert set(terms) == set(training["loss_weights"])


def test_version_2_1_has_a_published_size():
    """ViT-g/16, whose released encoder has 1,013,267,968 parameters: also patches of images, and marks of both kinds.

    Counted from app/vjepa_2_1/models of github.com/facebookresearch/vjepa2; its predictor has seven more mask tokens,
    and marks too.
    """
    with torch.device("meta"):
        model = VJepa(**chain("ijepa", "vjepa", "vjepa2_1", "vjepa2_1_paper")[1])
    encoder, predictor = (sum(p.numel() for p in part.parameters()) for part in (model.encoder, model.predictor))
    width, levels = 1408, 4 * 1408
    assert encoder == (3 * 2 * 16**2 + 1) * width + blocks(40, width, mlp=6144) + 2 * levels
    assert encoder + (3 * 16**2 + 1) * width + 2 * width == 1_013_267_968
    embed = (levels + 1) * width + (width + 1) * 384
    assert predictor == embed + 384 + blocks(24, 384) + 2 * 384 + 2 * (384 + 1) * levels
