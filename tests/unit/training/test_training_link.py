"""What the processes of a run tell each other: orders, failures, and who is taken for gone."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from typing import Any

import pytest
import torch
from torch.distributed import HashStore

from nanoshell.errors import DataError, RunError
from nanoshell.runs.process import process_start
from nanoshell.training import distributed
from nanoshell.training.distributed import LeaderGoneError, Link, Placement
from nanoshell.training.follower import _tell
from nanoshell.training.team import Ranks


def links(size: int = 2) -> list[Link]:
    """Return the links of ``size`` processes, all of which are this one."""
    store = HashStore()
    return [Link(Placement(rank, size, rank, size), store) for rank in range(size)]


def come(link: Link, **who: Any) -> None:
    """Let a process be there: this one, or one that is as ``who`` says."""
    me = {"pid": os.getpid(), "host": "here", "machine": distributed._machine()}
    link._set(f"here/{link.place.rank}", {**me, "start": process_start(os.getpid()), **who})


def dead_process() -> dict[str, Any]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        return {"pid": process.pid, "start": process_start(process.pid)}


def test_orders_come_in_their_order_and_are_forgotten() -> None:
    leader, follower = links()
    for link in (leader, follower):
        come(link)
    leader.lead("/run", lambda: False)
    assert follower.await_run() == "/run"
    assert leader.order("change", values={"batch_size": 3}) == 1
    assert leader.order("update") == 2
    assert follower.next_order() == {"action": "change", "values": {"batch_size": 3}}
    assert follower.next_order() == {"action": "update"}
    before = leader.store.num_keys()
    leader.forget_orders(2)
    leader.forget_orders(2)
    assert leader.store.num_keys() == before - 2
    assert not follower.leader_left()
    leader.order("update")
    follower.say("end")
    leader.end(patient=True)
    assert follower.leader_left()


def test_an_order_stays_until_the_update_that_it_belongs_to_has_its_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As with NCCL: the operation is enqueued, and says nothing of whether the other has come.
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor: None)
    leader, follower = links()
    team = Ranks(leader)
    for rate in (1, 2, 3):
        team.announce("change", values={"learning_rate": rate})
        team.announce("update")
        team.total(torch.zeros(2))
        assert leader.store.num_keys() == 2, "those of this update"
        assert follower.next_order() == {"action": "change", "values": {"learning_rate": rate}}
        assert follower.next_order() == {"action": "update"}


def test_the_first_to_fail_is_the_one_that_is_told() -> None:
    leader, first, second = links(3)
    for link in (leader, first, second):
        come(link)
    leader.lead("/run", lambda: False)
    leader.check()
    assert _tell(second, DataError("its tokens are gone", hint="look there"), io.StringIO()) == 1
    log = io.StringIO()
    assert _tell(first, RuntimeError("connection closed"), log) == 1
    assert "connection closed" in log.getvalue()
    with pytest.raises(RunError, match="rank 2 failed: its tokens are gone") as caught:
        leader.check()
    assert caught.value.hint == "look there"
    with pytest.raises(RunError, match="rank 2 failed"):
        leader.gather("ready")


def test_a_process_that_was_killed_explains_more_than_one_that_missed_it() -> None:
    leader, first, second = links(3)
    come(leader)
    come(first)
    dead = dead_process()
    come(second, **dead)
    leader.lead("/run", lambda: False)
    first.fail("RuntimeError: connection closed", "")
    with pytest.raises(RunError, match=rf"rank 2 has ended \(process {dead['pid']} on here\)") as caught:
        leader.explain(RuntimeError("connection closed by peer"))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_fault_of_our_own_is_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_VERDICT_SECONDS", 0.05)
    leader, follower = links()
    come(leader)
    come(follower)
    leader.lead("/run", lambda: False)
    leader.explain(RuntimeError("a fault of this process"))


def test_a_process_of_another_machine_is_gone_when_it_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "BEAT_SECONDS", 0.02)
    leader, follower = links()
    come(leader)
    come(follower, **dead_process(), machine=["elsewhere", "1"])
    leader.lead("/run", lambda: False)
    follower._set("beat/1", 1)
    leader.check()
    with pytest.raises(RunError, match="rank 1 has ended"):
        leader.explain(RuntimeError("connection timed out"))
    follower._set("beat/1", 2)
    leader.check()


def test_signs_of_life_go_on_while_the_process_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "BEAT_SECONDS", 0.001)
    _, follower = links()
    with follower.present():
        while int(follower._get("beat/1") if follower._has("beat/1") else 0) < 3:
            time.sleep(0.001)
    assert follower._get("here/1")["pid"] == os.getpid()


def test_whom_nobody_leads_ends() -> None:
    leader, follower = links()
    come(leader, **dead_process())
    leader._set("run", "/run")
    assert follower.await_run() == "/run"
    with pytest.raises(LeaderGoneError, match="rank 0 has ended"):
        follower.next_order()
    assert follower.leader_left()


class Gone:
    """A store that has ended with torchrun."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("connection reset")


def test_without_the_store_the_leader_says_so_and_the_others_end() -> None:
    leader, follower = links()
    leader.store = follower.store = Gone()  # type: ignore[assignment]
    with pytest.raises(RunError, match="torchrun, which started the processes of this run, is gone"):
        leader.order("update")
    leader.end(patient=True)
    leader.forget_orders(1)
    with pytest.raises(LeaderGoneError):
        follower.next_order()
    assert not follower.fail("why", "")


def test_a_process_that_does_not_come_is_waited_for_no_longer_than_is_useful(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leader, _ = links()
    come(leader)
    monkeypatch.setattr(distributed, "_FAREWELL_SECONDS", 0.0)
    with pytest.raises(RunError, match="rank 1 of 2 has not come"):
        leader.lead("/run", lambda: "SIGTERM")
    monkeypatch.setattr(distributed, "GATHER_SECONDS", 0.0)
    with pytest.raises(RunError, match="rank 1 of 2 has not come"):
        leader.lead("/run", lambda: False)
