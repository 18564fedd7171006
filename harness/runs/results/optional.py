"""Packages that only notebooks need, imported where they are used."""

import importlib
from typing import Any

from harness.errors import UsageError


def package(module: str, use: str) -> Any:
    """Import a package of the extra `notebook`.

    Raises:
        UsageError: It is not installed; the sentence says what to type.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise UsageError(
            f"{use} needs {name}, which is not installed; "
            "in the project's folder type: pip install '.[notebook]'."
        ) from error
