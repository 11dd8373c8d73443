"""All that is used of Textual though it does not promise to keep it; nothing else of the dashboard does."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence

from textual import events
from textual._compositor import Compositor
from textual._context import active_message_pump
from textual._xterm_parser import XTermParser
from textual.app import App, _PrintCapture
from textual.drivers.linux_driver import LinuxDriver
from textual.filter import LineFilter, Monochrome, NoColor
from textual.geometry import Region
from textual.message import Message
from textual.message_pump import MessagePump
from textual.notifications import Notification
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input
from textual.widgets._toast import ToastHolder, ToastRack

from nanoshell.dashboard.typeahead import KeyTurns

_ESC_DIGIT = re.compile("\x1b[0-9]")


class InnerApp(App[None], inherit_bindings=False):
    """An app that decides what an exception means, takes keys in turn, and may change every line it draws."""

    def __init__(self) -> None:
        super().__init__()
        self._turns = KeyTurns(self, super().on_event, self._apart)
        if hasattr(reader := sys.modules[self.driver_class.__module__], "XTermParser"):
            vars(reader)["XTermParser"] = KeyParser

    async def on_event(self, event: events.Event) -> None:
        """Handle ``event``; of what is typed, one after the other."""
        if isinstance(event, (events.Key, events.Paste)) and not event.is_forwarded:
            await self._turns.take(event)
        else:
            await super().on_event(event)

    def _apart(self, event: events.Event) -> Sequence[events.Event]:
        """Return what ``event`` stands for: Esc and a key where they came as one that nothing is bound to.

        Of a paste into a field of one line that is all its lines, one behind the other.
        """
        if not self.screen_stack:
            return (event,)
        if isinstance(event, events.Key) and event.key.startswith("alt+") and event.character is not None:
            if event.key not in self.screen.active_bindings:
                return events.Key("escape", "\x1b"), without_alt(event)
        elif isinstance(event, events.Paste) and isinstance(self.focused, Input):
            return (events.Paste(in_one_line(event.text)),)
        return (event,)

    def fault(self, error: Exception) -> None:
        """Called with what a handler of a message, a timer or a worker has raised."""
        raise NotImplementedError

    own_filters: Sequence[LineFilter] = ()
    """What every line of the screen passes."""

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return what lines pass: Textual's filters, but for those that draw NO_COLOR in greys, and ours."""
        known = super().get_line_filters()
        return [*(one for one in known if not isinstance(one, (Monochrome, NoColor))), *self.own_filters]

    def add_notice(self, notice: Notification) -> None:
        """Put ``notice`` on the screen, for as long as it stands there."""
        self._notifications.add(notice)
        self._refresh_notifications()

    def drop_notice(self, notice: Notification) -> None:
        """Forget ``notice``, and take it off the screen."""
        self._unnotify(notice)

    def _refresh_notifications(self) -> None:
        super()._refresh_notifications()
        # Textual takes out a notice, and leaves what held it with a row of its own: after a screenful of
        # those whatever is new would stand below the screen.
        standing = {ToastRack._toast_id(notice) for notice in self._notifications}
        for holder in self.screen.query(ToastHolder) if self.screen_stack else ():
            if holder.id not in standing:
                holder.remove()

    @property
    def notices(self) -> list[Notification]:
        """What has been told and still stands on the screen, the oldest first."""
        return list(self._notifications)

    @property
    def can_suspend(self) -> bool:
        """Whether a shell waits to have the terminal back; in a browser there is none."""
        return self._driver is not None and self._driver.can_suspend

    def take_terminal_once(self) -> None:
        """Let SIGCONT begin anew what uses the terminal, and not once more beside what does.

        Textual ends that on SIGTSTP alone. After a SIGSTOP there would be two that read the keys.
        """
        driver = self._driver
        if isinstance(driver, LinuxDriver):

            def go_on(*_: object) -> None:
                if not driver._must_signal_resume:
                    driver.suspend_application_mode()
                driver.resume_application_mode()

            signal.signal(signal.SIGCONT, go_on)

    def end_at_once(self) -> None:
        """End with code 1, whatever messages still wait."""
        self.exit(return_code=1)
        self._close_messages_no_wait()

    def _handle_exception(self, error: Exception) -> None:
        self.fault(error)
        self._turns.release()

    async def _dispatch_message(self, message: Message) -> None:
        if not self.is_running and not isinstance(message, events.Unmount):
            return  # its screens are being taken down: what is new would be shown on half of one
        try:
            await super()._dispatch_message(message)
        except Exception as error:  # with it the loop would end, and the app hear nothing more
            self._handle_exception(error)


