"""A decode step as a list of compiled operations, for the layers that we can put into such words.

These are `GroupedQueryAttention` and `SwiGLU`, embedding and head. Any other kind computes its own ``step``,
between two lists; of that, the products with large matrices are compiled too.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoshell.generation.native import ADD, ATTEND, EMBED, GATE, PRODUCT, STORE, Kernels, Op
from nanoshell.model.attention import GroupedQueryAttention
from nanoshell.model.cache import Cache, KeyValueState
from nanoshell.model.layers import RMSNorm, Rotary, SwiGLU
from nanoshell.model.loss import soft_cap
from nanoshell.model.transformer import Layer, Transformer

MAX_ROWS = 8
"""Above this, torch's products of matrices with matrices do better than one vector after another."""

LARGE_PRODUCT = 1 << 18
"""Bytes of a matrix from which a product on its own is worth the way out of torch."""

DTYPES = (torch.float32, torch.bfloat16)


class Program:
    """One decode step of ``model`` over ``cache``, which it holds only by its memory.

    Activations are float32 throughout, for weights in bfloat16 too, where torch would round each of them.
    Only where `can_compile`.
    """

    def __init__(self, kernels: Kernels, model: Transformer, cache: Cache) -> None:
        self._kernels, self._batch = kernels, cache.batch
        self._dtype = model.embed_tokens.weight.dtype
        self._kept: list[Tensor] = []
        self._ops: list[Op] = []
        self._parts: list[Callable[[Tensor, Tensor], None]] = []
        self._x = self._buffer(model.config.hidden_size)
        embed = self._op(EMBED, model.embed_tokens.weight, columns=model.config.hidden_size, out=[self._x])
        embed.weights[0] = self._place(model.embed_tokens.weight)
        for layer, state in zip(model.layers, cache.states, strict=True):
            assert isinstance(layer, Layer)
            self._add_layer(layer, state)
        self._vocab_size, self._cap = len(model.head_weight), model.logit_soft_cap
        self._product(self._x, [model.head_weight], [], norm=model.norm)
        self._last = self._end_part()[-1]

    def run(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Return logits (batch, vocab), float32, after one more id of each row; (batch,) each, int64.

        They must be within the model's rows and positions, and the cache's: nothing here checks it.
        """
        logits = torch.empty(self._batch, self._vocab_size, **_FLOATS)
        self._last.out[0] = logits.data_ptr()
        for part in self._parts:
            part(ids, positions)
        return logits if self._cap is None else soft_cap(logits, self._cap)

    def _add_layer(self, layer: Layer, state: Any) -> None:
        mixer, feed_forward = layer.mixer_module, layer.feed_forward_module
        if is_plain(layer.input_layernorm, mixer) and isinstance(mixer, GroupedQueryAttention):
            self._add_attention(layer.input_layernorm, mixer, state)
        else:
            step: Any = mixer.step
            self._add_other(mixer, layer.input_layernorm, lambda x, positions: step(x, state, positions))
        if feed_forward is None:
            return
        if is_plain(layer.post_attention_layernorm, feed_forward) and isinstance(feed_forward, SwiGLU):
            self._add_swiglu(layer.post_attention_layernorm, feed_forward)
        else:
            forward: Any = getattr(feed_forward, "step", feed_forward)
            self._add_other(feed_forward, layer.post_attention_layernorm, lambda x, positions: forward(x))

    def _add_attention(self, norm: RMSNorm, mixer: GroupedQueryAttention, state: KeyValueState) -> None:
        projections = [mixer.q_proj.weight, mixer.k_proj.weight, mixer.v_proj.weight]
        mixed = [self._buffer(len(weight)) for weight in projections]
        self._product(self._x, projections, mixed, norm=norm)
        op = self._op(ATTEND, state.keys, out=mixed)
        op.heads, op.kv_heads, op.head_dim = mixer.num_heads, mixer.kv_heads, mixer.head_dim
        op.keys, op.values, op.room = self._place(state.keys), self._place(state.values), state.keys.shape[2]
        op.cos, op.sin = self._place(mixer.rotary.cos.float()), self._place(mixer.rotary.sin.float())
        if mixer.q_norm is not None and mixer.k_norm is not None:
            op.query_norm, op.key_norm = self._scale(mixer.q_norm), self._scale(mixer.k_norm)
            op.eps = mixer.q_norm.eps
        self._product(mixed[0], [mixer.o_proj.weight], [self._x], finish=ADD)

    def _add_swiglu(self, norm: RMSNorm, feed_forward: SwiGLU) -> None:
        gate, up, down = (getattr(feed_forward, f"{name}_proj").weight for name in ("gate", "up", "down"))
        inner = self._buffer(len(gate))
        self._product(self._x, [gate, up], [inner], norm=norm, finish=GATE)
        self._product(inner, [down], [self._x], finish=ADD)

    def _add_other(
        self, module: nn.Module, norm: nn.Module, compute: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        """Add a part that torch computes: ``compute`` of the normalised residual stream and positions."""
        self._end_part()
        products = [
            (vars(each), self._alone(each))
            for each in module.modules()
            if is_plain(each) and isinstance(each, nn.Linear) and each.weight.nbytes >= LARGE_PRODUCT
        ]

        stream, dtype = self._x, self._dtype

        def part(ids: Tensor, positions: Tensor) -> None:
            with _instead(products):
                x = norm(stream.to(dtype)[:, None])
                stream.add_(compute(x, positions)[:, 0])

        self._parts.append(part)

    def _alone(self, linear: nn.Linear) -> Callable[[Tensor], Tensor]:
        """Return what computes ``linear`` for a few rows, in one operation."""
        self._product(self._x, [linear.weight], [])
        template, kernels = self._ops.pop(), self._kernels

        def compute(x: Tensor) -> Tensor:
            count = x.numel() // linear.in_features
            if count > MAX_ROWS or torch.is_grad_enabled():
                return F.linear(x, linear.weight, linear.bias)
            given = x.float().contiguous()
            found = torch.empty(*x.shape[:-1], linear.out_features, **_FLOATS)
            op = (Op * 1)(template)  # a copy: another thread may be here too
            op[0].in_, op[0].out[0] = given.data_ptr(), found.data_ptr()
            kernels.run(op, count, _NOTHING, _NOTHING)
            return (found if linear.bias is None else found + linear.bias).to(x.dtype)

        return compute

    def _product(
        self,
        x: Tensor,
        weights: Sequence[Tensor],
        out: Sequence[Tensor],
        *,
        norm: RMSNorm | None = None,
        finish: int = STORE,
    ) -> Op:
        op = self._op(PRODUCT, weights[0], finish=finish, parts=len(weights), out=out)
        op.columns = weights[0].shape[1]
        op.in_ = x.data_ptr()
        if norm is not None:
            op.norm, op.eps = self._scale(norm), norm.eps
        for part, weight in enumerate(weights):
            assert weight.dtype == weights[0].dtype
            op.weights[part], op.rows[part] = self._place(weight), len(weight)
        return op

    def _op(self, kind: int, memory: Tensor, *, out: Sequence[Tensor], **fields: int) -> Op:
        op = Op(kind=kind, bfloat16=int(memory.dtype == torch.bfloat16), **fields)
        for part, tensor in enumerate(out):
            op.out[part] = tensor.data_ptr()
        self._ops.append(op)
        return op

    def _end_part(self) -> ctypes.Array[Op]:
        """Make one list of the operations since the last part: the threads are woken once for a list."""
        ops, self._ops = (Op * len(self._ops))(*self._ops), []
        # No part refers to the program: it would keep a cache's memory until the collector of cycles comes.
        kernels, batch = self._kernels, self._batch
        if len(ops):
            self._parts.append(lambda ids, positions: kernels.run(ops, batch, ids, positions))
        return ops

    def _buffer(self, columns: int) -> Tensor:
        self._kept.append(torch.zeros(self._batch, columns, **_FLOATS))
        return self._kept[-1]

    def _scale(self, norm: RMSNorm) -> int:
        return self._place(torch.ones(norm.shape, **_FLOATS) if norm.weight is None else norm.weight.float())

    def _place(self, tensor: Tensor) -> int:
        """Return where ``tensor`` lies in memory, and keep it there."""
        assert tensor.is_contiguous()
        self._kept.append(tensor.detach())
        return tensor.data_ptr()


def can_compile(model: Transformer) -> bool:
    """Return whether a `Program` can be made of ``model``, once its matrices lie in rows."""
    head = model.embed_tokens if model.lm_head is None else model.lm_head
    return type(model) is Transformer and model.can_step and is_plain(model.embed_tokens, model.norm, head)


def is_plain(*modules: nn.Module | None) -> bool:
    """Return whether ``modules``, and what is inside them, are of kinds and dtypes that we put into words."""
    return all(
        module is not None
        and all(type(each) in _OUR_KINDS for each in module.modules())
        and all(each.dtype in DTYPES and each.device.type == "cpu" for each in module.parameters())
        for module in modules
    )


@contextlib.contextmanager
def _instead(products: Sequence[tuple[dict[str, Any], Callable[[Tensor], Tensor]]]) -> Iterator[None]:
    """Let modules, given by their attributes, compute by other means for a while."""
    try:
        for attributes, compute in products:
            attributes["forward"] = compute
        yield
    finally:
        for attributes, _ in products:
            attributes.pop("forward", None)


_OUR_KINDS = (nn.Linear, nn.Embedding, RMSNorm, Rotary, GroupedQueryAttention, SwiGLU)
_FLOATS: Any = {"dtype": torch.float32, "device": "cpu"}  # whatever torch's defaults are set to
_NOTHING = torch.zeros(1, dtype=torch.long, device="cpu")
