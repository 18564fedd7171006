"""Lists of chat messages, as frameworks send them to a model, as observations."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from envs.integrations.hosted_env import HostedEnvFailed

_TOOL_CALL_HELP = 'Call one by <tool_call>{"name": "…", "arguments": {…}}</tool_call>.'


def opening_text(messages: object, tools: Sequence[object], system_prompt: str) -> str:
    """The first observation: all messages but the system prompt, and the tools.

    The system prompt is shown apart, and methods may evolve it.
    """
    found = checked_messages(messages)
    if (
        system_prompt
        and found
        and found[0]["role"] == "system"
        and message_text(found[0]) == system_prompt
    ):
        found = found[1:]
    if len(found) == 1:
        text = message_text(found[0])
    else:
        text = "\n\n".join(f"{message['role']}: {message_text(message)}" for message in found)
    if not tools:
        return text
    offered = [json.dumps(tool, ensure_ascii=False) for tool in tools]
    return "\n\n".join([text, "\n".join(["Tools:", *offered, _TOOL_CALL_HELP])])


def checked_tools(tools: object) -> list[Mapping[str, Any]]:
    """Definitions of tools that are what they should be; raises HostedEnvFailed."""
    found = tools if isinstance(tools, list) else []
    if not all(isinstance(tool, dict) and isinstance(tool.get("name"), str) for tool in found):
        raise HostedEnvFailed("the tools that were offered have no names")
    return list(found)


def new_messages(messages: object) -> list[dict[str, Any]]:
    """The messages since the last reply."""
    new: list[dict[str, Any]] = []
    for message in checked_messages(messages):
        new = [] if message["role"] == "assistant" else [*new, message]
    return new


def new_text(messages: object) -> str:
    """The messages since the last reply, as text."""
    return "\n\n".join(message_text(message) for message in new_messages(messages))


def new_results(messages: object) -> tuple[str, ...]:
    """A text for each result of a tool since the last reply; () where something else came too."""
    new = new_messages(messages)
    if any(message["role"] != "tool" for message in new):
        return ()
    return tuple(message_text(message) for message in new)


def checked_messages(messages: object) -> list[dict[str, Any]]:
    """Messages that are what they should be; raises HostedEnvFailed."""
    if not isinstance(messages, list) or not all(
        isinstance(m, dict) and isinstance(m.get("role"), str) for m in messages
    ):
        raise HostedEnvFailed("what was asked is no list of messages")
    return messages


def message_text(message: dict[str, Any]) -> str:
    """A message's text; raises HostedEnvFailed for pictures and sounds."""
    held = message.get("content")
    if held is None or isinstance(held, str):
        return held or ""
    parts = held if isinstance(held, list) else [held]
    found = [p.get("text") if isinstance(p, dict) else p for p in parts]
    texts = [text for text in found if isinstance(text, str)]
    if len(texts) < len(parts):
        raise HostedEnvFailed("it shows something that is no text, which cannot be played here")
    return "\n".join(texts)
