"""`[engine]`: where runs are computed, and with how much of what.

serial      one run after the other, in this process
processes   runs side by side on this machine
ray         runs as tasks of a Ray cluster

Earlier versions could also spread one run over processes and machines. Their options are refused
where a run begins or goes on, and left out where an old run directory is only read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, TypeVar, get_args

from harness.errors import UsageError, unknown, within

EngineName = Literal["serial", "processes", "ray"]

_READ: Mapping[EngineName, frozenset[str]] = {
    "serial": frozenset(),
    "processes": frozenset({"jobs"}),
    "ray": frozenset({"address", "jobs", "cpus", "gpus", "memory_gb", "resources", "run_dirs"}),
}

_SAMPLE = (
    "to sample on several GPUs use --model vllm:http://HOST:PORT#MODEL with a server started by "
    "vllm serve --data-parallel-size N"
)
_TRAIN = (
    "to train on several GPUs use --model tinker:MODEL with TINKER_BASE_URL set to a server of the "
    "Tinker protocol, such as SkyRL's"
)
_PLAY = "to run environments on another machine set DOCKER_HOST"
_LAG = "weights that sample are never older than those that learn (0 is the only value)"

_REMOVED: Mapping[str, tuple[object, str]] = {
    "samplers": (0, _SAMPLE),
    "sampler_cpus": (1, _SAMPLE),
    "sampler_gpus": (0.0, _SAMPLE),
    "chunk": (0, _SAMPLE),
    "learner": ("here", _TRAIN),
    "learner_cpus": (1, _TRAIN),
    "learner_gpus": (0.0, _TRAIN),
    "learner_processes": (1, _TRAIN),
    "processes": (2, _TRAIN),
    "shard": (False, _TRAIN),
    "worlds": (0, _PLAY),
    "world_cpus": (1, _PLAY),
    "world_resources": ("", _PLAY),
    "world_seats": (0, _PLAY),
    "staleness": (0, _LAG),
}
"""Options of earlier versions: their default, and what to use instead."""

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class EngineSection:
    """`[engine]`: an engine, and what it may take. What it does not read is refused."""

    name: EngineName = "serial"
    address: str = ""
    """Of a Ray cluster's head, HOST:PORT, or "auto"; unset starts one on this machine."""
    jobs: int = 0
    """Runs at once; 0 is as many as there is room for."""
    cpus: int = 1
    """Cores of one run, which are its model's threads too unless model.threads is set."""
    gpus: float = 0.0
    """GPUs of one run; several runs may share one."""
    memory_gb: float = 0.0
    """Memory that one run reserves."""
    resources: str = ""
    """Of the cluster's own kinds, as in "sandbox=1,a100=0.5"."""
    run_dirs: Literal["auto", "shared", "shipped"] = "auto"
    """Whether all machines see the run directories, or saves are sent home; "auto" looks."""

    def __post_init__(self) -> None:
        if self.name not in _READ:
            raise unknown("engine", self.name, get_args(EngineName))
        for name in ("jobs", "gpus", "memory_gb"):
            within(f"engine.{name}", getattr(self, name), 0)
        within("engine.cpus", self.cpus, 1)
        for one in fields(self):
            unread = one.name != "name" and one.name not in _READ[self.name]
            if unread and getattr(self, one.name) != one.default:
                reader = next(n for n, read in _READ.items() if one.name in read)
                raise UsageError(
                    f"engine.{one.name} changes nothing with engine '{self.name}'; "
                    f"add --executor {reader}, or leave it out."
                )
        custom(self.resources)


def removed(table: Mapping[str, object]) -> dict[str, object]:
    """The options of earlier versions that an `[engine]` table sets to more than off."""
    off = (0, "", False)
    found = {
        key: table[key]
        for key, (default, _) in _REMOVED.items()
        if key in table and table[key] != default and table[key] not in off
    }
    return {"name": "accelerate", **found} if table.get("name") == "accelerate" else found


def without_removed(table: Mapping[str, _Value]) -> dict[str, _Value]:
    """An `[engine]` table without the options of earlier versions."""
    return {
        key: value
        for key, value in table.items()
        if key not in _REMOVED and (key, value) != ("name", "accelerate")
    }


def check_removed(table: Mapping[str, object], where: str = "", instead: str = "") -> None:
    """Refuse an `[engine]` table that sets options of earlier versions.

    `where` begins the sentence with whose table it is, and `instead` adds one more way out.

    Raises:
        UsageError: So; says which, and what to use instead.
    """
    found = removed(table)
    if not found:
        return
    said = ", ".join(f"engine.{key}={value}" for key, value in found.items())
    uses = dict.fromkeys(_TRAIN if key == "name" else _REMOVED[key][1] for key in found)
    told = f"{where}{said} {'was' if len(found) == 1 else 'were'} removed from the harness"
    raise UsageError("; ".join((told, *uses, *([instead] if instead else []))) + ".")


def custom(resources: str) -> dict[str, float]:
    """Resources of a cluster's own kinds by name, as in "sandbox=1,a100=0.5"."""
    found: dict[str, float] = {}
    for part in filter(None, (p.strip() for p in resources.split(","))):
        name, equals, amount = part.partition("=")
        try:
            number = float(amount)
        except ValueError:
            number = 0.0
        if not (equals and name.strip() and 0 < number < float("inf")):
            raise UsageError(
                f"engine.resources takes NAME=AMOUNT by comma, as in sandbox=1; got {part!r}."
            )
        found[name.strip()] = number
    return found
