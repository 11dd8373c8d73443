"""The guide for authors of plugins: every hook has a section, its example loads, and what it brings works.

Each example is taken out of ``docs/hooks.md`` as it stands there, written to a file, and loaded the way a
user would load it. `EXERCISES` then uses what it registered; a hook without an entry there fails the tests.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

import nanoshell.testing
from docs import reference
from nanoshell import Conversation, Message, RunDirectory, data_dir, open_source
from nanoshell.dashboard.feed import RunFeed
from nanoshell.plugin.manager import HOOKS, NOTICES, Plugins
from nanoshell.runs.directory import create_run
from nanoshell.runs.events import EventLog
from nanoshell.runs.process import write_process
from nanoshell.testing import (
    FakeRun,
    check_backend,
    check_chat_template,
    check_exporter,
    check_feed_forward,
    check_mixer,
    check_optimizer,
    check_panel,
    check_run_section,
    check_sampler,
    check_source,
    check_tokenizer,
    plugins_with,
)
from nanoshell.tokenizer.making import train_bpe
from tests.unit.dashboard.stage import HandFeed, desk, play, screen_text, until

DOCS = Path(__file__).parents[2] / "docs"
GUIDE, HOOK_PAGE, KIT = (
    (DOCS / name).read_text(encoding="utf-8") for name in ("plugins.md", "hooks.md", "testing.md")
)
_SECTION = re.compile(r"^#{2,3} `?([^\n`]+)`?\n(.*?)(?=^#{2,3} |\Z)", re.MULTILINE | re.DOTALL)
SECTIONS = dict(_SECTION.findall(HOOK_PAGE))


def example(section: str) -> str:
    """Return the one Python block of a section of the page of hooks."""
    (code,) = re.findall(r"^```python\n(.*?)^```", SECTIONS[section], re.MULTILINE | re.DOTALL)
    return str(code)


def load(hook: str, folder: Path) -> Plugins:
    """Load the example of ``hook`` as a file of a plugins folder, beside our own plugins."""
    (folder / f"{hook}_example.py").write_text(example(hook), encoding="utf-8")
    return plugins_with(plugins_dir=folder)


class Notes:
    """A narrator that remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def session(plugins: Plugins) -> Any:
    """Return what the notices and commands of the guide use of a session."""
    return types.SimpleNamespace(
        plugins=plugins, narrator=Notes(), tokenizer=plugins.tokenizers.get("cl100k_base")()
    )


def use_command(plugins: Plugins, tmp_path: Path) -> None:
    command = plugins.commands.get("length")
    with command.make_context("length", ["to be or not to be"], obj=session(plugins)) as context:
        result = command.invoke(context)
    assert (result.characters, result.tokens) == (18, 6)
    assert plugins.commands.entry("length").options["aliases"] == ("len",)


def use_source(plugins: Plugins, tmp_path: Path) -> None:
    from nanoshell import DataError

    path = tmp_path / "table.csv"
    path.write_text('text,n\n"a, b",1\nc,2\n', encoding="utf-8")
    check_source(plugins.sources.get("csv"), f"{path}#text", refuses=["nowhere#text", f"{path}#x"])
    source = open_source(f"csv:{path}#text", plugins.sources)
    assert [(document.text, document.origin) for document in source.documents()] == [
        ("a, b", "table.csv:2"),
        ("c", "table.csv:3"),
    ]
    before = source.fingerprint()
    path.write_text("text,n\nd,1\n", encoding="utf-8")
    assert source.fingerprint() != before
    assert source.info().num_bytes == path.stat().st_size
    assert source.token_file() is None
    with pytest.raises(DataError, match="has no column 'x'"):
        list(open_source(f"csv:{path}#x", plugins.sources).documents())
    with pytest.raises(DataError, match="there is no file"):
        open_source("csv:nowhere#text", plugins.sources)


def use_backend(plugins: Plugins, tmp_path: Path) -> None:
    import torch

    check_backend(plugins.backends.get("xpu"))
    backend = plugins.backends.get("xpu")()
    assert plugins.backends.entry("xpu").options["rank"] == 15
    if not torch.xpu.is_available():
        assert "no Intel GPU" in str(backend.unavailable_reason())
    assert backend.device().type == "xpu"
    assert backend.supports_dtype(backend.default_dtype())


