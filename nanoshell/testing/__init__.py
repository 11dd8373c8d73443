"""The kit for the tests of plugins. It is public: see docs/testing.md.

Fixtures (a home, a loader of plugins, data, a model, a scripted session) come by themselves wherever
nanoshell is installed: `nanoshell.testing.fixtures` is a pytest plugin. The contract tests, one for each kind
of thing that a plugin may register, are functions of this module: each takes what you register and raises an
`AssertionError` that names the broken rule. Names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanoshell.testing.backends import check_backend as check_backend
    from nanoshell.testing.commands import check_command as check_command
    from nanoshell.testing.dataset import TinyDataset as TinyDataset, write_dataset as write_dataset
    from nanoshell.testing.exporters import check_exporter as check_exporter
    from nanoshell.testing.layers import check_feed_forward as check_feed_forward, check_mixer as check_mixer
    from nanoshell.testing.loading import plugins_with as plugins_with
    from nanoshell.testing.model import train_model as train_model
    from nanoshell.testing.optimizers import check_optimizer as check_optimizer
    from nanoshell.testing.panels import check_panel as check_panel
    from nanoshell.testing.run import FakeRun as FakeRun, write_run as write_run
    from nanoshell.testing.samplers import check_sampler as check_sampler
    from nanoshell.testing.sections import check_run_section as check_run_section
    from nanoshell.testing.shell import Said as Said, Shell as Shell, open_shell as open_shell
    from nanoshell.testing.sources import check_source as check_source
    from nanoshell.testing.templates import check_chat_template as check_chat_template
    from nanoshell.testing.tokenizers import check_tokenizer as check_tokenizer

_HOME = {
    "FakeRun": "nanoshell.testing.run",
    "Said": "nanoshell.testing.shell",
    "Shell": "nanoshell.testing.shell",
    "TinyDataset": "nanoshell.testing.dataset",
    "check_backend": "nanoshell.testing.backends",
    "check_chat_template": "nanoshell.testing.templates",
    "check_command": "nanoshell.testing.commands",
    "check_exporter": "nanoshell.testing.exporters",
    "check_feed_forward": "nanoshell.testing.layers",
    "check_mixer": "nanoshell.testing.layers",
    "check_optimizer": "nanoshell.testing.optimizers",
    "check_panel": "nanoshell.testing.panels",
    "check_run_section": "nanoshell.testing.sections",
    "check_sampler": "nanoshell.testing.samplers",
    "check_source": "nanoshell.testing.sources",
    "check_tokenizer": "nanoshell.testing.tokenizers",
    "open_shell": "nanoshell.testing.shell",
    "plugins_with": "nanoshell.testing.loading",
    "train_model": "nanoshell.testing.model",
    "write_dataset": "nanoshell.testing.dataset",
    "write_run": "nanoshell.testing.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'nanoshell.testing' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
