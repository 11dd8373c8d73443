"""The peak memory of training with the full softmax over a large vocabulary, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")

TRAIN = """
import sys
from pathlib import Path

import numpy as np
import torch

from nanoshell.plugin.manager import load_plugins
from nanoshell.training.config import RunConfig
from nanoshell.training.numerics import Numerics
from nanoshell.training.trainer import build_trainer

def memory(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))

torch.set_num_threads(1)
plugins = load_plugins(safe=True)
model = {"hidden_size": 48, "num_layers": 1, "num_heads": 2, "vocab_size": 100331, "max_seq_len": 512}
trainer = {"batch_size": 1, "gradient_accumulation": 2, "max_steps": 4, "softmax": "full"}
config = RunConfig.from_dict({"model": {"name": "wide", **model}, "trainer": trainer}, "test")
tokenizer = plugins.tokenizers.get("cl100k_base")()
corpus = Path(sys.argv[1]) / "corpus.bin"
np.random.default_rng(0).integers(100256, size=4000).astype("<u4").tofile(corpus)
before = memory("VmRSS")
run = build_trainer(
    config, plugins, tokenizer, corpus,
    numerics=Numerics("cpu", "float32", "full", 1), device=torch.device("cpu"), horizon=4,
)
for _ in range(2):
    run.update()
checkpoint = Path(sys.argv[1]) / "checkpoint"
checkpoint.mkdir()
run.save(checkpoint, tokenizer, "sha")
run.evaluate()
print(memory("VmHWM") - before, sum(parameter.numel() for parameter in run.model.parameters()))
"""


@pytest.mark.skipif(not STATUS.exists(), reason="the peak is read from /proc")
def test_beside_weights_gradients_and_moments_it_takes_a_chunk_of_logits_and_little_more(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", TRAIN, str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    peak, parameters = map(int, shown.split())
    all_logits = 512 * 100_331 * 4
    assert 16 * parameters < peak < 16 * parameters + 0.9 * all_logits
