"""The charts and the samples keep the rules that panels of others keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanoshell.dashboard.panels.charts import ABOUT
from nanoshell.dashboard.panels.kinds import CHARTS, ExpertChart, chart_panel
from nanoshell.dashboard.panels.samples import SamplesPanel
from nanoshell.testing import FakeRun, check_panel


@pytest.mark.parametrize("panel", [ExpertChart, SamplesPanel])
def test_it_keeps_the_rules_of_panels(panel: type[ExpertChart | SamplesPanel], tmp_path: Path) -> None:
    with FakeRun(tmp_path, "shown") as fake:
        fake.step(3, balance_loss=1.0, expert_load={"1": [0.25, 0.75]})
        fake.eval()
        fake.checkpoint()
        fake.alert()
        fake.sample("")
        fake.finish()
        check_panel(panel, fake.run)


def test_each_chart_explains_itself_and_says_what_is_healthy() -> None:
    told = [chart_panel(name).about for name in CHARTS]
    own = [about.removesuffix(ABOUT) for about in told]
    assert all(about.endswith(ABOUT) for about in told)
    assert len({*own}) == len(CHARTS)
    assert all("healthy" in about.lower() for about in own)
