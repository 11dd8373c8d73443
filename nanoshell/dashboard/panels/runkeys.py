"""What can be done in the panel of runs, and how that is explained."""

from __future__ import annotations

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.panels.filter import FIGURES

ABOUT = (
    "Every run of the folder. A dot in its colour says that a run is in the charts; > has the focus, "
    "which is the run that you steer. Below the table: why it is in its state, where it lies, and "
    "what plugins (notes) say of it.\n\n"
    "The filter takes conditions, all of which must hold: lr>1e-3 val_loss<2 name~nano "
    "state=finished. The signs are < <= > >= = != and ~ !~ (a regular expression within). A word "
    "alone is part of a name. Beside the figures "
    f"({', '.join(FIGURES)}) every key of a config can be asked: "
    "model.hidden_size=64, batch_size>=8.\n\n"
    "In the filter's field Tab completes the dimmed name.\n\n"
    "d compares the configs of the runs that you marked with m, a column each, as many as there is room for. "
    "With one mark it is that one and the chosen one, without any the one in focus and the chosen one."
)

ACTIONS: tuple[Action, ...] = (
    Action("take", "Focus the run", ("enter",), "Runs", footer=True, short="Focus"),
    Action(
        "show_hide",
        "Show in charts, or hide",
        ("space",),
        "Runs",
        footer=True,
        short="Show",
        words="overlay compare add",
    ),
    Action("filter", "Filter", ("slash", "f"), "Runs", footer=True),
    Action("unfilter", "Remove the filter", ("escape",), "Runs"),
    Action("sort", "Sort by the next column", ("o",), "Runs", footer=True, short="Sort"),
    Action("sort_by", "Sort by a column", ("s",), "Runs", words="order best val loss lr"),
    Action("reverse", "Sort the other way round", ("r",), "Runs"),
    Action("mark", "Mark for comparing", ("m",), "Runs", footer=True, short="Mark"),
    Action(
        "difference",
        "Compare configs, or back",
        ("d",),
        "Runs",
        footer=True,
        short="Compare",
        words="runs diff difference overlay",
    ),
    Action("copy", "Copy the run's folder", ("y",), "Runs"),
    Action("choose(-1)", "The run above", ("up", "k"), "Runs"),
    Action("choose(1)", "The run below", ("down", "j"), "Runs"),
    Action("choose(-10)", "Ten runs up", ("pageup",), "Runs"),
    Action("choose(10)", "Ten runs down", ("pagedown",), "Runs"),
    Action("choose(-100000)", "The first run", ("home",), "Runs"),
    Action("choose(100000)", "The last run", ("end",), "Runs"),
    Action("turn(-3)", "Text below: up", ("left_square_bracket",), "Runs"),
    Action("turn(3)", "Text below: down", ("right_square_bracket",), "Runs"),
)
