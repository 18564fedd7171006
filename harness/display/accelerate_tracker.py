"""Trackers by `accelerate.tracking`: Weights & Biases, trackio, MLflow, SwanLab, Comet.

`accelerate` knows how each package is called; settled here is where runs go, and that nothing is
uploaded unless a variable of the tracker's own says so.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from typing_extensions import override

from harness.display.tracker import Cell, Numbers, Tracker
from harness.types import JSON

PROJECT = "espl-harness"
_FILED = {"project": PROJECT, "group": "", "tags": ""}
_CLASSES: Mapping[str, str] = {
    "comet_ml": "CometMLTracker",
    "mlflow": "MLflowTracker",
    "swanlab": "SwanLabTracker",
    "trackio": "TrackioTracker",
    "wandb": "WandBTracker",
}
_CONTINUES = ("trackio", "wandb")
"""Trackers that add to the same run when it is resumed; others get its iterations again."""


class AccelerateTracker(Tracker):
    """One tracker of `accelerate`, by its name there."""

    def __init__(
        self,
        name: str,
        folder: Path,
        title: str,
        settings: Mapping[str, JSON],
        note: Callable[[str], None],
        constants: Numbers,
    ) -> None:
        super().__init__(note)
        self.name, self.constants = name, constants
        filed = {**_FILED, **cast(Mapping[str, str], settings.get("tracking") or {})}
        options = {**_OPTIONS[name](folder, title), **_labels(name, filed)}
        with _one_process():
            import_module("accelerate").PartialState()  # its logging refuses to work without
        tracking = import_module("accelerate.tracking")
        self._tracker: Any = getattr(tracking, _CLASSES[name])(filed["project"], **options)
        self._tracker.start()
        self._tracker.store_init_configuration(dict(_flat(settings)))
        if name not in _CONTINUES:
            self.replay(folder)

    @override
    def log(self, step: int, numbers: Numbers) -> None:
        self._tracker.log(dict(numbers), step=step)

    @override
    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        found = [list(row) for row in rows]
        if self.name == "wandb":
            self._tracker.log_table(name, columns=list(columns), data=found)
        elif self.name == "mlflow":
            by_column = dict(zip(columns, map(list, zip(*found, strict=True)), strict=True))
            import_module("mlflow").log_table(by_column, artifact_file=f"{name}.json")
        elif self.name == "trackio":
            frame = import_module("pandas").DataFrame(found, columns=list(columns))
            import_module("trackio").log({name: import_module("trackio").Table(dataframe=frame)})
        elif self.name == "comet_ml":
            self._tracker.writer.log_table(f"{name}.csv", found, headers=list(columns))

    @override
    def finish(self) -> None:
        self._tracker.finish()


def _labels(name: str, filed: Mapping[str, str]) -> dict[str, object]:
    """Group and tags as the tracker takes them, where they are set."""
    tags = [tag.strip() for tag in filed["tags"].split(",") if tag.strip()]
    group = filed["group"]
    if name in ("wandb", "trackio"):
        named: dict[str, object] = {"group": group} if group else {}
        return {**named, "tags": tags} if tags and name == "wandb" else named
    # These have no groups: the group is one more tag.
    every = [*tags, group] if group else tags
    if name == "mlflow":
        return {"tags": dict.fromkeys(every, "true")} if every else {}
    return {"tags": every} if every and name == "swanlab" else {}


@contextmanager
def _one_process() -> Iterator[None]:
    """Hide what a launcher such as torchrun set: `accelerate` would wait for other processes."""
    signs = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.endswith(signs)}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _flat(settings: Mapping[str, JSON], prefix: str = "") -> Iterator[tuple[str, JSON]]:
    """Settings by their dotted names, as in `--set`."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _id(folder: Path) -> str:
    """A name for a run that stays the same when it is resumed."""
    return sha256(str(folder.resolve()).encode()).hexdigest()[:12]


def _wandb(folder: Path, title: str) -> dict[str, object]:
    """Offline in the run's `wandb` folder, for `wandb sync`; WANDB_MODE=online uploads at once."""
    mode = os.environ.get("WANDB_MODE", "offline")
    (folder / "wandb").mkdir(exist_ok=True)
    return {
        "name": title,
        "id": _id(folder),
        "resume": "allow" if mode == "online" else None,
        "dir": str(folder),
        "mode": mode,
        "settings": import_module("wandb").Settings(silent=True, console="off", disable_git=True),
    }


def _trackio(folder: Path, title: str) -> dict[str, object]:
    """On this machine: `trackio show --project espl-harness`."""
    return {"name": f"{title} {_id(folder)}", "resume": "allow", "embed": False}


def _mlflow(folder: Path, title: str) -> dict[str, object]:
    """In `mlflow.db` beside the run's other files, unless MLFLOW_TRACKING_URI names a server."""
    if "MLFLOW_TRACKING_URI" not in os.environ:
        import_module("mlflow").set_tracking_uri(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
    return {"run_name": title}


def _swanlab(folder: Path, title: str) -> dict[str, object]:
    """Offline in the run's `swanlab` folder, for `swanlab sync`; SWANLAB_MODE=online uploads."""
    mode = os.environ.get("SWANLAB_MODE", "offline")
    return {"experiment_name": title, "mode": mode, "logdir": str(folder / "swanlab")}


def _comet(folder: Path, title: str) -> dict[str, object]:
    """Offline in the run's `comet` folder, for `comet upload`; COMET_START_ONLINE=1 uploads."""
    config = import_module("comet_ml").ExperimentConfig(
        name=title,
        offline_directory=str(folder / "comet"),
        log_code=False,  # only what a run's records hold
        log_env_details=False,
        log_git_metadata=False,
        log_git_patch=False,
    )
    online = os.environ.get("COMET_START_ONLINE", "") in ("1", "true")
    return {"online": online, "experiment_config": config}


_OPTIONS: Mapping[str, Callable[[Path, str], dict[str, object]]] = {
    "comet_ml": _comet,
    "mlflow": _mlflow,
    "swanlab": _swanlab,
    "trackio": _trackio,
    "wandb": _wandb,
}
