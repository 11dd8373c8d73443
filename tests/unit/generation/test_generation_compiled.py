"""The compiled step: equal to the eager one for every kind of layer, and never in anybody's way."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nanoshell.generation import compiled, layout, native, program
from nanoshell.generation.compiled import CompiledStep
from nanoshell.generation.engine import Engine, GenerationRequest
from nanoshell.model.cache import Cache
from nanoshell.model.transformer import Transformer
from nanoshell.plugin.manager import Plugins
from nanoshell.tokenizer.base import Tokenizer

Build = Callable[..., Transformer]

MLA = {"kv_latent_dim": 12, "q_latent_dim": 10, "d_rope": 4}
MOE = {"feed_forward": "moe", "num_experts": 4, "experts_per_tok": 2, "shared_expert_enabled": True}
MAMBA2 = {"mamba_layers": [0], "mamba2_num_heads": 8, "mamba2_head_dim": 8, "mamba2_state_size": 8}
KINDS: dict[str, dict[str, Any]] = {
    "attention": {},
    "one head of keys, tied, norm on queries and keys": {
        "kv_heads": 1,
        "qk_norm": True,
        "tie_embeddings": True,
    },
    "odd sizes": {
        "hidden_size": 36,
        "num_heads": 6,
        "kv_heads": 3,
        "intermediate_size": 77,
        "vocab_size": 271,
    },
    "relu2, norms without weights, capped": {
        "feed_forward": "relu2",
        "qk_norm": True,
        "norm_weight": False,
        "logit_soft_cap": 0.4,
    },
    "attention, moe": MOE,
    "mla": MLA,
    "mla, moe": {**MLA, **MOE},
    "mamba1": {"mamba_layers": [0]},
    "mamba2": MAMBA2,
    "mamba3, swiglu": {**MAMBA2, "mamba3_enabled": True, "feed_forward": "swiglu"},
    "hybrid": {**MAMBA2, **MLA, **MOE, "num_layers": 3, "feed_forward": None},
}


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Return what sets the number of threads, which is set back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _every_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile the products of small matrices too."""
    monkeypatch.setattr(program, "LARGE_PRODUCT", 1)


def filled(model: Transformer, starts: list[int], positions: int = 32) -> Cache:
    """Return a cache in which each row has seen another number of positions."""
    generator = torch.Generator().manual_seed(5)
    cache = model.new_cache(len(starts), positions)
    for position in range(max(starts)):
        ids = torch.randint(250, (len(starts),), generator=generator)
        model.step(ids, cache, torch.tensor([min(position, start) for start in starts]))
    return cache


