"""Settings shrink to the memory that is free, what cannot fit is refused, rows enter by memory."""

from collections import deque
from dataclasses import replace
from typing import Any

import pytest

from harness.errors import ModelError
from harness.policies.base import Request, Sampling
from harness.policies.hf.admission import RowLimit
from harness.policies.hf.policy import HFPolicy
from harness.policies.memory_fit import FittedSettings, fit_settings
from harness.policies.memory_plan import (
    EpisodeSizes,
    MemoryWork,
    ModelSizes,
    kv_row_bytes,
    sampling_memory,
    update_memory,
)
from harness.settings.model import ModelSettings
from harness.types import Message
from tests.policies.test_policies_memory_plan import QWEN3_4B, sizes_of

SIZES = sizes_of(QWEN3_4B)
WEIGHTS = SIZES.parameters * 2


def fitted(gigabytes: float, reply: int = 15_000, **settings: Any) -> FittedSettings:
    chosen = ModelSettings(**settings)
    itemsize = 4 if chosen.dtype == "float32" else 2
    work = MemoryWork.of(EpisodeSizes(600, reply, 150, True), chosen, itemsize, True)
    free = int(gigabytes * 1e9) + WEIGHTS - SIZES.parameters * itemsize
    return fit_settings("hf:a/model", SIZES, work, chosen, free)


def test_where_there_is_memory_nothing_changes() -> None:
    assert fitted(150) == FittedSettings(ModelSettings())


@pytest.mark.parametrize("gigabytes", [60, 20, 12])
def test_rows_are_limited_so_that_sampling_fits(gigabytes: int) -> None:
    found = fitted(gigabytes)
    cache = found.settings.kv_cache_gb * 1e9
    work = MemoryWork.of(EpisodeSizes(600, 15_000, 150, True), found.settings, 2, True)
    rows = int(cache // kv_row_bytes(SIZES, 2, work.longest))
    assert 1 <= rows < 32
    assert f"at most {rows:,} of 32 completions of 15,000 tokens" in found.note
    assert f"model.kv_cache_gb={found.settings.kv_cache_gb:g}" in found.note
    memory = gigabytes * 10**9 + WEIGHTS
    assert sampling_memory(SIZES, replace(work, rows=rows)).total <= memory
    assert sampling_memory(SIZES, replace(work, rows=2 * rows + 2)).total > memory


def test_a_micro_batch_is_limited_so_that_an_update_fits() -> None:
    found = fitted(4, reply=1000)
    micro = found.settings.micro_batch_tokens
    assert micro < 8192 and f"model.micro_batch_tokens={micro}" in found.note
    work = MemoryWork.of(EpisodeSizes(600, 1000, 150, True), found.settings, 2, True)
    update = update_memory(SIZES, work, 0)
    assert update is not None and update.total <= 4e9 + WEIGHTS


def test_settings_of_a_resumed_run_are_kept() -> None:
    first = fitted(12).settings
    again = fitted(11.8, **{k: getattr(first, k) for k in ("kv_cache_gb", "micro_batch_tokens")})
    assert again == FittedSettings(first)


@pytest.mark.parametrize(
    ("gigabytes", "settings", "helps"),
    [
        (7.0, {}, r"set sampling.max_tokens=13\d\d\d \(a reduced Track\)"),
        (20.0, {"checkpointing": "off"}, "set model.checkpointing=auto"),
        (11.0, {"dtype": "float32"}, "set model.dtype=bfloat16"),
        (0.5, {}, "choose a smaller model"),
    ],
)
def test_a_reply_that_cannot_fit_is_refused_with_what_helps(
    gigabytes: float, settings: dict[str, Any], helps: str
) -> None:
    with pytest.raises(ModelError, match=r"one reply of 15,000 tokens takes .* GB") as error:
        fitted(gigabytes, **settings)
    error.match(helps)


def test_one_row_is_always_admitted() -> None:
    assert RowLimit(8).admitted(10**9) == 8
    assert RowLimit(8, 100, lambda tokens: 10 * tokens).admitted(3) == 3
    assert RowLimit(8, 100, lambda tokens: 10 * tokens).admitted(50) == 1


def asked(lengths: list[int]) -> deque[Request]:
    conversation = (Message("user", "Say something."),)
    return deque(
        Request(str(i), conversation, Sampling(1.0, 1.0, n), i) for i, n in enumerate(lengths)
    )


def test_the_sampler_runs_as_many_rows_as_their_keys_and_values_have_room_for(
    tiny_policy: HFPolicy,
) -> None:
    sampler: Any = tiny_policy._sampler
    tiny_policy.rendering.ends = frozenset()
    lengths = [40, 8, 8, 8, 40, 8, 8, 8, 8, 8]
    free = dict(tiny_policy.generate(asked(lengths)))
    prompt = len(tiny_policy.rendering.prompt((Message("user", "Say something."),)).ids)
    running: list[int] = []
    step = sampler._decode_step

    def counted(batch: Any, ended: list[int]) -> Any:
        running.append(len(batch.rows))
        longest = max(len(row.prompt) + row.limit for row in batch.rows)
        assert len(batch.rows) <= max(1, 3 * (prompt + 40) // longest)
        return step(batch, ended)

    sampler._decode_step = counted
    sampler._limit = RowLimit(8, 3 * (prompt + 40), lambda tokens: tokens)
    limited = dict(tiny_policy.generate(asked(lengths)))
    assert max(running) > 1
    assert {id: len(c.tokens.sampled) for id, c in limited.items() if c.tokens} == {
        str(i): n for i, n in enumerate(lengths)
    }
    # Other rows in a batch change logits by rounding only.
    assert {id: c.text for id, c in limited.items()} == {id: c.text for id, c in free.items()}


def test_a_model_whose_sizes_are_not_known_is_left_as_it_is(
    tiny_policy: HFPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_policy, "_sizes", None)
    assert tiny_policy.fit_memory(EpisodeSizes(10, 10**6, 4, True)) == ()


def test_a_policy_takes_over_what_was_fitted(
    tiny_policy: HFPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = tiny_policy._sizes
    assert isinstance(sizes, ModelSizes)
    monkeypatch.setattr("harness.policies.hf.policy.free_memory", lambda device: 20_000_000)
    (note,) = tiny_policy.fit_memory(EpisodeSizes(200, 20_000, 4, False))
    assert "model.kv_cache_gb=" in note
    limit = tiny_policy._row_limit()
    assert tiny_policy.settings.kv_cache_gb > 0
    assert limit.admitted(20_200) < tiny_policy.settings.batch_rows
    sampler: Any = tiny_policy._sampler
    assert sampler._limit.kv_bytes == limit.kv_bytes
