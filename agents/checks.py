"""Settings within their ranges, or a sentence that says which range."""

from collections.abc import Iterable

from harness.errors import UsageError, unknown


def within(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Refuse a setting outside [low, high]; NaN is outside."""
    if not low <= value <= high or value == float("inf"):
        top = "" if high == float("inf") else f" and at most {high:g}"
        raise UsageError(
            f"Setting method.{name} is {value:g}, but must be at least {low:g}{top}; "
            f"write --set method.{name}={low:g}."
        )


def one_of(name: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a word that is not among the choices."""
    known = tuple(choices)
    if value not in known:
        raise unknown(f"value of method.{name}", value, known)
