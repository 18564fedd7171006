"""A stand-in for a model whose skill and knowledge are known: sums are right where both are there.

With its base weights it adds every third sum rightly, with trained ones every second; told to be
careful, it also gets those whose first number is even.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path

from harness.policies.base import Loss, Policy, Request, Sample, Step
from harness.policies.scripted import ScriptedPolicy

CAREFUL = "Be careful with every sum."


class Pupil(ScriptedPolicy):
    """A scripted policy that can be "trained": loading weights makes it version 1."""

    def __init__(self) -> None:
        super().__init__(self._say, "scripted:pupil")

    @property
    def reference(self) -> Policy:
        """Itself before it learnt."""
        return Pupil()

    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """Nothing is really learnt."""
        self.version += 1
        return {}

    def save(self, folder: Path) -> None:
        """Leave a file, so that there is something to load."""
        (folder / "adapter.safetensors").write_bytes(b"pupil")

    def load(self, folder: Path) -> None:
        """Take back what was learnt; raises FileNotFoundError where nothing was."""
        (folder / "adapter.safetensors").read_bytes()
        self.version = 1

    def _say(self, request: Request) -> str:
        told = "\n".join(message.content for message in request.conversation)
        question = request.conversation[-1].content
        terms = question.removeprefix("What is ").rstrip("?").split()
        total = int(terms[0])
        for sign, number in zip(terms[1::2], terms[2::2], strict=True):
            value = int(number)
            total = {"+": total + value, "-": total - value, "−": total - value}.get(sign, 0)
        able = zlib.crc32(question.encode()) % (2 if self.version else 3) == 0
        careful = CAREFUL in told and int(terms[0]) % 2 == 0
        return f"Answer: {total if able or careful else -999}"
