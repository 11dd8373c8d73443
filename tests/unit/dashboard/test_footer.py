"""The last line: what share of a core the dashboard takes, beside its keys."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from textual.pilot import Pilot

from nanoshell.dashboard import footer, showing
from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.footer import CpuMeter
from nanoshell.plugin.manager import load_plugins
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun

from .stage import HandFeed, desk, kind, play, screen_text, until


def test_the_share_is_of_one_core_since_it_was_last_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    now, user, system = 50.0, 7.0, 1.0
    clocks = SimpleNamespace(monotonic=lambda: now, times=lambda: SimpleNamespace(user=user, system=system))
    monkeypatch.setattr(footer, "time", clocks)
    monkeypatch.setattr(footer, "os", clocks)
    meter = CpuMeter()
    now, user, system = 60.0, 8.0, 1.5
    assert meter.share() == pytest.approx(0.15)
    now, user = 62.0, 11.0
    assert meter.share() == pytest.approx(1.5), "on more than one core"
    assert meter.share() == 0.0, "no time has passed"


def test_the_last_line_ends_with_what_the_dashboard_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(showing, "SHARE_SECONDS", 0.02)
    monkeypatch.setattr(CpuMeter, "share", lambda _meter: 0.0725)
    app = desk(tmp_path, kind(panel_id="chart", title="Chart"))

    async def scene(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: screen_text(app).endswith("cpu 7%"))
        assert re.search(r"^ \? Keys .*q Quit .*own cpu 7%$", screen_text(app), re.M)

    play(app, scene)


def test_keys_keep_away_from_the_share_and_do_not_come_and_go_with_it(tmp_path: Path) -> None:
    app = desk(tmp_path, kind(panel_id="chart", title="Chart"))

    async def scene(pilot: Pilot[None]) -> None:
        line = app.query_one(footer.KeyFooter)
        told = []
        for room in range(40, 80):
            line.show([("a", "Above"), ("b", "x" * room)])
            for share in (0.0, 0.99, 1.2):
                line.tell_share(share)
                text = line.render().plain
                assert len(text) == line.size.width
                keys, _, note = text.rpartition("  own cpu ")
                assert note == f"{share:.0%}"
                told.append((room, share, keys.rstrip()))
        assert {keys for room, _share, keys in told if room == 40} == {f" a Above  b {'x' * 40}"}
        for room in range(40, 80):
            assert len({keys for at, share, keys in told if at == room and share < 1}) == 1

    play(app, scene)


@pytest.mark.parametrize(
    ("place", "keys"),
    [
        ("charts", "? Keys,x Axis,l Log,s Smooth,P Pause,S Stop,Enter Full"),
        ("samples", "? Keys,Left Earlier,Right Later,t Try,P Pause,S Stop"),
        ("runs", "? Keys,Enter Focus,Space Show,/ Filter,P Pause,S Stop,o Sort"),
        ("log", "? Keys,/ Search,e Events,w Fold,P Pause,S Stop"),
    ],
)
def test_80_cells_have_the_best_keys_of_each_view(tmp_path: Path, place: str, keys: str) -> None:
    feed = HandFeed()
    plugins = load_plugins(safe=True, strict=True)
    app = DashboardApp(tmp_path, panels=plugins.panels, sections=plugins.run_sections, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(one.run, other.run, status=RunStatus("running"))
        app.query_one(footer.KeyFooter).tell_share(0.25)
        app.action_view([view.place for view in app.views].index(place))
        await until(pilot, lambda: "P Pause" in screen_text(app).splitlines()[-1])
        wanted = keys.replace(",", "  ")
        await until(pilot, lambda: screen_text(app).splitlines()[-1].strip().startswith(wanted))

    with FakeRun(tmp_path) as one, FakeRun(tmp_path) as other:
        play(app, scene)
