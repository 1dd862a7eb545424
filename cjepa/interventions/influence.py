"""How much one object's past matters to the prediction of another: influence matrices of a world model.

All estimates have one interface. ``influence_BHSS[b, h, i, j]`` is the influence of object j on the prediction of
object i, h blocks after the history; 0 is none, and the diagonal is NaN.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from einops import rearrange, repeat
from torch import Tensor

from cjepa.errors import UserError
from cjepa.interventions.edits import LatentIntervention, Mask, Remove, Replace
from cjepa.types import Clip
from cjepa.world_models.dynamics import Dynamics, rollout_clip, split_clip, take_rows
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from cjepa.world_models.transformer import Block


class Influence(ABC):
    """One way to estimate influence."""

    @abstractmethod
    def __call__(self, dynamics: Dynamics, clip: Clip) -> dict[str, Tensor]:
        """Estimates ``influence_BHSS`` by name, on the device of the clip.

        Args:
            dynamics: the model, in eval mode.
            clip: ``history_blocks + H`` blocks in the tokenizer's and the environment's units, as for
                :func:`~cjepa.world_models.dynamics.rollout_clip`; what followed is only used by ``worsened``.

        Raises:
            UserError: the model does not have what the estimate needs.
        """


class HidingInfluence(Influence):
    """Hides one object at a time and looks at the predictions of the others.

    ``NAME_moved`` is the mean squared difference of predicted tokens with and without j, in the model's units;
    ``NAME_worsened`` is how much the squared error grows, below 0 where the prediction gets better.
    """

    name: str

    @abstractmethod
    def hiding(self, slot_N: Tensor) -> LatentIntervention:
        """The intervention that hides one object of each sample."""

    @torch.no_grad()
    def __call__(self, dynamics: Dynamics, clip: Clip) -> dict[str, Tensor]:
        """See :class:`Influence`."""
        factual, followed = rollout_clip(dynamics, clip)
        batch, _, slots, _ = clip.tokens_BTSD.shape
        sample_N = torch.arange(batch, device=clip.tokens_BTSD.device).repeat_interleave(slots)
        hiding = self.hiding(torch.arange(slots, device=sample_N.device).repeat(batch))
        history, actions_NHA, _ = split_clip(dynamics, take_rows(clip, sample_N))
        changed = hiding.rollout(dynamics, history, actions_NHA).tokens_BHSD
        true, predicted = followed.tokens_BHSD, factual.tokens_BHSD
        error_BHS = (predicted - true).square().mean(dim=-1)
        found = {
            "moved": (changed - predicted[sample_N]).square().mean(dim=-1),
            "worsened": (changed - true[sample_N]).square().mean(dim=-1) - error_BHS[sample_N],
        }
        shaped = {name: rearrange(values, "(b j) h i -> b h i j", j=slots) for name, values in found.items()}
        return {f"{self.name}_{name}": _without_diagonal(values) for name, values in shaped.items()}


class ByMasking(HidingInfluence):
    """Masks the history of j but its anchor, as in training."""

    name = "mask"

    def hiding(self, slot_N: Tensor) -> LatentIntervention:
        """See :class:`HidingInfluence`."""
        return Mask(slot_N)


class ByRemoving(HidingInfluence):
    """Gives the model no token of j."""

    name = "remove"

    def hiding(self, slot_N: Tensor) -> LatentIntervention:
        """See :class:`HidingInfluence`."""
        return Remove(slot_N)


class ByEmptying(HidingInfluence):
    """Puts an empty slot in place of j: a scene with an object less, as models of scenes of any size know them.

    Args:
        empty_D: the token of an empty slot.
    """

    name = "empty"

    def __init__(self, empty_D: Tensor):
        self.empty_D = empty_D

    def hiding(self, slot_N: Tensor) -> LatentIntervention:
        """See :class:`HidingInfluence`."""
        return Replace(slot_N, self.empty_D)


class ByGradient(Influence):
    """Size of the derivative of the prediction of i by the history of j, in the model's units.

    It is the Frobenius norm of that Jacobian, estimated with random directions, in bfloat16: its rounding is far below
    the chance of one direction.

    Args:
        directions: their number; more are more exact.
        seed: of the directions.
    """

    def __init__(self, directions: int = 1, seed: int = 0):
        self.directions, self.seed = directions, seed

    @torch.enable_grad()
    def __call__(self, dynamics: Dynamics, clip: Clip) -> dict[str, Tensor]:
        """See :class:`Influence`."""
        batch, _, slots, _ = clip.tokens_BTSD.shape
        generator = torch.Generator().manual_seed(self.seed)
        sample_N = torch.arange(batch, device=clip.tokens_BTSD.device).repeat_interleave(slots)
        object_N = torch.arange(slots, device=sample_N.device).repeat(batch)
        history, actions_NHA, _ = split_clip(dynamics, take_rows(clip, sample_N))
        tokens_NTSD = history.tokens_BTSD.detach().requires_grad_()
        with torch.autocast(tokens_NTSD.device.type, torch.bfloat16):
            rollout = dynamics.rollout(dynamics.observe(history._replace(tokens_BTSD=tokens_NTSD)), actions_NHA)
        predicted_NHD = rollout.tokens_BHSD[torch.arange(len(object_N), device=object_N.device), :, object_N]
        scale_D = _unit_of_tokens(dynamics, tokens_NTSD)
        squared = []
        for predicted_ND in predicted_NHD.unbind(1):
            total_NS = 0.0
            for _ in range(self.directions):
                direction_ND = torch.randn(predicted_ND.shape, generator=generator).to(predicted_ND)
                (slope,) = torch.autograd.grad((direction_ND * predicted_ND).sum(), tokens_NTSD, retain_graph=True)
                total_NS = total_NS + (slope * scale_D).square().sum(dim=(1, 3))
            squared.append(total_NS / self.directions)
        norm_NHS = torch.stack(squared, dim=1).sqrt().detach()
        return {"gradient": _without_diagonal(rearrange(norm_NHS, "(b i) h j -> b h i j", i=slots))}


class ByAttention(Influence):
    """Attention rollout (Abnar and Zuidema, arXiv 2005.00928) of an :class:`EntityTransformer`.

    The attention of a layer, averaged over heads, is mixed with the identity for the residual path; the product over
    layers says how much the next block of i takes from all blocks of j. Later blocks are predicted from predicted ones.
    """

    @torch.no_grad()
    def __call__(self, dynamics: Dynamics, clip: Clip) -> dict[str, Tensor]:
        """See :class:`Influence`."""
        blocks = [_between_objects(_rolled_out(maps), dynamics, clip) for maps in _attended(dynamics, clip)]
        return {"attention": _without_diagonal(torch.stack(blocks, dim=1))}


@torch.no_grad()
def attention_by_layer(dynamics: Dynamics, clip: Clip) -> Tensor:
    """What each of K layers attends to, averaged over heads and predicted blocks, ``(B, K, S, S)``.

    Entry i, j: the share of the attention of the next block of i that goes to all blocks of j; the rest goes to actions
    and proprioception.

    Args:
        dynamics: see :class:`Influence`.
        clip: likewise.

    Raises:
        UserError: the model is not an :class:`EntityTransformer`.
    """
    blocks = [[_between_objects(one, dynamics, clip) for one in maps] for maps in _attended(dynamics, clip)]
    return torch.stack([torch.stack(layers, dim=1) for layers in blocks]).mean(dim=0)


class ByPath(Influence):
    """Whether j can act on the prediction of i at all, along the edges that the predictor itself chooses.

    Edges are the paths of a :class:`SparseTransformer` in a block, or the nearest neighbours of a :class:`SlotGraph`.
    Those of a block follow those of the blocks before it: ``path`` is 1 from the first block on whose prediction of i
    can be traced back to the history of j, and 0 before.
    """

    @torch.no_grad()
    def __call__(self, dynamics: Dynamics, clip: Clip) -> dict[str, Tensor]:
        """See :class:`Influence`."""
        slots, reached = clip.tokens_BTSD.shape[2], []
        history, actions_BHA, _ = split_clip(dynamics, clip)
        state = dynamics.observe(history)
        for actions_BA in actions_BHA.unbind(1):
            sources_BEE = dynamics.sources(state, actions_BA)
            if sources_BEE is None:
                raise UserError("influence by path: the model chooses no edges; choose another estimate")
            sources_BEE = sources_BEE.float()
            reached.append((sources_BEE @ reached[-1] > 0).float() if reached else sources_BEE)
            state = dynamics.step(state, actions_BA)
        return {"path": _without_diagonal(torch.stack(reached, dim=1)[:, :, :slots, :slots])}


def _attended(dynamics: Dynamics, clip: Clip) -> Iterator[list[Tensor]]:
    """Attention maps ``(B, L, L)`` of all layers, for one predicted block after the other."""
    predictor = dynamics.predictor if isinstance(dynamics, PredictorDynamics) else None
    if not isinstance(predictor, EntityTransformer) or predictor.time_embedding is None:
        raise UserError(
            "influence by attention: the model is not an EntityTransformer (time: learned); choose another estimate"
        )
    history, actions_BHA, _ = split_clip(dynamics, clip)
    with _Attention(list(predictor.blocks)) as attention:
        state = dynamics.observe(history)
        for actions_BA in actions_BHA.unbind(1):
            state = dynamics.step(state, actions_BA)
            yield attention.take()


class _Attention:
    """While open, keeps what the blocks of a transformer attend to."""

    def __init__(self, blocks: list[Block]):
        self._blocks, self._maps = blocks, []

    def __enter__(self) -> "_Attention":
        self._hooks = [
            block.to_qkv.register_forward_hook(
                lambda _, __, qkv, heads=block.num_heads: self._maps.append(attention_map(qkv, heads))
            )
            for block in self._blocks
        ]
        return self

    def __exit__(self, *_) -> None:
        for hook in self._hooks:
            hook.remove()

    def take(self) -> list[Tensor]:
        """Those of the pass since the last call, a layer each, ``(B, L, L)``."""
        maps, self._maps[:] = list(self._maps), []
        return maps


def _rolled_out(maps: Sequence[Tensor]) -> Tensor:
    """The rollout over layers, ``(B, L, L)``."""
    flow_LL = identity_LL = torch.eye(maps[0].shape[-1], device=maps[0].device)
    for attended_BLL in maps:
        flow_LL = (attended_BLL + identity_LL) / 2 @ flow_LL
    return flow_LL


def attention_map(qkv_BL3: Tensor, num_heads: int) -> Tensor:
    """Attention of each token to each, averaged over heads ``(B, L, L)``, from a block's queries, keys and values."""
    query, key, _ = rearrange(qkv_BL3.float(), "b l (three h d) -> three b h l d", three=3, h=num_heads)
    return (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(dim=-1).mean(dim=1)


def _between_objects(flow_BLL: Tensor, dynamics: PredictorDynamics, clip: Clip) -> Tensor:
    """What the queries of the next block take from all blocks of each object, ``(B, S, S)``."""
    predictor, slots = dynamics.predictor, clip.tokens_BTSD.shape[2]
    own = predictor.conditioning == "entities"  # proprioception and actions have entries of their own in each block
    queries = slots + own * bool(predictor.proprio_dim)  # of the next block, which come last
    entries = queries + own * bool(predictor.action_dim)  # of each block before
    past_BSL, next_BSL = flow_BLL[:, -queries:][:, :slots].split([flow_BLL.shape[1] - queries, queries], dim=2)
    past_BSTE = rearrange(past_BSL, "b i (t e) -> b i t e", e=entries)
    return past_BSTE[..., :slots].sum(dim=2) + next_BSL[..., :slots]


def _unit_of_tokens(dynamics: Dynamics, tokens_NTSD: Tensor) -> Tensor:
    """Change of a token value per unit of the model: normalised values are affine in the tokens."""
    ends = torch.stack([torch.zeros_like(tokens_NTSD[0, 0, 0]), torch.ones_like(tokens_NTSD[0, 0, 0])])
    clip = Clip(
        ends[:, None, None].detach(),
        *(ends.new_zeros(2, 1, dim) for dim in (dynamics.proprio_dim, dynamics.action_dim)),
    )
    zero_D, one_D = dynamics.normalise(clip).tokens_BTSD[:, 0, 0]
    return 1 / (one_D - zero_D)


def _without_diagonal(influence_BHSS: Tensor) -> Tensor:
    slots = influence_BHSS.shape[-1]
    diagonal_SS = torch.eye(slots, dtype=torch.bool, device=influence_BHSS.device)
    return influence_BHSS.masked_fill(repeat(diagonal_SS, "i j -> b h i j", b=1, h=1), torch.nan)
