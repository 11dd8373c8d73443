"""Replies made together are those made one by one, whatever the layers, and each ends for itself."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nanoshell import hookimpl
from nanoshell.errors import NanoshellError, UsageError
from nanoshell.generation import batch as batch_module
from nanoshell.generation.engine import Engine, GeneratedToken, Generation, GenerationRequest
from nanoshell.model.cache import LayerState
from nanoshell.model.config import ModelConfig
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.plugin.manager import Plugins
from nanoshell.testing import plugins_with
from nanoshell.tokenizer.base import Tokenizer

Build = Callable[..., Transformer]
Computed = Callable[[Transformer], list[tuple[int, int]]]

MAMBA = {"mamba2_num_heads": 4, "mamba2_head_dim": 16, "mamba2_state_size": 8, "mamba2_chunk_size": 8}
MLA_MOE = {"kv_latent_dim": 12, "q_latent_dim": 10, "d_rope": 4, "num_experts": 4, "experts_per_tok": 2}
SHAPES: dict[str, dict[str, Any]] = {
    "attention": {"kv_heads": 2},
    "mla, moe": MLA_MOE,
    "hybrid": {**MAMBA, **MLA_MOE, "mamba_layers": [0]},
    "hybrid with mamba3": {**MAMBA, "mamba_layers": [1], "mamba3_enabled": True},
}

REQUESTS = [
    GenerationRequest([5, 6, 7], 12, {"temperature": 0}, seed=1),
    GenerationRequest(list(range(40, 61)), 4, {"temperature": 1.5, "top_p": 1.0}, seed=3),
    GenerationRequest([9], 20, {"temperature": 0.9, "repeat_penalty": 1.3}, seed=7),
    GenerationRequest([5, 6, 7], 9, {"temperature": 2.0, "top_k": 40, "top_p": 1.0}, seed=8),
    GenerationRequest(list(range(100, 137)), 30, {"temperature": 0, "repeat_penalty": 1.2}, seed=1),
]


class MeanState(LayerState):
    def __init__(self, total: Tensor) -> None:
        self.total = total
        self.length = 0


class RunningMean(nn.Module):
    """A plugin's mixer without a ``step``: the projected mean of all positions so far."""

    def __init__(self, config: ModelConfig, layer_index: int) -> None:
        super().__init__()
        self.proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def new_state(self, batch: int, max_positions: int, dtype: torch.dtype, device: Any) -> Any:
        return MeanState(torch.zeros(batch, self.proj.in_features, dtype=dtype, device=device))

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        seen = 0 if state is None else state.length
        total = x.cumsum(1)
        if state is not None:
            total = total + state.total[:, None]
            state.total = total[:, -1]
            state.length += x.shape[1]
        count = torch.arange(seen + 1, seen + 1 + x.shape[1], dtype=x.dtype)
        mixed: Tensor = self.proj(total / count[:, None])
        return mixed


class RunningMeanOfRows(RunningMean):
    """One whose state is not a `LayerState`: rows cannot be taken from it."""

    def new_state(self, batch: int, max_positions: int, dtype: torch.dtype, device: Any) -> Any:
        return SimpleNamespace(total=torch.zeros(batch, self.proj.in_features, dtype=dtype), length=0)


class MeanPlugin:
    @hookimpl
    def register_mixers(self, register: Any) -> None:
        register("mean", RunningMean)
        register("mean_of_rows", RunningMeanOfRows)


def finished(engine: Engine, request: GenerationRequest) -> Generation:
    """Return the reply of an engine that has seen nothing before."""
    engine.forget()
    generation = engine.generate(request)
    list(generation)
    engine.forget()
    return generation


def assert_equal(found: Generation, expected: Generation) -> None:
    for name in ("ids", "text", "finish_reason", "seed"):
        assert getattr(found, name) == getattr(expected, name)
    scores = [token.logprob for token in expected.tokens]
    assert [token.logprob for token in found.tokens] == pytest.approx(scores, abs=1e-5)


