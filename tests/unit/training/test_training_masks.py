"""Loss on the assistant's turns alone, against a reader that goes through the corpus token by token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional as F

from nanoshell.chat.template import Message, RoleTemplate
from nanoshell.data.loader import IGNORED, Batch, TokenLoader
from nanoshell.data.turns import Turns
from nanoshell.errors import DataError
from nanoshell.training.config import RunConfig

END, SYSTEM, USER, ASSISTANT = range(4)
FIRST = 4


class Roles:
    """Two letters and the four tokens of a chat."""

    name = "roles"
    vocab_size = 1 << 16
    special_tokens: Mapping[str, int] = MappingProxyType(
        {"<|endoftext|>": END, "<|system|>": SYSTEM, "<|user|>": USER, "<|assistant|>": ASSISTANT}
    )
    end_of_text = END

    def encode(self, text: str) -> list[int]:
        return [FIRST + ord(letter) for letter in text]


def spoken(tokens: Sequence[int]) -> list[bool]:
    """Whether each token is the assistant's, as one says who reads them one by one."""
    found, speaking = [], False
    for token in tokens:
        found.append(speaking)
        if token < FIRST:
            speaking = token == ASSISTANT
    return found


@given(st.lists(st.integers(0, 7), min_size=1, max_size=60), st.data())
@settings(deadline=None)
def test_turns_are_those_of_a_reader_of_the_whole(tokens: list[int], data: st.DataObject) -> None:
    expected = np.array(spoken(tokens))
    if not expected.any():
        with pytest.raises(DataError, match="holds no turn of the assistant"):
            Turns(np.array(tokens), Roles())
        return
    turns = Turns(np.array(tokens), Roles())
    everywhere = np.arange(len(tokens))
    assert turns.contain(everywhere.reshape(1, -1)).tolist() == [expected.tolist()]
    assert turns.num_tokens == expected.sum()
    edges = sorted(data.draw(st.lists(st.integers(0, len(tokens)), min_size=2, max_size=2)))
    assert turns.count(np.array([edges])) == expected[edges[0] : edges[1]].sum()
    count = data.draw(st.integers(1, 70))
    spread = turns.spread(count)
    assert expected[spread].all()
    assert len(spread) == min(count, expected.sum()) == len(set(spread.tolist()))


def test_turns_are_found_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanoshell.data.turns._BLOCK", 5)
    tokens = np.random.default_rng(3).integers(0, 9, 400)
    assert Turns(tokens, Roles()).contain(np.arange(400)).tolist() == spoken(tokens.tolist())


def test_what_the_chat_template_writes_counts_from_the_role_to_the_end_of_the_reply() -> None:
    messages = [Message("system", "s"), Message("user", "uu"), Message("assistant", "abc")]
    messages += [Message("user", "u"), Message("assistant", "d")]
    tokens = np.array(RoleTemplate().encode(messages, Roles()))
    counting = tokens[Turns(tokens, Roles()).contain(np.arange(len(tokens)))]
    assert counting.tolist() == [*Roles().encode("abc"), END, *Roles().encode("d"), END]


turn = st.tuples(st.sampled_from([SYSTEM, USER, ASSISTANT]), st.integers(1, 6), st.booleans())
documents = st.lists(st.lists(turn, min_size=1, max_size=4), min_size=1, max_size=8)


def lay_out(found: list[list[tuple[int, int, bool]]]) -> np.ndarray:
    """Return documents of turns (role, length, ended): texts are the numbers of their places."""
    tokens: list[int] = []
    for document in found:
        for role, length, ended in document:
            tokens.append(role)
            tokens += range(FIRST + len(tokens), FIRST + len(tokens) + length)
            tokens += [END] if ended else []
        tokens += [END] if tokens[-1] != END else []
    return np.array(tokens, dtype=np.uint32)


