"""On a machine with a CUDA device: train and sample there, and get the same text on the processor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")

PRESET = """
model:
  name: small
  hidden_size: 64
  num_layers: 2
  num_heads: 4
  kv_heads: 2
  max_seq_len: 64
  qk_norm: true
  tie_embeddings: true
trainer:
  num_epochs: 40
  learning_rate: 0.01
  batch_size: 16
  softmax: {softmax}
  dtype: {dtype}
  save_interval: 100
"""


def nanoshell(folder: Path, *arguments: str) -> list[Any]:
    """Run the program in ``folder`` and return its JSON lines."""
    done = subprocess.run(
        [sys.executable, "-m", "nanoshell", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("softmax", ["full", "sampled"])
@pytest.mark.parametrize("dtype", ["float32", "auto"])
def test_what_was_trained_on_cuda_continues_a_text_on_both(tmp_path: Path, softmax: str, dtype: str) -> None:
    (tmp_path / "small.yaml").write_text(PRESET.format(softmax=softmax, dtype=dtype))
    train = ["train", "--config", "small.yaml", "--data", "nano-start:completions", "--device", "cuda"]
    steps = nanoshell(tmp_path, *train, "--json")
    assert steps[-1]["loss"] < 0.5 * steps[0]["loss"]

    sample = ["sample", "--model", "latest", "--temperature", "0", "--max-tokens", "8", "--json", "--prompt"]
    texts = {}
    for device in ("cuda", "cpu"):
        [answer] = nanoshell(tmp_path, "--device", device, *sample, "The capital of France is")
        texts[device] = answer["text"]
    assert texts["cuda"] == texts["cpu"]
    assert "Paris" in texts["cuda"]


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(PRESET.format(softmax="sampled", dtype="float32"))
    train = ["train", "--config", "small.yaml", "--data", "nano-start:qa", "--device", "cuda", "--json"]
    whole = nanoshell(tmp_path, *train, "--max-steps", "30", "--runs-dir", "whole")
    first = nanoshell(tmp_path, *train, "--max-steps", "20", "--runs-dir", "parts")
    rest = nanoshell(tmp_path, *train, "--max-steps", "30", "--runs-dir", "parts", "--resume", "auto")
    assert [step["step"] for step in first + rest] == list(range(1, 31))
    assert [step["loss"] for step in first + rest] == pytest.approx(
        [step["loss"] for step in whole], rel=1e-4
    )


def test_the_device_is_listed_and_chosen(tmp_path: Path) -> None:
    [found] = nanoshell(tmp_path, "device", "--json")
    assert any("cuda" in str(entry) and entry.get("memory_total") for entry in found)


def test_the_step_is_compiled_or_it_is_said_why_not(tmp_path: Path) -> None:
    preset = PRESET.format(softmax="full", dtype="bfloat16").replace("num_epochs: 40", "max_steps: 3000")
    (tmp_path / "small.yaml").write_text(preset)
    train = ["train", "--config", "small.yaml", "--data", "nano-start:qa", "--device", "cuda", "--compile"]
    lines = nanoshell(tmp_path, *train, "--json", "--events")
    told = [line for line in lines if line.get("type") == "compile"]
    assert told, "3,000 steps take longer than compiling"
    assert all(line["message"] for line in told)
    losses = [line["loss"] for line in lines if "loss" in line and "type" not in line]
    assert losses[-1] < 0.5 * losses[0]
