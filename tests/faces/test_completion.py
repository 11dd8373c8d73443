"""Completion: the same names at the prompt and in bash, and nothing that goes wrong in it is ever seen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from click.shell_completion import CompletionItem
from prompt_toolkit.completion import CompleteEvent, Completion
from prompt_toolkit.document import Document

from nanoshell.command import complete
from nanoshell.command.script import prompt_group
from nanoshell.model.config import ModelConfig
from nanoshell.opening import open_session
from nanoshell.repl.completer import CommandCompleter
from nanoshell.repl.patient import PatientCompleter
from nanoshell.repl.ranking import ranked
from nanoshell.runs.directory import create_run
from nanoshell.session import Session
from nanoshell.training.config import ScheduleName, TrainerConfig
from nanoshell.training.keys import config_keys
from nanoshell.training.presets import list_presets
from nanoshell.training.settable import SETTABLE

TYPES = '''
import click
from nanoshell import (
    COMMAND, CONVERSATION, DEVICE, MODEL, PRESET, RUN, SETTING, SETTING_VALUE, SOURCE, NameType, hookimpl
)


def fails(session, incomplete):
    raise RuntimeError("no names today")


def breaks(ctx, param, incomplete):
    raise RuntimeError("no items today")


@click.command()
@click.option("--run", type=RUN)
@click.option("--model", type=MODEL)
@click.option("--source", type=SOURCE)
@click.option("--preset", type=PRESET)
@click.option("--device", type=DEVICE)
@click.option("--setting", type=SETTING)
@click.option("--command", type=COMMAND)
@click.option("--conversation", type=CONVERSATION)
@click.option("--fails", type=NameType("fails", fails))
@click.option("--breaks", shell_complete=breaks)
@click.option("--colour", type=click.Choice(["red", "dark red"]))
@click.option("--file", type=click.Path())
@click.option("--folder", type=click.Path(file_okay=False))
def pick(**values):
    """Pick something."""


@click.command()
@click.argument("name", type=SETTING)
@click.argument("value", type=SETTING_VALUE)
def put(name, value):
    """Put a value."""


@hookimpl
def register_commands(register):
    register(pick, aliases=["choose"])
    register(put)
'''


@pytest.fixture
def session(plugins_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    (plugins_dir / "types.py").write_text(TYPES)
    work = tmp_path / "work"
    (work / "texts" / "more").mkdir(parents=True)
    (work / "texts" / "one.txt").touch()
    (work / "texts" / "it's two.txt").touch()
    (work / "texts" / ".hidden").touch()
    monkeypatch.chdir(work)
    return open_session(plugins_dir=plugins_dir)


def offered(session: Session, line: str) -> dict[str, str]:
    """Return what ``line`` becomes by each completion, with the line shown beside it."""

    def applied(completion: Completion) -> str:
        return line[: len(line) + completion.start_position] + completion.text

    found = PatientCompleter(CommandCompleter(session)).get_completions(Document(line), CompleteEvent())
    return {applied(completion): completion.display_meta_text for completion in found}


def test_commands_and_their_aliases(session: Session) -> None:
    assert offered(session, ":pic") == {":pick": "Pick something."}
    assert offered(session, ":choo") == {":choose": "the same as :pick"}
    everything = offered(session, ":")
    assert ":pick" in everything
    assert ":choose" not in everything
    assert ":sleep" not in everything  # it is a command of the program alone


def test_letters_in_order_are_enough_where_nothing_begins_so(session: Session) -> None:
    assert list(offered(session, ":pck")) == [":pick"]
    assert list(offered(session, ":pick --clr")) == [":pick --colour"]
    assert list(offered(session, ":pick --setting mxtk")) == [":pick --setting max_tokens"]


def test_options_and_their_help(session: Session) -> None:
    assert offered(session, ":hello --t") == {":hello --times": "How often."}
    assert ":hello --json" in offered(session, ":hello --")
    assert offered(session, ":fruit li") == {":fruit list": "List them."}


def test_values_may_need_quotes_and_follow_an_equals_sign(session: Session) -> None:
    assert list(offered(session, ":pick --colour ")) == [":pick --colour red", ":pick --colour 'dark red'"]
    assert list(offered(session, ":pick --colour=r")) == [":pick --colour=red", ":pick --colour='dark red'"]
    assert list(offered(session, ":pick --colour 'dark r")) == [":pick --colour 'dark red'"]


def test_files_and_folders(session: Session) -> None:
    assert list(offered(session, ":pick --file te")) == [":pick --file texts/"]
    assert list(offered(session, ":pick --file texts/")) == [
        ":pick --file 'texts/it'\"'\"'s two.txt'",
        ":pick --file texts/more/",
        ":pick --file texts/one.txt",
    ]
    assert list(offered(session, ":pick --folder texts/")) == [":pick --folder texts/more/"]
    assert list(offered(session, ":pick --file texts/.h")) == [":pick --file texts/.hidden"]
    assert offered(session, ":pick --file nowhere/") == {}


def test_names_that_the_session_knows(session: Session) -> None:
    run = create_run(session.runs_dir, "tiny", {})
    (run.checkpoints_dir / "step-000200").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (run.checkpoints_dir / "step-000200" / name).write_text("{}")
    session.conversation.add("user", "Hello there")
    session.store.save(session.conversation)

    assert list(offered(session, ":pick --run ")) == [":pick --run latest", ":pick --run tiny-1"]
    assert list(offered(session, ":pick --model tiny-1@")) == [":pick --model tiny-1@200"]
    assert {":pick --source nano-start", ":pick --source texts/"} <= offered(
        session, ":pick --source "
    ).keys()
    assert ":pick --preset nano-start" in offered(session, ":pick --preset na")
    assert {":pick --device auto", ":pick --device cpu"} <= offered(session, ":pick --device ").keys()
    assert ":pick --setting temperature" in offered(session, ":pick --setting tem")
    assert offered(session, ":pick --command hel")[":pick --command hello"] == "Greet someone."
    assert len(offered(session, ":pick --conversation ")) == 1


def test_a_source_offers_its_parts_and_files_that_hold_data(session: Session) -> None:
    for name in ("ed.sh", "BOOK.TXT", "ids.bin"):
        Path(name).touch()
    assert offered(session, ":data use nano-start:") == {
        ":data use nano-start:completions": "texts to continue",
        ":data use nano-start:qa": "questions with their answers",
        ":data use nano-start:chat": "conversations of several turns",
        ":data use nano-start:combined": "all three, as without a part",
    }
    assert list(offered(session, ":data use nano-start:q")) == [":data use nano-start:qa"]
    everything = offered(session, ":data use ")
    assert {":data use texts/", ":data use BOOK.TXT", ":data use ids.bin"} <= everything.keys()
    assert ":data use ed.sh" not in everything


def test_values_of_a_setting(session: Session) -> None:
    assert ":put device cpu" in offered(session, ":put device c")
    assert list(offered(session, ":put chat_template ")) == [":put chat_template roles"]
    assert offered(session, ":put max_tokens ") == {":put max_tokens 200": "as it is"}
    session.settings.set("max_tokens", "50")
    assert list(offered(session, ":put max_tokens ")) == [":put max_tokens 50", ":put max_tokens 200"]
    assert offered(session, ":put nonsense ") == {}


def test_our_commands_offer_what_they_take(session: Session) -> None:
    session.conversation.add("user", "Hello there")
    session.store.save(session.conversation)
    assert ":set device cpu" in offered(session, ":set device c")
    assert f":chat switch {session.conversation.name}" in offered(session, ":chat switch ")
    assert ":model info nano-start" in offered(session, ":model info na")
    assert ":plugins show samplers" in offered(session, ":plugins show sa")
    assert ":sample --sampler top_k=" in offered(session, ":sample --sampler top")
    assert list(offered(session, ":sample --sampler top_k=")) == [
        f":sample --sampler top_k={session.settings.get('top_k')}"
    ]


def test_the_presets_are_those_that_the_list_has(session: Session) -> None:
    Path("models").mkdir()
    Path("models", "mine.yml").touch()
    Path("models", "folder.yaml").mkdir()
    listed = {f":pick --preset {preset.name}" for preset in list_presets()}
    assert ":pick --preset mine" in listed
    assert listed == {line for line in offered(session, ":pick --preset ") if not line.endswith("/")}


@pytest.mark.parametrize(
    "line", ["hello", "", ":nothing ", ":pick --fails ", ":pick --breaks x", ":hello x y z "]
)
def test_nothing_is_offered_and_nothing_fails(session: Session, line: str) -> None:
    assert offered(session, line) == {}


def test_types_without_a_session_offer_nothing() -> None:
    ctx = click.Context(click.Command("alone"))
    assert complete.RUN.shell_complete(ctx, click.Option(["--run"]), "") == []
    only: list[CompletionItem] = complete.MODEL.shell_complete(ctx, click.Option(["--model"]), "m")
    assert [(item.value, item.type) for item in only] == [("m", "dir")]


def test_bash_gets_the_same(plugins_dir: Path) -> None:
    words = f"nanoshell --plugins-dir {plugins_dir} hello --t"
    done = subprocess.run(
        [sys.executable, "-m", "nanoshell"],
        env={**os.environ, "_NANOSHELL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "4"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.stdout, done.stderr) == ("plain,--times\n", "")


def completed(process: Callable[..., Any], *words: str) -> tuple[list[str], str]:
    """Return what bash is offered for the last of ``words``, and what was written beside it."""
    command = " ".join(["nanoshell", *words])
    env = {"COMP_WORDS": command, "COMP_CWORD": str(len(words)), "_NANOSHELL_COMPLETE": "bash_complete"}
    result = process(**env)
    return [line.partition(",")[2] for line in result.out.splitlines()], result.err


def test_the_programs_own_options_complete_in_a_shell(
    process: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    create_run(tmp_path / "runs", "tiny", {})
    assert {"latest", "tiny-1"} <= set(completed(process, "--model", "''")[0])
    assert {"auto", "cpu", "cuda"} <= set(completed(process, "--device", "''")[0])
    assert "nano-start" in completed(process, "--data", "nano")[0]


def test_completing_in_a_shell_is_silent_and_starts_nothing(
    process: Callable[..., Any], plugins_dir: Path
) -> None:
    (plugins_dir / "broken.py").write_text("raise ValueError('at every Tab')")
    (plugins_dir / "started.py").write_text("""
