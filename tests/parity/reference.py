"""Models with the weights of another implementation, and what both then have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nanoshell.model.config import ModelConfig
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.plugin.manager import load_plugins


def ours_with(weights: dict[str, Tensor], config: ModelConfig) -> Transformer:
    """Return our model with ``weights``, which are all that it has, in evaluation mode."""
    model = build_model(config, load_plugins(safe=True).mixers)
    model.load_state_dict(weights, strict=True)
    return model.eval()


@torch.no_grad()
def assert_logits_agree(model: Transformer, reference: Any, length: int) -> None:
    """All at once; and with a cache: a first piece, then single positions, then steps of static shapes."""
    vocabulary = reference.config.vocab_size
    ids = torch.randint(vocabulary, (2, length), generator=torch.Generator().manual_seed(0))
    theirs = reference(ids).logits
    cache = model.new_cache(2)
    parts = [model(ids[:, :9], cache)]
    parts += [model(ids[:, at : at + 1], cache) for at in range(9, length // 2)]
    for at in range(length // 2, length):
        parts.append(model.step(ids[:, at], cache, torch.tensor([at, at]))[:, None])
        cache.advance()
    # Their angles, norms and routers are float32 throughout; our angles are float64, rounded once.
    torch.testing.assert_close(model(ids), theirs, rtol=1e-4, atol=5e-5)
    torch.testing.assert_close(torch.cat(parts, 1), theirs, rtol=1e-4, atol=5e-5)


def gradients_of(network: Any) -> dict[str, Tensor]:
    """Return the gradients of the loss on 64 random tokens; zeros where no token had a part in it."""
    vocabulary = network.config.vocab_size
    ids = torch.randint(vocabulary, (2, 32), generator=torch.Generator().manual_seed(1))
    output = network(ids)
    logits = output if isinstance(output, Tensor) else output.logits
    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in network.named_parameters()
    }


def assert_gradients_agree(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Theirs under our names, in our order of channels."""
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-4, atol=1e-6, msg=name)
