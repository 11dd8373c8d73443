"""The commands of nanoshell, registered as any plugin registers its own.

Every module here imports click and names alone at its top; what a command needs is imported when it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanoshell import hookimpl

if TYPE_CHECKING:
    from nanoshell import FaceName, RegisterCommand

nanoshell_api = 1

AT_PROMPT: tuple[FaceName, ...] = ("prompt", "palette")
WHERE_THE_SCREEN_IS_FREE: tuple[FaceName, ...] = ("prompt", "cli")
WHERE_LINES_ARE_TYPED: tuple[FaceName, ...] = ("prompt",)


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    """Register every command under its heading in the help."""
    _register_start(register)
    _register_data(register)
    _register_training(register)
    _register_sampling(register)
    _register_inside(register)
    _register_chat(register)
    _register_session(register)


def _register_start(register: RegisterCommand) -> None:
    from nanoshell_commands import demo, shell, spec

    register(demo.demo, group="Start", examples=demo.EXAMPLES)
    register(shell.show_help, group="Start", examples=shell.HELP_EXAMPLES, aliases=("?",))
    register(spec.spec, group="Start", examples=spec.EXAMPLES)
    register(
        shell.clear,
        group="Start",
        examples=shell.CLEAR_EXAMPLES,
        aliases=("cls",),
        faces=WHERE_LINES_ARE_TYPED,
    )
    register(
        shell.leave,
        group="Start",
        examples=shell.QUIT_EXAMPLES,
        aliases=("exit",),
        faces=AT_PROMPT,
    )


def _register_data(register: RegisterCommand) -> None:
    from nanoshell_commands import data, tokenize, tokenizer, tokens

    register(data.data, group="Data", examples=data.EXAMPLES)
    register(tokens.tokens, group="Data", examples=tokens.EXAMPLES)
    register(tokenize.tokenize, group="Data", examples=tokenize.EXAMPLES)
    register(tokenizer.tokenizer, group="Data", examples=tokenizer.EXAMPLES)


def _register_training(register: RegisterCommand) -> None:
    from nanoshell_commands import dashboard, runs, steer, train

    register(train.train, group="Training", examples=train.EXAMPLES)
    register(steer.run, group="Training", examples=steer.EXAMPLES)
    register(runs.runs, group="Training", examples=runs.EXAMPLES)
    register(
        dashboard.dashboard,
        group="Training",
        examples=dashboard.EXAMPLES,
        aliases=("dash",),
        faces=WHERE_THE_SCREEN_IS_FREE,
    )


def _register_sampling(register: RegisterCommand) -> None:
    from nanoshell_commands import models, sample

    register(models.model, group="Model", examples=models.EXAMPLES)
    register(sample.sample, group="Sampling", examples=sample.EXAMPLES, aliases=("generate",))


def _register_inside(register: RegisterCommand) -> None:
    from nanoshell_commands import attention, losses, next_token, why

    register(next_token.next_tokens, group="Inside", examples=next_token.EXAMPLES)
    register(why.why, group="Inside", examples=why.EXAMPLES)
    register(losses.loss, group="Inside", examples=losses.EXAMPLES)
    register(attention.attention, group="Inside", examples=attention.EXAMPLES)


def _register_chat(register: RegisterCommand) -> None:
    from nanoshell_commands import chat, conversation, exporting

    register(chat.chat, group="Chat", examples=chat.EXAMPLES)
    register(
        conversation.system, group="Chat", examples=conversation.SYSTEM_EXAMPLES, raw=True, faces=AT_PROMPT
    )
    register(conversation.undo, group="Chat", examples=conversation.UNDO_EXAMPLES, faces=AT_PROMPT)
    register(conversation.retry, group="Chat", examples=conversation.RETRY_EXAMPLES, faces=AT_PROMPT)
    register(conversation.edit, group="Chat", examples=conversation.EDIT_EXAMPLES, raw=True, faces=AT_PROMPT)
    register(exporting.export, group="Chat", examples=exporting.EXAMPLES)


def _register_session(register: RegisterCommand) -> None:
    from nanoshell_commands import completion, config, device, plugin, settings

    register(settings.set_value, group="Session", examples=settings.SET_EXAMPLES)
    register(settings.show_values, group="Session", examples=settings.SHOW_EXAMPLES)
    register(settings.unset_value, group="Session", examples=settings.UNSET_EXAMPLES)
    register(config.config, group="Session", examples=config.EXAMPLES)
    register(completion.completion, group="Session", examples=completion.EXAMPLES)
    register(device.device, group="Session", examples=device.EXAMPLES)
    register(plugin.plugin, group="Session", examples=plugin.EXAMPLES, aliases=("plugins",))
