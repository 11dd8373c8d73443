"""Attention weights and losses of tokens are those that Hugging Face tells of the same weights."""

from __future__ import annotations

import pytest
import torch

from nanoshell.inspection.attention import attention_map
from nanoshell.inspection.scores import next_scores, token_losses

from .reference import ours_with
from .test_llama import CASES, config_of, in_our_names, reference_of


@pytest.mark.parametrize("case", CASES)
def test_attention_weights_agree(case: str) -> None:
    config = config_of(case)
    reference = reference_of(config)
    reference.set_attn_implementation("eager")
    model = ours_with(in_our_names(reference, config), config)
    ids = torch.randint(config.vocab_size, (40,), generator=torch.Generator().manual_seed(2)).tolist()
    with torch.no_grad():
        expected = reference(torch.tensor([ids]), output_attentions=True).attentions
    for layer in range(config.num_layers):
        torch.testing.assert_close(attention_map(model, ids, layer), expected[layer][0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", ["grouped", "one kv head, tied"])
def test_losses_agree(case: str) -> None:
    config = config_of(case)
    reference = reference_of(config)
    model = ours_with(in_our_names(reference, config), config)
    ids = torch.randint(config.vocab_size, (50,), generator=torch.Generator().manual_seed(3)).tolist()
    with torch.no_grad():
        answer = reference(torch.tensor([ids]), labels=torch.tensor([ids]))
    found = [-each.logprob for each in token_losses(model, ids)]
    assert sum(found) / len(found) == pytest.approx(float(answer.loss), rel=1e-5)
    torch.testing.assert_close(next_scores(model, ids), answer.logits[0, -1], rtol=1e-4, atol=1e-5)