def use_tokenizer(plugins: Plugins, tmp_path: Path) -> None:
    from nanoshell import Tokenizer, TokenizerError

    tokenizer = plugins.tokenizers.get("bytes")()
    check_tokenizer(plugins.tokenizers.get("bytes"))
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.decode(tokenizer.encode("größe")) == "größe"
    assert 256 not in tokenizer.encode("<|endoftext|>")
    assert tokenizer.encode_special("a<|endoftext|>b") == [97, 256, 98]
    with pytest.raises(TokenizerError):
        tokenizer.token_bytes(257)


def use_sampler(plugins: Plugins, tmp_path: Path) -> None:
    import torch

    from nanoshell.generation.sampling import build_chain

    others = {entry.name: entry.options["neutral"] for entry in plugins.samplers if entry.name != "no_repeat"}
    tokenizer = plugins.tokenizers.get("cl100k_base")()
    uses = {"no_repeat_newline": 0, "tokenizer": train_bpe("pairs", ["one and one is two"], 270)}
    check_sampler(plugins.samplers.get("no_repeat"), 2, uses=uses)
    assert build_chain({**others, "no_repeat": 0}, plugins.samplers, tokenizer=tokenizer) == []
    (step,) = build_chain({**others, "no_repeat": 2}, plugins.samplers, tokenizer=tokenizer)
    (newline,) = tokenizer.encode("\n")
    history = torch.tensor([[0, 1, 2, newline]])
    assert step(torch.zeros(1, 300), history).isinf().nonzero().tolist() == [[0, 2]]
    (strict,) = build_chain(
        {**others, "no_repeat": 2, "no_repeat_newline": 1}, plugins.samplers, tokenizer=tokenizer
    )
    assert strict(torch.zeros(1, 300), history).isinf().nonzero().tolist() == [[0, 2], [0, newline]]


def use_optimizer(plugins: Plugins, tmp_path: Path) -> None:
    import torch

    check_optimizer(plugins.optimizers.get("sgd"), learning_rate=0.1)
    model = torch.nn.Linear(2, 1)
    trainer = types.SimpleNamespace(learning_rate=0.1)
    optimizer = plugins.optimizers.get("sgd")(model, trainer)
    x, target = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])

    def loss() -> torch.Tensor:
        return torch.nn.functional.mse_loss(model(x), target)

    before = loss().item()
    for _ in range(5):
        optimizer.zero_grad()
        torch.autograd.backward(loss())
        optimizer.step()
    assert loss().item() < before


def use_mixers(plugins: Plugins, tmp_path: Path) -> None:
    import torch

    from nanoshell import ConfigError, FeedForward, LayerState, StepMixer

    options = {"decaying_average": {"decay": 0.7}}
    check_mixer(plugins.mixers.get("decaying_average"), mixer="decaying_average", layer_options=options)
    check_feed_forward(plugins.mixers.get("squared_relu"))
    config = types.SimpleNamespace(hidden_size=8, feed_forward_size=24, layer_options=options)
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8)
    mixer = plugins.mixers.get("decaying_average")(config, 0)
    whole = mixer(x)
    average = torch.zeros(2, 8)
    for position in range(5):
        average = 0.7 * average + 0.3 * x[:, position]
        torch.testing.assert_close(mixer.out_proj(average), whole[:, position])
    state = mixer.new_state(2, 5, x.dtype, x.device)
    assert isinstance(state, LayerState)
    with torch.no_grad():
        pieces = torch.cat([mixer(x[:, :2], state), mixer(x[:, 2:4], state)], dim=1)
        torch.testing.assert_close(pieces, whole[:, :4])
        torch.testing.assert_close(mixer.step(x[:, 4:], state, torch.tensor([4, 4])), whole[:, 4:])
    assert state.length == 4
    feed_forward = plugins.mixers.get("squared_relu")(config, 0)
    assert feed_forward(x).shape == x.shape
    assert isinstance(mixer, StepMixer)
    assert isinstance(feed_forward, FeedForward)
    assert plugins.mixers.entry("squared_relu").options["kind"] == "feed_forward"
    options["decaying_average"] = {"decai": 0.7}
    with pytest.raises(ConfigError, match="decai"):
        plugins.mixers.get("decaying_average")(config, 0)


