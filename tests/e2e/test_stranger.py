"""A stranger's whole way: a plugin copied from the guide, a model trained with it, and text sampled."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

GUIDE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text(encoding="utf-8")


def copied(hook: str, path: Path) -> None:
    """Write the example of a hook's section to ``path``."""
    match = re.search(r"^```python\n(.*?)^```", GUIDE.partition(f"### `{hook}`")[2], re.MULTILINE | re.DOTALL)
    assert match
    path.parent.mkdir(exist_ok=True)
    path.write_text(match[1], encoding="utf-8")


def test_the_tokenizer_and_the_layers_of_the_guide_train_and_generate(tmp_path: Path) -> None:
    copied("register_tokenizers", tmp_path / "mine" / "bytes.py")
    copied("register_mixers", tmp_path / "mine" / "fading.py")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "nanoshell", "--plugins-dir", "mine", "--device", "cpu", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    def nanoshell(*arguments: str) -> str:
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    shape = {"name": "mine", "hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 32}
    kinds = {
        "mixer": ["decaying_average", "attention"],
        "feed_forward": "squared_relu",
        "layer_options": {"decaying_average": {"decay": 0.5}},
    }
    model = {**shape, **kinds, "tokenizer": "bytes", "vocab_size": 257, "max_seq_len": 64}
    (tmp_path / "mine.yaml").write_text(json.dumps({"model": model}))  # JSON is YAML too
    text = "\n".join(f"{n} times {n} is {n * n}." for n in range(400))
    (tmp_path / "squares.txt").write_text(text, encoding="utf-8")
    nanoshell("train", "--config", "mine.yaml", "--data", "squares.txt", "--max-steps", "2")
    written = nanoshell(
        "generate", "--model", "latest", "To be", "--max-tokens", "5", "--seed", "1", "--json"
    )
    result = json.loads(written)
    assert result["prompt_tokens"] == 1 + len("To be")  # the mark of a start of document, and a byte each
    assert 1 <= len(result["ids"]) <= 5
    assert all(0 <= token_id < 257 for token_id in result["ids"])

    (tmp_path / "mine" / "fading.py").unlink()
    without = run("generate", "--model", "latest", "To be")
    assert without.returncode != 0
    assert "'decaying_average' came from plugin 'fading'" in without.stderr
    assert "Traceback" not in without.stderr
