"""The engine: greedy decoding is the argmax of full forwards, and every way in which a reply ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from nanoshell.errors import NanoshellError, UsageError
from nanoshell.generation import batch as batch_module, layout
from nanoshell.generation.engine import Engine, Generation, GenerationRequest
from nanoshell.generation.stopping import StopText
from nanoshell.model.config import ModelConfig
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.plugin.manager import Plugins
from nanoshell.tokenizer.base import Tokenizer

Scripted = Callable[..., Engine]

POSITIONS = 32


SIZE = 265
"""Of the tokenizer's vocabulary; the model has three ids more."""
AB, END, X_E, ND, E_ACUTE = range(260, 265)
EURO = list("€".encode())


def run(engine: Engine, *, prompt: tuple[int, ...] = (1,), max_tokens: int = 20, **fields: Any) -> Generation:
    generation = engine.generate(GenerationRequest(list(prompt), max_tokens, **fields))
    texts = "".join(token.text for token in generation)
    assert texts == generation.text
    assert generation.finish_reason
    return generation


def masked_argmax(model: Transformer, ids: list[int]) -> int:
    with torch.no_grad():
        logits = model(torch.tensor([ids]))[0, -1, :SIZE].double()
    logits[[256, 257, 258, 259]] = -torch.inf
    return int(logits.argmax())


@pytest.mark.parametrize("prompt_length", [1, 5, 20])
def test_greedy_decoding_is_the_argmax_of_full_forwards(
    engine: Engine, model: Transformer, prompt_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "PREFILL_CHUNK", 3)
    ids = list(range(7, 7 + prompt_length))
    generation = run(engine, prompt=tuple(ids), max_tokens=10, sampling={"temperature": 0})
    for token in generation.ids:
        assert token == masked_argmax(model, ids)
        ids.append(token)
    assert len(generation.ids) == 10
    assert generation.finish_reason == "length"
    assert generation.prompt_tokens == prompt_length


def test_log_probabilities_are_the_models_own(engine: Engine, model: Transformer) -> None:
    generation = engine.generate(GenerationRequest([5, 6], 4, {"temperature": 0.3, "top_k": 5}, seed=1))
    ids = [5, 6]
    for token in generation:
        with torch.no_grad():
            logits = model(torch.tensor([ids]))[0, -1, :SIZE].double()
        assert token.logprob == pytest.approx(float(logits.log_softmax(-1)[token.id]), abs=1e-5)
        ids.append(token.id)


def test_a_seed_repeats_and_a_drawn_seed_is_told(engine: Engine) -> None:
    sampling = {"temperature": 1.5, "top_p": 1.0}
    drawn = run(engine, sampling=sampling)
    again = run(engine, sampling=sampling, seed=drawn.seed)
    assert again.ids == drawn.ids
    others = {tuple(run(engine, sampling=sampling, seed=seed).ids) for seed in range(5)}
    assert len(others) == 5


