"""A prompt that begins as an earlier reply costs its new tokens alone, and says the same as a fresh one."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from nanoshell.generation.engine import Engine, Generation, GenerationRequest
from nanoshell.generation.prefix import KEPT
from nanoshell.model.cache import LayerState
from nanoshell.model.transformer import Transformer
from nanoshell.plugin.manager import Plugins
from nanoshell.tokenizer.base import Tokenizer

Build = Callable[..., Transformer]
Computed = Callable[[Transformer], list[tuple[int, int]]]

MAMBA = {"mamba2_num_heads": 4, "mamba2_head_dim": 16, "mamba2_state_size": 8, "mamba2_chunk_size": 8}
SHAPES: dict[str, dict[str, Any]] = {
    "attention": {},
    "mla": {"kv_latent_dim": 12, "q_latent_dim": 10, "d_rope": 4, "kv_heads": None, "feed_forward": "swiglu"},
    "hybrid": {**MAMBA, "mamba_layers": [0]},
    "mamba": {**MAMBA, "mamba_layers": [0, 1]},
}
LOOKING_BACK = ("attention", "mla")
PROMPT = list(range(10, 30))


class Talk:
    """An engine, what it computes, and replies compared with those of an engine that knows nothing."""

    def __init__(self, engine: Engine, fresh: Engine, shapes: list[tuple[int, int]]) -> None:
        self.engine, self._fresh, self.shapes = engine, fresh, shapes

    def say(self, prompt: list[int], max_tokens: int = 5) -> Generation:
        """Reply to ``prompt``; assert that the scores are those of a fresh engine."""
        request = GenerationRequest(prompt, max_tokens, {"temperature": 0}, seed=0, top_logprobs=8)
        said = self.engine.generate(request)
        list(said)
        kept = list(self.shapes)
        self._fresh.forget()
        expected = self._fresh.generate(request)
        list(expected)
        self.shapes[:] = kept
        assert said.ids == expected.ids
        for token, other in zip(said.tokens, expected.tokens, strict=True):
            scores = [score.logprob for score in other.top]
            assert [score.logprob for score in token.top] == pytest.approx(scores, abs=1e-5)
        return said

    def computed(self) -> int:
        """Return how many tokens were computed since the last call."""
        count = sum(rows * tokens for rows, tokens in self.shapes)
        self.shapes.clear()
        return count


@pytest.fixture
def talk_with(
    build: Build, tokenizer: Tokenizer, plugins: Plugins, computed: Computed
) -> Callable[..., Talk]:
    def begin(shape: str, **keys: Any) -> Talk:
        model = build(**{"max_seq_len": 200, **SHAPES[shape], **keys})
        engine, fresh = (Engine(model, tokenizer, plugins.samplers) for _ in range(2))
        return Talk(engine, fresh, computed(model))

    return begin


@pytest.mark.parametrize("shape", SHAPES)
def test_the_next_turn_computes_its_new_tokens_alone(talk_with: Callable[..., Talk], shape: str) -> None:
    talk = talk_with(shape)
    first = talk.say(PROMPT)
    assert (first.reused_tokens, talk.computed()) == (0, len(PROMPT) + 4)
    prompt = [*PROMPT, *first.ids, 1, 2, 3]
    second = talk.say(prompt)
    assert second.reused_tokens == len(PROMPT) + 4  # the last token of a reply was sampled, and not computed
    assert talk.computed() == 4 + 4
    third = talk.say([*prompt, *second.ids, 4])
    assert third.reused_tokens == len(prompt) + 4


@pytest.mark.parametrize("shape", SHAPES)
def test_asking_again_computes_one_token(talk_with: Callable[..., Talk], shape: str) -> None:
    talk = talk_with(shape)
    for _ in range(3):
        talk.computed()
        again = talk.say(PROMPT)
    assert again.reused_tokens == len(PROMPT) - 1
    assert talk.computed() == 1 + 4


@pytest.mark.parametrize("shape", SHAPES)
def test_another_end_of_the_prompt_computes_from_there(talk_with: Callable[..., Talk], shape: str) -> None:
    """A recurrent layer comes back to the end of the last prompt alone, or begins afresh."""
    talk = talk_with(shape)
    first = talk.say(PROMPT)
    edited = [*PROMPT[:16], 7, 7, 7]
    assert talk.say(edited).reused_tokens == (16 if shape in LOOKING_BACK else 0)
    talk.engine.forget()
    talk.say(PROMPT)
    answered = [*PROMPT, first.ids[0], 99, 98]  # as where a reply was cut, or its text has other tokens now
    expected = len(PROMPT) + 1 if shape in LOOKING_BACK else len(PROMPT) - 1
    assert talk.say(answered).reused_tokens == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cache_grows_with_the_conversation(talk_with: Callable[..., Talk], shape: str) -> None:
    talk = talk_with(shape)
    prompt = PROMPT
    sizes = set()
    for turn in range(8):
        said = talk.say(prompt)
        assert said.reused_tokens == (len(prompt) - 11 if turn else 0)
        prompt = [*prompt, *said.ids, *range(10)]
        sizes.add(talk.engine.room(said.positions))
    assert sizes == {64, 128, 200}


def test_rooms_are_powers_of_two_up_to_the_model(engine: Engine, talk_with: Callable[..., Talk]) -> None:
    assert {engine.room(positions) for positions in (1, 20, 32)} == {32}
    larger = talk_with("attention").engine
    assert [larger.room(positions) for positions in (1, 64, 65, 128, 129)] == [64, 64, 128, 128, 200]


def test_replies_of_one_engine_may_be_read_in_turns(talk_with: Callable[..., Talk]) -> None:
    """The second may not take the cache that the first is using, although its prompt is the same."""
    talk = talk_with("attention")
    talk.say(PROMPT)
    requests = [GenerationRequest(PROMPT, 9, {"temperature": 2.0}, seed=seed) for seed in (1, 2, 3)]
    expected = []
    for request in requests:
        talk.engine.forget()
        expected.append([token.id for token in talk.engine.generate(request)])
    talk.say(PROMPT)
    replies = [talk.engine.generate(request) for request in requests]
    for reply in itertools.chain.from_iterable(itertools.repeat(replies, 9)):
        next(reply)
    assert [reply.ids for reply in replies] == expected


def test_a_reply_that_was_given_up_takes_nothing_along(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with("attention")
    next(talk.engine.generate(GenerationRequest(PROMPT, 9, seed=0)))
    assert talk.say(PROMPT).reused_tokens == 0


@pytest.mark.parametrize("shape", ["attention", "hybrid"])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("call", range(4))
def test_ctrl_c_in_any_layer_leaves_the_engine_right(
    talk_with: Callable[..., Talk], shape: str, layer: int, call: int
) -> None:
    """When one layer has seen a token and the next has not, nothing of that cache may be used again."""
    talk = talk_with(shape)
    first = talk.say(PROMPT)
    prompt = [*PROMPT, *first.ids, 5, 6]
    generation = talk.engine.generate(GenerationRequest(prompt, 9, {"temperature": 0}))
    with pressed(talk.engine.model, call, layer), pytest.raises(KeyboardInterrupt):
        list(generation)
    assert generation.finish_reason == "interrupted"
    list(generation)  # a character that was not complete yet
    assert [token.id for token in generation.tokens] == generation.ids
    assert talk.say(prompt).reused_tokens == 0
    assert talk.say(prompt).reused_tokens == len(prompt) - 1


@pytest.mark.parametrize("shape", ["attention", "hybrid"])
def test_an_interrupt_between_tokens_keeps_what_was_computed(
    talk_with: Callable[..., Talk], shape: str
) -> None:
    talk = talk_with(shape)
    generation = talk.engine.generate(GenerationRequest(PROMPT, 9, {"temperature": 0}))
    next(generation), next(generation)
    generation.interrupt()
    assert generation.finish_reason == "interrupted"
    assert talk.say([*PROMPT, *generation.ids, 3]).reused_tokens == generation.length - 1


def test_several_samples_leave_their_prompt_behind(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with("hybrid")
    request = GenerationRequest(PROMPT, 4, seed=0)
    list(talk.engine.generate_batch([request], n=3))
    batch = talk.engine.generate_batch([request, GenerationRequest([*PROMPT, 1], 4, seed=0)], n=2)
    list(batch)
    assert [row.reused_tokens for row in batch.rows[:2]] == [len(PROMPT) - 1] * 2
    assert talk.say(PROMPT).ids


def test_a_batch_goes_on_from_a_cache_of_another_size(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with("attention")
    talk.say([*PROMPT, *range(60)])  # 128 positions; those below need 64
    requests = [GenerationRequest([*PROMPT, token], 4, {"temperature": 0}, seed=0) for token in (1, 2)]
    batch = talk.engine.generate_batch(requests)
    list(batch)
    assert batch.rows[0].reused_tokens == len(PROMPT)
    assert [row.ids for row in batch.rows] == [talk.say([*PROMPT, token], 4).ids for token in (1, 2)]


def test_an_interrupt_while_a_cache_is_put_back_does_not_keep_it_twice(
    talk_with: Callable[..., Talk], monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = talk_with("attention")
    generation = talk.engine.generate(GenerationRequest(PROMPT, 4, seed=0))
    list(itertools.islice(generation, 4))
    put = talk.engine.prefixes.put

    def press(prefix: Any) -> None:
        put(prefix)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(talk.engine.prefixes, "put", press)
        with pytest.raises(KeyboardInterrupt):
            list(generation)
    list(generation)
    pair = [talk.engine.generate(GenerationRequest(PROMPT, 4, {"temperature": 0})) for _ in range(2)]
    for reply in itertools.chain.from_iterable(itertools.repeat(pair, 4)):
        next(reply, None)
    assert [reply.reused_tokens for reply in pair] == [len(PROMPT) - 1, 0]
    assert pair[0].ids == pair[1].ids == talk.say(PROMPT, 4).ids


def test_a_short_sample_leaves_the_conversation_alone(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with("attention")
    first = talk.say(PROMPT)
    for token in range(KEPT - 1):
        assert talk.say([PROMPT[0], 77, 78, token]).reused_tokens == 0
    assert talk.say([*PROMPT, *first.ids, 1]).reused_tokens == len(PROMPT) + 4


def test_new_weights_need_a_new_beginning(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with("attention")
    talk.say(PROMPT)
    with torch.no_grad():
        for parameter in talk.engine.model.parameters():
            parameter.mul_(1.1)
    talk.engine.forget()
    assert talk.say(PROMPT).reused_tokens == 0


def test_a_state_that_holds_more_than_tensors_is_not_moved(
    talk_with: Callable[..., Talk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on in its own cache, and where that is too small it is computed afresh."""
    talk = talk_with("attention")
    mixer: Any = talk.engine.model.layers[0].mixer_module
    new_state = mixer.new_state

    def with_note(*arguments: Any) -> LayerState:
        state: LayerState = new_state(*arguments)
        state.note = ["what a plugin remembers"]  # type: ignore[attr-defined]
        return state

    monkeypatch.setattr(mixer, "new_state", with_note)
    first = talk.say(PROMPT)
    second = talk.say([*PROMPT, *first.ids, 1])
    assert second.reused_tokens == len(PROMPT) + 4
    assert talk.say([*PROMPT, *first.ids, *range(60)]).reused_tokens == 0


