"""The model: embedding, layers of mixer and feed-forward, final norm, head."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nanoshell.errors import ConfigError
from nanoshell.model.cache import Cache
from nanoshell.model.config import NO_FEED_FORWARD, ModelConfig, check_kinds
from nanoshell.model.layers import RMSNorm, initialise
from nanoshell.model.loss import soft_cap
from nanoshell.model.mixer import Router
from nanoshell.model.parameters import ParameterSplit

if TYPE_CHECKING:
    from nanoshell.plugin.registry import Registry

LayerFactory = Callable[[ModelConfig, int], Any]


class Layer(nn.Module):
    """One layer, pre-norm: x + mixer(norm(x)), then x + feed_forward(norm(x)) where it has one."""

    def __init__(self, config: ModelConfig, mixer: nn.Module, feed_forward: nn.Module | None) -> None:
        super().__init__()
        self.mixer_name = str(getattr(mixer, "name_in_layer", "mixer"))
        self.feed_forward_name = str(getattr(feed_forward, "name_in_layer", "mlp"))
        self.has_feed_forward = feed_forward is not None
        self.input_layernorm = _norm(config)
        self.add_module(self.mixer_name, mixer)
        if feed_forward is not None:
            self.post_attention_layernorm = _norm(config)
            self.add_module(self.feed_forward_name, feed_forward)
        self.dropout = config.dropout

    @property
    def mixer_module(self) -> nn.Module:
        """The module that mixes positions."""
        return cast(nn.Module, self._modules[self.mixer_name])

    @property
    def feed_forward_module(self) -> nn.Module | None:
        """The module that mixes channels."""
        return self._modules[self.feed_forward_name] if self.has_feed_forward else None

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        """Return (batch, seq, hidden) for ``x`` of the same shape; see `nanoshell.Mixer` for ``state``."""
        x = x + self._drop(self.mixer_module(self.input_layernorm(x), state))
        feed_forward = self.feed_forward_module
        if feed_forward is not None:
            x = x + self._drop(feed_forward(self.post_attention_layernorm(x)))
        return x

    def step(self, x: Tensor, state: Any, positions: Tensor) -> Tensor:
        """Return (batch, 1, hidden) for one position of each row; see `nanoshell.StepMixer`."""
        x = x + cast(Any, self.mixer_module).step(self.input_layernorm(x), state, positions)
        feed_forward = self.feed_forward_module
        if feed_forward is not None:
            x = x + getattr(feed_forward, "step", feed_forward)(self.post_attention_layernorm(x))
        return x

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.training and self.dropout else x


class Transformer(nn.Module):
    """A language model of layers whose kinds come from a registry.

    Parameters are named as in Llama without its ``model.`` prefix. New weights are drawn from torch's random
    state. Raises `ConfigError` where a kind of layer is not registered.

    With ``gradient_checkpointing`` set, training keeps the input of each layer alone, and computes the inside
    again, with the same dropout, when its gradient is due (Chen et al. 2016, arXiv:1604.06174).
    """

    gradient_checkpointing = False

    def __init__(self, config: ModelConfig, mixers: Registry[LayerFactory]) -> None:
        super().__init__()
        check_kinds(config, mixers)
        self.config = config
        kinds = config.layer_kinds
        used = {name for pair in kinds for name in pair if name != NO_FEED_FORWARD}
        self.providers = {name: mixers.entry(name).provider for name in sorted(used)}
        rows = torch.empty(config.vocab_size, config.hidden_size)  # handed over, so that it is drawn once
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, _weight=rows)
        self.layers = nn.ModuleList(
            Layer(
                config,
                mixers.get(mixer)(config, index),
                None if feed_forward == NO_FEED_FORWARD else mixers.get(feed_forward)(config, index),
            )
            for index, (mixer, feed_forward) in enumerate(kinds)
        )
        self.norm = _norm(config)
        self.lm_head = (
            None if config.tie_embeddings else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        )
        initialise(self.embed_tokens)
        if self.lm_head is not None:
            initialise(self.lm_head)

    @property
    def head_weight(self) -> Tensor:
        """The weight of the output head, (vocab, hidden); with tied embeddings, the embedding itself."""
        return self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    @property
    def logit_soft_cap(self) -> float | None:
        """What bounds the logits, as `soft_cap` does; None where nothing does."""
        return self.config.logit_soft_cap

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Return the final, normalised hidden states (batch, seq, hidden) of ``ids`` (batch, seq).

        With a ``cache``, ``ids`` continue what it has seen, and it is updated. Raises `ValueError` where
        there are none.
        """
        if not ids.shape[1]:
            raise ValueError(f"ids of shape {tuple(ids.shape)} hold no position to compute")
        x: Tensor = self.embed_tokens(ids)
        if cache is None:
            recomputing = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
            for layer in self.layers:
                x = _forgetful(layer, x) if recomputing else layer(x)
        else:
            for layer, state in zip(self.layers, cache.states, strict=True):
                x = layer(x, state)
            cache.length += ids.shape[1]
        normed: Tensor = self.norm(x)
        return normed

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of the next token (…, vocab) for hidden states (…, hidden)."""
        scores = F.linear(hidden, self.head_weight)
        return scores if self.logit_soft_cap is None else soft_cap(scores, self.logit_soft_cap)

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Return the logits (batch, seq, vocab) of ``ids`` (batch, seq)."""
        return self.logits(self.hidden(ids, cache))

    @property
    def can_step(self) -> bool:
        """Whether every layer can take one position of rows that stand at different positions."""
        return all(hasattr(layer.mixer_module, "step") for layer in self._layers())

    def step(self, ids: Tensor, cache: Cache, positions: Tensor) -> Tensor:
        """Return logits (batch, vocab) after one more id of each row (``ids``, ``positions``: (batch,)).

        Only where `can_step`. The tensors of ``cache`` are updated, its lengths are not: see `Cache.advance`.
        Every shape is the same in each call, so that this can be compiled.
        """
        x: Tensor = self.embed_tokens(ids)[:, None]
        for layer, state in zip(self._layers(), cache.states, strict=True):
            x = layer.step(x, state, positions)
        return self.logits(self.norm(x)[:, 0])

    def new_cache(self, batch: int = 1, max_positions: int | None = None) -> Cache:
        """Return an empty cache on the model's device, by default for ``max_seq_len`` positions.

        Feed-forwards that prepare for steps do so now: before the first one, and before it is compiled.
        """
        for layer in self._layers():
            if hasattr(layer.feed_forward_module, "prepare_step"):
                cast(Any, layer.feed_forward_module).prepare_step()
        weight = self.embed_tokens.weight
        positions = max_positions or self.config.max_seq_len
        states = [
            cast(Any, layer.mixer_module).new_state(batch, positions, weight.dtype, weight.device)
            for layer in self._layers()
        ]
        return Cache(states, batch, positions)

    def parameter_split(self) -> ParameterSplit:
        """Return how many parameters each part has, counted on the modules."""
        mixers = sum(_count(layer.mixer_module) for layer in self._layers())
        feed_forwards = sum(
            _count(part) for layer in self._layers() if (part := layer.feed_forward_module) is not None
        )
        embedding = self.embed_tokens.weight.numel()
        head = 0 if self.lm_head is None else self.lm_head.weight.numel()
        norms = _count(self) - embedding - mixers - feed_forwards - head
        return ParameterSplit(embedding, mixers, feed_forwards, norms, head)

    def _layers(self) -> list[Layer]:
        return [layer for layer in self.layers if isinstance(layer, Layer)]


