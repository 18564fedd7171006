"""The tools of an MCP server beside the tasks of another environment: `mcp:COMMAND`.

`base` names the environment whose tasks are played and graded. A reply that calls tools gets their
results; any other reply is the base environment's. COMMAND starts a server that talks over its
standard streams, and an http address names one that runs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium

from envs.errors import EnvError, UnknownOption, option_key
from envs.fingerprint import digest
from envs.grading.thoughts import answer_part
from envs.integrations.extras import require
from envs.integrations.hosted_env import HostedEnvFailed, one_line, truncate_middle
from envs.option_checks import check_number
from envs.spaces import AnyText
from envs.text_env import Split
from envs.tools.calls import ToolCall, read_calls
from envs.workers.json_worker import WorkerFailed
from envs.workers.pool import WorkerPool

_OPEN_SECONDS = 60.0
_WORKER = Path(__file__).with_name("worker.py")


class MCPTools(gymnasium.Env[str, str]):
    """Another environment, with the tools of an MCP server.

    Any other option is one of the base environment.

    Args:
        server: Command that starts the server, or its http address.
        base: Environment whose tasks are played and graded.
        calls (1 to 1000; in completions): Completions of an episode that may call tools; later
            calls are told that none are left.
        call_seconds (1 to 86400; in seconds): Time that one call may take.
    """

    system_prompt = ""
    redistributable = False
    unrepeatable = "its tools are another program's, which would have to be asked again"

    def __init__(
        self,
        *,
        server: str,
        base: str,
        split: Split = "train",
        calls: int = 10,
        call_seconds: int = 60,
        **options: Any,
    ) -> None:
        from envs.registry import make

        require("mcp", "mcp", "mcp:COMMAND")
        check_number("calls", calls, 1, 1000)
        check_number("call_seconds", call_seconds, 1, 86_400)
        if base.startswith("mcp:"):
            raise UnknownOption(f"{option_key('base')} names an environment with tasks of its own.")
        self._base: Any = make(base, split, **options)
        self.name = f"mcp:{self._base.name}"
        self.system_prompt = self._base.system_prompt
        self.observation_space, self.action_space = AnyText(), AnyText()
        self._server, self._most, self._seconds = server, calls, float(call_seconds)
        self._worker: WorkerPool | None = None
        self._tools: list[Mapping[str, Any]] = []
        self._used = 0

    def size(self, split: Split) -> int:
        """The number of tasks of the base environment."""
        return int(self._base.size(split))

    def __getattr__(self, name: str) -> Any:
        """Attributes that only the base environment has, such as its family."""
        if name.startswith("_") or name in ("regrade", "oracle"):
            raise AttributeError(name)
        return getattr(self._base, name)

    @property
    def tool_definitions(self) -> Sequence[Mapping[str, Any]]:
        """The server's tools, then the base environment's own."""
        return (*self._tools, *getattr(self._base, "tool_definitions", ()))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start a session with the server, and a task."""
        self._open()
        self._used = 0
        text, info = self._base.reset(seed=seed, options=options)
        return str(text), dict(info)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Call the server's tools, or pass the reply on."""
        names = frozenset(str(tool["name"]) for tool in self._tools)
        calls = read_calls(answer_part(action), names)[1]
        if not calls or not any(call.name in names for call in calls):
            text, reward, over, truncated, info = self._base.step(action)
            return str(text), float(reward), bool(over), bool(truncated), dict(info)
        self._used += 1
        try:
            results = tuple(self._result(call) for call in calls)
        except HostedEnvFailed as reason:
            failed = {"outcome": "unscored", "success": False, "feedback": str(reason)}
            return "", 0.0, True, False, failed
        told = {"outcome": "scored", "success": False, "feedback": "", "tool_results": results}
        return "\n\n".join(results), 0.0, False, False, told

    def _result(self, call: ToolCall) -> str:
        if self._used > self._most:
            return "error: no calls are left; answer now."
        if call.problem:
            return f"error: {call.problem}"
        asked = {"ask": "call", "name": call.name, "arguments": dict(call.arguments)}
        return truncate_middle(str(self._ask(asked, self._seconds, tool=True).get("text", "")))

    def _open(self) -> None:
        if self._worker is None:
            self._worker = WorkerPool(_WORKER, megabytes=16_384)
        tools = self._ask({"ask": "open", "server": self._server}, _OPEN_SECONDS).get("tools")
        self._tools = [tool for tool in tools or () if isinstance(tool, dict)]

    def _ask(self, job: dict[str, Any], seconds: float, tool: bool = False) -> dict[str, Any]:
        assert self._worker is not None
        try:
            answer = self._worker.ask(job, seconds)
        except WorkerFailed as failure:
            raise HostedEnvFailed(f"the MCP server failed: {failure}") from failure
        if "failed" in answer:
            if tool:
                return {"text": f"error: {one_line(answer['failed'])}"}
            raise HostedEnvFailed(f"the MCP server failed: {one_line(answer['failed'])}")
        return answer

    def fingerprint(self) -> str:
        """The hash of the base environment, the server's tools and the limit of calls."""
        if not self._tools:
            try:
                self._open()
            except HostedEnvFailed as reason:
                raise EnvError(str(reason)) from reason
        return digest([self._base.fingerprint(), list(self._tools), self._most])

    def close(self) -> None:
        """End the server, and close the base environment."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        self._base.close()
