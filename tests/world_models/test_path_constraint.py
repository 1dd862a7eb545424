import pytest
import torch

from cjepa.world_models.masks import ObjectMask
from cjepa.world_models.path_constraint import PathConstraint
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from cjepa.world_models.predictors.sparse_attention import SparseTransformer
from cjepa.world_models.training import WorldModel
from tests.world_models.small import SMALL, a_clip


def test_the_weight_follows_the_error():
    constraint = PathConstraint(target_error=0.5, weight=0.01, rate=0.2)
    paths = torch.tensor(3.0)
    assert constraint(paths, torch.tensor(0.25)).item() == pytest.approx(0.03)
    assert constraint.weight.item() == pytest.approx(0.01 * 2.718281828**0.1)  # log weight + 0.2 * (1 - 0.5)
    constraint(paths, torch.tensor(0.75))
    assert constraint.weight.item() == pytest.approx(0.01)
    constraint(paths, torch.tensor(100.0))  # one bad batch counts as one twice the target
    assert constraint.weight.item() == pytest.approx(0.01 * 2.718281828**-0.2)
    constraint.eval()(paths, torch.tensor(0.0))
    assert constraint.weight.item() == pytest.approx(0.01 * 2.718281828**-0.2)


def test_the_weight_has_no_gradient():
    paths, error = torch.tensor(2.0, requires_grad=True), torch.tensor(0.1, requires_grad=True)
    PathConstraint(target_error=0.5, weight=0.25)(paths, error).backward()
    assert paths.grad.item() == pytest.approx(0.25) and error.grad is None


@pytest.mark.parametrize("wrong", [{"target_error": 0.0}, {"target_error": 1.0, "weight": 0.0}])
def test_numbers_out_of_range(wrong):
    with pytest.raises(ValueError, match="above 0"):
        PathConstraint(**wrong)


def test_paths_are_part_of_the_loss():
    torch.manual_seed(0)
    predictor = SparseTransformer(6, history_blocks=3, dim=16, depth=2, mlp_dim=32)
    model = WorldModel(predictor, ObjectMask(0), path_constraint=PathConstraint(1e6, weight=0.1, rate=0.5))
    logged = {}
    model.log_dict = lambda values, **_: logged.update(values)
    model.log = lambda name, value, **_: logged.update({name: value})
    loss = model.training_step(a_clip(4), 0)
    assert logged["train/paths"] > 1 and logged["train/path_weight"].item() == pytest.approx(0.1)
    expected = logged["train/future"] + logged["train/proprio"] + 0.1 * logged["train/paths"]
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert predictor.blocks[0].to_qkv.weight.grad.abs().max() > 0
    assert model.path_constraint.weight.item() == pytest.approx(0.1 * 2.718281828**0.5, rel=1e-4)
    assert "path_constraint.log_weight" in model.state_dict()  # a resumed training goes on with it


def test_predictors_without_paths_are_refused():
    with pytest.raises(ValueError, match="needs a SparseTransformer, not EntityTransformer"):
        WorldModel(EntityTransformer(token_dim=6, **SMALL), ObjectMask(0), path_constraint=PathConstraint(1.0))
