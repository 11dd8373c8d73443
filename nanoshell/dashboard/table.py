"""What can be done in the dashboard itself: keys, footer, palette and help are made of this table.

No key is one that tmux or screen takes (Ctrl-B, Ctrl-A), none that a terminal swallows (Ctrl-S, Ctrl-Q). What
is asked of a run has a capital letter: small ones are for the panels.
"""

from __future__ import annotations

from nanoshell.dashboard.actions import Action

DESK = "Dashboard"
RUN = "Run"

ACTIONS = (
    Action("leave", "Quit", ("q", "ctrl+c"), DESK, footer=True),
    Action("help", "Keys", ("question_mark",), DESK, footer=True),
    Action("explain", "Explain this panel", ("f1",), DESK),
    Action("palette", "Commands", ("ctrl+p",), DESK, footer=True),
    Action("maximize", "Maximise the panel, or back", ("enter",), DESK),
    Action("next_page", "Further charts", ("pagedown",), DESK),
    Action("previous_page", "Charts before", ("pageup",), DESK),
    Action("next_run", "Focus the next run", ("N",), DESK),
    Action("step_out", "Step out", ("escape",), DESK),
    Action("suspend", "Suspend, fg comes back", ("ctrl+z",), DESK),
    Action("pause", "Pause", ("P",), RUN, writes=True, footer=True),
    Action("resume", "Resume", ("R",), RUN, writes=True),
    Action("stop", "Stop and save", ("S",), RUN, writes=True, question="Save {run} and stop it?"),
    Action("checkpoint", "Write a checkpoint", ("C",), RUN, writes=True),
    Action("evaluate", "Evaluate now", ("E",), RUN, writes=True),
    Action("sample", "Sample now", ("G",), RUN, writes=True),
    Action("learning_rate_down", "Learning rate down, by a fifth", ("left_curly_bracket",), RUN, writes=True),
    Action("learning_rate_up", "Learning rate up, by a quarter", ("right_curly_bracket",), RUN, writes=True),
    Action("learning_rate", "Set the learning rate", ("L",), RUN, writes=True),
    Action("extend", "Train longer", ("X",), RUN, writes=True),
)
"""Every action of the app, in the order in which help and footer show them."""
