"""A mixture of experts: of many feed-forwards, each token is computed by the few that a router chooses."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoshell.model.layers import SwiGLU, initialise
from nanoshell.model.mixer import Routing

if TYPE_CHECKING:
    from nanoshell.model.config import ModelConfig

PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


class TopKRouter(nn.Module):
    """Gives every token its experts and their weights, from scores that are linear in the hidden state.

    Scores are the softmax over the experts (Shazeer et al. 2017) or a sigmoid for each (DeepSeek-V3, arXiv
    2412.19437), in float32 at least. The largest are chosen; with ``router_bias`` a bias is added for the
    choice alone (loss-free balancing, arXiv 2408.15664). The weights are the scores of the chosen, made to
    sum to 1 where ``router_norm``, times ``router_scale``.
    """

    bias: Tensor | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_experts, self.num_chosen = config.num_experts or 1, config.num_chosen_experts
        # A weight that is made to sum to 1 with no other is always 1, and a router of one expert a token
        # would get no gradient; so its weight is the score, and stays it.
        self.norm = self.num_chosen > 1 if config.router_norm is None else config.router_norm
        self.score, self.scale = config.router_score, config.router_scale
        self.gate = nn.Linear(config.hidden_size, self.num_experts, bias=False)
        initialise(self.gate)
        self.register_buffer("bias", torch.zeros(self.num_experts) if config.router_bias else None)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores (tokens, experts), weights and experts (tokens, chosen) of ``x`` (tokens, hidden)."""
        dtype = torch.promote_types(self.gate.weight.dtype, torch.float32)
        with _without_autocast(x.device.type):  # half precision makes scores equal that are not
            logits = F.linear(x.to(dtype), self.gate.weight.to(dtype))
        scores = logits.softmax(-1) if self.score == "softmax" else logits.sigmoid()
        ranked = scores.detach() if self.bias is None else scores.detach() + self.bias
        chosen = ranked.topk(self.num_chosen, dim=-1).indices
        weights = scores.gather(-1, chosen)
        if self.norm:
            weights = weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(dtype).tiny)
        return scores, weights * self.scale, chosen

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Move and cast as any module, but keep the bias in float32 at least.

        Updates move it by a thousandth, and rounded it would choose other experts.
        """
        before = self.bias
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if before is not None and self.bias is not None:
            dtype = torch.promote_types(self.bias.dtype, torch.float32)
            if self.bias.dtype != dtype:
                self.bias = before.to(self.bias.device, dtype)
        return self


class MixtureOfExperts(nn.Module):
    """Experts that are gated feed-forwards, a router that chooses among them, and maybe one that all share.

    Only chosen experts compute: the tokens are sorted by expert, and each expert with tokens makes one pass
    over its own. The feed-forward ``moe``; it is a `Router` for the trainer.
    """

    name_in_layer = "moe"

    def __init__(self, config: ModelConfig, layer_index: int = 0) -> None:
        super().__init__()
        if not config.num_experts:  # a config checks it; this is for whoever builds the module alone
            raise ValueError("a mixture of experts needs num_experts")
        size = config.expert_size or config.feed_forward_size
        self.router = TopKRouter(config)
        self.experts = nn.ModuleList(
            SwiGLU(config, layer_index, size=size) for _ in range(config.num_experts)
        )
        self.shared_expert = (
            SwiGLU(config, layer_index, size=config.shared_expert_size or size)
            if config.shared_expert_enabled
            else None
        )
        self._routing: Routing | None = None
        self._stacks: list[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, seq, hidden) for ``x`` of the same shape."""
        tokens = x.reshape(-1, x.shape[-1])
        scores, weights, chosen = self.router(tokens)
        if self.training:
            self._routing = self._describe(scores, chosen)
        order = chosen.flatten().argsort(stable=True)
        counts = self._count(chosen).tolist()
        parts = torch.split(tokens[order // chosen.shape[1]], counts)
        computed = torch.cat(
            [expert(part) for expert, part in zip(self.experts, parts, strict=True) if len(part)]
        )
        by_token = computed[order.argsort()].view(*chosen.shape, -1)
        mixed: Tensor = (by_token * weights[..., None]).sum(1).to(computed.dtype).view(x.shape)
        return mixed if self.shared_expert is None else mixed + self.shared_expert(x)

    def step(self, x: Tensor) -> Tensor:
        """Return (batch, 1, hidden) for one position of each row, of the same shape.

        Compiled, and on an accelerator, no shape depends on the choice. The weights of the chosen experts are
        indexed out of the stack of all (see `prepare_step`), which reads those of ``batch × chosen`` experts;
        where that is as many as there are, every expert is computed instead, and read once. Uncompiled on the
        processor `forward` does better: it reads each chosen expert once, and copies nothing.
        """
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            return self.forward(x)
        rows = x[:, 0]
        _, weights, chosen = self.router(rows)
        gate, up, down = self._stacks or self._stacked()
        if chosen.numel() < len(gate):
            mixed = torch.zeros_like(rows)
            for weight, expert in zip(weights.unbind(1), chosen.unbind(1), strict=True):
                inner = F.silu(_of_rows(gate, expert, rows)) * _of_rows(up, expert, rows)
                mixed = mixed + (weight[:, None] * _of_rows(down, expert, inner)).to(rows.dtype)
        else:
            of_all = weights.new_zeros(len(rows), len(gate)).scatter(1, chosen, weights)
            inner = F.silu(rows @ gate.transpose(1, 2)) * (rows @ up.transpose(1, 2))
            mixed = (inner @ down.transpose(1, 2) * of_all.t()[..., None]).sum(0).to(rows.dtype)
        mixed = mixed[:, None]
        return mixed if self.shared_expert is None else mixed + self.shared_expert(x)

    def prepare_step(self) -> None:
        """Lay the weights of the experts behind one another, so that a step can index them.

        The parameters become views into the stacks: there is one copy of each weight, and training it goes on
        as before. Does nothing where they already are.
        """
        stacks = self._stacks
        if stacks is not None and all(
            weight.data_ptr() == stack[index].data_ptr() and weight.dtype == stack.dtype
            for name, stack in zip(PROJECTIONS, stacks, strict=True)
            for index, weight in enumerate(self._weights(name))
        ):
            return
        self._stacks = None
        with torch.inference_mode(False), torch.no_grad():  # else they could not be trained any more
            stacks = self._stacked()
            for name, stack in zip(PROJECTIONS, stacks, strict=True):
                for weight, place in zip(self._weights(name), stack, strict=True):
                    weight.data = place
        self._stacks = stacks

    def train(self, mode: bool = True) -> Self:
        """Go to training or evaluation. What nobody took of the last pass goes, and its graph with it."""
        self._routing = None
        super().train(mode)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy gets: neither the last pass, which has a graph, nor where our weights lie."""
        return {**vars(self), "_routing": None, "_stacks": None}

    def take_routing(self) -> Routing | None:
        """Return how the last forward pass in training mode went, once; None where there was none since.

        Until it is taken, the next pass comes, or the mode is set, the graph of the balance loss is kept.
        """
        routing, self._routing = self._routing, None
        return routing

    def balance(self, load: Tensor, rate: float) -> None:
        """Raise the bias of experts below the mean ``load`` (experts,) by ``rate``, and lower the others'.

        As loss-free balancing has it (arXiv 2408.15664). Without ``router_bias`` there is nothing to do.
        """
        if self.router.bias is not None:
            self.router.bias += rate * (load.sum() - len(load) * load).sign()

    def _describe(self, scores: Tensor, chosen: Tensor) -> Routing:
        """Return the load, and the balance loss of the Switch Transformer (Fedus et al. 2021).

        It is experts × Σ share of the choices × mean probability. The shares have no gradient: it is the
        probabilities that carry it to the router, and they fall where the shares are high.
        """
        load = self._count(chosen)
        shares = load.to(scores.dtype) / chosen.numel()
        probabilities = scores / scores.sum(-1, keepdim=True)
        return Routing(len(load) * (shares * probabilities.mean(0)).sum(), load)

    def _count(self, chosen: Tensor) -> Tensor:
        return torch.bincount(chosen.flatten(), minlength=len(self.experts))

    def _weights(self, name: str) -> list[nn.Parameter]:
        return [getattr(expert, name).weight for expert in self.experts]

    def _stacked(self) -> list[Tensor]:
        """Return the weights of the experts, (experts, out, in) for each projection, in a copy."""
        return [torch.stack(list(self._weights(name))) for name in PROJECTIONS]


def _without_autocast(device_type: str) -> contextlib.AbstractContextManager[None]:
    """Turn autocast off for a block; where it is off, put nothing into a graph that no cache would take."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


def _of_rows(stack: Tensor, expert: Tensor, rows: Tensor) -> Tensor:
    """Return ``rows`` (batch, in), each times the matrix of its ``expert`` (batch,), as (batch, out)."""
    matrices = stack.index_select(0, expert)
    if not torch.compiler.is_compiling():
        return torch.bmm(matrices, rows[..., None])[..., 0]
    # Compiled, this becomes one loop that copies no matrix; a call of bmm would need the copy.
    dtype = torch.promote_types(rows.dtype, torch.float32)
    return (matrices.to(dtype) * rows[:, None].to(dtype)).sum(-1).to(rows.dtype)
