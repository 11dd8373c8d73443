"""Training beside its peers: ratios of one run on this machine; absolute times tell nothing.

    python benchmarks/train.py vocabulary|softmax|shakespeare|memory|loop|start [options]

vocabulary    a large vocabulary to the same exact loss, beside a plain PyTorch loop and transformers
softmax       the exact loss over a large vocabulary, beside F.cross_entropy, in turns
shakespeare   Tiny Shakespeare by character to the same validation loss, beside nanoGPT's recipe
memory        the peak memory of the preset nano, step by step
loop          the share of time outside forward, backward and optimizer
start         from the command to the first step, beside the import of torch

Contenders take turns, each in a process of its own but in ``softmax``. ``NAME --help`` shows options.
"""

from __future__ import annotations

import importlib
import sys

PARTS = ("vocabulary", "softmax", "shakespeare", "memory", "loop", "start")


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in PARTS:
        print(__doc__)
        sys.exit(2)
    importlib.import_module(f"training.{sys.argv[1]}").main(sys.argv[2:])


if __name__ == "__main__":
    main()
