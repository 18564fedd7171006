"""The largest sizes of what a run keeps, in one place: whatever is written can be read back.

Texts are bounded before they are written, so that no log line comes near its own limit: an episode
at its limit, all of it control characters, which JSON writes as six, takes 96 MiB.
"""

LONGEST_TEXT = 1 << 22
"""Characters of one completion with its thought, and of one observation; longer ones are cut."""
LONGEST_EPISODE = 1 << 24
"""Characters of all turns of an episode; one that reaches it ends truncated."""
LONGEST_REMARK = 1 << 16
"""Characters of an environment's feedback, answer or error."""
LARGEST_REWARD = 1e15
"""The largest absolute reward, as in entries."""
LARGEST_FILE = 1 << 28
"""Bytes of one line of a log, and of one JSON file of a run; no longer one is written or read."""
TURN = 500
"""Characters that a turn counts beside its texts."""


def cut(text: str, most: int = LONGEST_REMARK) -> str:
    """A text of at most `most` characters; a cut one says how long it was."""
    if len(text) <= most:
        return text
    mark = f" … (cut; {len(text):,} characters)"
    return text[: most - len(mark)] + mark


def mebibytes(size: int) -> str:
    """A size for messages."""
    return f"{size / (1 << 20):,.0f} MiB"
