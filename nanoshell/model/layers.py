"""The small parts of a transformer: norm, rotary positions, feed-forwards, initialisation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from nanoshell.model.config import ModelConfig

INIT_STD = 0.02

RECOMPUTED_ELEMENTS = 1 << 20
"""From so many channels of all positions on, a gated feed-forward keeps two tensors of that size for the
gradient in place of four, and multiplies them again."""


class RMSNorm(nn.Module):
    """Root mean square norm over the last dimension (Zhang and Sennrich 2019).

    With a learnt scale, or without one where ``weight`` is False.
    """

    weight: nn.Parameter | None

    def __init__(self, size: int, eps: float = 1e-5, *, weight: bool = True) -> None:
        super().__init__()
        self.register_parameter("weight", nn.Parameter(torch.ones(size)) if weight else None)
        self.eps = eps
        self.shape = (size,)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` / sqrt(mean(x²) + eps) × weight, in the shape and dtype of ``x``."""
        weight = None if self.weight is None else self.weight.to(x.dtype)
        return F.rms_norm(x, self.shape, weight, self.eps)


class Rotary(nn.Module):
    """Rotary positions (Su et al. 2021), turning channel ``i`` together with channel ``i + head_dim / 2``.

    The tables hold float32 rounded from float64 angles, and stay on the processor while a model is laid out
    on the ``meta`` device. The sign of the turn is folded into the table of sines, so that turning takes a
    roll, two products and a sum.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, max_positions: int, theta: float) -> None:
        super().__init__()
        channel = torch.arange(0, head_dim, 2, dtype=torch.float64, device="cpu")
        position = torch.arange(max_positions, dtype=torch.float64, device="cpu")
        angle = torch.outer(position, theta ** (-channel / head_dim))
        cos, sin = angle.cos(), angle.sin()
        self.register_buffer("cos", torch.cat((cos, cos), -1).float(), persistent=False)
        self.register_buffer("sin", torch.cat((-sin, sin), -1).float(), persistent=False)
        self.half_dim = head_dim // 2

    def at(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        """Return cosines and signed sines of ``count`` positions from ``start``, (count, head_dim) each."""
        if start + count > len(self.cos):
            raise ValueError(f"position {start + count - 1} is beyond the {len(self.cos)} of this model")
        return self.cos[start : start + count], self.sin[start : start + count]

    def of(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and signed sines of ``positions`` (batch,), each (batch, 1, 1, head_dim)."""
        cos, sin = self.cos.index_select(0, positions), self.sin.index_select(0, positions)
        return cos[:, None, None], sin[:, None, None]

    def turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return ``x`` (…, count, head_dim) turned by the angles of its positions, in its own dtype."""
        return (x * cos + x.roll(self.half_dim, -1) * sin).to(x.dtype)


class SwiGLU(nn.Module):
    """The gated feed-forward of Shazeer (2020): down(silu(gate(x)) × up(x)), without biases.

    ``size`` is its width inside, the config's ``feed_forward_size`` where absent.
    """

    name_in_layer = "mlp"

    def __init__(self, config: ModelConfig, layer_index: int = 0, *, size: int | None = None) -> None:
        super().__init__()
        size = size or config.feed_forward_size
        self.gate_proj = nn.Linear(config.hidden_size, size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, size, bias=False)
        self.down_proj = nn.Linear(size, config.hidden_size, bias=False)
        initialise(self.gate_proj)
        initialise(self.up_proj)
        initialise(self.down_proj, output_of=config)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, seq, hidden) for ``x`` of the same shape."""
        gate, up = self.gate_proj(x), self.up_proj(x)
        if gate.numel() < RECOMPUTED_ELEMENTS or not torch.is_grad_enabled():
            return self._down(gate, up)
        # The second pass ends where the product is known, before the projection.
        computed: Tensor = checkpoint(self._down, gate, up, use_reentrant=False, preserve_rng_state=False)
        return computed

    def _down(self, gate: Tensor, up: Tensor) -> Tensor:
        down: Tensor = self.down_proj(F.silu(gate) * up)
        return down


class SquaredReLU(nn.Module):
    """The feed-forward of Primer (So et al. 2021): down(relu(up(x))²), without biases.

    Two matrices, and zeros where a channel does not fire. ``relu2_size`` of the config is its width inside.
    """

    name_in_layer = "mlp"

    def __init__(self, config: ModelConfig, layer_index: int = 0) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.relu2_size, bias=False)
        self.down_proj = nn.Linear(config.relu2_size, config.hidden_size, bias=False)
        initialise(self.up_proj)
        initialise(self.down_proj, output_of=config)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, seq, hidden) for ``x`` of the same shape."""
        down: Tensor = self.down_proj(F.relu(self.up_proj(x)).square())
        return down


def initialise(module: nn.Linear | nn.Embedding, *, output_of: ModelConfig | None = None) -> None:
    """Draw the weight from N(0, 0.02²), that of an embedding from N(0, 1/hidden); biases become 0.

    Where the embedding is the head too, the logits of a new model then have variance 1, and a small model on
    little data learns far faster than from rows of 0.02.

    ``output_of`` is the model's config, for a projection onto the residual stream: two of them add to it in
    each layer, so they are scaled by 1/sqrt(2 × layers), as in GPT-2 (Radford et al. 2019), or are zero where
    it says ``zero_init_output``: then a new model is its embedding and its head, and layers grow in as they
    are of use (Zhang et al. 2019, "Fixup").
    """
    if module.weight.is_meta:  # torch would load megabytes of Python to draw what has no memory
        return
    std = INIT_STD
    if output_of is not None:  # a spread of 0 draws as many numbers: all else stays as it would be
        std = 0.0 if output_of.zero_init_output else INIT_STD / math.sqrt(2 * output_of.num_layers)
    if isinstance(module, nn.Embedding):
        std = module.embedding_dim**-0.5
    nn.init.normal_(module.weight, std=std)
    bias = getattr(module, "bias", None)
    if bias is not None:
        nn.init.zeros_(bias)