def use_chat_template(plugins: Plugins, tmp_path: Path) -> None:
    tokenizer = plugins.tokenizers.get("cl100k_base")()
    check_chat_template(plugins.chat_templates.get("dialogue"), tokenizer)
    template = plugins.chat_templates.get("dialogue")()
    messages = [Message("user", "Hello <|user|>"), Message("assistant", "Hi")]
    ids = template.encode(messages, tokenizer, reply=True)
    assert tokenizer.decode(ids) == "User: Hello <|user|>\nAssistant: Hi\nAssistant:"
    assert not set(ids) & set(tokenizer.special_tokens.values())
    assert tokenizer.end_of_text in template.stop_ids(tokenizer)


def use_exporter(plugins: Plugins, tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"norm.weight": np.arange(3.0)}, tmp_path / "model.safetensors")
    check_exporter(plugins.exporters.get("npz"), tmp_path, suffix=".npz")
    plugins.exporters.get("npz")(tmp_path, tmp_path / "model.npz")
    assert np.load(tmp_path / "model.npz")["norm.weight"].tolist() == [0, 1, 2]


def use_panel(plugins: Plugins, tmp_path: Path) -> None:
    factory = plugins.panels.get("last-words")
    check_panel(factory)
    run = create_run(tmp_path / "runs", "demo", {})
    run.log_path.write_text("".join(f"line {number}\n" for number in range(1, 8)))
    feed = HandFeed()
    app = desk(tmp_path, panels=plugins.panels, feed=feed)
    titles = [view.title for view in app.views]

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run)
        await pilot.press(str(titles.index("Last words") + 1))
        await until(pilot, lambda: "line 7" in screen_text(app))
        assert "line 2" not in screen_text(app)
        await pilot.press("m")
        await until(pilot, lambda: "line 2" in screen_text(app))
        await pilot.press("l", "backspace", "backspace", "x", "enter")
        await until(pilot, lambda: "a number, from 1" in screen_text(app))
        await pilot.press("backspace", "1", "enter")
        await until(pilot, lambda: "line 7" in screen_text(app) and "line 6" not in screen_text(app))

    play(app, scene)
    with FakeRun(tmp_path, "chart") as fake:
        fake.step(3, loss=lambda step: (0.0, 1.0, math.nan)[step - 1])
        feed_of_chart = RunFeed(fake.run)
        feed_of_chart.poll()
        made = plugins.panels.get("perplexity")().series_of(feed_of_chart.course(fake.run.status()))
        assert made["perplexity"].value[:2] == pytest.approx([1, math.e])
        check_panel(plugins.panels.get("perplexity"), fake.run)


def use_run_section(plugins: Plugins, tmp_path: Path) -> None:
    run = create_run(tmp_path / "runs", "demo", {})
    section = plugins.run_sections.get("alerts")
    check_run_section(section)
    assert section(run) is None
    log = EventLog(run.events_path)
    for message in ("it hangs", "it hangs", "no progress"):
        log.write("alert", message=message)
    assert section(run) == {"it hangs": 2, "no progress": 1}


def use_session_started(plugins: Plugins, tmp_path: Path) -> None:
    started = session(plugins)
    plugins.notify("session_started", session=started)
    assert started.narrator.lines == [f"{len(plugins.commands)} commands are there"]


def use_run_finished(plugins: Plugins, tmp_path: Path) -> None:
    run: RunDirectory = create_run(tmp_path / "runs", "demo", {})
    write_process(run)
    EventLog(run.events_path).write("step", step=1, loss=0.25)
    watching = session(plugins)
    plugins.notify("run_finished", session=watching, run=run, status="finished")
    assert watching.narrator.lines == ["demo-1 is finished, its loss is 0.25"]


def use_message_finished(plugins: Plugins, tmp_path: Path) -> None:
    conversation = Conversation("morning")
    message = conversation.add("assistant", "Good morning")
    plugins.notify("message_finished", session=None, conversation=conversation, message=message)
    assert (data_dir() / "diary.txt").read_text(encoding="utf-8") == "morning: Good morning\n"


