"""How a fake run does what is asked of it: in the words and with the events of a worker, without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanoshell.errors import unknown_name

if TYPE_CHECKING:
    from nanoshell.testing.run import FakeRun

ACTIONS = ("stop", "pause", "resume", "checkpoint", "snapshot", "evaluate", "sample", "set", "extend")


def answer(fake: FakeRun, request: dict[str, Any]) -> None:
    """Carry out ``request`` and write its answer, with the events that it brings."""
    action = request["action"]
    if action not in ACTIONS:
        error = unknown_name("action", action, ACTIONS, hint=f"a run can: {', '.join(ACTIONS)}")
        fake.control(action, ok=False, message=error.message, hint=error.hint, id=request["id"])
        return
    message, fields = _carry_out(fake, action, request)
    fake.control(action, message=message, id=request["id"], **fields)
    if action == "stop":
        fake.state("stopping", "asked to stop")
        fake.checkpoint()
        fake.finish("stopped", "asked to stop")
    elif action == "pause":
        fake.state("paused")
    elif action == "resume" and fake.paused:
        fake.state("running")


def _carry_out(fake: FakeRun, action: str, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the message and the further fields of the answer."""
    if action == "stop":
        return "saving and stopping", {}
    if action == "pause":
        return ("it is paused already" if fake.paused else "paused"), {}
    if action == "resume":
        return ("resumed" if fake.paused else "it was not paused"), {}
    if action == "checkpoint":
        return "saved", {"path": f"checkpoints/{fake.checkpoint().name}"}
    if action == "snapshot":
        return "saved", {"path": f"snapshots/step-{fake.at:06d}"}
    if action == "evaluate":
        fake.eval()
        return "evaluated", {"split": "validation", "val_loss": fake.loss() + 0.1}
    if action == "sample":
        prompts = request.get("prompts") or [""]
        for index, prompt in enumerate(prompts):
            fake.sample(f"{prompt} and so on, at step {fake.at}", prompt, index=index)
        return f"{len(prompts)} sample{'' if len(prompts) == 1 else 's'}", {"samples": len(prompts)}
    if action == "set":
        values = dict(request.get("values") or {})
        said = "; ".join(f"{key} is {value}" for key, value in values.items())
        return said, {"values": values, "before": dict.fromkeys(values, 0.01)}
    fake.total_steps += int(request.get("steps") or 16 * request.get("epochs", 1))
    totals = {"horizon": fake.total_steps, "total_steps": fake.total_steps}
    return f"it goes on to step {fake.total_steps:,}", totals
