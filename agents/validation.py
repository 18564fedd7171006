"""Validation of method settings, with messages that name the accepted values."""

import math
from collections.abc import Iterable

from harness import errors


def within(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Refuse a setting outside [low, high]; NaN and infinity are outside."""
    errors.within(f"method.{name}", math.nan if math.isinf(value) else value, low, high)


def one_of(name: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a value that is not among the choices."""
    known = tuple(choices)
    if value not in known:
        raise errors.unknown(f"value of method.{name}", value, known)
