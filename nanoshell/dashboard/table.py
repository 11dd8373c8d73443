"""What can be done in the dashboard itself: keys, footer, palette and help are made of this table.

No key is one that tmux or screen takes (Ctrl-B, Ctrl-A), none that a terminal swallows (Ctrl-S, Ctrl-Q). What
is asked of a run has a capital letter: small ones are for the panels.
"""

from __future__ import annotations

from nanoshell.dashboard.actions import Action

DESK = "Dashboard"
RUN = "Run"

TRAINING = ("starting", "running")
UNDER_WAY = (*TRAINING, "paused", "stopping", "silent")
"""One that is silent may train where nothing is heard of it."""


def _asked(
    name: str,
    title: str,
    key: str,
    states: tuple[str, ...] = UNDER_WAY,
    *,
    question: str = "",
    short: str = "",
    words: str = "",
) -> Action:
    """Return what is asked of a run; the last line has what is ``short`` or done in some of its states."""
    footer = states is not UNDER_WAY or bool(short)
    return Action(name, title, (key,), RUN, True, question, footer, states, short, words)


PALETTE = Action("palette", "Commands", ("ctrl+p",), DESK, footer=True, short="Find")

ACTIONS = (
    Action("leave", "Quit", ("q", "ctrl+c"), DESK, footer=True),
    Action("help", "Keys", ("question_mark",), DESK, footer=True),
    Action("explain", "Explain this panel", ("f1",), DESK, short="Explain"),
    PALETTE,
    Action(
        "maximize",
        "Maximise the panel, or back",
        ("enter",),
        DESK,
        footer=True,
        short="Full",
        words="fullscreen zoom",
    ),
    Action("next_page", "Further charts", ("pagedown",), DESK),
    Action("previous_page", "Charts before", ("pageup",), DESK),
    Action("next_view", "Next view", ("greater_than_sign",), DESK),
    Action("previous_view", "View before", ("less_than_sign",), DESK),
    Action("next_run", "Next run", ("N",), DESK, footer=True, short="Next"),
    Action("step_out", "Step out", ("escape",), DESK),
    Action("suspend", "Suspend, fg comes back", ("ctrl+z",), DESK),
    _asked("pause", "Pause", "P", (*TRAINING, "silent")),
    _asked("resume", "Resume", "R", ("paused", "silent")),
    _asked("stop", "Stop and save", "S", question="Save {run} and stop it?", short="Stop", words="end kill"),
    _asked("checkpoint", "Write a checkpoint", "C", words="save weights"),
    _asked("evaluate", "Evaluate now", "E", words="validation loss eval"),
    _asked("sample", "Sample now", "G", words="generate text"),
    _asked(
        "learning_rate_down", "Learning rate down, by a fifth", "left_curly_bracket", words="lr rate lower"
    ),
    _asked(
        "learning_rate_up",
        "Learning rate up, by a quarter",
        "right_curly_bracket",
        words="lr rate raise higher",
    ),
    _asked("learning_rate", "Set the learning rate", "L", words="lr rate"),
    _asked("extend", "Train longer", "X", words="extend continue more steps epochs"),
)
"""Every action of the app, in the order in which help and footer show them."""
