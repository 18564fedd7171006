"""Memory of an update: by count at true dimensions, and as resident memory at the true vocabulary.

    python -m benchmarks.speed memory

Needs Linux, whose `/proc` tells a process's peak.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benchmarks.speed.race import Reading, Row, Worker, race, ratios

TOKENS = 15_000
BY_COUNT = {"Qwen3-4B": 25.0, "Qwen3-8B": 40.0}  # gigabytes at most
PEAK = 900.0  # megabytes at most, of an update of 2,048 tokens
GROWTH = 1.15  # at most, when tokens double
SLOWER = 1.5  # times an update without checkpointing, at most

_SMALL = {
    "vocab_size": 151_936,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 8192,
}
_TIMED = _SMALL | {
    "vocab_size": 32_000,
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
}


def counted() -> Iterator[Row]:
    """Qwen3-4B and 8B with one completion of 15,000 tokens."""
    from benchmarks.speed.memory_count import count

    for name, most in BY_COUNT.items():
        found = count(name, TOKENS, checkpointing=True)
        without = count(name, TOKENS, checkpointing=False)
        rest = found.peak - found.weights - found.adapter - found.kept
        note = (
            f"weights {found.weights / 1e9:.1f}, adapter with AdamW {found.adapter / 1e9:.1f}, "
            f"kept {found.kept / 1e9:.1f}, gradients and one layer {rest / 1e9:.1f}; "
            f"without checkpointing {without.peak / 1e9:.1f}"
        )
        what = f"{name}: GB of an update of {TOKENS:,} tokens"
        yield Row(what, [found.peak / 1e9], most, True, note)


def first(who: str, tokens: int) -> Reading:
    """One update in a process of its own; its part "peak" is in megabytes above the model."""
    task = {"who": who, "tokens": tokens, "completions": 1, "config": _SMALL}
    worker = Worker("memory_update", task)
    try:
        return worker.turn()
    finally:
        worker.close()


def resident(repeats: int) -> Iterator[Row]:
    """Peak resident memory at a vocabulary of 151,936, where logits are nearly all of it."""
    turns = {n: [first("ours", n) for _ in range(repeats)] for n in (1024, 2048, 4096)}
    found = {n: [r.parts["peak"] for r in readings] for n, readings in turns.items()}
    plain = first("plain", 2048)
    ours = median(r.cpu for r in turns[2048])
    note = (
        f"{ours:.1f} CPU s; plain, with all logits: {plain.parts['peak']:,.0f} MB and "
        f"{plain.cpu:.1f} CPU s"
    )
    yield Row("MB of an update of 2,048 tokens, V = 151,936", found[2048], PEAK, True, note)
    middle = {n: median(values) for n, values in found.items()}
    for tokens in (2048, 4096):
        # Of hidden size 64 in two layers, what grows with the tokens is within the allowance.
        growth = [b / a for a, b in zip(found[tokens // 2], found[tokens], strict=True)]
        note = f"{middle[tokens // 2]:,.0f} to {middle[tokens]:,.0f} MB"
        yield Row(f"the same, {tokens // 2:,} to {tokens:,} tokens", growth, GROWTH, True, note)


def timed(repeats: int) -> Iterator[Row]:
    """CPU seconds of an update with checkpointing over one without."""
    task = {"tokens": 1024, "completions": 2, "config": _TIMED}
    names = ("ours", "checkpointing")
    found = race({who: Worker("memory_update", task | {"who": who}) for who in names}, repeats)
    without, on = (found[who] for who in names)
    note = f"{median(r.cpu for r in on):.2f} and {median(r.cpu for r in without):.2f} CPU s"
    yield Row("update with checkpointing / without", ratios(without, on), SLOWER, True, note)


def memory(repeats: int) -> Iterator[Row]:
    """All rows."""
    yield from counted()
    yield from resident(min(repeats, 3))
    yield from timed(repeats)
