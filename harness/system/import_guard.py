"""The rooms install under their literal names; another distribution may own one of them."""

import importlib.util
from pathlib import Path

from harness.errors import HarnessError

_ROOMS = ("envs", "agents", "leaderboards")


def check_rooms() -> None:
    """Refuse to start unless every room resolves beside this package."""
    home = Path(__file__).resolve().parents[2]
    for room in _ROOMS:
        spec = importlib.util.find_spec(room)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != home:
            from importlib.metadata import packages_distributions  # slow to load, rarely needed

            owners = (
                ", ".join(packages_distributions().get(room, [])) or "another folder on the path"
            )
            raise HarnessError(
                f"The name '{room}' belongs to {owners} here, not to the harness; install the "
                "harness in a virtual environment of its own (make setup)."
            )