def greedy(engine: Engine, prompt: list[int] | None = None, tokens: int = 12) -> list[int]:
    request = GenerationRequest(prompt or [65, 66, 67], tokens, {"temperature": 0})
    return [token.id for token in engine.generate(request)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_step_is_the_eager_step(kind: str, build: Build, installed: Path, threads: Any) -> None:
    threads(2)
    model, reference = (build(**KINDS[kind]) for _ in range(2))
    step = CompiledStep(model)
    assert step.ready
    starts = [3, 0, 7]
    with torch.inference_mode():
        ours, theirs = filled(model, starts), filled(reference, starts)
        for count in range(10):
            ids, positions = [count, 3 * count, 200 - count], [start + count for start in starts]
            found = step.step(ids, ours, positions)
            expected = reference.step(torch.tensor(ids), theirs, torch.tensor(positions))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert step.ready
        for mine, its in zip(ours.states, theirs.states, strict=True):
            for name, tensor in mine.tensors().items():
                torch.testing.assert_close(tensor, its.tensors()[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["attention", "mla, moe", "mamba2", "hybrid"])
def test_in_bfloat16_it_rounds_less_than_torch(kind: str, build: Build, installed: Path) -> None:
    exact = build(**KINDS[kind]).bfloat16().float()
    halves, eager = (build(**KINDS[kind]).bfloat16() for _ in range(2))
    step = CompiledStep(halves)
    with torch.inference_mode():
        caches = [model.new_cache(1, 32) for model in (exact, halves, eager)]
        errors = torch.zeros(2)
        for position in range(16):
            ids, places = torch.tensor([7 * position]), torch.tensor([position])
            right = exact.step(ids, caches[0], places)
            found = step.step(ids.tolist(), caches[1], [position])
            assert found is not None
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, right, rtol=0.02, atol=0.02)
            rounded = eager.step(ids, caches[2], places)
            errors += torch.stack([(logits - right).square().mean() for logits in (found, rounded)])
    assert errors[0] < errors[1]


@pytest.mark.parametrize("kind", ["attention", "hybrid"])
def test_replies_are_the_eager_ones(
    kind: str, build: Build, tokenizer: Tokenizer, plugins: Plugins, installed: Path
) -> None:
    engines = [
        Engine(build(**KINDS[kind]), tokenizer, plugins.samplers, compile=mode) for mode in ("off", "auto")
    ]
    assert [engine.compiled.ready for engine in engines] == [False, True]
    prompts = [[65, 66, 67], [66], [70, 71, 72, 73, 74, 65, 66]]
    replies = []
    for engine in engines:
        requests = [GenerationRequest(prompt, 12, {"temperature": 0.9}, seed=3) for prompt in prompts]
        batch = engine.generate_batch(requests, n=2)
        list(batch)
        replies.append([row.ids for row in batch.rows] + [greedy(engine, prompt) for prompt in prompts])
    assert replies[0] == replies[1]


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("repeat", [40, pytest.param(4000, marks=pytest.mark.campaign)])
def test_threads_lose_and_repeat_no_row(count: int, repeat: int, library: Path, threads: Any) -> None:
    threads(count)
    kernels, generator = native.Kernels(library), torch.Generator().manual_seed(0)
    shapes = [(3000, 64), (7, 300), (900, 64), (1, 64), (20000, 16)] * 3
    ops, sums, expected, kept = [], [], [], []
    for rows, columns in shapes:
        # Whole numbers, so that sums in any order are exact; added, so that a row done twice is seen.
        matrix, x = (torch.randint(-3, 4, (n, columns), generator=generator).float() for n in (rows, 2))
        sums.append(torch.zeros(2, rows))
        expected.append(x @ matrix.t())
        op = native.Op(kind=native.PRODUCT, finish=native.ADD, columns=columns, parts=1, in_=x.data_ptr())
        op.weights[0], op.out[0], op.rows[0] = matrix.data_ptr(), sums[-1].data_ptr(), rows
        ops.append(op)
        kept += [matrix, x]
    none = torch.zeros(1, dtype=torch.long)
    for _ in range(repeat):
        for each in sums:
            each.zero_()
        kernels.run((native.Op * len(ops))(*ops), 2, none, none)
        assert all(torch.equal(found, right) for found, right in zip(sums, expected, strict=True))


def test_an_unforeseen_layer_stays_eager(build: Build, installed: Path) -> None:
    model = build()
    step, cache = CompiledStep(model), model.new_cache(1, 32)
    vars(cache.states[0])["keys"] = cache.states[0].keys.transpose(2, 3)
    assert step.step([1], cache, [0]) is None
    assert not step.ready


def test_who_looks_on_by_hooks_sees_the_modules(build: Build, installed: Path) -> None:
    model = build()
    step, cache = CompiledStep(model), model.new_cache(1, 32)
    handle = model.layers[1].get_submodule("mlp.down_proj").register_forward_hook(lambda *_: None)
    assert step.step([1], cache, [0]) is None
    handle.remove()
    assert step.step([1], cache, [0]) is not None


def test_what_does_not_fit_is_left_to_torch(build: Build, installed: Path) -> None:
    model = build()
    step = CompiledStep(model)
    assert step.step([1], model.new_cache(1, 16), [16]) is None
    assert step.step([1], model.new_cache(1, 64), [32]) is None
    assert step.step([model.config.vocab_size], model.new_cache(1, 16), [0]) is None
    assert step.step([-1], model.new_cache(1, 16), [0]) is None
    assert step.step([1], model.new_cache(1, 16), [-1]) is None
    assert step.step([1], model.new_cache(2, 16), [0]) is None
    rows = program.MAX_ROWS + 1
    assert step.step([1] * rows, model.new_cache(rows, 16), [0] * rows) is None


def test_a_model_that_is_cast_is_left_to_torch(build: Build, installed: Path) -> None:
    model = build()
    step = CompiledStep(model)
    model.double()
    assert step.step([1], model.new_cache(1, 16), [0]) is None
    assert step.reason == "it is for float32 and bfloat16, and the model computes in float64"


@pytest.mark.parametrize("kind", ["attention", "hybrid"])
def test_torchs_default_dtype_does_not_matter(kind: str, build: Build, installed: Path) -> None:
    model = build(**KINDS[kind])
    step, caches = CompiledStep(model), [model.new_cache(1, 16) for _ in range(2)]
    before = torch.get_default_dtype()
    with torch.inference_mode():
        expected = step.step([5], caches[0], [0])
        torch.set_default_dtype(torch.float64)
        try:
            found = step.step([5], caches[1], [0])
        finally:
            torch.set_default_dtype(before)
    assert expected is not None
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", program.DTYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_of_broken_weights_are_no_numbers(
    value: float, dtype: torch.dtype, build: Build, installed: Path
) -> None:
    for name in ("q_proj", "v_proj", "down_proj"):
        model = build().to(dtype)
        with torch.no_grad():
            dict(model.layers[0].named_modules())[
                f"mlp.{name}" if name == "down_proj" else f"self_attn.{name}"
            ].weight.fill_(value)
        found = CompiledStep(model).step([5], model.new_cache(1, 16), [0])
        assert found is not None
        assert found.isnan().all()


