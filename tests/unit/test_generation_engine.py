"""The engine: greedy decoding is the argmax of full forwards, and every way in which a reply ends."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from nanoshell.errors import NanoshellError, TokenizerError, UsageError
from nanoshell.generation import batch as batch_module, layout
from nanoshell.generation.engine import Engine, Generation, GenerationRequest
from nanoshell.generation.stopping import StopText
from nanoshell.model.config import ModelConfig
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.plugin.manager import Plugins, load_plugins
from nanoshell.plugin.registry import Registry

POSITIONS = 32


class ByteTokenizer:
    """A token for each byte, some pairs, an id for nothing, and two special tokens."""

    name = "bytes"
    fingerprint = "bytes"
    pieces = (b"ab", b"END", b"x E", b"ND.", "é".encode())
    vocab_size = 260 + len(pieces)
    unused_ids = frozenset({256, 257})
    special_tokens: Mapping[str, int] = {"<|endoftext|>": 258, "<|user|>": 259}
    end_of_text = 258

    def token_bytes(self, token_id: int) -> bytes:
        if token_id < 256:
            return bytes([token_id])
        if token_id >= 260:
            return self.pieces[token_id - 260]
        for spelling, special in self.special_tokens.items():
            if special == token_id:
                return spelling.encode()
        raise TokenizerError(f"id {token_id} is no token")

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_special(self, text: str) -> list[int]:
        return self.encode(text)

    def decode(self, ids: Any) -> str:
        return b"".join(self.token_bytes(token) for token in ids).decode("utf-8", errors="replace")


TOKENIZER = ByteTokenizer()
AB, END, X_E, ND, E_ACUTE = range(260, 265)
EURO = list("€".encode())


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins(safe=True)


@pytest.fixture(scope="module")
def model(plugins: Plugins) -> Transformer:
    shape = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "kv_heads": 2, "max_seq_len": POSITIONS}
    config = ModelConfig.from_dict({**shape, "vocab_size": TOKENIZER.vocab_size + 3})
    return build_model(config, plugins.mixers, seed=1).eval()


@pytest.fixture(scope="module")
def engine(model: Transformer, plugins: Plugins) -> Engine:
    return Engine(model, TOKENIZER, plugins.samplers)


def scripted(model: Transformer, *script: int) -> Engine:
    """Return an engine whose only sampler forces the ``script`` after a prompt of one token."""

    def factory(value: float) -> Any:
        def force(logits: Tensor, history: Tensor) -> Tensor:
            forced = torch.full_like(logits, -torch.inf)
            forced[0, script[(history.shape[1] - 1) % len(script)]] = 0.0
            return forced

        return force

    registry: Registry[Any] = Registry("sampler")
    registry.add("script", factory, provider="test", order=1, default=1.0, neutral=0.0, uses=())
    return Engine(model, TOKENIZER, registry)


def run(engine: Engine, *, prompt: tuple[int, ...] = (1,), max_tokens: int = 20, **fields: Any) -> Generation:
    generation = engine.generate(GenerationRequest(list(prompt), max_tokens, **fields))
    texts = "".join(token.text for token in generation)
    assert texts == generation.text
    assert generation.finish_reason
    return generation


def masked_argmax(model: Transformer, ids: list[int]) -> int:
    with torch.no_grad():
        logits = model(torch.tensor([ids]))[0, -1, : TOKENIZER.vocab_size].double()
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
            logits = model(torch.tensor([ids]))[0, -1, : TOKENIZER.vocab_size].double()
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
        logits = model(torch.tensor([[9]]))[0, -1, : TOKENIZER.vocab_size].double() * 4
    logits[[256, 257, 258, 259]] = -torch.inf
    groups = logits.softmax(-1).split(40)
    counts = torch.zeros(len(groups))
    for seed in range(700):
        request = GenerationRequest([9], 1, {"temperature": 0.25, "top_p": 1}, seed=seed)
        counts[next(engine.generate(request)).id // 40] += 1
    expected = torch.tensor([float(group.sum()) for group in groups]) * 700
    assert float(((counts - expected) ** 2 / expected).sum()) < 27.9  # 6 degrees of freedom


def test_ids_without_a_token_are_never_sampled(engine: Engine, model: Transformer, plugins: Plugins) -> None:
    """Not even where the model puts nearly all of its probability on them."""
    wild = build_model(model.config, plugins.mixers, seed=2)
    assert wild.lm_head is not None
    with torch.no_grad():
        hidden = wild.hidden(torch.tensor([[1]]))[0, -1]
        for token in (256, 257, *range(TOKENIZER.vocab_size, TOKENIZER.vocab_size + 3)):
            wild.lm_head.weight[token] = hidden * 10
    wild_engine = Engine(wild, TOKENIZER, plugins.samplers)
    for sampling in ({"temperature": 0}, {"temperature": 1.0, "top_p": 1.0}):
        for seed in range(5):
            ids = run(wild_engine, sampling=sampling, seed=seed, allow_special=True).ids
            assert not set(ids) & {256, 257}
            assert max(ids) < TOKENIZER.vocab_size


def test_special_tokens_are_sampled_only_where_allowed_or_stopping(model: Transformer) -> None:
    with pytest.raises(NanoshellError, match="no token to choose"):
        run(_favouring(model, 259), seed=0)
    assert set(run(_favouring(model, 259), seed=0, allow_special=True).ids) == {259}
    stopped = run(_favouring(model, 259), seed=0, stop_ids=frozenset({259}))
    assert (stopped.ids, stopped.finish_reason) == ([], "stop")


def _favouring(model: Transformer, token: int) -> Engine:
    """Return an engine whose sampler removes all but ``token``, keeping its score (removed stays removed)."""

    def factory(value: float) -> Any:
        def keep(logits: Tensor, history: Tensor) -> Tensor:
            return torch.where(torch.arange(logits.shape[1]) == token, logits, -torch.inf)

        return keep

    registry: Registry[Any] = Registry("sampler")
    registry.add("keep", factory, provider="test", order=1, default=1.0, neutral=0.0, uses=())
    return Engine(model, TOKENIZER, registry)


def test_a_stop_id_ends_the_reply_and_is_not_part_of_it(model: Transformer) -> None:
    generation = run(scripted(model, 72, 105, 258), stop_ids=frozenset({258}))
    assert (generation.text, generation.ids, generation.finish_reason) == ("Hi", [72, 105], "stop")


def test_a_stop_text_is_found_across_tokens(model: Transformer) -> None:
    generation = run(scripted(model, 65, X_E, ND), stop=("END",))
    assert (generation.text, generation.finish_reason) == ("Ax ", "stop")
    assert generation.ids == [65, X_E, ND]


def test_the_first_of_several_stop_texts_counts(model: Transformer) -> None:
    assert run(scripted(model, END, ND, 65), stop=("A", "DN", "NDND")).text == "E"
    assert run(scripted(model, END, 65, 66), stop=("ENDAB", "ZZ", "DA")).text == "EN"


def test_text_held_back_for_a_stop_text_is_shown_at_the_end(model: Transformer) -> None:
    generation = run(scripted(model, 65, X_E), stop=("END",), max_tokens=2)
    assert (generation.text, generation.finish_reason) == ("Ax E", "length")
    stopped = run(scripted(model, 65, X_E, 258), stop=("END",), stop_ids=frozenset({258}))
    assert stopped.text == "Ax E"


def test_half_a_character_waits_and_is_marked_at_the_end(model: Transformer) -> None:
    tokens = list(scripted(model, *EURO, 65).generate(GenerationRequest([1], 4)))
    assert [token.text for token in tokens] == ["", "", "€", "A"]
    assert [token.id for token in tokens] == [*EURO, 65]
    assert run(scripted(model, 65, *EURO), max_tokens=3).text == "A\ufffd"
    assert run(scripted(model, 65, EURO[0], 66), max_tokens=3).text == "A\ufffdB"


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


def test_an_interrupt_keeps_what_came(model: Transformer) -> None:
    generation = scripted(model, 65, 66, 67, X_E).generate(GenerationRequest([1], 100, stop=("END",)))
    shown = ""
    for token in generation:
        shown += token.text
        if shown.endswith("C"):
            generation.interrupt()
    assert generation.finish_reason == "interrupted"
    assert generation.text == shown == "ABC"
    with pytest.raises(StopIteration):
        next(generation)


def test_an_interrupt_releases_whole_text_but_no_broken_character(model: Transformer) -> None:
    for second, text in ((X_E, "Ax E"), (EURO[0], "A")):
        generation = scripted(model, 65, second, 66).generate(GenerationRequest([1], 100, stop=("END",)))
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


def test_ctrl_c_while_a_token_is_made_keeps_what_came(model: Transformer) -> None:
    engine = scripted(model, 65, 66)
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


def test_a_diverged_model_is_said(model: Transformer, plugins: Plugins) -> None:
    broken = build_model(model.config, plugins.mixers, seed=2)
    with torch.no_grad():
        broken.norm.weight.fill_(torch.nan)
    with pytest.raises(NanoshellError, match="not finite"):
        run(Engine(broken, TOKENIZER, plugins.samplers))


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
