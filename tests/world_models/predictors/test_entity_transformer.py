import pytest
import torch

from cjepa.errors import UserError
from cjepa.world_models.predictors.causal_transformer import CausalTransformer
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from tests.contracts import assert_order_does_not_matter
from tests.world_models.predictors.small import OPTIONS, SIZES, A, B, S, T, inputs, make


def test_a_missing_entity_has_no_parameters():
    names = {name.split(".")[0] for name, _ in make(proprio_dim=0, action_dim=0).named_parameters()}
    assert not {name for name in names if "proprio" in name or "action" in name}


@pytest.mark.parametrize("cls", [EntityTransformer, CausalTransformer], ids=lambda cls: cls.__name__)
def test_untrained_it_says_that_nothing_changes(cls):
    tokens, proprio, actions, mask = inputs()
    mask[:, 1:, 0] = True
    history, future, next_proprio = cls(**SIZES).eval()(tokens, proprio, actions, mask)
    assert torch.equal(future[:, 0, 1:], tokens[:, -1, 1:]) and torch.equal(next_proprio, proprio[:, -1:])
    assert torch.equal(history[:, :, 0], tokens[:, :1, 0].expand(-1, T, -1))  # hidden: from the anchor
    assert torch.equal(future[:, 0, 0], tokens[:, 0, 0])


