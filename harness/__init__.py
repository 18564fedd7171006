"""The harness: what every method, environment and result shares.

From Python, the same as on the command line:

    import harness
    results = harness.run(env="arithmetic", methods=["base", "espl"], seeds=[0, 1])
    print(results.text)
    results.to_pandas("outcomes")
    harness.compare("base", "espl", within="runs")
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.system.import_guard import check_packages

if TYPE_CHECKING:
    from harness.callbacks import Callback
    from harness.runs.results.differences import Differences
    from harness.runs.results.results import Results
    from harness.settings.sources import Scalar

__all__ = ["compare", "load", "resume", "run"]

if sys.argv[:1] != ["-m"]:  # under `python -m harness`, harness.cli sets the path right first
    check_packages()


def run(
    env: str | None = None,
    methods: str | Sequence[str] = (),
    model: str | None = None,
    seeds: Sequence[int] = (),
    *,
    preset: str | None = None,
    config: "str | Path | Mapping[str, Mapping[str, Scalar]] | None" = None,
    prompt: str | Path | None = None,
    episodes: int | None = None,
    test_tasks: int | None = None,
    samples: int | None = None,
    data_dir: str | Path | None = None,
    run_dir: str | Path | None = None,
    settings: Sequence[str] = (),
    trackers: Sequence[str] = (),
    callbacks: "Sequence[Callback]" = (),
    progress: bool = True,
) -> "Results":
    """Train every method with every seed, evaluate each once; returns entries and leaderboard.

    `settings` are as for `--set`: "method.learning_rate=1e-5". `config` is a TOML file, or its
    sections as mappings. `prompt` is the initial system prompt: its text, or a `Path` of a file.
    `callbacks` get every event of runs that this process computes. `progress` is shown on standard
    error, in a notebook below the cell. Everything left out has the default of `harness run`.

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
        config=config,
        prompt=prompt,
        episodes=episodes,
        test_tasks=test_tasks,
        samples=samples,
        data_dir=data_dir,
        run_dir=run_dir,
        settings=settings,
        trackers=trackers,
        callbacks=callbacks,
        progress=progress,
    )


def resume(
    folder: str | Path | None = None,
    *,
    trackers: Sequence[str] = (),
    callbacks: "Sequence[Callback]" = (),
    progress: bool = True,
) -> "Results":
    """Continue a stopped run, or all in a folder; without a name, the latest in runs/.

    Raises:
        HarnessError: With the message of the command line.
    """
    from harness.runs.api import resume as perform

    return perform(folder, trackers, callbacks, progress)


def load(*paths: str | Path) -> "Results":
    """Read finished runs and entries in files and folders; without a name, the latest in runs/.

    `notes` of the results name files that are no entries.

    Raises:
        UsageError: A path does not exist.
    """
    from harness.runs.api import load as read

    return read(paths)


def compare(
    *methods: str | Path, within: str | Path | None = None, seeds: Sequence[int] = ()
) -> "Differences":
    """Compare methods, run directories or entry files with the first of them.

    Methods are looked up in `within`, or else in runs/ and the published results.

    Raises:
        HarnessError: With the message of `harness compare`.
    """
    from harness.runs.api import compare as perform

    return perform(methods, within, seeds)
