"""The dtypes that a person may ask for, by name. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

Dtype = Literal["float32", "bfloat16", "float16"]

DTYPES: tuple[str, ...] = get_args(Dtype)
"""What a model can compute in. Where ``auto`` may be asked for too, what it means is said there."""

DTYPE_ALIASES = {"f32": "float32", "fp32": "float32", "bf16": "bfloat16", "f16": "float16", "fp16": "float16"}
"""The short names of the seed family, which presets and ``train`` take as well."""

DTYPE_CHOICES: Mapping[str, str] = MappingProxyType(
    {
        "auto": "as in the model's file; in training what the device does best",
        "float32": "exact; four bytes a number",
        "bfloat16": "half the memory, the range of float32, fewer digits",
        "float16": "half the memory, more digits, a small range",
    }
)
"""What may be asked for as a dtype, with a line about each."""

DTYPE_WORDS: Mapping[str, str] = MappingProxyType(
    {**DTYPE_CHOICES, **{short: f"short for {name}" for short, name in DTYPE_ALIASES.items()}}
)
"""The same with the short names."""
