"""The dtypes that a person may ask for, by name. No torch here."""

from __future__ import annotations

from typing import Literal, get_args

Dtype = Literal["float32", "bfloat16", "float16"]

DTYPES: tuple[str, ...] = get_args(Dtype)
"""What a model can compute in. Where ``auto`` may be asked for too, what it means is said there."""

DTYPE_ALIASES = {"f32": "float32", "fp32": "float32", "bf16": "bfloat16", "f16": "float16", "fp16": "float16"}
"""The short names of the seed family, which presets and ``train`` take as well."""
