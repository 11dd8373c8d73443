"""Words of charts: numbers and durations as short as they can be told apart."""

from __future__ import annotations

import math

from nanoshell.wording import exact_seconds

_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(value: float, digits: int = 4) -> str:
    """Return ``value`` with ``digits`` significant digits: ``2.314``, ``12.35k``, ``3e-4``, ``nan``.

    Digits before the point are all written: ``120`` rather than a power of ten, however few are asked for.
    """
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    rounded = float(f"{value:.{digits - 1}e}")
    size = abs(rounded)
    written = max(digits, 3)
    if min(1e4, 10.0**written) <= size < 1e18:
        unit, prefix = next(pair for pair in _PREFIXES if size >= pair[0])
        return f"{rounded / unit:.{written}g}{prefix}"
    if size >= 1e18 or 0 < size < 1e-3:
        return _power(rounded, digits - 1)
    return f"{rounded:.{written}g}"


def _power(value: float, decimals: int) -> str:
    mantissa, _, power = f"{value:.{decimals}e}".partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(power)}"


def duration(seconds: float, step: float = 1.0) -> str:
    """Return a span of time as exact as ticks ``step`` seconds apart need: ``1h05m``, ``1e-4s``."""
    if not math.isfinite(seconds):
        return short(seconds)
    return f"{short(seconds)}s" if 0 < step < 1e-3 else exact_seconds(seconds, step)


def labels(values: list[float], step: float) -> list[str]:
    """Return a label for each of ``values``, ticks ``step`` apart, no two alike."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest == 0 or step <= 0:
        return [short(value) for value in values]
    if largest >= 1e18 or largest < 1e-3:
        power = math.floor(math.log10(largest) + 1e-12)
        decimals = _decimals(step / 10.0**power) if 10.0**power else 3
        return [_power(value, min(15, decimals)) if value else "0" for value in values]
    unit, prefix = 1.0, ""
    if largest >= 1e4:
        unit, prefix = next(pair for pair in _PREFIXES if largest >= pair[0])
        if _decimals(step / unit) > 3 and largest < 1e9:
            unit, prefix = 1.0, ""
    decimals = min(15, _decimals(step / unit))
    return [f"{value / unit:.{decimals}f}{prefix}" if value else "0" for value in values]


def log_labels(values: list[float]) -> list[str]:
    """Return a label for each of ``values``, ticks of a logarithmic axis."""
    return [short(value, 3) for value in values]


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))
