"""A stranger's whole way: a plugin copied from the guide, a model trained with it, and text sampled."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

GUIDE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")


def test_the_tokenizer_of_the_guide_trains_and_generates(tmp_path: Path) -> None:
    section = GUIDE.partition("### `register_tokenizers`")[2]
    match = re.search(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert match
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bytes.py").write_text(match[1], encoding="utf-8")

    def nanoshell(*arguments: str) -> str:
        command = [sys.executable, "-m", "nanoshell", "--plugins-dir", "mine", "--device", "cpu", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        return done.stdout

    shape = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "kv_heads": 1, "intermediate_size": 32}
    model = {**shape, "tokenizer": "bytes", "vocab_size": 257}
    text = "\n".join(f"{n} times {n} is {n * n}." for n in range(400))
    (tmp_path / "squares.txt").write_text(text, encoding="utf-8")
    keys = [f"--set=model.{key}={value}" for key, value in model.items()]
    nanoshell("train", "--data", "squares.txt", "--max-steps", "2", *keys)
    written = nanoshell(
        "generate", "--model", "latest", "To be", "--max-tokens", "5", "--seed", "1", "--json"
    )
    result = json.loads(written)
    assert result["prompt_tokens"] == 1 + len("To be")  # the mark of a start of document, and a byte each
    assert 1 <= len(result["ids"]) <= 5
    assert all(0 <= token_id < 257 for token_id in result["ids"])