def check(batch: Batch, whole: Batch, expected: list[bool], *, tail: bool) -> None:
    """Check that ``batch`` is ``whole`` with the targets ignored that are not ``expected`` to count.

    A special's place is the one after its neighbour's, unless a ``tail`` was cut off there.
    """
    assert (batch.inputs == whole.inputs).all()
    for before, target, masked in zip(
        whole.inputs.ravel(), whole.targets.ravel(), batch.targets.ravel(), strict=True
    ):
        if tail and target < FIRST:
            continue
        place = target - FIRST if target >= FIRST else before - FIRST + 1
        counts = (target >= FIRST or before >= FIRST) and expected[place]
        assert masked == (target if counts else IGNORED)


@given(
    documents,
    st.integers(1, 9),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from(["windows", "documents"]),
)
@settings(deadline=None, max_examples=60)
def test_windows_count_what_is_the_assistants_wherever_they_begin(
    found: list[list[tuple[int, int, bool]]], seq_len: int, seed: int, share: float, shuffle: str
) -> None:
    tokens = lay_out(found)
    options: dict[str, Any] = {
        "seq_len": seq_len,
        "batch_size": 2,
        "seed": seed,
        "val_fraction": share,
        "end_of_text": END,
        "shuffle": shuffle,
    }
    try:
        masked = TokenLoader(tokens, **options, turns=Turns(tokens, Roles()))
    except DataError:
        return
    plain = TokenLoader(tokens, **options)
    expected = spoken(tokens.tolist())
    counted = 0
    for _ in range(plain.windows_per_epoch + 2):
        batch, whole = masked.next_batch(), plain.next_batch()
        check(batch, whole, expected, tail=plain.split == "tail")
        counted += batch.num_targets
    assert counted, "an epoch has a target that counts"
    held = list(masked.validation_batches())
    for batch, whole in zip(held, plain.validation_batches(), strict=True):
        check(batch, whole, expected, tail=plain.split == "tail")
    assert not held or sum(batch.num_targets for batch in held)
    sample = list(masked.sample_batches(3 * seq_len, 1))
    assert 1 <= len(sample) <= 3
    assert all(batch.num_targets for batch in sample)


def chats(lab: Any, conversations: int = 12) -> Path:
    """Write conversations, whose replies are short, as a ``.bin`` of the tokenizer ``speakers``."""
    drawn = np.random.default_rng(5)
    ids: list[int] = []
    for _ in range(conversations):
        ids += [28, *drawn.integers(20, size=9), 29, *drawn.integers(20, size=2), 31]
    path: Path = lab.folder / "chat.bin"
    np.array(ids, dtype="<u4").tofile(path)
    return path


def assistant_only(lab: Any, **keys: Any) -> RunConfig:
    config: RunConfig = lab.config(loss_on="assistant", model_tokenizer="speakers", optimizer="sgd", **keys)
    return config


@pytest.mark.parametrize("softmax", ["full", "sampled"])
def test_the_loss_is_that_of_the_counting_targets_of_one_large_batch(lab: Any, softmax: str) -> None:
    """Micro-batches of uneven counts, among them some without any."""
    corpus = chats(lab)
    parts = lab.trainer(assistant_only(lab, batch_size=1, gradient_accumulation=8), corpus, softmax=softmax)
    whole = lab.trainer(assistant_only(lab, batch_size=8), corpus, softmax=softmax)
    ahead = lab.trainer(assistant_only(lab, batch_size=1), corpus).loader
    counts = [ahead.next_batch().num_targets for _ in range(8)]
    assert 0 in counts
    assert len(set(counts)) > 2
    if softmax == "full":  # the compact matrices of the other stand for full ones in float32
        for trainer in (parts, whole):
            trainer.model.double()
    relative, absolute = (1e-9, 1e-12) if softmax == "full" else (1e-4, 1e-6)
    for _ in range(3):
        one, many = whole.update(), parts.update()
        assert one.loss == pytest.approx(many.loss, rel=1e-6)
        assert one.grad_norm == pytest.approx(many.grad_norm, rel=relative)
        assert one.tokens == many.tokens
    for name, tensor in lab.weights(whole).items():
        torch.testing.assert_close(tensor, lab.weights(parts)[name], rtol=relative, atol=absolute)