def test_an_interrupt_puts_every_module_back() -> None:
    class Interrupted(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            raise KeyboardInterrupt

    first: dict[str, Any] = {}
    with pytest.raises(KeyboardInterrupt), program._instead([(first, abs), (Interrupted(), abs)]):
        pass
    assert not first


def test_models_share_a_team(build: Build, installed: Path, threads: Any) -> None:
    threads(3)
    CompiledStep(build())
    teams = len(native.Kernels._teams)
    for _ in range(3):
        assert CompiledStep(build()).ready
    assert len(native.Kernels._teams) == teams


def test_a_product_of_many_rows_is_left_to_torch(build: Build, installed: Path) -> None:
    """Modules whose products are compiled may be given more rows than a step has."""
    linear = torch.nn.Linear(8, 5)
    model = build()
    kernels = native.load()
    assert kernels is not None
    made = program.Program(kernels, model, model.new_cache(1, 16))
    product = made._alone(linear)
    with torch.inference_mode():
        for rows in (1, program.MAX_ROWS, program.MAX_ROWS + 1):
            x = torch.randn(rows, 1, 8)
            torch.testing.assert_close(product(x), linear(x))
    x = torch.randn(1, 8, requires_grad=True)
    product(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("kind", ["attention", "hybrid"])
def test_programs_keep_few_caches(kind: str, build: Build, installed: Path) -> None:
    model = build(**KINDS[kind])
    step = CompiledStep(model)
    caches = [model.new_cache(1, 16) for _ in range(compiled.KEPT_PROGRAMS + 3)]
    for cache in caches:
        assert step.step([1], cache, [0]) is not None
    assert len(step._programs) == compiled.KEPT_PROGRAMS
    made = weakref.ref(step._programs[-1][1])
    gc.disable()
    try:
        del cache, caches
        last = model.new_cache(1, 16)
        step.step([1], last, [0])
        assert made() is None
        made = weakref.ref(step._programs[-1][1])
        step.forget()
        assert made() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("tied", [False, True])
def test_the_layout_in_rows_changes_no_value(
    tied: bool, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "LARGE", 1)
    model, plain = (build(tie_embeddings=tied, **MOE) for _ in range(2))
    with torch.inference_mode():
        layout.arrange_for_decoding(model)
        layout.arrange_in_rows(model)
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
        assert model.state_dict()[name].is_contiguous()
    model(torch.arange(10)[None]).logsumexp(-1).sum().backward()  # it can still be trained
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if "proj" in name)
    assert (
        model.head_weight.data_ptr()
        == model.state_dict()["embed_tokens.weight" if tied else "lm_head.weight"].data_ptr()
    )


def test_without_large_pages_rows_stay_where_they_are(
    build: Build, monkeypatch: pytest.MonkeyPatch, installed: Path
) -> None:
    monkeypatch.setattr(layout, "_large_pages", lambda size: None)
    model = build()
    before = model.head_weight.data_ptr()
    assert CompiledStep(model).ready
    assert model.head_weight.data_ptr() == before


def test_weights_that_are_trained_on_are_those_that_decode(build: Build, installed: Path) -> None:
    model, reference = build(), build()
    step = CompiledStep(model)
    with torch.inference_mode():
        for network in (model, reference):
            for parameter in network.parameters():
                parameter.data.mul_(1.5)
        found = step.step([5], model.new_cache(1, 16), [0])
        expected = reference.step(torch.tensor([5]), reference.new_cache(1, 16), torch.tensor([0]))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_forked_process_has_threads_of_its_own(build: Build, installed: Path, threads: Any) -> None:
    threads(2)
    model = build()
    step, cache = CompiledStep(model), model.new_cache(1, 16)
    before = step.step([5], cache, [0])
    assert before is not None
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            again = step.step([5], cache, [0])
            os.write(write, b"same" if again is not None and torch.equal(again, before) else b"else")
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert os.read(read, 9) == b"same"
    os.close(read)


def test_onednn_is_left_out_for_bfloat16_alone_and_comes_back() -> None:
    before = torch._C._get_mkldnn_enabled()
    try:
        for enabled in (True, False):
            torch._C._set_mkldnn_enabled(enabled)
            for dtype in (torch.bfloat16, torch.float32):
                with pytest.raises(KeyboardInterrupt), layout.products_for_rows(torch.zeros(1, dtype=dtype)):
                    assert torch._C._get_mkldnn_enabled() is (enabled and dtype != torch.bfloat16)
                    raise KeyboardInterrupt
                assert torch._C._get_mkldnn_enabled() is enabled
    finally:
        torch._C._set_mkldnn_enabled(before)


def test_onednn_comes_back_when_threads_overlap() -> None:
    before, half = torch._C._get_mkldnn_enabled(), torch.zeros(1, dtype=torch.bfloat16)
    first, second = layout.products_for_rows(half), layout.products_for_rows(half)
    try:
        torch._C._set_mkldnn_enabled(True)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert not torch._C._get_mkldnn_enabled()
        second.__exit__(None, None, None)
        assert torch._C._get_mkldnn_enabled()
    finally:
        torch._C._set_mkldnn_enabled(before)
