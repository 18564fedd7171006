"""Checks of the values of an environment's options."""

import math
from collections.abc import Sequence

from envs.errors import UnknownOption, did_you_mean, option_key


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse an option's value that is not among the choices."""
    if value not in choices:
        raise UnknownOption(
            f"{option_key(name)} cannot be '{value}'. {did_you_mean(value, choices)}"
        )


def check_number(name: str, value: object, low: int, high: int) -> None:
    """Refuse an option that is no whole number within [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UnknownOption(
            f"{option_key(name)} is {value!r}, but should be a whole number from {low} to {high}."
        )


def check_real(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> None:
    """Refuse an option that is no number within [low, high]."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real or not low <= value <= high:  # type: ignore[operator]  # a number, as just checked
        limits = f" from {low:g} to {high:g}" if math.isfinite(high) else ""
        raise UnknownOption(f"{option_key(name)} is {value!r}, but should be a number{limits}.")