def test_the_gradient_is_that_of_the_counting_targets(lab: Any) -> None:
    trainer = lab.trainer(assistant_only(lab, batch_size=9, max_grad_norm=0), chats(lab))
    batch = lab.trainer(assistant_only(lab, batch_size=9), chats(lab)).loader.next_batch()
    logits = trainer.model(torch.from_numpy(batch.inputs))
    expected = F.cross_entropy(
        logits[torch.from_numpy(batch.targets != IGNORED)],
        torch.from_numpy(batch.targets[batch.targets != IGNORED]),
    )
    gradients = torch.autograd.grad(expected, list(trainer.model.parameters()))
    found = trainer.update()
    assert found.loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert found.grad_norm == pytest.approx(
        math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients)), rel=1e-5
    )
    assert found.tokens == batch.num_targets < batch.targets.size


def test_windows_without_any_target_are_passed_over_and_the_position_is_kept(lab: Any) -> None:
    """One reply in a long text: nearly no update has a target in its windows."""
    ids = np.random.default_rng(2).integers(20, size=400).astype("<u4")
    ids[200:204] = [29, 1, 2, 31]
    corpus = lab.folder / "rare.bin"
    ids.tofile(corpus)
    config = assistant_only(lab, batch_size=2)
    trainer, loader = lab.trainer(config, corpus), lab.trainer(config, corpus).loader
    for _ in range(4):
        counts = [loader.next_batch().num_targets]
        while not counts[-1]:
            counts.append(loader.next_batch().num_targets)
        result = trainer.update()
        assert math.isfinite(result.loss)
        assert (result.tokens, result.epoch) == (counts[-1], loader.epoch)
    assert trainer.step == 4
    assert loader.epoch > 1


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_evaluation_counts_what_training_counts(lab: Any, share: float) -> None:
    trainer = lab.trainer(assistant_only(lab, val_fraction=share), chats(lab))
    found = trainer.evaluate()
    loader = trainer.loader
    batches = list(loader.validation_batches(1)) if share else list(loader.sample_batches(1024, 1))
    total, count, letters = 0.0, 0, 0
    for batch in batches:
        inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets).flatten()
        with torch.no_grad():
            logits = trainer.model(inputs).flatten(0, 1)
        total += float(F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum"))
        count += batch.num_targets
        letters += int(((batch.targets >= 0) & (batch.targets < 27)).sum())
    assert found.tokens == count
    assert found.loss == pytest.approx(total / count, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(total / math.log(2) / letters, rel=1e-5)


def test_data_without_the_assistant_is_refused_before_anything_is_made(lab: Any) -> None:
    def refused(config: RunConfig, corpus: Path) -> str:
        with pytest.raises(DataError) as caught:
            lab.prepare(lab.request(config, corpus))
        assert not lab.runs_dir.exists()
        return f"{caught.value.message} | {caught.value.hint}"

    assert "holds no turn of the assistant" in refused(assistant_only(lab), lab.corpus())
    letters = lab.config(loss_on="assistant")
    assert "tokenizer 'letters' has no <|assistant|> token" in refused(letters, lab.corpus())
    mixed = lab.folder / "mixed.bin"
    chat = [28, 1, 2, 29, 3, 31]
    np.array([*range(20), 31] * 9 + chat, dtype="<u4").tofile(mixed)
    told = refused(assistant_only(lab, val_fraction=0.3, seed=1), mixed)
    assert "what is held out holds no turn" in told or "every turn of the assistant is held out" in told


def test_a_masked_run_goes_on_with_the_same_bits(lab: Any) -> None:
    lab.resumed(
        assistant_only(lab, shuffle="documents", gradient_accumulation=2, batch_size=1), corpus=chats(lab)
    )
