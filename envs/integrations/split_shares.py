"""The split that a generated task may belong to, decided by a hash of its content.

Generators that draw tasks without end keep for each split only what falls into its share. No task
is then in two splits, and none has to be made to know that.
"""

import hashlib
from collections.abc import Iterable, Mapping

from envs.text_env import Split

_EIGHTHS: Mapping[Split, tuple[int, ...]] = {
    "train": (4, 5, 6, 7),
    "validation": (3,),
    "test": (0, 1, 2),
}
_TURNS: tuple[Split, ...] = (
    "train",
    "test",
    "validation",
    "train",
    "test",
    "train",
    "test",
    "train",
)


def belongs_to_split(content: str, split: Split) -> bool:
    """True where a task of this content may be in the split: half, an eighth, three eighths."""
    # A byte has 256 values, a multiple of 8: every eighth is equally likely.
    return hashlib.sha256(content.encode()).digest()[0] % 8 in _EIGHTHS[split]


def assign_splits(contents: Iterable[str]) -> dict[str, Split]:
    """Splits for a few contents, in the order of their hashes: from three on, each gets one."""
    ordered = sorted(contents, key=lambda text: hashlib.sha256(text.encode()).hexdigest())
    return {text: _TURNS[place % len(_TURNS)] for place, text in enumerate(ordered)}


def stream_seed(*names: object) -> int:
    """A 31-bit seed for a stream of tasks of that name."""
    text = " ".join(map(str, names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1
