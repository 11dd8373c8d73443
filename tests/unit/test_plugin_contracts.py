"""What a plugin and the host owe each other: the hooks, what may be registered, notices."""

from __future__ import annotations

import types
from collections.abc import Callable

import click
import pytest

from nanoshell import hookimpl
from nanoshell.errors import DataError, PluginError
from nanoshell.plugin.manager import NOTICES, PluginInfo, Plugins, load_plugins


def info(plugins: Plugins, name: str) -> PluginInfo:
    (found,) = [plugin for plugin in plugins.infos if plugin.name == name]
    return found


def module(**functions: Callable[..., object]) -> types.ModuleType:
    """Return a plugin module that is already there, with these hooks."""
    made = types.ModuleType("made_up")
    for name, function in functions.items():
        setattr(made, name, hookimpl(function))
    return made


def test_an_optional_hook_of_another_version_is_no_mistake() -> None:
    made = types.ModuleType("made_up")
    made.register_wonders = hookimpl(optionalhook=True)(lambda register: None)  # type: ignore[attr-defined]
    assert load_plugins(extra=[("made", made)], strict=True, only=[]).warnings == []


def test_a_forgotten_mark_is_told() -> None:
    made = types.ModuleType("made_up")
    made.register_commands = lambda register: None  # type: ignore[attr-defined]
    plugins = load_plugins(extra=[("made", made)], only=[], report=lambda line: None)
    assert (
        info(plugins, "made").reason == "defines 'register_commands' without @hookimpl, so it is not called"
    )


def test_a_plugin_without_hooks_is_told() -> None:
    plugins = load_plugins(extra=[("made", types.ModuleType("empty"))], only=[], report=lambda line: None)
    assert info(plugins, "made").reason == "implements no hook"


def test_an_argument_that_a_hook_does_not_offer_is_told() -> None:
    made = module(session_started=lambda session, weather: None)
    plugins = load_plugins(extra=[("made", made)], only=[], report=lambda line: None)
    assert info(plugins, "made").state == "quarantined"
    assert "weather" in info(plugins, "made").reason


def test_wrappers_are_refused() -> None:
    made = types.ModuleType("made_up")

    @hookimpl(wrapper=True)
    def session_started(session: object):  # type: ignore[no-untyped-def]
        return (yield)

    made.session_started = session_started  # type: ignore[attr-defined]
    plugins = load_plugins(extra=[("made", made)], only=[], report=lambda line: None)
    assert (
        info(plugins, "made").reason
        == "'session_started' is marked as a wrapper, and hooks cannot be wrapped here"
    )


def test_what_is_registered_too_late_is_refused() -> None:
    kept: list[Callable[..., None]] = []
    plugins = load_plugins(
        extra=[("made", module(register_sources=lambda register: kept.append(register)))], only=[]
    )
    with pytest.raises(PluginError, match="after its hook had returned"):
        kept[0]("late", lambda rest: None)
    assert "late" not in plugins.sources


@pytest.mark.parametrize(
    ("hook", "call", "reason"),
    [
        ("register_commands", lambda register: register(print), "which is no click command"),
        ("register_commands", lambda register: register(click.Command(None)), "a command without a name"),
        (
            "register_commands",
            lambda register: register(click.Command("x"), faces=["cli", "moon"]),
            "command 'x' names the unknown face 'moon'",
        ),
        (
            "register_commands",
            lambda register: register(click.Command("x"), aliases="yz"),
            "'aliases' takes a list of texts, not 'yz'",
        ),
        (
            "register_commands",
            lambda register: register(click.Command("x"), aliases=["y z"]),
            "'y z' cannot be an alias of command 'x'",
        ),
        (
            "register_sources",
            lambda register: register("a:b", list),
            "'a:b' cannot be the name of a data source",
        ),
        ("register_sources", lambda register: register(3, list), "3 cannot be the name of a data source"),
        (
            "register_tokenizers",
            lambda register: register("t", object()),
            "tokenizer 't': object is no factory",
        ),
        ("register_tokenizers", lambda register: register("t", list, rank=1), "TypeError"),
        (
            "register_samplers",
            lambda register: register("s", list, order=1, default=3, neutral=1, maximum=2),
            "sampler 's': its default 3 is not within -inf … 2",
        ),
        (
            "register_samplers",
            lambda register: register("s", list, order=1, default=1, neutral=-1, minimum=0),
            "sampler 's': its neutral value -1 is not within 0 … inf",
        ),
        ("register_samplers", lambda register: register("s", list), "TypeError"),
        (
            "register_samplers",
            lambda register: register("no-repeat", list, order=1, default=1, neutral=1),
            "sampler 'no-repeat': it is a setting too",
        ),
        (
            "register_samplers",
            lambda register: register("device", list, order=1, default=1, neutral=1),
            "sampler 'device': its setting would hide the one of that name",
        ),
        (
            "register_mixers",
            lambda register: register("m", list, kind="blender"),
            "layer kind 'm': kind is 'mixer' or 'feed_forward', not 'blender'",
        ),
    ],
)
def test_what_breaks_a_contract_is_refused_when_it_is_registered(
    hook: str, call: Callable[..., object], reason: str
) -> None:
    plugins = load_plugins(
        extra=[("made", module(**{hook: lambda register: call(register)}))], only=[], report=lambda line: None
    )
    assert info(plugins, "made").state == "quarantined"
    assert reason in info(plugins, "made").reason
    assert all(entry.provider != "made" for entry in plugins.registry(hook))


