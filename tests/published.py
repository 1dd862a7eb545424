"""The published C-JEPA code's weights and formulas (FACTS: arXiv 2602.11389), in plain torch and without ours."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def published_weights(
    dim: int, blocks: int, depth: int = 2, mlp_dim: int = 20, proprio_dim: int = 0, action_dim: int = 0
) -> dict[str, Tensor]:
    """Random weights under the published names, of the published shapes."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"mask_token": (1, 1, dim), "time_pos_embed": (1, blocks, 1, dim)}
    shapes |= {"id_projector.weight": (dim, dim), "id_projector.bias": (dim,)}
    shapes |= {"to_out.weight": (dim, dim), "to_out.bias": (dim,)}
    shapes |= {"transformer.norm.weight": (dim,), "transformer.norm.bias": (dim,)}
    for layer in range(depth):
        mha, mlp = (f"transformer.layers.{layer}.{part}" for part in (0, 1))
        shapes |= {f"{mha}.in_proj_weight": (3 * dim, dim), f"{mha}.in_proj_bias": (3 * dim,)}
        shapes |= {f"{mha}.out_proj.weight": (dim, dim), f"{mha}.out_proj.bias": (dim,)}
        shapes |= {f"{mlp}.0.weight": (dim,), f"{mlp}.0.bias": (dim,)}
        shapes |= {f"{mlp}.1.weight": (mlp_dim, dim), f"{mlp}.1.bias": (mlp_dim,)}
        shapes |= {f"{mlp}.4.weight": (dim, mlp_dim), f"{mlp}.4.bias": (dim,)}
    weights = {
        f"model.predictor.{name}": 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()
    }
    for name, width in (("proprio", proprio_dim), ("action", action_dim)):
        if width:
            encoder = f"model.{name}_encoder.patch_embed"
            weights[f"{encoder}.weight"] = torch.randn(dim, width, 1, generator=generator)
            weights[f"{encoder}.bias"] = torch.randn(dim, generator=generator)
    return weights


class Published:
    """The formulas on such weights.

    Args:
        weights: of :func:`published_weights`.
        heads: of the attention.
        predicted: blocks of a pass after the history.
    """

    def __init__(self, weights: dict[str, Tensor], heads: int, predicted: int):
        self.w = {
            name.removeprefix("model.predictor.").removeprefix("model."): value for name, value in weights.items()
        }
        self.heads, self.predicted = heads, predicted

    def embed(self, name: str, values: Tensor) -> Tensor:
        """A convolution of kernel 1 over time: ``(B, T, width)`` to ``(B, T, 1, D)``."""
        weight, bias = (self.w[f"{name}_encoder.patch_embed.{part}"] for part in ("weight", "bias"))
        return torch.nn.functional.conv1d(values.transpose(1, 2), weight, bias).transpose(1, 2)[:, :, None]

    def forward(self, x: Tensor, masked: Tensor) -> Tensor:
        """Training: entities ``(B, Th, E, D)``, those of ``masked`` (bool, E) hidden after the first block."""
        total = x.shape[1] + self.predicted
        grid = self.queries(x, self.w["time_pos_embed"][:, :total])
        time = self.w["time_pos_embed"]
        grid[:, 0] = x[:, 0] + time[:, 0]
        for t in range(1, x.shape[1]):
            grid[:, t, ~masked] = x[:, t, ~masked] + time[:, t]
        return self.network(grid)

    def inference(self, x: Tensor) -> Tensor:
        """The blocks after a history of which everything is visible."""
        history = x.shape[1]
        time = self.w["time_pos_embed"][:, -(history + self.predicted) :]
        grid = self.queries(x, time)
        grid[:, :history] = x + time[:, :history]
        return self.network(grid)[:, history:]

    def rollout(self, x: Tensor, actions: Tensor | None, steps: int, history: int, matched: bool) -> Tensor:
        """Blocks after ``x``, in passes that feed predictions back; actions ``(B, T + steps - 1, 1, D)`` embedded.

        ``x`` has objects and proprioception; the last entity of a pass is the action.
        """
        slots = x.shape[2] - (actions is not None)
        start = x.shape[1]
        while x.shape[1] < start + steps:
            known = x if actions is None else torch.cat([x, actions[:, : x.shape[1]]], dim=2)
            pred = self.inference(known[:, -history:])[:, :, : x.shape[2]].clone()
            if matched:
                for row in range(len(pred)):
                    cost = (pred[row, 0, :slots, None] - x[row, -1, None, :slots]).square().sum(-1)
                    of_pred, of_last = linear_sum_assignment(cost.numpy())
                    order = torch.empty(slots, dtype=torch.long)
                    order[of_last] = torch.as_tensor(of_pred)
                    pred[row, :, :slots] = pred[row, :, order]
            x = torch.cat([x, pred], dim=1)
        return x[:, start : start + steps]

    def queries(self, x: Tensor, time: Tensor) -> Tensor:
        """mask token + time + projected first frame, for every cell."""
        anchor = x[:, 0] @ self.w["id_projector.weight"].T + self.w["id_projector.bias"]
        return (self.w["mask_token"] + time + anchor[:, None]).clone()

    def network(self, grid: Tensor) -> Tensor:
        """The transformer over all cells, time-major, and the head."""
        x = grid.flatten(1, 2)
        layers = {name.split(".")[2] for name in self.w if name.startswith("transformer.layers")}
        for layer in sorted(layers, key=int):
            x = x + self.attention(x, f"transformer.layers.{layer}.0")
            mlp = f"transformer.layers.{layer}.1"
            hidden = self.linear(self.norm(x, f"{mlp}.0"), f"{mlp}.1")
            hidden = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
            x = x + self.linear(hidden, f"{mlp}.4")
        return self.linear(self.norm(x, "transformer.norm"), "to_out").unflatten(1, grid.shape[1:3])

    def attention(self, x: Tensor, name: str) -> Tensor:
        batch, length, dim = x.shape
        projected = x @ self.w[f"{name}.in_proj_weight"].T + self.w[f"{name}.in_proj_bias"]
        q, k, v = (part.reshape(batch, length, self.heads, -1).transpose(1, 2) for part in projected.split(dim, dim=-1))
        weights = (q @ k.transpose(-1, -2) / (dim / self.heads) ** 0.5).softmax(dim=-1)
        return self.linear((weights @ v).transpose(1, 2).reshape(batch, length, dim), f"{name}.out_proj")

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]