@pytest.mark.parametrize("cls", [EntityTransformer, CausalTransformer], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("conditioning", ["entities", "concatenated"])
def test_object_order_does_not_matter(cls, conditioning):
    assert_order_does_not_matter(make(cls, conditioning=conditioning), *inputs())


def test_without_an_anchor_nothing_is_known_of_a_hidden_object():
    """But where it is among the others."""
    predictor = make(anchor=False, num_positions=S)
    tokens, proprio, actions, mask = inputs()
    mask[:, 1:, 0] = True
    untrained = EntityTransformer(**SIZES, anchor=False).eval()(tokens, proprio, actions, mask)
    assert not untrained.history_BTSD.any() and not untrained.future_BFSD[:, 0, 0].any()
    assert torch.equal(untrained.future_BFSD[:, 0, 1:], tokens[:, -1, 1:])
    assert not [name for name, _ in predictor.named_parameters() if "anchor" in name]
    future = predictor(tokens, proprio, actions, mask).future_BFSD[:, 0]
    assert (future[:, 0] - make(anchor=False)(tokens, proprio, actions, mask).future_BFSD[:, 0, 0]).abs().max() > 1e-4


def test_concatenated_proprioception_and_actions_are_no_entities_of_their_own():
    tokens, proprio, actions, mask = inputs()
    lengths = []
    for conditioning in ("entities", "concatenated"):
        predictor = make(conditioning=conditioning)
        predictor.blocks[0].register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
        predictor(tokens, proprio, actions, mask)
    assert lengths == [T * (S + 2) + S + 1, T * S + S]


def test_a_concatenated_action_reaches_every_object_at_once():
    """One layer whose attention is closed: what it does to an object is all in the object's own token."""
    predictor = make(conditioning="concatenated", depth=1)
    tokens, proprio, actions, mask = inputs()
    expected = torch.cat([tokens, proprio[:, :, None].expand(-1, -1, S, -1)], dim=-1)
    weight = torch.cat([predictor.embed_token.weight, predictor.embed_proprio.weight], dim=1)
    bias = predictor.embed_token.bias + predictor.embed_proprio.bias + predictor.embed_action(actions)[:, :, None]
    history, _ = predictor.entities(tokens[:, :1], tokens, proprio, actions, mask)
    time = predictor.time_embedding[:T, None]
    torch.testing.assert_close(history, torch.nn.functional.linear(expected, weight) + bias + time)


def test_matched_objects_follow_those_of_the_last_block():
    """A head that exchanges the values of objects; matched, every object is where it was."""
    tokens, proprio, actions, mask = inputs()
    tokens = 10 * torch.arange(S).reshape(1, 1, S, 1) + tokens
    swapped_BSD = tokens[:, -1, [1, 0, 3, 2]]
    found = []
    for matching in ("index", "hungarian"):
        predictor = make(matching=matching)
        predictor.token_head = Changes(swapped_BSD - tokens[:, -1])
        found.append(predictor(tokens, proprio, actions, mask).future_BFSD[:, 0])
    torch.testing.assert_close(found[0], swapped_BSD)
    torch.testing.assert_close(found[1], tokens[:, -1])


class Changes(torch.nn.Module):
    """A head that knows what changes."""

    def __init__(self, change_BSD: torch.Tensor):
        super().__init__()
        self.change_BSD = change_BSD

    def forward(self, entities: torch.Tensor) -> torch.Tensor:
        return self.change_BSD if entities.ndim == 3 else self.change_BSD[:, None]


@pytest.mark.parametrize("cls", [EntityTransformer, CausalTransformer], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("stop_gradient", [False, True])
def test_a_later_block_trains_those_that_were_fed_back_or_does_not(cls, stop_gradient):
    predictor = make(cls, stop_gradient=stop_gradient)
    tokens, proprio, actions, mask = inputs()
    later = torch.randn(B, 2, A, generator=torch.Generator().manual_seed(5)).requires_grad_()
    future = predictor.unroll(tokens, proprio, torch.cat([actions, later], dim=1), mask).future_BFSD
    (first,) = torch.autograd.grad(future[:, 1].sum(), later, retain_graph=True)
    assert first[:, 0].any()  # its own action
    (last,) = torch.autograd.grad(future[:, 2].sum(), later, retain_graph=True)
    assert last[:, 1].any()
    assert last[:, 0].any() == (not stop_gradient)  # that of the block before, through what was fed back


def test_patches_know_their_place():
    predictor = make(num_positions=S)
    tokens, proprio, actions, mask = inputs()
    tokens = tokens[:, :, :1].expand(-1, -1, S, -1)  # all the same
    found = predictor(tokens, proprio, actions, mask).future_BFSD
    assert (found[:, :, 0] - found[:, :, 1]).abs().max() > 1e-4


def test_time_order_matters():
    predictor = make(history_blocks=4)
    given = inputs(4)
    expected = predictor(*given).future_BFSD
    for kind in range(3):  # blocks 1 and 2: neither the anchor nor the last
        swapped = [values[:, [0, 2, 1, 3]] if index == kind else values for index, values in enumerate(given)]
        assert (predictor(*swapped).future_BFSD - expected).abs().max() > 1e-5


@pytest.mark.parametrize(
    ("name", "value"), [("dim", 32), ("depth", 3), ("mlp_dim", 64), ("num_positions", 4), ("history_blocks", 5)]
)
def test_sizes_change_the_parameters(name, value):
    def count(model):
        return sum(p.numel() for p in model.parameters())

    assert count(EntityTransformer(**SIZES | {name: value})) > count(EntityTransformer(**SIZES))


def test_dropout_acts_in_training_only():
    predictor = make(dropout=0.5)
    given = inputs()
    assert torch.equal(predictor(*given).future_BFSD, predictor(*given).future_BFSD)
    predictor.train()
    assert not torch.equal(predictor(*given).future_BFSD, predictor(*given).future_BFSD)


@pytest.mark.parametrize("changes", [{}, *OPTIONS.values(), {"proprio_dim": 0, "action_dim": 0}], ids=str)
def test_a_step_is_the_future_of_the_whole_network(changes):
    """Though the last layer of a step leaves out the history."""
    predictor = make(EntityTransformer, **changes)
    tokens, proprio, actions, _ = inputs()
    proprio, actions = proprio[..., : predictor.proprio_dim], actions[..., : predictor.action_dim]
    rows = []
    predictor.blocks[-1].norm_2.register_forward_pre_hook(lambda _, given: rows.append(given[0].shape[1]))
    whole = predictor(tokens, proprio, actions, torch.zeros(B, T, S, dtype=torch.bool))
    found = predictor.predicted(predictor.step(predictor.observe(tokens, proprio, actions[:, :-1]), actions[:, -1]))
    torch.testing.assert_close(found.tokens_BSD, whole.future_BFSD[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.proprio_BP, whole.proprio_BFP[:, 0], atol=1e-5, rtol=1e-5)
    queries = S + bool(predictor.proprio_dim and predictor.conditioning == "entities")
    assert rows[1] == queries < rows[0]


@pytest.mark.parametrize("changes", [{}, OPTIONS["concatenated"], {"proprio_dim": 0, "action_dim": 0}], ids=str)
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_a_cached_rollout_is_all_blocks_computed_again(changes, blocks):
    """Seven blocks with a history of three: whoever attends to more than three, or forgets one, is found out."""
    predictor = make(CausalTransformer, **changes)
    tokens, proprio, actions, _ = inputs(blocks)
    tokens, proprio, actions = tokens, proprio[..., : predictor.proprio_dim], actions[..., : predictor.action_dim]
    later = torch.randn(B, 7, A, generator=torch.Generator().manual_seed(5))[..., : predictor.action_dim]
    state = predictor.observe(tokens, proprio, actions[:, :-1])
    chosen = torch.cat([actions[:, -1:], later], dim=1)
    for block in range(7):
        state = predictor.step(state, chosen[:, block])
        known = torch.cat([actions[:, :-1], chosen[:, : block + 1]], dim=1)
        nothing = torch.zeros(B, known.shape[1], S, dtype=torch.bool)
        again = predictor(tokens, proprio, known, nothing)
        next_tokens, next_proprio, _ = predictor.predicted(state)
        torch.testing.assert_close(next_tokens, again.future_BFSD[:, 0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(next_proprio, again.proprio_BFP[:, 0], atol=1e-5, rtol=1e-5)
        tokens = torch.cat([tokens, next_tokens[:, None]], dim=1)
        proprio = torch.cat([proprio, next_proprio[:, None]], dim=1)


def test_a_cached_step_computes_one_block_and_the_queries_of_the_next():
    predictor = make(CausalTransformer)
    tokens, proprio, actions, _ = inputs()
    state = predictor.observe(tokens, proprio, actions[:, :-1])
    assert state.keys_BNHMK.shape == (B, 2, 2, (T - 1) * (S + 2), 8)
    lengths = []
    predictor.blocks[0].norm_1.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    for block in range(4):
        state = predictor.step(state, actions[:, block % T])
    assert lengths == [S + 2 + S + 1] * 4
    assert state.keys_BNHMK.shape[3] == (T - 1) * (S + 2)


def test_a_causal_block_does_not_depend_on_what_follows():
    predictor = make(CausalTransformer)
    tokens, proprio, actions, mask = inputs()
    mask[:, 1, 0] = True
    changed = [values.clone() for values in (tokens, proprio, actions)]
    for values in changed:
        values[:, 2] += 1
    expected, found = predictor(tokens, proprio, actions, mask), predictor(*changed, mask)
    assert torch.equal(found.history_BTSD[:, :2], expected.history_BTSD[:, :2])
    assert not torch.equal(found.history_BTSD[:, 2], expected.history_BTSD[:, 2])


def test_an_embedding_for_another_number_of_objects_is_refused():
    with pytest.raises(
        UserError, match=f"for 3 tokens a block, but there are {S}; set its num_tokens or num_positions to {S}"
    ):
        make(num_positions=3)(*inputs())


def test_rotary_time_needs_pairs_of_values():
    with pytest.raises(ValueError, match="time: rotary needs an even dim / num_heads, not 9 / 3"):
        make(time="rotary", dim=9, num_heads=3)


def test_rotary_time_has_no_parameters():
    names = {name for name, _ in make(time="rotary").named_parameters()}
    assert "time_embedding" not in names and "time_embedding" in dict(make().named_parameters())


@pytest.mark.parametrize(("name", "value"), [("depth", 0), ("mlp_dim", 0), ("num_heads", 0), ("num_heads", 5)])
def test_sizes_of_the_transformer_that_make_no_sense_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}, expected"):
        make(**{name: value})