EXERCISES: dict[str, Callable[[Plugins, Path], None]] = {
    "register_commands": use_command,
    "register_sources": use_source,
    "register_backends": use_backend,
    "register_tokenizers": use_tokenizer,
    "register_samplers": use_sampler,
    "register_optimizers": use_optimizer,
    "register_mixers": use_mixers,
    "register_chat_templates": use_chat_template,
    "register_exporters": use_exporter,
    "register_panels": use_panel,
    "register_run_sections": use_run_section,
    "session_started": use_session_started,
    "run_finished": use_run_finished,
    "message_finished": use_message_finished,
}


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_section_with_an_example_that_works(
    hook: str, plugins_folder: Path, tmp_path: Path
) -> None:
    assert hook in SECTIONS, f"docs/hooks.md has no section on `{hook}`"
    assert hook in EXERCISES, f"no test uses what `{hook}` brings"
    plugins = load(hook, plugins_folder)
    assert plugins.warnings == []
    (info,) = [plugin for plugin in plugins.infos if plugin.origin == "file"]
    kind = "notices" if hook in NOTICES else hook.removeprefix("register_")
    assert list(info.registered) == [kind]
    EXERCISES[hook](plugins, tmp_path)
    assert plugins.warnings == []


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_its_signature_and_a_paragraph_by_hand(hook: str) -> None:
    """What comes from the code says what can be passed; what it means to an author stands below."""
    (block,) = re.findall(rf"<!-- from the code: {hook} -->\n(.*?)<!-- end -->", SECTIONS[hook], re.DOTALL)
    assert block.strip()
    below = SECTIONS[hook].partition("<!-- end -->")[2].partition("```")[0]
    assert len(below.split()) >= 8, f"docs/hooks.md says nothing of `{hook}` in its own words"


@pytest.mark.parametrize("page", sorted(reference.PAGES))
def test_what_comes_from_the_code_is_up_to_date(page: str) -> None:
    text = reference.PAGES[page].read_text("utf-8")
    assert reference.renewed(text) == text, f"docs/{page} is stale: run python docs/reference.py"


def test_the_pages_have_all_hooks_fixtures_and_checks() -> None:
    blocks = {
        page: re.findall("<!-- from the code: (.+?) -->", path.read_text("utf-8"))
        for page, path in reference.PAGES.items()
    }
    assert sorted(blocks["hooks.md"]) == sorted([*HOOKS, "hooks", "version"])
    checks = [name for name in dir(nanoshell.testing) if name.startswith("check_")]
    assert sorted(blocks["testing.md"]) == sorted([*checks, "fixtures"])
    registering = {hook for hook in HOOKS if hook not in NOTICES}
    assert registering <= set(reference.CHECKS), "a hook without a check"
    assert {name for name, _, _ in reference.CHECKS.values()} == set(checks)


def test_a_stale_page_is_seen() -> None:
    page = "by hand\n<!-- from the code: session_started -->\nold\n<!-- end -->\nby hand too\n"
    new = reference.renewed(page)
    assert new.startswith(
        "by hand\n<!-- from the code: session_started -->\n```py\nsession_started(session: Session)"
    )
    assert new.endswith("<!-- end -->\nby hand too\n")
    assert reference.renewed(new) == new


def test_the_examples_of_the_kit_work(
    nanoshell_session: Any,
    nanoshell_model: Path,
    nanoshell_run: RunDirectory,
    nanoshell_fake_run: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (shout,) = re.findall(r"^```python my-plugins/shout.py\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    module = types.ModuleType("shout")
    exec(shout, vars(module))
    monkeypatch.setitem(sys.modules, "shout", module)
    for code in re.findall(r"^```python\n(.*?)^```", KIT, re.MULTILINE | re.DOTALL):
        names: dict[str, Any] = {}
        exec(code, names)
        tests = [value for name, value in names.items() if name.startswith("test_")]
        assert tests
        for test in tests:
            given = {
                "nanoshell_session": nanoshell_session,
                "nanoshell_model": nanoshell_model,
                "nanoshell_run": nanoshell_run,
                "nanoshell_fake_run": nanoshell_fake_run,
            }
            test(**{name: given[name] for name in inspect.signature(test).parameters})