def test_a_failing_notice_is_off_alone(capfd: pytest.CaptureFixture[str]) -> None:
    heard: list[str] = []

    def fail(session: object) -> None:
        heard.append("broken")
        raise SystemExit(3)

    broken = module(session_started=fail, run_finished=lambda status: heard.append(f"broken {status}"))
    before = module(session_started=lambda: heard.append("before"))
    after = module(session_started=lambda session: heard.append(f"after {session}"))
    plugins = load_plugins(extra=[("before", before), ("broken", broken), ("after", after)], only=[])
    plugins.notify("session_started", session="s")
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(
        "nanoshell: plugin 'broken' (module) failed in 'session_started', which is off from now on: "
    )
    assert "SystemExit: 3 (test_plugin_contracts.py:" in line
    plugins.notify("session_started", session="t")
    plugins.notify("run_finished", session="t", run=None, status="finished")
    assert heard == ["before", "broken", "after s", "before", "after t", "broken finished"]
    assert capfd.readouterr().err == ""
    assert info(plugins, "broken").state == "active"
    assert "which is off from now on" in info(plugins, "broken").reason
    assert info(plugins, "broken").registered == {"notices": ["session_started", "run_finished"]}


def test_a_failing_notice_raises_when_strict() -> None:
    def fail() -> None:
        raise ValueError("no")

    plugins = load_plugins(extra=[("made", module(message_finished=fail))], strict=True, only=[])
    with pytest.raises(PluginError, match="ValueError: no"):
        plugins.notify("message_finished", session=None, conversation=None, message=None)


def test_a_notice_stops_for_the_user() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    plugins = load_plugins(extra=[("made", module(session_started=interrupt))], only=[])
    with pytest.raises(KeyboardInterrupt):
        plugins.notify("session_started", session=None)


def test_notices_are_ordered_by_their_wishes() -> None:
    heard: list[str] = []

    def plugin(name: str, **options: bool) -> tuple[str, object]:
        made = types.ModuleType(name)
        made.session_started = hookimpl(**options)(lambda: heard.append(name))  # type: ignore[call-overload,attr-defined]
        return name, made

    extra = [plugin("last", trylast=True), plugin("a"), plugin("first", tryfirst=True), plugin("b")]
    load_plugins(extra=extra, only=[], strict=True).notify("session_started", session=None)
    assert heard == ["first", "a", "b", "last"]


def test_a_notice_with_wrong_arguments_is_the_hosts_own_mistake() -> None:
    plugins = load_plugins(only=[], report=lambda line: None)
    for notice in NOTICES:
        with pytest.raises(TypeError, match=f"notice '{notice}' takes"):
            plugins.notify(notice, weather="fine")


@pytest.mark.parametrize(
    ("hook", "kind", "given"),
    [
        ("register_sources", "data source", ("rest",)),
        ("register_backends", "device", ()),
        ("register_tokenizers", "tokenizer", ()),
        ("register_optimizers", "optimizer", (None, None)),
        ("register_mixers", "layer kind", (None, 0)),
        ("register_chat_templates", "chat template", ()),
    ],
)
def test_a_factory_that_fails_is_a_fault_of_its_plugin(
    hook: str, kind: str, given: tuple[object, ...]
) -> None:
    def factory(*arguments: object) -> None:
        raise KeyError("nothing here")

    plugins = load_plugins(
        extra=[("weak", module(**{hook: lambda register: register("thing", factory)}))], only=[]
    )
    with pytest.raises(PluginError) as caught:
        plugins.registry(hook).get("thing")(*given)
    assert caught.value.message == f"plugin 'weak' failed to make {kind} 'thing': KeyError: 'nothing here'"
    assert caught.value.hint
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    "foreseen", [DataError("no file"), KeyboardInterrupt(), click.UsageError("no"), MemoryError()]
)
def test_what_a_factory_raises_on_purpose_is_left_as_it_is(foreseen: BaseException) -> None:
    def factory(rest: str) -> None:
        raise foreseen

    made = module(register_sources=lambda register: register("thing", factory))
    plugins = load_plugins(extra=[("weak", made)], only=[])
    with pytest.raises(type(foreseen)) as caught:
        plugins.sources.get("thing")("rest")
    assert caught.value is foreseen


def test_a_class_that_is_a_factory_keeps_its_name_and_signature() -> None:
    import inspect

    class Dialogue:
        """Line by line."""

        name = "dialogue"

        def __init__(self, role: str = "User") -> None:
            self.role = role

        def encode(self) -> None: ...
        def stop_ids(self) -> None: ...

    made = module(register_chat_templates=lambda register: register("dialogue", Dialogue))
    factory = load_plugins(extra=[("talk", made)], only=[]).chat_templates.get("dialogue")
    assert (factory.__name__, factory.__doc__) == ("Dialogue", "Line by line.")
    assert inspect.signature(factory) == inspect.signature(Dialogue)
    assert isinstance(factory(), Dialogue)
