"""Optional packages that some environments need and that are installed only on request."""

import importlib.util
from importlib.metadata import version

from envs.errors import EnvError


class ExtraMissing(EnvError):
    """An environment's package is not installed."""


def require(module: str, extra: str, env_name: str) -> None:
    """Raise ExtraMissing, saying what to type, where the package cannot be found."""
    if importlib.util.find_spec(module) is None:
        raise ExtraMissing(
            f"Environment '{env_name}' needs the package {extra}, which is not installed; in the"
            f" project's"
            f" folder type: pip install '.[{extra}]'"
        )


def installed(extra: str) -> str:
    """A package with its version, for fingerprints."""
    return f"{extra}-{version(extra)}"
