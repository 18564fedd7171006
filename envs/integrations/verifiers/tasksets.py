"""Plays tasksets of verifiers 0.4, in a process of `envs.workers`.

Loaded by its path into another interpreter: the standard library and verifiers only. An agent's
program is a chat loop in this process: each completion comes from `model_endpoint.py`, and the
task's tools are called over MCP, as verifiers' own chat program does. The option `harness` names
another program of verifiers, and `runtime` the place where it runs.
"""

import asyncio
import hashlib
import importlib
import itertools
import json
import sys
import types
from contextlib import AsyncExitStack
from typing import Any

Answer = dict[str, Any]

MAX_TASKS = 10_000  # of a taskset without end
OWN_HARNESS = "espl_harness_chat_loop"


def first_messages(system: str | None, prompt: Any) -> list[dict[str, Any]]:
    """The messages that a conversation begins with, as endpoints have them."""
    wire = importlib.import_module("verifiers.v1.dialects.chat").message_to_wire
    messages = [{"role": "system", "content": system}] if system else []
    if isinstance(prompt, str):
        return [*messages, {"role": "user", "content": prompt}]
    return [*messages, *(wire(message) for message in prompt or [])]


def make_harness(vf: Any) -> Any:
    """The class of the chat loop; verifiers finds it in a module of its name."""
    mcp = importlib.import_module("verifiers.v1.harnesses.utils.mcp")

    class ChatLoop(vf.Harness[vf.HarnessConfig]):  # type: ignore[misc]  # known when it runs
        """A conversation with tools, until a reply calls none."""

        APPENDS_SYSTEM_PROMPT = True
        SUPPORTS_MCP = True
        SUPPORTS_RESUME = True
        EXECUTES_CODE = False
        NEEDS_CONTAINER = False

        async def launch(self, *arguments: Any) -> Any:
            """Talk until the model calls no tool, or a limit ends the rollout."""
            ctx, trace, _, endpoint, secret, mcp_urls, data, *_ = arguments
            messages = first_messages(*self.resolve_prompt(data))
            urls = {name: {"url": url} for name, url in mcp_urls.items()}
            # The policy takes as long as it needs, and asking again would spoil the episode.
            client = importlib.import_module("openai").AsyncOpenAI(
                base_url=endpoint, api_key=secret, timeout=7 * 86400.0, max_retries=0
            )
            async with AsyncExitStack() as stack:
                stack.push_async_callback(client.close)
                tools, dispatch, servers = await mcp.connect_mcp({"mcpServers": urls}, stack)
                offered = {"tools": tools} if tools else {}
                while True:
                    try:
                        said = await client.chat.completions.create(
                            model=ctx.model, messages=messages, **offered
                        )
                    except Exception as error:
                        # A limit or a stop of the task refuses the turn: the rollout has ended.
                        code = 0 if trace.stop_condition else 1
                        return vf.ProgramResult(code, "", f"{type(error).__name__}: {error}")
                    message = said.choices[0].message
                    messages.append(message.model_dump(exclude_none=True))
                    if not message.tool_calls:
                        return vf.ProgramResult(0, "", "")
                    messages += [
                        await result_of(mcp, servers, dispatch, call) for call in message.tool_calls
                    ]

    return ChatLoop


async def result_of(mcp: Any, servers: Any, dispatch: Any, call: Any) -> dict[str, Any]:
    """The result of a call as a message."""
    content = await call_tool(mcp, servers, dispatch, call.function)
    return {"role": "tool", "tool_call_id": call.id, "content": content}


async def call_tool(mcp: Any, servers: Any, dispatch: Any, function: Any) -> Any:
    """The result of a call, or what is wrong with it."""
    if function.name not in dispatch:
        return f"error: unknown tool {function.name!r}"
    try:
        arguments = json.loads(function.arguments or "{}")
    except (ValueError, RecursionError) as error:
        return f"error: invalid JSON in tool arguments ({error})"
    if not isinstance(arguments, dict):
        return "error: tool arguments must be a JSON object"
    return await mcp.call_mcp(servers, dispatch, function.name, arguments)


class LoadedTaskset:
    """An environment of verifiers 0.4 with one agent."""

    def __init__(self, job: dict[str, Any], token: str) -> None:
        self._vf: Any = importlib.import_module("verifiers.v1")
        self._token = token
        loaders: Any = importlib.import_module("verifiers.v1.utils.loaders")
        module: Any = types.ModuleType(OWN_HARNESS)
        module.ChatLoop, module.__all__ = make_harness(self._vf), ["ChatLoop"]
        sys.modules[OWN_HARNESS] = module
        options = dict(job["arguments"])
        agent = {
            "harness": {"id": options.pop("harness", OWN_HARNESS)},
            "runtime": {"type": options.pop("runtime", "subprocess")},
            "max_turns": job["turns"],
        }
        config = loaders.env_config_type(job["name"])
        seats = [
            name
            for name, field in config.model_fields.items()
            if isinstance(field.default, self._vf.AgentConfig)
        ]
        if len(seats) != 1:
            raise ValueError(f"it has {len(seats)} agents ({', '.join(seats)}); one can be played")
        raw = {"taskset": {"id": job["name"], **options}, seats[0]: agent}
        self._env = loaders.load_environment(loaders.resolve_env_config(raw))
        self._tasks = list(itertools.islice(iter(self._env.taskset), MAX_TASKS))
        self._serving: AsyncExitStack | None = None
        self._lock = asyncio.Lock()

    def description(self) -> Answer:
        """Facts about it that need no episode."""
        prompts = {task.data.system_prompt or "" for task in self._tasks}
        rows = [content_hash(task) for task in self._tasks]
        return {
            "kind": type(self._env.taskset).__name__,
            "system": prompts.pop() if len(prompts) == 1 else "",
            "parts": {"train": rows, "eval": []},
        }

    async def play(self, part: str, number: int, url: str) -> Answer:
        """One episode against the endpoint, scored by the task's own rewards."""
        vf = self._vf
        async with self._lock:
            if self._serving is None:
                self._serving = AsyncExitStack()
                await self._serving.enter_async_context(self._env.serving())
        client = vf.EvalClientConfig(base_url=url, api_key_var=self._token)
        context = vf.ModelContext(model="model", client=client)
        episode = await self._env.run_episode(self._tasks[number], context)
        errors = [*episode.errors, *(e for trace in episode.traces for e in trace.errors)]
        if errors or not episode.ok or not episode.traces:
            last = errors[-1] if errors else None
            said = f"{last.type}: {last.message}" if last else "the episode is not valid"
            return {"failed": said[-500:], "reward": None, "metrics": {}}
        trace = episode.traces[-1]
        if not trace.rewards:
            return {"failed": "its task gives no reward", "reward": None, "metrics": {}}
        told = {**trace.metrics, **{name: r.score for name, r in trace.rewards.items()}}
        return {
            "failed": "",
            "reward": trace.reward,
            "metrics": {k: float(v) for k, v in told.items() if isinstance(v, int | float)},
        }


def content_hash(task: Any) -> str:
    """A hash of a task's content, whatever its number."""
    data = task.data.model_dump(mode="json", exclude_none=True, exclude={"idx"})
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
