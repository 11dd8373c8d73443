"""All that is used of Textual though it does not promise to keep it; nothing else of the dashboard does."""

from __future__ import annotations

from textual._context import active_message_pump
from textual.app import App
from textual.filter import LineFilter
from textual.message_pump import MessagePump
from textual.screen import Screen


class InnerApp(App[None], inherit_bindings=False):
    """An app that decides what an exception means, and that may change every line it draws."""

    def fault(self, error: Exception) -> None:
        """Called with what a handler of a message, a timer or a worker has raised."""
        raise NotImplementedError

    def add_filter(self, line_filter: LineFilter) -> None:
        """Let every line of the screen pass ``line_filter``."""
        self._filters.append(line_filter)

    @property
    def can_suspend(self) -> bool:
        """Whether a shell waits to have the terminal back; in a browser there is none."""
        return self._driver is not None and self._driver.can_suspend

    def end_at_once(self) -> None:
        """End with code 1, whatever messages still wait."""
        self.exit(return_code=1)
        self._close_messages_no_wait()

    def _handle_exception(self, error: Exception) -> None:
        self.fault(error)


class InnerScreen(Screen[None]):
    """A screen that decides what an exception means which is raised while it is drawn."""

    def forgives(self, error: Exception) -> bool:
        """Return whether to go on after ``error``."""
        raise NotImplementedError

    def _compositor_refresh(self) -> None:
        try:
            super()._compositor_refresh()
        except Exception as error:
            if not self.forgives(error):
                raise


def handling() -> MessagePump | None:
    """Return whose message is being handled, None where no message is."""
    return active_message_pump.get(None)
