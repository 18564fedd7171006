"""The harness: what every method, environment and result shares.

From Python, the same as on the command line:

    import harness
    summary = harness.run(env="arithmetic", methods=["base", "espl"], seeds=[0, 1])
    print(summary.text)
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.system.import_guard import check_packages

if TYPE_CHECKING:
    from harness.runs.api import Summary

__all__ = ["run"]

if sys.argv[:1] != ["-m"]:  # under `python -m harness`, harness.cli sets the path right first
    check_packages()


def run(
    env: str = "calibration/both",
    methods: Sequence[str] = ("espl",),
    model: str | None = None,
    seeds: Sequence[int] = (0,),
    *,
    preset: str | None = None,
    episodes: int | None = None,
    test_tasks: int | None = None,
    samples: int | None = None,
    data_dir: str | Path | None = None,
    run_dir: str | Path | None = None,
    settings: Sequence[str] = (),
) -> "Summary":
    """Train every method with every seed, evaluate each once; returns entries and leaderboard.

    `settings` are as for `--set`: "method.learning_rate=1e-5". Everything left out has the default
    of `harness run`.

    Raises:
        HarnessError: With the message of the command line.
    """
    from harness.runs.api import run as perform

    return perform(
        env=env,
        methods=methods,
        model=model,
        seeds=seeds,
        preset=preset,
        episodes=episodes,
        test_tasks=test_tasks,
        samples=samples,
        data_dir=data_dir,
        run_dir=run_dir,
        settings=settings,
    )
