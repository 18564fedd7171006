"""Lists of chat messages of the verifiers package as observations."""

import json
from typing import Any

from envs.integrations.hosted_env import HostedEnvFailed

_TOOL_CALL_HELP = 'Call one by <tool_call>{"name": "…", "arguments": {…}}</tool_call>.'


def opening_text(messages: object, tools: object, system_prompt: str) -> str:
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
    if not isinstance(tools, list) or not tools:
        return text
    offered = [json.dumps(tool, ensure_ascii=False) for tool in tools]
    return "\n\n".join([text, "\n".join(["Tools:", *offered, _TOOL_CALL_HELP])])


def new_messages_text(messages: object) -> str:
    """The messages since the last reply, as text."""
    new: list[dict[str, Any]] = []
    for message in checked_messages(messages):
        new = [] if message["role"] == "assistant" else [*new, message]
    return "\n\n".join(message_text(message) for message in new)


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
