"""How prompts are tried: read from words, and written as them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from nanoshell.dashboard.panels.manner import Manner, read_manner
from nanoshell.errors import NanoshellError
from nanoshell.plugin.registry import Registry


def samplers() -> Registry[Any]:
    """Return a registry of two samplers, as plugins fill it."""
    found: Registry[Any] = Registry("sampler")
    found.add("temperature", None, provider="tests", default=0.8, minimum=0.0, maximum=5.0)
    found.add("top_k", None, provider="tests", default=0, minimum=0, integer=True)
    return found


MANNERS = st.builds(
    Manner,
    st.fixed_dictionaries(
        {}, optional={"temperature": st.sampled_from([0.0, 0.25, 1.5]), "top_k": st.just(40.0)}
    ),
    st.none() | st.integers(1, 999),
    st.none() | st.integers(0, 999),
)


@given(MANNERS)
def test_what_is_written_reads_as_the_same(manner: Manner) -> None:
    assert read_manner(manner.words or "usual", samplers()) == manner


def test_only_what_was_chosen_is_handed_on() -> None:
    assert read_manner("usual", samplers()).options() == {}
    assert read_manner("", samplers()) == Manner()
    chosen = read_manner(" top_k=5  seed=0 tokens=9 ", samplers())
    assert chosen.options() == {"sampling": {"top_k": 5.0}, "max_tokens": 9, "seed": 0}
    assert chosen.arguments() == {"settings": {"top_k": 5.0}, "tokens": 9}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("temprature=1", "did you mean 'temperature'"),
        ("seeds=1", "did you mean 'seed'"),
        ("temperature", "has no value"),
        ("temperature=", "has no value"),
        ("temperature=hot", "temperature is 'hot'"),
        ("temperature=nan", "temperature"),
        ("temperature=9", "temperature"),
        ("top_k=1.5", "top_k"),
        ("tokens=0", "tokens is '0'"),
        ("seed=-1", "seed is '-1'"),
    ],
)
def test_a_mistake_is_told(text: str, said: str) -> None:
    with pytest.raises(NanoshellError, match=said):
        read_manner(text, samplers())


@given(st.text(max_size=30) | st.from_regex(r"(seed|tokens|top_k)=.{0,30}", fullmatch=True))
def test_anything_typed_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(NanoshellError):
        assert read_manner(read_manner(text, samplers()).words or "usual", samplers())
