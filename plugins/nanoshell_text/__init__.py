"""Texts from the public internet: Tiny Shakespeare, any address, any book of Project Gutenberg.

========================  ===========================================================================
``tiny-shakespeare``      40,000 lines of his plays, the usual first text; a megabyte, checked by its hash
``url:https://…``         a text, a ``.jsonl`` or ``.bin``, plain or by gzip; ``#sha256=…`` pins its bytes
``gutenberg:ID``          a book by its number, without the header and licence around its text
========================  ===========================================================================

::

    nanoshell data use tiny-shakespeare
    nanoshell train --config tiny-shakespeare --data gutenberg:11
    nanoshell data head 'url:https://example.org/notes.txt.gz#sha256=…'

A text is fetched once and kept in the cache; from then on it needs no network, and stays what it was until it
is removed there. ``data info`` says where it lies. ``NANOSHELL_OFFLINE=1`` forbids to fetch;
``GUTENBERG_MIRROR`` names the mirror that is asked first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanoshell import hookimpl

if TYPE_CHECKING:
    from nanoshell import DataSource, RegisterSource

nanoshell_api = 1


def open_shakespeare(rest: str) -> DataSource:
    """Return Tiny Shakespeare; it has no parts."""
    from nanoshell_text.places import shakespeare

    return shakespeare(rest)


def open_url(rest: str) -> DataSource:
    """Return the text at the address ``rest``."""
    from nanoshell_text.places import address

    return address(rest)


def open_gutenberg(rest: str) -> DataSource:
    """Return the book of Project Gutenberg with the number ``rest``."""
    from nanoshell_text.gutenberg import book

    return book(rest)


@hookimpl
def register_sources(register: RegisterSource) -> None:
    """Register the three."""
    register("tiny-shakespeare", open_shakespeare, summary="40,000 lines of plays, a megabyte; fetched once")
    register("url", open_url, summary="a text on the internet, plain or gzip", spelling="url:https://…")
    register("gutenberg", open_gutenberg, summary="a book of Project Gutenberg", spelling="gutenberg:ID")