PIECES = st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=4)
ACTS = st.tuples(PIECES, st.sampled_from(["read", "stop", "press", "leave", "batch"]), st.integers(0, 5))


@pytest.mark.parametrize("shape", ["attention", "hybrid"])
@given(acts=st.lists(ACTS, min_size=2, max_size=8))
@settings(max_examples=25, deadline=None)
def test_whatever_went_before_a_reply_is_that_of_a_fresh_engine(
    engines: dict[str, tuple[Engine, Engine]], shape: str, acts: list[tuple[list[int], str, int]]
) -> None:
    """Replies read, stopped between tokens or in the middle of the model, left behind, or in batches."""
    engine, fresh = engines[shape]
    left = []
    for pieces, act, when in acts:
        prompt = [10 + token for piece in pieces for token in (piece, piece, 2 * piece)]
        request = GenerationRequest(prompt, 6, {"temperature": 2.0, "top_p": 1.0}, seed=when)
        fresh.forget()
        expected = [token.id for token in fresh.generate(request)]
        generation = engine.generate(request)
        if act == "press":
            with pressed(engine.model, when), contextlib.suppress(KeyboardInterrupt):
                list(generation)
        elif act == "batch":
            again = GenerationRequest([*prompt, 5], 3, seed=0)
            batch = engine.generate_batch([request, again, request])
            list(batch)
            assert batch.rows[0].ids == batch.rows[2].ids == expected
        elif act != "read":
            list(itertools.islice(generation, min(when, 2)))
        if act == "stop":
            generation.interrupt()
        if act == "leave":
            left.append((generation, expected))
        elif act != "batch":
            list(generation)
            assert generation.ids == expected[: len(generation.ids)]
            assert act != "read" or generation.finish_reason == "length"
    for generation, expected in left:
        list(generation)
        assert generation.ids == expected


@pytest.fixture(scope="module")
def engines(build: Build, tokenizer: Tokenizer, plugins: Plugins) -> dict[str, tuple[Engine, Engine]]:
    """For each shape an engine with a past, and one that is made to forget; in float64, without near ties."""

    def pair(shape: str) -> tuple[Engine, Engine]:
        model = build(max_seq_len=100, **SHAPES[shape]).double()
        return Engine(model, tokenizer, plugins.samplers), Engine(model, tokenizer, plugins.samplers)

    return {shape: pair(shape) for shape in SHAPES}


@contextlib.contextmanager
def pressed(model: Transformer, call: int, layer: int = 0) -> Iterator[None]:
    """Raise `KeyboardInterrupt` when ``layer`` has computed for the time ``call``, from 0, in the block."""
    calls = itertools.count()

    def press(module: torch.nn.Module, arguments: Any, output: Tensor) -> None:
        if next(calls) == call:
            raise KeyboardInterrupt

    handle = model.layers[layer].register_forward_hook(press)
    try:
        yield
    finally:
        handle.remove()
