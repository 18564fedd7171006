"""All quoted speed ratios, each from contestants that take turns on this machine.

    python -m benchmarks.speed                            what can be measured here
    python -m benchmarks.speed --trl VENV/bin/python      also against TRL, in its own environment
    python -m benchmarks.speed sampling --models pocket --repeats 9
    python -m benchmarks.speed start costs                what the harness itself costs
    python -m benchmarks.speed memory                     what an update takes
    python -m benchmarks.speed laws --chart docs/growth.svg

TRL is no dependency: python -m venv VENV && VENV/bin/pip install trl==1.16.0 torch==2.13.0 peft.
Ratios are of CPU seconds (medians over repeats, range in brackets) unless the row says otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.speed.choices import (
    batch_rows,
    batching,
    compiling,
    constrained_decoding,
    dtypes,
    shared_prefixes,
)
from benchmarks.speed.costs import costs
from benchmarks.speed.laws import laws
from benchmarks.speed.memory import memory
from benchmarks.speed.race import Reading, Row, Worker, race, ratios, speed, wall
from benchmarks.speed.start import start
from benchmarks.speed.work import WORKS

TARGETS = {  # model: sampling, RL step
    "pocket": (3.0, 3.0),
    "smollm2": (1.5, 1.3),
}
PARTS = ("sampling", "training", "reflection")


def sampling(model: str, asked: argparse.Namespace) -> Iterator[Row]:
    """Tokens a second against `generate`: the same prompts, lengths, dtype and threads."""
    for mixed in (False, True):
        task = {"model": model, "mixed": mixed, "threads": asked.threads, "dtype": asked.dtype}
        names = ("ours", "generate")
        workers = {who: Worker("sampling", task | {"who": who}) for who in names}
        found = race(workers, asked.repeats)
        ours, theirs = found["ours"], found["generate"]
        what = f"{model}: sampling / generate, {'mixed' if mixed else 'equal'} lengths"
        details = f"{speed(ours):,.0f} and {speed(theirs):,.0f} tokens per CPU second"
        row = Row(what, ratios(ours, theirs), TARGETS[model][0], False)
        yield replace(row, note=f"{details}, {wall(ours, theirs)}")


def parts(readings: Sequence[Reading]) -> str:
    details = {p: median(r.parts.get(p, 0.0) for r in readings) for p in PARTS}
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in details.items() if seconds)


def against_trl(model: str, asked: argparse.Namespace) -> Iterator[Row]:
    """One RL step and its peak memory against GRPOTrainer."""
    from harness.policies.registry import EMBEDDED

    work = WORKS[model]
    task = asdict(work) | {"threads": asked.threads, "dtype": asked.dtype}
    task |= {"folder": str(EMBEDDED[model]().folder), "method": "rl"}
    ours = Worker("steps", task)
    trl = Worker("trl_step", task, python=asked.trl, first=ours.facts["prompts"])
    found = race({"ours": ours, "trl": trl}, asked.repeats)
    a, b = found["ours"], found["trl"]
    costs = [y.cpu / x.cpu for x, y in zip(a, b, strict=True)]
    seconds = f"{median(r.cpu for r in a):.2f} and {median(r.cpu for r in b):.2f} CPU s"
    note = f"{seconds}, {wall(a, b)}; ours: {parts(a)}"
    yield Row(f"{model}: RL step, TRL / ours", costs, TARGETS[model][1], False, note)
    mine, other = a[-1].peak_mb, b[-1].peak_mb
    note = f"{mine:,.0f} and {other:,.0f} MB"
    yield Row(f"{model}: peak memory, ours / TRL", [mine / other], 1.0, True, note)


def espl(model: str, asked: argparse.Namespace) -> Iterator[Row]:
    """E-SPL's step against RL's at equal rollouts, reflection apart, per sampled token."""
    task = {"model": model, "threads": asked.threads, "dtype": asked.dtype}
    workers = {m: Worker("steps", task | {"method": m}) for m in ("rl", "espl")}
    found = race(workers, max(asked.repeats, 5), warm=2)

    def cost(r: Reading) -> float:
        return (r.cpu - r.parts["reflection"]) / r.tokens

    pairs = zip(found["rl"], found["espl"], strict=True)
    costs = [cost(b) / cost(a) for a, b in pairs]
    note = f"rl: {parts(found['rl'])}; espl: {parts(found['espl'])}"
    yield Row(f"{model}: E-SPL step / RL step, per token", costs, 1.10, True, note)


def updates(model: str, asked: argparse.Namespace) -> Iterator[Row]:
    """An update in one flat row against one through the model's own modules."""
    task = {"model": model, "threads": asked.threads, "dtype": asked.dtype}
    workers = {who: Worker("updates", task | {"who": who}) for who in ("flat", "modules")}
    found = race(workers, asked.repeats)
    flat, modules = found["flat"], found["modules"]
    note = f"{median(r.cpu for r in flat):.2f} and {median(r.cpu for r in modules):.2f} CPU s"
    yield Row(f"{model}: update, modules / flat", ratios(flat, modules), 1.0, False, note)


def growth(model: str, asked: argparse.Namespace) -> Iterator[Row]:
    """Doubling prompts, samples, tasks, turns and context."""
    if model != "pocket":
        print(f"{model}: growth is measured on pocket, whose sizes fit a few minutes")
        return
    common = {"threads": asked.threads, "dtype": asked.dtype}
    yield from laws(model, asked.repeats, common, asked.chart)


HARNESS = {"start": start, "costs": costs, "memory": memory}
SECTIONS = {
    "sampling": sampling,
    "trl": against_trl,
    "espl": espl,
    "updates": updates,
    "batching": batching,
    "batch_rows": batch_rows,
    "compiling": compiling,
    "constrained_decoding": constrained_decoding,
    "shared_prefixes": shared_prefixes,
    "dtypes": dtypes,
    "laws": growth,
}


def machine() -> Mapping[str, Any]:
    names = ("torch", "transformers", "peft")
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": cores,
        "load": load,
        "python": sys.version.split()[0],
    } | {name: version(name) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", default="pocket,smollm2")
    parser.add_argument(
        "sections", nargs="*", choices=[*HARNESS, *SECTIONS, []], help="all by default"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of every contestant")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--trl", help="a Python that has trl, torch, peft and datasets")
    parser.add_argument("--chart", type=Path, help="also draw the laws, as SVG")
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    asked = parser.parse_args()
    facts = machine()
    print(", ".join(f"{k} {v}" for k, v in facts.items()), flush=True)
    rows: list[Row] = []
    wanted = asked.sections or [*HARNESS, *SECTIONS]
    for name in filter(HARNESS.__contains__, wanted):
        for row in HARNESS[name](asked.repeats):
            print(row, flush=True)
            rows.append(row)
    for model in asked.models.split(","):
        for name in filter(SECTIONS.__contains__, wanted):
            if name == "trl" and not asked.trl:
                print(f"{model}: not compared with TRL; name its Python with --trl")
                continue
            for row in SECTIONS[name](model, asked):
                print(row, flush=True)
                rows.append(row)
    if asked.out:
        details = [asdict(r) | {"met": r.met} for r in rows]
        asked.out.write_text(json.dumps({"machine": facts, "rows": details}, indent=2) + "\n")


if __name__ == "__main__":
    main()