import sys
from nanoshell import hookimpl

@hookimpl
def session_started(session):
    print("a session has started", file=sys.stderr)
""")
    folder = ("--plugins-dir", str(plugins_dir))
    offers, said = completed(process, *folder, "hel")
    assert (set(offers), said) == ({"hello", "help"}, "")
    assert "cpu" in completed(process, *folder, "--device", "cp")[0]


def test_keys_of_a_config_and_their_values_are_offered_without_a_run(session: Session) -> None:
    assert next(iter(offered(session, ":run set l"))) == ":run set learning_rate="
    assert ":run set schedule=cosine" in offered(session, ":run set schedule=c")
    assert ":train --set trainer.loss_on=" in offered(session, ":train --set trainer.lo")
    assert ":train --set trainer.seed=" in offered(session, ":train --set tr")
    assert offered(session, ":train --set trainer.loss_on=a").keys() == {
        ":train --set trainer.loss_on=all",
        ":train --set trainer.loss_on=assistant",
    }


def test_the_keys_that_are_offered_are_those_of_a_config() -> None:
    fields = {"trainer": TrainerConfig.model_fields, "model": ModelConfig.model_fields}
    assert [*config_keys()] == [f"{block}.{key}" for block, keys in fields.items() for key in keys]
    assert config_keys()["trainer.schedule"] == get_args(ScheduleName)
    assert config_keys()["trainer.keep_best"] == ("true", "false")
    assert {key.removeprefix("trainer.") for key in config_keys()} >= SETTABLE


def test_names_stand_in_the_order_of_how_well_they_fit() -> None:
    names = ["retry", "max_tokens", "tokens", "train", "top-k"]
    assert [name for name, _ in ranked("t", names)] == ["tokens", "train", "top-k", "max_tokens"]
    assert [name for name, _ in ranked("TR", names)] == ["train", "retry"]
    assert [name for name, _ in ranked("mt", names)] == ["max_tokens"]
    assert [name for name, _ in ranked("--r", ["-r", "--lr", "--max-rate", "--rate"])] == [
        "--rate",
        "--max-rate",
    ]
    assert ranked("lr", ["learning_rate"])[0][1].places == (0, 9)


def test_a_config_is_a_preset_or_a_yaml_file(session: Session) -> None:
    for name in ("mine.yaml", "notes.txt"):
        Path(name).touch()
    offers = list(offered(session, ":train --config "))
    assert offers.index(":train --config nano-start") < offers.index(":train --config mine.yaml")
    assert ":train --config texts/" in offers
    assert ":train --config notes.txt" not in offers


def test_special_tokens_are_offered_inside_a_text_that_may_hold_them(session: Session) -> None:
    assert offered(session, ":tokens --special 'Hi <|endof") == {
        ":tokens --special 'Hi <|endoftext|>": "special token: document",
        ":tokens --special 'Hi <|endofprompt|>": "special token: prompt",
    }
    assert offered(session, "Hi <|endof") == {}
    assert offered(session, ":system Hi <|endof") == {}


def test_a_question_mark_completes_commands(session: Session) -> None:
    assert "?train" in offered(session, "?tra")


def leaves(command: click.Command, ctx: click.Context) -> Iterator[tuple[click.Context, click.Parameter]]:
    """Yield every parameter of ``command`` and of what is below it, with the context that it has."""
    for param in command.params:
        yield ctx, param
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            assert below is not None
            yield from leaves(below, click.Context(below, ctx, name, obj=ctx.obj))


def test_nothing_that_is_offered_is_bare() -> None:
    """Beside every command, option and value stands what it is."""
    session = open_session(safe=True)
    group = prompt_group(session)
    root = click.Context(group, obj=session)
    seen = 0
    for name in group.list_commands(root):
        command = group.get_command(root, name)
        assert command is not None
        assert command.get_short_help_str(), name
        for ctx, param in leaves(command, click.Context(command, root, name, obj=session)):
            where = f"{ctx.command_path} {param.name}"
            hidden = isinstance(param, click.Option) and (param.hidden or param.help)
            assert isinstance(param, click.Argument) or hidden, where
            for item in param.shell_complete(ctx, ""):
                assert item.type != "plain" or item.help, f"{where}: {item.value}"
                seen += 1
    for setting in session.settings:
        for offer, told in offered(session, f":set {setting.name} ").items():
            assert told, offer
    for key in config_keys():
        for offer, told in offered(session, f":train --set {key}=").items():
            assert told, offer
    for key in SETTABLE:
        for offer, told in offered(session, f":run set {key}=").items():
            assert told, offer
    assert seen > 300


def test_each_choice_has_its_line(session: Session) -> None:
    themes = offered(session, ":set theme ")
    assert themes[":set theme dark"] == "brighter, for a dark background"
    assert themes[":set theme terminal"].endswith("; as it is")
    assert offered(session, ":train --dtype b")[":train --dtype bf16"] == "short for bfloat16"
    assert offered(session, ":completion install f") == {":completion install fish": "finds it by itself"}
    told = offered(session, ":train --set trainer.max_s")
    assert told[":train --set trainer.max_steps="] == "the schedule's horizon in optimizer steps; default 0"
