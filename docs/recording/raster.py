"""An SVG as a PNG, by a browser: for places that show no SVG, and for looking at it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
TRIES = 6
SCALE = 2
"""Pixels of the picture for each of the drawing's."""


def rasterise(drawing: Path, picture: Path) -> bool:
    """Draw the SVG at ``drawing`` into the PNG at ``picture``; False where there is no browser to do it."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        return False
    size = re.search(r'width="(\d+)" height="(\d+)"', drawing.read_text("utf-8"))
    if size is None:
        raise ValueError(f"{drawing} does not say how large it is")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # it refuses root otherwise, as containers have it
    options = ["--headless", "--disable-gpu", "--hide-scrollbars", "--default-background-color=00000000"]
    options += ["--run-all-compositor-stages-before-draw", "--virtual-time-budget=1000"]
    geometry = [f"--window-size={size[1]},{size[2]}", f"--force-device-scale-factor={SCALE}"]
    asked = [browser, *root, *options, *geometry, f"--screenshot={picture}", drawing.resolve().as_uri()]
    before = b""
    for _ in range(TRIES):  # a busy machine leaves parts white: two that are equal are whole
        subprocess.run(asked, check=True, capture_output=True, timeout=120)
        drawn = picture.read_bytes()
        if drawn == before:
            return True
        before = drawn
    raise RuntimeError(f"the browser draws {drawing} otherwise each time")