class KeyParser(XTermParser):
    """Reads what a terminal sends; a key right behind an Esc is that key with alt, whichever it is.

    Textual takes some for signs that a Mac writes so (Esc 3 for a pound), and forgets the Esc before others.
    """

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[events.Key]:
        if _ESC_DIGIT.fullmatch(sequence):
            yield events.Key(f"alt+{sequence[1]}", sequence[1])
            return
        for key in super()._sequence_to_key_events(sequence, alt):
            named = not alt or key.key.startswith("alt+")
            yield key if named else events.Key(f"alt+{key.key}", key.character)


def without_alt(key: events.Key) -> events.Key:
    """Return what ``key`` is without alt."""
    *modifiers, last = key.key.removeprefix("alt+").split("+")
    name = last.upper() if modifiers == ["shift"] and len(last) == 1 else "+".join([*modifiers, last])
    return events.Key(name, key.character)


def in_one_line(text: str) -> str:
    """Return ``text`` with spaces in the place of the ends of its lines."""
    lines = text.splitlines()
    return text if len(lines) < 2 else " ".join(line.strip() for line in lines if line.strip())


class TimedCompositor(Compositor):
    """Draws widget by widget, and tells ``drew`` where each stands and how many seconds it took."""

    def __init__(self, drew: Callable[[Region, float], None]) -> None:
        super().__init__()
        self._drew = drew

    def _get_renders(self, crop: Region | None = None) -> Iterable[tuple[Region, Region, list[Strip]]]:
        drawings = iter(super()._get_renders(crop))
        began = time.monotonic()
        while (drawn := next(drawings, None)) is not None:
            region, clip, _strips = drawn
            self._drew(region.intersection(clip), time.monotonic() - began)
            yield drawn
            began = time.monotonic()


class InnerScreen(Screen[None]):
    """A screen that outlives an exception, and decides what one means that is raised while it is drawn."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - the name of Textual
        super().__init__(id=id)
        self._compositor = TimedCompositor(self.drew)

    def drew(self, region: Region, seconds: float) -> None:
        """Called when a widget has been drawn, what is seen of it at ``region``."""
        raise NotImplementedError

    def forgives(self, error: Exception) -> bool:
        """Return whether to go on after ``error``."""
        raise NotImplementedError

    def _compositor_refresh(self) -> None:
        try:
            super()._compositor_refresh()
        except Exception as error:
            if not self.forgives(error):
                raise

    async def _dispatch_message(self, message: Message) -> None:
        try:
            await super()._dispatch_message(message)
        except Exception as error:
            self.app._handle_exception(error)


def handling() -> MessagePump | None:
    """Return whose message is being handled, None where no message is."""
    return active_message_pump.get(None)


async def take_out(widget: Widget) -> None:
    """Remove ``widget``, also where it failed while it was mounted: Textual leaves such a one standing."""
    await widget.remove_children()
    if widget.is_running:
        await widget.remove()
    elif widget.parent is not None:  # one that has failed later is out already
        await widget._message_loop_exit()


def is_capture(stream: object) -> bool:
    """Return whether ``stream`` is what stands in the place of stdout and stderr while an app runs."""
    return isinstance(stream, _PrintCapture)
