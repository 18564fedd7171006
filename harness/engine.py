"""`[engine]`: where runs are computed, and with how much of what.

serial      one run after the other, in this process
processes   runs side by side on this machine
ray         runs as tasks of a Ray cluster; with `samplers`, one run on several of its machines
accelerate  one run whose gradient step is shared by several processes
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, get_args

from harness.errors import UsageError, unknown, within

EngineName = Literal["serial", "processes", "ray", "accelerate"]

_READ: Mapping[EngineName, frozenset[str]] = {
    "serial": frozenset(),
    "processes": frozenset({"jobs"}),
    "ray": frozenset(
        {"address", "jobs", "cpus", "gpus", "memory_gb", "resources", "run_dirs", "samplers"}
        | {"sampler_cpus", "sampler_gpus", "chunk", "staleness"}
        | {"learner", "learner_cpus", "learner_gpus", "learner_processes", "shard"}
        | {"worlds", "world_cpus", "world_resources", "world_seats"}
    ),
    "accelerate": frozenset({"processes", "shard"}),
}


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
    samplers: int = 0
    """Engines that sample for one run; 0 samples where the run is."""
    sampler_cpus: int = 1
    """Cores of one of them."""
    sampler_gpus: float = 0.0
    """GPUs of one of them."""
    chunk: int = 0
    """Requests that are sampled together; 0 is model.batch_rows."""
    learner: Literal["here", "actor"] = "here"
    """Whether gradient steps are taken where the run is, or by an actor with room of its own."""
    learner_cpus: int = 1
    """Cores of it."""
    learner_gpus: float = 0.0
    """GPUs of it."""
    learner_processes: int = 1
    """Processes on its node that share its gradient steps."""
    worlds: int = 0
    """Actors that play a run's worlds; 0 plays them where the run is."""
    world_cpus: int = 1
    """Cores of one of them; 0 where its worlds only wait."""
    world_resources: str = ""
    """Of the cluster's own kinds, of one of them: "sandbox=1" places it where there is one."""
    world_seats: int = 0
    """Conversations whose worlds step side by side; 0 is the world's own number."""
    staleness: int = 0
    """By how many updates the weights that sample may be older than those that learn; 0 is strictly
    on-policy, 1 samples a round while the step of the one before is taken."""
    processes: int = 2
    """Processes that share a gradient step."""
    shard: bool = False
    """Whether each of them holds only its share of the model's weights (FSDP2)."""

    def __post_init__(self) -> None:
        if self.name not in _READ:
            raise unknown("engine", self.name, get_args(EngineName))
        for name in ("jobs", "gpus", "memory_gb", "samplers", "sampler_gpus", "chunk", "worlds"):
            within(f"engine.{name}", getattr(self, name), 0)
        within("engine.world_seats", self.world_seats, 0)
        within("engine.staleness", self.staleness, 0, 16)
        within("engine.learner_gpus", self.learner_gpus, 0)
        within("engine.world_cpus", self.world_cpus, 0)
        for name in ("cpus", "sampler_cpus", "processes", "learner_cpus", "learner_processes"):
            within(f"engine.{name}", getattr(self, name), 1)
        for one in fields(self):
            unread = one.name != "name" and one.name not in _READ[self.name]
            if unread and getattr(self, one.name) != one.default:
                reader = next(n for n, read in _READ.items() if one.name in read)
                raise UsageError(
                    f"engine.{one.name} changes nothing with engine '{self.name}'; "
                    f"add --engine {reader}, or leave it out."
                )
        self._check_actors()
        for said in (self.resources, self.world_resources):
            custom(said)

    def _check_actors(self) -> None:
        about = self.chunk or self.sampler_cpus > 1 or self.sampler_gpus or self.staleness
        if (about or self.learner == "actor") and not self.samplers:
            raise UsageError(
                "engine.chunk, sampler_cpus, sampler_gpus, staleness and learner are about "
                "samplers, and there are none; add --set engine.samplers=2, or leave them out."
            )
        own = self.learner_cpus > 1 or self.learner_gpus or self.learner_processes > 1
        if own and self.learner != "actor":
            raise UsageError(
                "engine.learner_cpus, learner_gpus and learner_processes are about a learner of "
                "its own; add --set engine.learner=actor, or leave them out."
            )
        if not self.worlds and (self.world_cpus != 1 or self.world_resources or self.world_seats):
            raise UsageError(
                "engine.world_cpus, world_resources and world_seats are about actors that play "
                "worlds, and there are none; add --set engine.worlds=2, or leave them out."
            )
        if self.shard and self.name == "ray" and self.learner_processes == 1:
            raise UsageError(
                "engine.shard is about processes that share a learner's steps, and there is one; "
                "add --set engine.learner_processes=2, or leave it out."
            )


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
