"""What the YAMLs of published models say of masks, losses and costs; tests of the predictors count sizes."""

import importlib
from functools import reduce
from typing import Any

import pytest
import torch
import yaml

from cjepa.planning.objectives import Goal, Objective
from cjepa.types import Rollout
from tests.conftest import EXPERIMENTS


def merged(*names: str) -> dict[str, Any]:
    """A chain of YAMLs as one."""

    def over(below: Any, above: Any) -> Any:
        if not (isinstance(below, dict) and isinstance(above, dict)):
            return above
        return below | {key: over(below.get(key), value) for key, value in above.items()}

    return reduce(over, (yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text()) for name in names))


def says(part: dict[str, Any], **expected: Any) -> bool:
    return {name: part.get(name) for name in expected} == expected


def model_of(*names: str) -> dict[str, Any]:
    return merged(*names)["model"]["init_args"]


def made(spec: Any) -> Any:
    """The object that a config names, with those within it."""
    if not isinstance(spec, dict) or "class_path" not in spec:
        return spec
    module, _, name = spec["class_path"].rpartition(".")
    init_args = {key: made(value) for key, value in spec.get("init_args", {}).items()}
    return getattr(importlib.import_module(module), name)(**init_args)


@pytest.mark.parametrize(
    ("chain", "matching", "blocks", "masked", "stride"),
    [
        (("pusht/official",), "hungarian", (3, 1), 1, 5),
        (("pusht/official", "collide/official"), "index", (6, 10), 4, 2),
    ],
    ids=["pusht", "collide"],
)
def test_c_jepa_trains_as_published(chain, matching, blocks, masked, stride):
    config = merged(*chain)
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    predictor, mask = model["predictor"]["init_args"], model["mask"]
    assert says(model, lr=5e-4, proprio_lr=1e-4, weight_decay=1e-2)
    assert says(predictor, token_dim=128, depth=6, num_heads=16, mlp_dim=2048, dropout=0.1, matching=matching)
    assert (predictor["history_blocks"], predictor["predict_blocks"]) == blocks
    assert mask["class_path"].endswith(".FixedMask")
    assert says(mask["init_args"], num_masked=masked, random_count=False, seed=42)
    assert says(data, batch_size=256, train_blocks=sum(blocks), frame_stride=stride)
    assert says(config["trainer"], max_epochs=30) and "max_steps" not in config["trainer"]


@pytest.mark.parametrize("size", ["", "_paper"], ids=["small", "published"])
def test_patch_models_have_their_losses(size):
    """Teacher forcing alone; with a rollout of two blocks; the same with absolute errors of layer-normed tokens."""
    losses = {"dino_wm": {"rollout_blocks": 0, "norm": "l2"}}
    losses["jepa_wm"] = {"rollout_blocks": 2, "rollout_weight": 1.0, "norm": "l2"}
    losses["vjepa2_ac"] = losses["jepa_wm"] | {"norm": "l1", "scale_tokens": False}
    for name, loss in losses.items():
        assert says(model_of("pusht/cjepa", "pusht/dino_wm", f"pusht/{name}", f"pusht/{name}{size}"), **loss)


def cost_of(name: str) -> torch.Tensor:
    """The cost ``(B, N)`` of :func:`a_rollout` by the objective of a YAML."""
    objective: Objective = made(merged("pusht/plan", f"pusht/{name}")["objective"])
    rollout, goal = a_rollout()
    return objective(rollout, torch.zeros(2, 5, 3, 10), goal)


def a_rollout() -> tuple[Rollout, Goal]:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 5, 3, 4, 6), (2, 5, 3, 4), (2, 4, 6), (2, 4)
    tokens, proprio, goal, goal_proprio = (torch.randn(shape, generator=generator) for shape in shapes)
    return Rollout(tokens, proprio), Goal(goal, goal_proprio, torch.tensor([[1.0, 1, 0, 0]] * 2))


def test_jepa_wm_weighs_proprioception_by_a_tenth():
    rollout, goal = a_rollout()
    tokens = (rollout.tokens_BHSD[:, :, -1] - goal.tokens_BSD[:, None]).square().mean(dim=(2, 3))
    proprio = (rollout.proprio_BHP[:, :, -1] - goal.proprio_BP[:, None]).square().mean(dim=2)
    torch.testing.assert_close(cost_of("plan_jepa_wm"), tokens + 0.1 * proprio)


def test_vjepa2_ac_plans_by_absolute_errors_of_tokens():
    rollout, goal = a_rollout()
    expected = (rollout.tokens_BHSD[:, :, -1] - goal.tokens_BSD[:, None]).abs().mean(dim=(2, 3))
    torch.testing.assert_close(cost_of("plan_vjepa2_ac"), expected)
    ball = merged("pusht/plan", "pusht/plan_vjepa2_ac")["constraints"]
    assert [part["class_path"] for part in ball] == ["cjepa.planning.constraints.L1Ball"]


def test_leworldmodel_trains_as_published():
    config = merged("pusht/lewm", "pusht/lewm_paper")
    model = config["model"]["init_args"]
    assert says(model, lr=5e-5, weight_decay=1e-3) and "target_momentum" not in model
    assert says(model["regulariser"]["init_args"], weight=0.09, num_directions=1024, num_knots=17)
    assert says(config["data"]["init_args"], batch_size=128, train_blocks=4)
    assert model["warmup_steps"] == 0.01 * config["trainer"]["max_steps"]
    assert model["predictor"]["init_args"]["dropout"] == 0.1


def test_wag_has_three_neighbours_and_both_kinds_of_masks():
    for names in (("pusht/cjepa", "pusht/wag"), ("collide/cjepa", "collide/wag")):
        model = model_of(*names)
        assert says(model["predictor"]["init_args"], num_neighbours=3)
        assert model["mask"]["class_path"].endswith(".ObjectMask") and model["mask"]["init_args"]["shared_in_batch"]
    central = model_of("collide/cjepa", "collide/wag", "collide/wag_centrality")["mask"]
    assert central["class_path"].endswith(".CentralityMask") and central["init_args"]["num_neighbours"] == 3
