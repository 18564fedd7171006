"""Stress test of SkyRL's server on the CPU: both sides killed and resumed, parity with `hf:`.

Installs SkyRL 0.4.0 from a package index (about 6 GB); `count` are rounds of the whole.
"""

from pathlib import Path

from benchmarks.skyrl_checks import check_all
from benchmarks.skyrl_from_nothing import Missing, make_client, make_server, prepare, serving
from benchmarks.soak._frame import Found, NotRun

COUNT = 1
EPISODES = 36
SECONDS = 2400.0  # of one round
SHORT = False
"""It is no part of `make test`, which installs nothing."""


def soak(seed: int, count: int, folder: Path) -> Found:
    """Install, and check `count` times with a server of its own each time."""
    try:
        make_server(folder / "server", [])
    except Missing as why:
        raise NotRun(str(why)) from None
    make_client(folder / "client", [], beside=True)
    figures: dict[str, int | float | str] = {}
    failures: list[str] = []
    for number in range(count):
        home = folder / f"round-{number}"
        home.mkdir()
        for venv in ("server", "client"):
            (home / venv).symlink_to(folder / venv)
        prepare(home, [], beside=True)
        with serving(home, SECONDS) as place:
            found, wrong = check_all(place, EPISODES)
        figures |= found
        failures += wrong
    return Found(figures, tuple(failures))