def assert_one_by_one(engine: Engine) -> None:
    expected = [finished(engine, request) for request in REQUESTS]
    batch = engine.generate_batch(REQUESTS)
    texts = [""] * len(REQUESTS)
    for index, token in batch:
        texts[index] += token.text
    for row, single in zip(batch.rows, expected, strict=True):
        assert_equal(row, single)
    assert texts == [row.text for row in batch.rows]


def float64_engine(model: Transformer, tokenizer: Tokenizer, plugins: Plugins) -> Engine:
    """In float64 no two scores are so close that the order of sums decides what is drawn."""
    return Engine(model.double(), tokenizer, plugins.samplers)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("most", [2, 32])
def test_a_batch_is_one_by_one(
    build: Build,
    tokenizer: Tokenizer,
    plugins: Plugins,
    shape: str,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where no more than two rows are computed at once, and others come in when they end."""
    monkeypatch.setattr(batch_module, "MAX_ROWS", most)
    model = build(**{"kv_heads": None, **SHAPES[shape]}, max_seq_len=100)
    assert model.can_step
    assert_one_by_one(float64_engine(model, tokenizer, plugins))


@pytest.mark.parametrize("mixer", ["mean", "mean_of_rows"])
def test_layers_without_a_step_are_decoded_row_by_row(tokenizer: Tokenizer, mixer: str) -> None:
    plugins = plugins_with(MeanPlugin())
    shape = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "mixer": [mixer, "attention"]}
    config = ModelConfig.from_dict({**shape, "vocab_size": tokenizer.vocab_size, "max_seq_len": 100})
    model = build_model(config, plugins.mixers, seed=1)
    assert not model.can_step
    engine = float64_engine(model, tokenizer, plugins)
    assert_one_by_one(engine)
    batch = engine.generate_batch([REQUESTS[1]], n=3)
    list(batch)
    for index, row in enumerate(batch.rows):
        assert_equal(row, finished(engine, with_seed(REQUESTS[1], 3 + index)))


def with_seed(request: GenerationRequest, seed: int) -> GenerationRequest:
    return GenerationRequest(request.prompt, request.max_tokens, request.sampling, seed)


def test_samples_of_one_prompt_share_its_prefill(
    model: Transformer, tokenizer: Tokenizer, plugins: Plugins, computed: Computed
) -> None:
    engine = Engine(model, tokenizer, plugins.samplers)
    request = GenerationRequest(list(range(1, 12)), 6, {"temperature": 1.5, "top_p": 1.0}, seed=40)
    shapes = computed(model)
    batch = engine.generate_batch([request], n=4)
    list(batch)
    assert shapes == [(1, 11)] + [(4, 1)] * 5
    assert len({tuple(row.ids) for row in batch.rows}) == 4
    for index, row in enumerate(batch.rows):
        assert_equal(row, finished(engine, with_seed(request, 40 + index)))


def test_more_samples_than_are_computed_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "MAX_ROWS", 2)
    request = GenerationRequest([1, 2, 3], 4, {"temperature": 1.5, "top_p": 1.0}, seed=40)
    batch = engine.generate_batch([request], n=5)
    list(batch)
    for index, row in enumerate(batch.rows):
        assert_equal(row, finished(engine, with_seed(request, 40 + index)))


def test_waiting_samples_fill_what_is_free(
    model: Transformer,
    tokenizer: Tokenizer,
    plugins: Plugins,
    computed: Computed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three samples of one prompt find one free place, then one more: never more than three in a step."""
    monkeypatch.setattr(batch_module, "MAX_ROWS", 3)
    engine = Engine(model, tokenizer, plugins.samplers)
    prompt = list(range(10, 20))
    requests = [
        GenerationRequest([1], 9, seed=1),
        GenerationRequest([2], 4, seed=1),
        *[
            GenerationRequest(prompt, 6, {"temperature": 1.5, "top_p": 1.0}, seed=seed)
            for seed in (40, 41, 42)
        ],
    ]
    expected = [finished(engine, request) for request in requests]
    shapes = computed(model)
    batch = engine.generate_batch(requests)
    list(batch)
    for row, single in zip(batch.rows, expected, strict=True):
        assert_equal(row, single)
    assert max(rows for rows, _ in shapes) == 3
    assert [shape for shape in shapes if shape[1] > 1] == [(1, len(prompt))]  # the others use what it left


def test_a_batch_does_not_look_at_all_rows_for_a_token(
    scripted: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = scripted(65, 66, 67)
    asked = 0
    real = Generation.take_ready

    def take_ready(row: Generation) -> GeneratedToken | None:
        nonlocal asked
        asked += 1
        return real(row)

    monkeypatch.setattr(Generation, "take_ready", take_ready)
    batch = engine.generate_batch([GenerationRequest([1], 3, seed=1)], n=200)
    seen = [index for index, _ in batch]
    assert sorted(seen) == sorted([*range(200)] * 3)
    assert asked <= 2 * len(seen)
    assert {row.text for row in batch.rows} == {"ABC"}


def test_tokens_may_be_taken_from_the_batch_and_from_its_rows(scripted: Callable[..., Engine]) -> None:
    batch = scripted(65, 66, 67).generate_batch([GenerationRequest([1], 5, seed=1)], n=3)
    first = next(batch)
    by_row = [next(batch.rows[2]), next(batch.rows[2])]
    rest = list(batch)
    assert (first[0], [token.text for token in by_row]) == (0, ["A", "B"])
    texts = ["A", "", "AB"]
    for index, token in rest:
        texts[index] += token.text
    assert texts == ["ABCAB"] * 3


def test_drawn_seeds_of_samples_follow_each_other(engine: Engine) -> None:
    first, second, third = engine.generate_batch([GenerationRequest([1], 3)], n=3).rows
    assert (second.seed, third.seed) == (first.seed + 1, first.seed + 2)


def test_ended_rows_leave_the_computation(
    model: Transformer, tokenizer: Tokenizer, plugins: Plugins, computed: Computed
) -> None:
    engine = Engine(model, tokenizer, plugins.samplers)
    shapes = computed(model)
    requests = [GenerationRequest([3, 4 + index], 2 + 3 * index, seed=1) for index in range(3)]
    batch = engine.generate_batch([*requests, GenerationRequest([1], 0)])
    list(batch)
    assert [len(row.ids) for row in batch.rows] == [2, 5, 8, 0]
    assert shapes == [(1, 2)] * 3 + [(3, 1)] + [(2, 1)] * 3 + [(1, 1)] * 3
    assert {row.finish_reason for row in batch.rows} == {"length"}


def test_a_row_can_be_read_alone_while_the_others_go_on(engine: Engine) -> None:
    requests = [GenerationRequest([1, 2], 6, seed=1), GenerationRequest([3], 9, seed=1)]
    expected = [finished(engine, request) for request in requests]
    batch = engine.generate_batch(requests)
    assert [token.id for token in batch.rows[1]] == expected[1].ids
    assert [token.id for index, token in batch if index == 0] == expected[0].ids
    assert list(batch) == []


def test_rows_stop_at_texts_across_tokens(scripted: Callable[..., Engine]) -> None:
    """The script goes on from the length of a prompt, so that each row meets the end elsewhere."""
    engine = scripted(65, 66, 262, 263, 67)  # A B "x E" "ND." C
    requests = [GenerationRequest([1] * length, 9, stop=("END",), seed=1) for length in (1, 2, 3, 4, 5)]
    batch = engine.generate_batch(requests)
    texts = [""] * 5
    for index, token in batch:
        texts[index] += token.text
    assert texts == ["ABx ", "Bx ", "x ", "ND.CABx ", "CABx "]
    assert [row.text for row in batch.rows] == texts
    assert {row.finish_reason for row in batch.rows} == {"stop"}


def test_one_row_may_be_interrupted(scripted: Callable[..., Engine]) -> None:
    batch = scripted(65, 66, 67).generate_batch([GenerationRequest([1], 6, seed=1)], n=3)
    texts = [""] * 3
    for index, token in batch:
        texts[index] += token.text
        if index == 1 and token.text == "B":
            batch.rows[1].interrupt()
    assert texts == ["ABCABC", "AB", "ABCABC"]
    assert [row.finish_reason for row in batch.rows] == ["length", "interrupted", "length"]


def test_a_batch_may_be_interrupted(scripted: Callable[..., Engine]) -> None:
    batch = scripted(65, 66, 67).generate_batch([GenerationRequest([1], 6, seed=1)], n=2)
    taken = [next(batch) for _ in range(4)]
    batch.interrupt()
    assert [index for index, _ in taken] == [0, 1, 0, 1]
    assert list(batch) == []
    assert [row.text for row in batch.rows] == ["AB", "AB"]
    assert {row.finish_reason for row in batch.rows} == {"interrupted"}


def test_an_interrupt_between_pieces_of_a_prompt_ends_it(
    engine: Engine, model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "PREFILL_CHUNK", 3)
    batch = engine.generate_batch([GenerationRequest(list(range(9)), 6, seed=1)], n=2)
    handle = model.layers[0].register_forward_hook(lambda *_: batch.interrupt())
    assert list(batch) == []
    handle.remove()
    assert {row.finish_reason for row in batch.rows} == {"interrupted"}
    again = engine.generate(GenerationRequest(list(range(9)), 6, seed=1))
    again_ids = [token.id for token in again]
    assert again.reused_tokens == 3
    assert again_ids == finished(engine, again.request).ids


def test_the_likeliest_tokens_are_told(engine: Engine, model: Transformer) -> None:
    (row,) = engine.generate_batch([GenerationRequest([5, 6], 3, seed=1, top_logprobs=4)]).rows
    ids = [5, 6]
    for token in row:
        with torch.no_grad():
            scores = model(torch.tensor([ids]))[0, -1, : engine.vocab_size].log_softmax(-1)
        best, best_ids = scores.topk(4)
        assert [score.id for score in token.top] == best_ids.tolist()
        assert [score.logprob for score in token.top] == pytest.approx(best.tolist(), abs=1e-5)
        ids.append(token.id)
    everything = next(engine.generate(GenerationRequest([5], 1, top_logprobs=10**6))).top
    assert len(everything) == engine.vocab_size


def test_a_bias_of_each_request_is_its_own(engine: Engine) -> None:
    requests = [GenerationRequest([1], 3, seed=1, logit_bias={token: 100.0}) for token in (70, 80)]
    batch = engine.generate_batch(requests)
    list(batch)
    assert [row.text for row in batch.rows] == ["FFF", "PPP"]
    assert max(batch.rows[0].tokens[0].logprob, batch.rows[1].tokens[0].logprob) < -1.0  # before any sampler
    with pytest.raises(UsageError, match=r"id 265, and the ids are 0 to 264"):
        engine.generate(GenerationRequest([1], 3, logit_bias={265: 1.0}))


def test_what_cannot_be_generated_is_refused_before_the_rest(engine: Engine) -> None:
    with pytest.raises(NanoshellError, match="id 9999"):
        engine.generate_batch([GenerationRequest([1], 3), GenerationRequest([9999], 3)])
    with pytest.raises(UsageError, match="n is 0"):
        engine.generate_batch([GenerationRequest([1], 3)], n=0)
    with pytest.raises(UsageError, match="top_logprobs is -1"):
        engine.generate(GenerationRequest([1], 3, top_logprobs=-1))
    assert list(engine.generate_batch([])) == []


def test_figures_of_speed_of_a_batch(engine: Engine) -> None:
    batch = engine.generate_batch([GenerationRequest([1, 2], 5, seed=1)], n=2)
    list(batch)
    assert batch.tokens_per_second > 0
    for row in batch.rows:
        assert 0 < row.prompt_seconds < row.seconds <= batch.seconds
