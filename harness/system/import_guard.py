"""The packages `envs`, `agents` and `leaderboards` must be ours: their names are common ones.

Two things can go wrong. Another distribution may own one of the names: that is refused in one
sentence. A folder of such a name may lie in the working directory, which Python searches first
under `python -m` and where our command also looks for your modules: there `pin_packages` makes
sure that ours are imported.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, TracebackType

from harness.errors import HarnessError

PACKAGES = ("envs", "agents", "leaderboards")
HOME = Path(__file__).resolve().parents[2]
"""The folder in which `harness` lies and the others must lie too."""
_OWNED = b'__distribution__ = "espl-harness"'


class PackageConflict(HarnessError, ImportError):
    """Another distribution owns the name of one of our packages."""


def check_packages(home: Path = HOME) -> None:
    """Refuse to be imported unless every package is found in `home` and is ours.

    Raises:
        PackageConflict: One is not. Uncaught, it is printed as one sentence.
    """
    for name in PACKAGES:
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent != home / name or not _is_ours(origin):
            sys.excepthook = _print_sentence
            raise PackageConflict(
                f"The name '{name}' belongs to {_owner(name, origin)} here, not to the harness; "
                "install the harness in a virtual environment of its own (make setup)."
            )


def _is_ours(init: Path) -> bool:
    # Installed into one folder, the later of two distributions overwrites this file.
    return init.is_file() and _OWNED in init.read_bytes()


def _owner(name: str, origin: Path | None) -> str:
    from importlib.metadata import packages_distributions  # slow to load, rarely needed

    owners = dict.fromkeys(packages_distributions().get(name, ()))
    others = [owner for owner in owners if owner != "espl-harness"]
    elsewhere = f"the folder {origin.parent}" if origin else "another folder on the path"
    return ", ".join(others) or elsewhere


def pin_packages() -> None:
    """From here on import our packages from beside `harness`, whatever the path says."""
    if not any(isinstance(finder, _Pinned) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Pinned())


class _Pinned:
    """Finds our packages where they lie; leaves everything else to the finders after it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The package's spec, or None where another finder may look."""
        # A path is given for submodules: Python finds those inside the package that was pinned.
        init = HOME / name / "__init__.py"
        if path is not None or name not in PACKAGES or not _is_ours(init):
            return None
        return spec_from_file_location(name, init, submodule_search_locations=[str(init.parent)])


def _print_sentence(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """An uncaught refusal without its traceback; any other error as Python prints it."""
    if isinstance(error, PackageConflict):
        print(f"harness: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