def build_model(
    config: ModelConfig, mixers: Registry[LayerFactory], *, seed: int | None = None
) -> Transformer:
    """Return a new model on the processor, in float32; with ``seed``, its weights depend on nothing else.

    Raises `ConfigError` where a kind of layer is not registered or where memory does not suffice.
    """
    try:
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            return Transformer(config, mixers)
    except (MemoryError, RuntimeError) as error:
        if "alloc" not in str(error) and not isinstance(error, MemoryError):
            raise
        raise ConfigError(
            f"'{config.name}' does not fit in memory",
            hint="lower hidden_size, num_layers or vocab_size",
        ) from error


def count_parameters(config: ModelConfig, mixers: Registry[LayerFactory]) -> ParameterSplit:
    """Return the parameters of each part for any kinds of layers, without allocating them."""
    with torch.device("meta"):
        return Transformer(config, mixers).parameter_split()


def _forgetful(layer: Any, x: Tensor) -> Tensor:
    """Return ``layer(x)``, of which nothing is kept for the gradient but ``x``."""
    if isinstance(layer.feed_forward_module, Router):
        computed = checkpoint(layer, x, use_reentrant=False, context_fn=lambda: _untold(layer))
    else:
        computed = checkpoint(layer, x, use_reentrant=False)
    return cast(Tensor, computed)


def _untold(layer: Any) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Return the contexts of the first pass and of the second, whose routing has been told already."""
    again = ExitStack()
    again.callback(lambda: layer.feed_forward_module.take_routing())
    return nullcontext(), again


def _norm(config: ModelConfig) -> RMSNorm:
    return RMSNorm(config.hidden_size, config.rms_norm_eps, weight=config.norm_weight)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
