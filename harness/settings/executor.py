"""`[executor]`: the place where runs are computed, and the resources of one run.

serial      one run after the other, in this process
processes   runs side by side on this machine
ray         runs as tasks of a Ray cluster

Earlier versions could also spread one run over processes and machines. Their options are refused
where a run begins or goes on, and left out where an old run directory is only read.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, ClassVar, Literal, TypeVar

from annotated_types import Ge, Le

from harness.errors import UsageError
from harness.settings.build import Settings, settings
from harness.settings.fields import EXECUTES, UnitName

ExecutorName = Literal["serial", "processes", "ray"]

_READ: Mapping[ExecutorName, frozenset[str]] = {
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


@settings
class ExecutorSection(Settings):
    """`[executor]`: an executor, and its resources. A key that it does not read is refused."""

    section: ClassVar[str] = "executor"

    name: Annotated[ExecutorName, EXECUTES] = "serial"
    """Executor: "serial" (one run after the other), "processes" (side by side on this machine) or
    "ray" (a Ray cluster)."""
    address: Annotated[str, EXECUTES] = ""
    """Address of a Ray cluster's head, HOST:PORT, or "auto"; unset starts one on this machine."""
    jobs: Annotated[int, Ge(0), Le(10_000), EXECUTES, UnitName("runs")] = 0
    """Runs at the same time; 0 is as many as there is room for."""
    cpus: Annotated[int, Ge(1), Le(10_000), EXECUTES, UnitName("cores")] = 1
    """Cores of one run, which are its model's threads too unless model.threads is set."""
    gpus: Annotated[float, Ge(0), Le(1_000), EXECUTES, UnitName("GPUs")] = 0.0
    """GPUs of one run; several runs may share one."""
    memory_gb: Annotated[float, Ge(0), Le(1_000_000), EXECUTES, UnitName("GB")] = 0.0
    """Memory that one run reserves."""
    resources: Annotated[str, EXECUTES] = ""
    """Custom resources of the cluster for one run, as in "sandbox=1,a100=0.5"."""
    run_dirs: Annotated[Literal["auto", "shared", "shipped"], EXECUTES] = "auto"
    """Run directories: "shared" (all machines see them) or "shipped" (saves are sent home); "auto"
    finds out."""

    def __post_init__(self) -> None:
        for one in fields(self):
            # A key that this executor would ignore is refused: whoever set it expects an effect.
            unread = one.name != "name" and one.name not in _READ[self.name]
            if unread and getattr(self, one.name) != one.default:
                reader = next(n for n, read in _READ.items() if one.name in read)
                raise UsageError(
                    f"executor.{one.name} changes nothing with executor '{self.name}'; "
                    f"add --executor {reader}, or leave it out."
                )
        custom(self.resources)


def removed(table: Mapping[str, object], typed: bool = False) -> dict[str, object]:
    """The options of earlier versions that an `[executor]` table sets to more than off.

    With `typed` those that are off too: earlier versions wrote them into files, users did not.
    """
    off = (0, "", False)
    found = {
        key: table[key]
        for key, (default, _) in _REMOVED.items()
        if key in table and (typed or (table[key] != default and table[key] not in off))
    }
    return {"name": "accelerate", **found} if table.get("name") == "accelerate" else found


def without_removed(table: Mapping[str, _Value]) -> dict[str, _Value]:
    """An `[executor]` table without the options of earlier versions."""
    return {
        key: value
        for key, value in table.items()
        if key not in _REMOVED and (key, value) != ("name", "accelerate")
    }


def check_removed(
    table: Mapping[str, object],
    section: str = "executor",
    where: str = "",
    instead: str = "",
    typed: bool = False,
) -> None:
    """Refuse an `[executor]` table that sets options of earlier versions.

    `section` is the table's name as it was written, `where` begins the sentence with whose table
    it is, and `instead` adds one more way out. `typed`: see `removed`.

    Raises:
        UsageError: So; says which, and what to use instead.
    """
    found = removed(table, typed)
    if not found:
        return
    said = ", ".join(f"{section}.{key}={value}" for key, value in found.items())
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
                f"executor.resources takes NAME=AMOUNT by comma, as in sandbox=1; got {part!r}."
            )
        found[name.strip()] = number
    return found
