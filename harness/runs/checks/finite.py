"""The way on where a number of training became NaN or infinite."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from harness.errors import ModelError, NotFinite
from harness.settings.config import Config

_LOWER = 0.1
"""The suggested learning rate, as a share of the one that failed; the default if that is less."""


@contextmanager
def not_finite_explained(
    request: Config, folder: Path, iteration: Callable[[], int]
) -> Iterator[None]:
    """Say in which iteration (counted from 1) it happened, and how the run goes on."""
    try:
        yield
    except NotFinite as error:
        settings: Any = request.method_settings
        rate = float(asdict(settings).get("learning_rate", 0.0))
        lower = min(rate * _LOWER, _default_rate(settings))
        change = f" --change method.learning_rate={lower:g}" if rate else ""
        number = iteration()
        kept = f"iteration {number - 1} stays the checkpoint" if number > 1 else "nothing was saved"
        raise ModelError(
            f"In iteration {number} {error.what} is not a finite number, and {kept}: continue with "
            f"harness resume {folder}{change}."
        ) from error


def _default_rate(settings: Any) -> float:
    defaults: dict[str, Any] = {field.name: field.default for field in fields(settings)}
    return float(defaults.get("learning_rate", math.inf))
