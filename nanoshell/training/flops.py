"""How much a step computes, by formula: what tokens/s are in floating point operations. No torch here."""

from __future__ import annotations

from nanoshell.model.config import ModelConfig, mixer_names
from nanoshell.model.parameters import parameter_split

_ATTENTION = frozenset({"attention", "mla"})


def flops_per_token(config: ModelConfig, positions: int, head_rows: int | None = None) -> int | None:
    """Return the operations of training on one token in windows of ``positions``: forward and backward.

    That is 6 for each weight that a token is multiplied with, and 12 × hidden × positions in each layer of
    attention (Chowdhery et al. 2022, "PaLM", appendix B), as model-flops utilisation is counted. Experts that
    a token is not given to do not count, nor do the states of recurrent layers. ``head_rows`` are the rows of
    the head that get a score: all where absent, fewer with sampled softmax. None where a kind of layer is not
    ours to count.
    """
    active = config
    if config.num_experts:
        active = config.model_copy(update={"num_experts": config.num_chosen_experts})
    split = parameter_split(active)
    if split.mixers is None or split.feed_forwards is None:
        return None
    head = (head_rows or config.vocab_size) * config.hidden_size
    attending = sum(name in _ATTENTION for name in mixer_names(config))
    return 6 * (split.mixers + split.feed_forwards + head) + 12 * attending * config.hidden_size * positions
