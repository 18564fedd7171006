"""Cost of settings: batch rows, constrained decoding, dtype, shared prefixes, other samplers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.speed.race import Reading, Row, Sized, Worker, race, ratios, speed, wall
from benchmarks.speed.work import WORKS

BATCH_ROWS = {"pocket": (15, 30, 60, 120, 240, 480), "smollm2": (8, 16, 32, 64)}
STEPS = 20  # of a turn of the worker `compiling`
RULES = 20  # of some fifteen tokens
NO_DEARER = 0.95
CONSTRAINED_COST = 1.25  # of sampling in which every row is constrained


def batching(model: str, asked: argparse.Namespace) -> Iterator[Row]:
    """Against transformers' continuous batching, equal lengths."""
    task = {"model": model, "mixed": False, "threads": asked.threads, "dtype": asked.dtype}
    task["rounds"] = 1
    workers = {who: Worker("sampling", task | {"who": who}) for who in ("ours", "batched")}
    found = race(workers, asked.repeats)
    ours, theirs = found["ours"], found["batched"]
    note = f"{speed(ours):,.0f} and {speed(theirs):,.0f} tokens per CPU second"
    what = f"{model}: sampling / continuous batching"
    yield Row(what, ratios(ours, theirs), 1.0, False, f"{note}, {wall(ours, theirs)}")


def batch_rows(model: str, asked: argparse.Namespace) -> Iterator[Row]:
    """Cost of each value of model.batch_rows, relative to the best of them."""
    sizes, default = BATCH_ROWS[model], WORKS[model].batch_rows
    task = {"model": model, "law": "seats", "sizes": sizes, "threads": asked.threads}
    worker = Worker("growth", task)
    found = race({str(n): Sized(worker, str(n)) for n in sizes}, asked.repeats)
    costs = {n: median(r.cpu for r in found[n]) for n in found}
    best = min(costs, key=costs.__getitem__)
    shown = ", ".join(f"{n}: {c / costs[best]:.2f}" for n, c in costs.items())
    here = [a.cpu / b.cpu for a, b in zip(found[str(default)], found[best], strict=True)]
    what = f"{model}: batch_rows {default}, its preset's / the best"
    yield Row(what, here, 1.25, True, f"{shown}; {worker_peak(found)}")


def worker_peak(found: Mapping[str, Sequence[Reading]]) -> str:
    return f"{max(r.peak_mb for rs in found.values() for r in rs):,.0f} MB at most"


def compiling(model: str, asked: argparse.Namespace) -> Iterator[Row]:
    """Gain of torch.compile for a decoding step of transformers, and its start-up cost."""
    task = {"model": model, "threads": asked.threads, "dtype": asked.dtype}
    names = ("compiled", "plain")
    workers = {n: Worker("compiling", {**task, "compiled": n == "compiled"}) for n in names}
    found = race(workers, asked.repeats)
    quick, plain = found["compiled"], found["plain"]
    ready = quick[0].parts["ready"] - plain[0].parts["ready"]
    spared = median(b.cpu - a.cpu for a, b in zip(quick, plain, strict=True)) / STEPS
    again = f"pays off after {ready / spared:,.0f} steps" if spared > 0 else "never pays off"
    note = f"{ready:.1f} CPU s of compiling, {again}"
    yield Row(f"{model}: a decoding step / compiled", ratios(quick, plain), 1.0, False, note)


def constrained_decoding(model: str, asked: argparse.Namespace) -> Iterator[Row]:
    """Cost of constrained decoding for every completion of a batch."""
    task = {"model": model, "mixed": False, "threads": asked.threads, "dtype": asked.dtype}
    names: Mapping[str, Mapping[str, Any]] = {"held": {"grammar": True}, "free": {}}
    workers = {n: Worker("sampling", {**task, "who": "ours", **more}) for n, more in names.items()}
    found = race(workers, asked.repeats)
    held, free = found["held"], found["free"]
    more = median(1e6 * (a.cpu - b.cpu) / a.tokens for a, b in zip(held, free, strict=True))
    note = f"{more:.0f} µs of CPU more a token"
    yield Row(
        f"{model}: constrained decoding / free", ratios(free, held), CONSTRAINED_COST, True, note
    )


def shared_prefixes(model: str, asked: argparse.Namespace) -> Iterator[Row]:
    """Cost of a long system prompt copied for each prompt, relative to one shared copy."""
    task = {"model": model, "mixed": False, "threads": asked.threads, "dtype": asked.dtype}
    task |= {"who": "ours", "rules": RULES, "limit": 32, "rounds": 2}
    workers = {n: Worker("sampling", {**task, "copied": n == "copied"}) for n in ("once", "copied")}
    found = race(workers, asked.repeats)
    once, copied = found["once"], found["copied"]
    note = f"{once[-1].peak_mb:,.0f} and {copied[-1].peak_mb:,.0f} MB at most"
    what = f"{model}: system prompt of {RULES} rules, copied / once"
    yield Row(what, ratios(once, copied), NO_DEARER, False, f"{wall(once, copied)}; {note}")


def dtypes(model: str, asked: argparse.Namespace) -> Iterator[Row]:
    """Speed of bfloat16, with the adapter not merged, relative to float32."""
    small = {"model": model, "mixed": True, "threads": asked.threads, "limit": 24, "rounds": 1}
    step = {"method": "rl", "tasks": 4, "samples": 4}
    sides: Mapping[str, tuple[str, Mapping[str, Any]]] = {
        "sampling": ("sampling", {**small, "who": "ours"}),
        "RL step": ("steps", {**small, **step}),
    }
    for what, (module, task) in sides.items():
        names = ("bfloat16", "float32")
        workers = {name: Worker(module, {**task, "dtype": name}) for name in names}
        found = race(workers, asked.repeats)
        low, full = found["bfloat16"], found["float32"]
        note = f"{wall(low, full)}; {low[-1].peak_mb:,.0f} and {full[-1].peak_mb:,.0f} MB at most"
        yield Row(f"{model}: {what}, float32 / bfloat16", ratios(low, full), 1.0, False, note)
