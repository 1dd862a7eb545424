"""What defines a recurrent state-space model: drawn latents, priors, messages between objects."""

import pytest
import torch
import yaml

from cjepa.world_models.predictors.rssm import Advance, ObjectRSSM, drawn
from tests.conftest import EXPERIMENTS
from tests.contracts import assert_order_does_not_matter, stirred
from tests.world_models.predictors.small import noise

SIZES = {"token_dim": 6, "proprio_dim": 3, "action_dim": 2, "history_blocks": 4, "dim": 16, "mlp_dim": 8}
SIZES |= {"coder_dim": 12, "latents": 5, "classes": 3, "groups": 4}


def make(**changes) -> ObjectRSSM:
    torch.manual_seed(0)
    return stirred(ObjectRSSM(**SIZES | changes)).eval()


def inputs(slots: int = 3, blocks: int = 4):
    return noise(2, blocks, slots, (6, 3, 2), seed=1)


def infer(model: ObjectRSSM, tokens, proprio, actions, mask):
    return model.infer(tokens, proprio, actions[:, :-1], mask)[0]


def test_a_draw_is_one_class_as_often_as_is_probable_with_the_gradient_of_the_probabilities():
    log_probability = torch.tensor([0.7, 0.2, 0.1]).log().expand(4000, 3).clone().requires_grad_()
    latents = drawn(log_probability, torch.Generator().manual_seed(0))
    assert latents.detach().sum(dim=1).allclose(torch.ones(4000)) and latents.max() <= 1 + 1e-6
    torch.testing.assert_close(latents.mean(dim=0), torch.tensor([0.7, 0.2, 0.1]), atol=0.03, rtol=0)
    (latents @ torch.tensor([1.0, 2.0, 3.0])).sum().backward()  # of w . exp(log p) it is w p
    torch.testing.assert_close(log_probability.grad[0], torch.tensor([0.7, 0.4, 0.3]))
    assert drawn(log_probability, None)[0].tolist() == pytest.approx([1, 0, 0], abs=1e-6)


def test_every_class_keeps_its_share_of_the_uniform_distribution():
    model = make()
    with torch.no_grad():
        for head in (model.prior, model.posterior):
            head[-1].weight.zero_(), head[-1].bias.copy_(torch.tensor([100.0, 0.0, 0.0]).repeat(5))
    found = infer(model, *inputs())
    expected = torch.tensor([0.99 + 0.01 / 3, 0.01 / 3, 0.01 / 3])
    for distribution in (found.prior_BVEKC, found.posterior_BVEKC):
        torch.testing.assert_close(distribution.exp(), expected.expand(2, 3, 4, 5, 3))


def test_a_prior_knows_the_past_and_a_posterior_the_present():
    """What is seen at block 2 of 0..3 changes the posterior of block 2, and the priors of block 3."""
    model, (tokens, *others) = make(), inputs()
    before, changed = infer(model, tokens, *others), tokens.clone()
    changed[:, 2] += 1
    after = infer(model, changed, *others)
    same_prior = [bool(torch.equal(before.prior_BVEKC[:, v], after.prior_BVEKC[:, v])) for v in range(3)]
    same_posterior = [bool(torch.equal(before.posterior_BVEKC[:, v], after.posterior_BVEKC[:, v])) for v in range(3)]
    assert same_prior == [True, True, False] and same_posterior == [True, False, False]
    assert torch.equal(before.tokens_BTSD[:, :2], after.tokens_BTSD[:, :2])


def test_a_hidden_object_has_its_prior():
    model, (tokens, proprio, actions, mask) = make(), inputs()
    mask[:, 2, 1] = True
    found = infer(model, tokens, proprio, actions, mask)
    same = (found.prior_BVEKC == found.posterior_BVEKC).all(dim=4).all(dim=3).all(dim=0)  # block, entity
    assert same.tolist() == [[False] * 4, [False, True, False, False], [False] * 4]


def test_an_object_hears_of_the_others():
    model, (tokens, *others) = make(), inputs()
    changed = tokens.clone()
    changed[:, 0, 0] += 3
    before, after = (infer(model, seen, *others) for seen in (tokens, changed))
    assert torch.equal(before.tokens_BTSD[:, 0, 1:], after.tokens_BTSD[:, 0, 1:])
    assert ((before.prior_BVEKC[:, 0] - after.prior_BVEKC[:, 0]).abs().amax(dim=(0, 2, 3)) > 1e-4).all()


def test_the_order_of_objects_does_not_matter():
    assert_order_does_not_matter(make(), *inputs(slots=4))


def test_untrained_gates_keep_most_of_a_state():
    """With gates of 0: half reset, a candidate of 0, and an update of sigmoid(-1)."""
    advance = Advance(dim=8, latent_dim=6, action_dim=2, mlp_dim=4, groups=2)
    torch.nn.init.zeros_(advance.gates.weight)
    state = torch.randn(3, 2, 8)
    found = advance(state, torch.randn(3, 2, 6), torch.randn(3, 2))
    torch.testing.assert_close(found, state * (1 - torch.sigmoid(torch.tensor(-1.0))))


def test_groups_of_a_state_have_weights_of_their_own():
    """The gates of a group see the hidden values of this group alone."""
    advance = stirred(Advance(dim=8, latent_dim=6, action_dim=2, mlp_dim=4, groups=2))
    hidden = torch.randn(5, 2, 4, requires_grad=True)
    gradient = torch.autograd.grad(advance.gates(hidden)[:, 0].sum(), hidden)[0]
    assert gradient[:, 0].abs().sum() > 0 and gradient[:, 1].abs().sum() == 0
    values = torch.randn(5, 2, 4)
    expected = values[:, 1] @ advance.gates.weight[1] + advance.gates.bias[1]
    torch.testing.assert_close(advance.gates(values)[:, 1], expected)


def test_the_published_size():
    """Of the recurrence, the prior and the posterior of the 12M configuration, plus what hears messages here."""
    content = yaml.safe_load((EXPERIMENTS / "pusht/rssm_paper.yaml").read_text())
    model = ObjectRSSM(34, **content["model"]["init_args"]["predictor"]["init_args"])
    dim, units, latent, groups, action = 2048, 256, 32 * 16, 8, 10

    def linear(inputs: int, outputs: int) -> int:
        return inputs * outputs + outputs

    def layer(inputs: int, outputs: int) -> int:
        return linear(inputs, outputs) + outputs  # with the scale of its norm

    inputs = layer(dim, units) + layer(latent, units) + layer(action, units)
    hidden = groups * linear(dim // groups + 3 * units, dim // groups) + dim
    recurrence = inputs + hidden + groups * linear(dim // groups, 3 * dim // groups)
    messages = linear(2 * units, units) + 2 * units * units + layer(units, units) + units * dim
    prior = layer(dim, units) + layer(units, units) + linear(units, latent)
    posterior = layer(dim + units, units) + linear(units, latent)
    counted = [sum(p.numel() for p in part.parameters()) for part in (model.advance, model.prior, model.posterior)]
    assert counted == [recurrence + messages, prior, posterior]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dim": 18}, "dim is 18, expected a multiple of groups = 4"),
        ({"classes": 0}, "classes is 0, expected 1 or more"),
        ({"uniform": 1.0}, "uniform is 1.0, expected a share in 0 to below 1"),
    ],
)
def test_wrong_sizes_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        make(**changes)
