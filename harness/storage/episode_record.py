"""Episodes and completions as JSON that reads back equal, token ids and log-probabilities included.

Transcripts (`transcript`) are for readers and leave tokens out; these records are for a resumed
run, which learns from them as from the episodes themselves.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from harness.types import JSON, Completion, Ending, Episode, Finish, Task, Tokens, Turn

_SINGLE, _DOUBLE, _IDS, _LONG_IDS = "<f4", "<f8", "<i4", "<i8"


def episode_record(episode: Episode) -> dict[str, JSON]:
    """An episode with everything that methods learn from."""
    return {
        "prompt": episode.prompt_id,
        "task": [episode.task.split, episode.task.seed],
        "sample": episode.sample,
        "version": episode.policy_version,
        "turns": [
            {
                "observation": turn.observation,
                "completion": completion_record(turn.completion),
                "reward": _number(turn.reward),
            }
            for turn in episode.turns
        ],
        "ending": episode.ending.value,
        "reward": _number(episode.reward),
        "success": episode.success,
        "feedback": episode.feedback,
        "answer": episode.answer,
        "error": episode.error,
    }


def episode_from(record: Mapping[str, Any]) -> Episode:
    """The episode of a record.

    Raises:
        ValueError, KeyError, TypeError: The record is none.
    """
    split, seed = record["task"]
    return Episode(
        prompt_id=record["prompt"],
        task=Task(split, seed),
        sample=record["sample"],
        policy_version=record["version"],
        turns=tuple(
            Turn(t["observation"], completion_from(t["completion"]), float(t["reward"]))
            for t in record["turns"]
        ),
        ending=Ending(record["ending"]),
        reward=float(record["reward"]),
        success=record["success"],
        feedback=record["feedback"],
        answer=record["answer"],
        error=record["error"],
    )


def completion_record(completion: Completion) -> dict[str, JSON]:
    """A completion under the names of its fields."""
    record: dict[str, JSON] = {
        field.name: getattr(completion, field.name) for field in fields(completion)
    }
    tokens = completion.tokens
    record["finish"] = completion.finish.value
    record["tokens"] = None if tokens is None else _packed_tokens(tokens)
    return record


def completion_from(record: Mapping[str, Any]) -> Completion:
    """The completion of a record.

    Raises:
        ValueError, KeyError, TypeError: The record is none.
    """
    tokens = record["tokens"]
    return Completion(
        **{
            **record,
            "finish": Finish(record["finish"]),
            "tokens": None if tokens is None else _unpacked_tokens(tokens),
        }
    )


def _number(value: float) -> JSON:
    """The value, or its name where JSON has no number for it."""
    return value if math.isfinite(value) else str(value)


def _packed_tokens(tokens: Tokens) -> JSON:
    # Packed as bytes: a round of long completions has millions of tokens, and decimal digits would
    # take three times the room.
    return {
        "prompt": _packed_ids(tokens.prompt),
        "sampled": _packed_ids(tokens.sampled),
        "logprobs": _packed_logprobs(tokens.logprobs),
    }


def _unpacked_tokens(record: Mapping[str, Any]) -> Tokens:
    return Tokens(
        cast(tuple[int, ...], _unpacked(record["prompt"])),
        cast(tuple[int, ...], _unpacked(record["sampled"])),
        _unpacked(record["logprobs"]),
    )


def _packed_ids(ids: Sequence[int]) -> JSON:
    dtype = _IDS if max(ids, default=0) < 1 << 31 else _LONG_IDS
    return _packed(np.asarray(ids, dtype), dtype)


def _packed_logprobs(logprobs: Sequence[float]) -> JSON:
    # Samplers compute in single precision, but nothing obliges them to.
    single = np.asarray(logprobs, _SINGLE)
    exact = tuple(single.tolist()) == tuple(logprobs)
    return _packed(single, _SINGLE) if exact else _packed(np.asarray(logprobs, _DOUBLE), _DOUBLE)


def _packed(array: NDArray[Any], dtype: str) -> JSON:
    return [dtype, base64.b64encode(array.tobytes()).decode("ascii")]


def _unpacked(packed: Sequence[str]) -> tuple[float, ...]:
    dtype, data = packed
    if dtype not in (_SINGLE, _DOUBLE, _IDS, _LONG_IDS):
        raise ValueError(f"'{dtype}' is no type of these records")
    return tuple(np.frombuffer(base64.b64decode(data), dtype).tolist())