def test_samples_follow_the_models_distribution(engine: Engine, model: Transformer) -> None:
    """First tokens under many seeds, against the exact distribution: a chi-square below its 99.99% point."""
    with torch.no_grad():
        logits = model(torch.tensor([[9]]))[0, -1, :SIZE].double() * 4
    logits[[256, 257, 258, 259]] = -torch.inf
    groups = logits.softmax(-1).split(40)
    counts = torch.zeros(len(groups))
    for seed in range(700):
        request = GenerationRequest([9], 1, {"temperature": 0.25, "top_p": 1}, seed=seed)
        counts[next(engine.generate(request)).id // 40] += 1
    expected = torch.tensor([float(group.sum()) for group in groups]) * 700
    assert float(((counts - expected) ** 2 / expected).sum()) < 27.9  # 6 degrees of freedom


def test_ids_without_a_token_are_never_sampled(
    engine: Engine, model: Transformer, plugins: Plugins, tokenizer: Tokenizer
) -> None:
    """Not even where the model puts nearly all of its probability on them."""
    wild = build_model(model.config, plugins.mixers, seed=2)
    assert wild.lm_head is not None
    with torch.no_grad():
        hidden = wild.hidden(torch.tensor([[1]]))[0, -1]
        for token in (256, 257, *range(SIZE, SIZE + 3)):
            wild.lm_head.weight[token] = hidden * 10
    wild_engine = Engine(wild, tokenizer, plugins.samplers)
    for sampling in ({"temperature": 0}, {"temperature": 1.0, "top_p": 1.0}):
        for seed in range(5):
            ids = run(wild_engine, sampling=sampling, seed=seed, allow_special=True).ids
            assert not set(ids) & {256, 257}
            assert max(ids) < SIZE


def test_special_tokens_are_sampled_only_where_allowed_or_stopping(
    with_sampler: Callable[..., Engine],
) -> None:
    """Whatever a sampler removes besides: removed stays removed."""

    def keep(logits: Tensor, history: Tensor) -> Tensor:
        return torch.where(torch.arange(logits.shape[1]) == 259, logits, -torch.inf)

    with pytest.raises(NanoshellError, match="no token to choose"):
        run(with_sampler(keep), seed=0)
    assert set(run(with_sampler(keep), seed=0, allow_special=True).ids) == {259}
    stopped = run(with_sampler(keep), seed=0, stop_ids=frozenset({259}))
    assert (stopped.ids, stopped.finish_reason) == ([], "stop")


def test_a_stop_id_ends_the_reply_and_is_not_part_of_it(scripted: Scripted) -> None:
    generation = run(scripted(72, 105, 258), stop_ids=frozenset({258}))
    assert (generation.text, generation.ids, generation.finish_reason) == ("Hi", [72, 105], "stop")


def test_a_stop_text_is_found_across_tokens(scripted: Scripted) -> None:
    generation = run(scripted(65, X_E, ND), stop=("END",))
    assert (generation.text, generation.finish_reason) == ("Ax ", "stop")
    assert generation.ids == [65, X_E, ND]


def test_the_first_of_several_stop_texts_counts(scripted: Scripted) -> None:
    assert run(scripted(END, ND, 65), stop=("A", "DN", "NDND")).text == "E"
    assert run(scripted(END, 65, 66), stop=("ENDAB", "ZZ", "DA")).text == "EN"


def test_text_held_back_for_a_stop_text_is_shown_at_the_end(scripted: Scripted) -> None:
    generation = run(scripted(65, X_E), stop=("END",), max_tokens=2)
    assert (generation.text, generation.finish_reason) == ("Ax E", "length")
    stopped = run(scripted(65, X_E, 258), stop=("END",), stop_ids=frozenset({258}))
    assert stopped.text == "Ax E"


def test_half_a_character_waits_and_is_marked_at_the_end(scripted: Scripted) -> None:
    tokens = list(scripted(*EURO, 65).generate(GenerationRequest([1], 4)))
    assert [token.text for token in tokens] == ["", "", "€", "A"]
    assert [token.id for token in tokens] == [*EURO, 65]
    assert run(scripted(65, *EURO), max_tokens=3).text == "A\ufffd"
    assert run(scripted(65, EURO[0], 66), max_tokens=3).text == "A\ufffdB"


def test_max_tokens_and_the_end_of_the_context(engine: Engine) -> None:
    assert run(engine, max_tokens=0).finish_reason == "length"
    assert len(run(engine, max_tokens=3).ids) == 3
    full = run(engine, prompt=tuple(range(1, 30)), max_tokens=100)
    assert full.finish_reason == "context"
    assert len(full.ids) == POSITIONS - 29 + 1  # the last one needs no position of its own
    assert len(run(engine, prompt=tuple(range(POSITIONS)), max_tokens=5).ids) == 1


@pytest.mark.parametrize(
    ("request_", "kind", "said"),
    [
        (
            GenerationRequest(range(POSITIONS + 1), 5),
            NanoshellError,
            "33 tokens, .* has 32 positions",
        ),
        (GenerationRequest([], 5), UsageError, "the prompt is empty"),
        (GenerationRequest([1, 9999], 5), NanoshellError, "id 9999"),
        # The model has a row for it, and the tokenizer, whose ids the samplers see, no token.
        (GenerationRequest([1, SIZE], 5), NanoshellError, f"id {SIZE}"),
        (GenerationRequest([-1], 5), NanoshellError, "id -1"),
        (GenerationRequest([1], -1), UsageError, "max_tokens is -1"),
        (GenerationRequest([1], 5, stop=("",)), UsageError, "stop text is empty"),
        (GenerationRequest([1], 5, {"top_p": 3}), UsageError, "top_p is 3"),
    ],
)
def test_what_cannot_be_generated_is_refused_at_once(
    engine: Engine, request_: GenerationRequest, kind: type[NanoshellError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        engine.generate(request_)


def test_an_interrupt_keeps_what_came(scripted: Scripted) -> None:
    generation = scripted(65, 66, 67, X_E).generate(GenerationRequest([1], 100, stop=("END",)))
    shown = ""
    for token in generation:
        shown += token.text
        if shown.endswith("C"):
            generation.interrupt()
    assert generation.finish_reason == "interrupted"
    assert generation.text == shown == "ABC"
    with pytest.raises(StopIteration):
        next(generation)


def test_an_interrupt_releases_whole_text_but_no_broken_character(
    model: Transformer, scripted: Scripted
) -> None:
    for second, text in ((X_E, "Ax E"), (EURO[0], "A")):
        generation = scripted(65, second, 66).generate(GenerationRequest([1], 100, stop=("END",)))
        next(generation)
        hidden = model.hidden

        def pressed(*arguments: Any, hidden: Any = hidden, generation: Generation = generation) -> Tensor:
            generation.interrupt()  # while the second token is being made
            result: Tensor = hidden(*arguments)
            return result

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model, "hidden", pressed)
            rest = list(generation)
        assert [token.id for token in rest] == [second]
        assert (generation.text, generation.ids) == (text, [65, second])
        assert generation.finish_reason == "interrupted"


def test_ctrl_c_while_a_token_is_made_keeps_what_came(model: Transformer, scripted: Scripted) -> None:
    engine = scripted(65, 66)
    generation = engine.generate(GenerationRequest([1], 100))
    next(generation), next(generation)

    def press(*arguments: Any) -> Tensor:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "hidden", press)
        with pytest.raises(KeyboardInterrupt):
            next(generation)
    assert (generation.text, generation.finish_reason) == ("AB", "interrupted")


def test_another_thread_may_interrupt(engine: Engine) -> None:
    generation = engine.generate(GenerationRequest([1], 30, {"temperature": 0}))
    next(generation)
    thread = threading.Thread(target=generation.interrupt)
    thread.start()
    thread.join()
    assert len(generation.ids) - 1 <= len(list(generation)) + 1
    assert generation.finish_reason == "interrupted"


def test_a_diverged_model_is_said(model: Transformer, plugins: Plugins, tokenizer: Tokenizer) -> None:
    broken = build_model(model.config, plugins.mixers, seed=2)
    with torch.no_grad():
        broken.norm.weight.fill_(torch.nan)
    with pytest.raises(NanoshellError, match="not finite"):
        run(Engine(broken, tokenizer, plugins.samplers))


def test_the_layout_for_decoding_changes_no_value(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LARGE", 1)
    for tied in (False, True):
        config = ModelConfig(hidden_size=32, num_layers=1, num_heads=4, vocab_size=300, tie_embeddings=tied)
        arranged, plain = (build_model(config, plugins.mixers, seed=4) for _ in range(2))
        layout.arrange_for_decoding(arranged)
        assert not arranged.head_weight.is_contiguous()
        ids = torch.arange(20)[None]
        with torch.no_grad():
            torch.testing.assert_close(arranged(ids), plain(ids), rtol=1e-5, atol=1e-6)
        for name, value in plain.state_dict().items():
            assert torch.equal(arranged.state_dict()[name], value)


def test_figures_of_speed(engine: Engine) -> None:
    generation = run(engine, max_tokens=5)
    assert 0 < generation.prompt_seconds < generation.seconds
    assert generation.tokens_per_second > 0


@given(
    st.lists(st.text("abcE", max_size=3), max_size=8),
    st.lists(st.text("abcE", min_size=1, max_size=4), min_size=1, max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_stop_texts_cut_exactly_where_searching_the_whole_text_would(
    pieces: list[str], stops: list[str]
) -> None:
    finder, shown = StopText(stops), ""
    for piece in pieces:
        text, found = finder.push(piece)
        shown += text
        if found:
            break
    else:
        shown += finder.flush()
    expected, whole = "", ""
    for piece in pieces:  # the text up to the piece that completes the first stop text, cut before it
        whole += piece
        places = [whole.find(stop) for stop in stops if stop in whole]
        expected = whole[: min(places)] if places else whole
        if places:
            break
    assert shown == expected
