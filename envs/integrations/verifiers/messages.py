"""Conversations of another package as texts: what a player is shown of lists of messages."""

import json
from typing import Any

from envs.integrations.hosted_env import OutsideFailed

_HOW = 'Call one by <tool_call>{"name": "…", "arguments": {…}}</tool_call>.'


def opening(messages: object, tools: object, system_prompt: str) -> str:
    """What is shown first: all messages but the briefing, and the tools there are.

    The briefing is the root prompt, which is shown apart, and which evolves.
    """
    found = checked(messages)
    if (
        system_prompt
        and found
        and found[0]["role"] == "system"
        and content(found[0]) == system_prompt
    ):
        found = found[1:]
    if len(found) == 1:
        text = content(found[0])
    else:
        text = "\n\n".join(f"{message['role']}: {content(message)}" for message in found)
    if not isinstance(tools, list) or not tools:
        return text
    offered = [json.dumps(tool, ensure_ascii=False) for tool in tools]
    return "\n\n".join([text, "\n".join(["Tools:", *offered, _HOW])])


def answered(messages: object) -> str:
    """What was said since the last reply."""
    new: list[dict[str, Any]] = []
    for message in checked(messages):
        new = [] if message["role"] == "assistant" else [*new, message]
    return "\n\n".join(content(message) for message in new)


def checked(messages: object) -> list[dict[str, Any]]:
    """Messages that are what they should be; raises OutsideFailed."""
    if not isinstance(messages, list) or not all(
        isinstance(m, dict) and isinstance(m.get("role"), str) for m in messages
    ):
        raise OutsideFailed("what was asked is no list of messages")
    return messages


def content(message: dict[str, Any]) -> str:
    """A message's text; raises OutsideFailed for pictures and sounds."""
    held = message.get("content")
    if held is None or isinstance(held, str):
        return held or ""
    parts = held if isinstance(held, list) else [held]
    found = [p.get("text") if isinstance(p, dict) else p for p in parts]
    texts = [text for text in found if isinstance(text, str)]
    if len(texts) < len(parts):
        raise OutsideFailed("it shows something that is no text, which cannot be played here")
    return "\n".join(texts)
