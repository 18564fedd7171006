"""A policy that follows a script: free, instant and exactly repeatable.

Tests and benchmarks use it. It obeys token limits and can invent token ids, so that everything
around a policy can run without a model.
"""

import zlib
from collections import deque
from collections.abc import Callable, Mapping

from harness.errors import unknown
from harness.policies.base import CompletionStream, Request
from harness.types import Completion, Finish, Tokens

Script = Callable[[Request], str]


def _ids(text: str) -> tuple[int, ...]:
    # Not `hash`, which differs from process to process.
    return tuple(zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in text.split())


class ScriptedPolicy:
    """Answers each request with the text that `reply` returns; a token is a word.

    With `tokens`, completions carry invented ids (a checksum per word) with log-probability 0.
    """

    notes: tuple[str, ...] = ()
    version = 0
    context: int | None = None

    def __init__(self, reply: Script, name: str = "scripted:custom", tokens: bool = False) -> None:
        self.name = name
        self.failures: dict[str, str] = {}
        self._reply = reply
        self._tokens = tokens

    @property
    def identity(self) -> Mapping[str, str]:
        """Everything that decides the completions, for records."""
        return {"weights": self.name, "quantisation": "none", "rendering": "none"} | {
            "engine": "scripted",
            "dtype": "none",
        }

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer what waits, in order."""
        while waiting:
            request = waiting.popleft()
            yield request.id, self._answer(request)

    def _answer(self, request: Request) -> Completion:
        text, limit = self._reply(request), request.sampling.max_tokens
        words = text.split()
        finish = Finish.STOP if len(words) <= limit else Finish.LENGTH
        if finish is Finish.LENGTH:
            words = words[:limit]
            text = " ".join(words)
        if not self._tokens:
            return Completion(text, finish, len(words))
        prompt = _ids(" ".join(m.content for m in request.conversation))
        tokens = Tokens(prompt, _ids(text), (0.0,) * len(words))
        return Completion(text, finish, len(words), tokens)


def open_scripted(url: str) -> ScriptedPolicy:
    """The policy behind `scripted:echo` or `scripted:constant=TEXT`.

    Raises:
        UsageError: There is no such script.
    """
    script = url.partition(":")[2]
    kind, equals, text = script.partition("=")
    if kind == "constant" and equals:
        return ScriptedPolicy(lambda request: text, url)
    if script == "echo":
        return ScriptedPolicy(lambda request: request.conversation[-1].content, url)
    raise unknown("model", url, ["scripted:echo", "scripted:constant=TEXT"])
