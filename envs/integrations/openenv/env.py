"""Environments behind an OpenEnv server, played over its WebSocket: `openenv:ws://HOST:PORT`.

Only the server knows its tasks. A task here is a seed that is sent with `reset`; train, validation
and test have seeds of their own, a million apart. What a seed changes is up to the server, and one
whose `reset` takes none drops it without a word: then tasks are whatever comes, splits mean nothing
and no row can be repeated. `harness env check` says which it is.

An action with one text field is the whole reply (the option `field` names another); anything else
is JSON on the line after the last "Action:". Rewards are the server's, added up.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from envs.adapters.gymnasium_env import SEEDS_APART
from envs.errors import UnknownOption
from envs.fingerprint import digest
from envs.integrations.extras import require
from envs.integrations.hosted_env import (
    HostedEnv,
    HostedEnvFailed,
    HostedStep,
    finite_reward,
    truncate_middle,
)
from envs.integrations.openenv.session import (
    ActionRefused,
    Session,
    fetch_json,
    open_session,
    parse_address,
)
from envs.option_checks import check_number
from envs.text_env import SPLITS, Split
from envs.tools.calls import read_calls

_ACTION = re.compile(r"action\s*:", re.IGNORECASE)
_SEARCHED_CHARACTERS = 20_000  # characters at the end of a reply that are searched
_CALL_FIELDS = {"tool_name", "arguments"}  # of an action that is the call of a tool
_BEGIN = "The episode has begun."
_HIDDEN_FIELDS = ("reward", "done", "metadata")
_MAX_DESCRIPTION_CHARACTERS = 2000  # characters of the server's own description


class OpenEnv(HostedEnv):
    """An environment behind an OpenEnv server, over its WebSocket.

    Args:
        url: Address of the server.
        field: Field of an action that the completion fills; empty: the only field if it is a text,
            else the agent writes JSON.
        max_turns (1 to 10000; in completions): Completions of an episode at most.
        seconds (in seconds): Time that one response of the server may take.
        at_once (1 to 256; in sessions): Sessions that may be open at the same time; many servers
            allow one.
        train_tasks (1 to 1000000; in tasks): Tasks of the train split; each is a seed.
        validation_tasks (1 to 1000000; in tasks): Tasks of the validation split; each is a seed.
        test_tasks (1 to 1000000; in tasks): Tasks of the test split; each is a seed.
    """

    name = "openenv"
    grader_version = "server-1"

    def __init__(
        self,
        *,
        url: str,
        split: Split = "train",
        field: str = "",
        max_turns: int = 50,
        seconds: float = 60.0,
        at_once: int = 1,
        success_at: float = 1.0,
        reply_tokens: int = 512,
        train_tasks: int = 1000,
        validation_tasks: int = 100,
        test_tasks: int = 200,
    ) -> None:
        super().__init__(
            split=split, success_at=success_at, at_once=at_once, reply_tokens=reply_tokens
        )
        require("websockets", "openenv", "openenv:URL")
        check_number("max_turns", max_turns, 1, 10_000)
        self._sizes = {"train": train_tasks, "validation": validation_tasks, "test": test_tasks}
        for part, size in self._sizes.items():
            check_number(f"{part}_tasks", size, 1, SEEDS_APART)
        self._http, self._socket = parse_address(url)
        self._schema = fetch_json(self._http, "schema")
        about = fetch_json(self._http, "metadata")
        self._metadata = [str(about.get(key) or "") for key in ("name", "version", "description")]
        self._fields = _properties(self._schema)
        self._constants = _constants(self._schema)
        self._calls_tools = set(self._fields) == _CALL_FIELDS
        self._tools = list[Mapping[str, Any]]()
        self._field = self._choose_field(field)
        self._max_turns, self._seconds = max_turns, seconds
        description = self._metadata[2][:_MAX_DESCRIPTION_CHARACTERS].strip()
        self.system_prompt = f"{description}\n{self.action_help()}".strip()
        self._session: Session | None = None
        self._rewarded = False

    def _choose_field(self, field: str) -> str:
        if field and field not in self._fields:
            raise UnknownOption(
                f"Actions of this server have no field '{field}', but"
                f" {', '.join(self._fields) or 'none'}."
            )
        texts = [key for key, kind in self._fields.items() if kind == "string"]
        return field or (texts[0] if len(texts) == len(self._fields) == 1 else "")

    def action_help(self) -> str:
        """A sentence on how to write an action."""
        if self._calls_tools:
            return "Act by calling tools."
        if self._field and self._fields[self._field] == "string":
            return "Your whole reply is your action."
        if self._field:
            kind = self._fields[self._field]
            return f"End with a line that says Action: and {self._field} ({kind})."
        parts = ", ".join(f'"{key}": {kind}' for key, kind in self._fields.items())
        return f"End with a line that says Action: and JSON: {{{parts}}}"

    def size(self, split: Split) -> int:
        """The number of seeds, an option."""
        return self._sizes[split]

    def task_id(self, number: int) -> str:
        """The server's own name and the seed."""
        return f"openenv:{self._metadata[0][:60]}:{self._seed(number)}"

    def _seed(self, number: int) -> int:
        return SEEDS_APART * SPLITS.index(self.split) + number

    def start_episode(self, number: int) -> str:
        """Open a session and reset it with the task's seed."""
        self.close()
        self._rewarded = False
        self._session, first = open_session(self._socket, self._seconds, self._seed(number))
        self._tools = self._session.list_tools() if self._calls_tools else []
        if first.get("done"):
            self.close()
            raise HostedEnvFailed("the episode was over before anybody replied")
        # Servers of tools often show nothing at first: the tools are what there is to see.
        return observation_text(first) or (_BEGIN if self._calls_tools else "")

    @property
    def tool_definitions(self) -> Sequence[Mapping[str, Any]]:
        """The tools that the session listed, where an action is a call of one."""
        return self._tools

    def send(self, reply: str) -> HostedStep:
        """Send the action that a reply states, or one for each of its calls."""
        if self._session is None:
            raise HostedEnvFailed("no episode is being played")
        if self._calls_tools:
            return self._send_calls(reply)
        action = self.parse_action(reply)
        if action is None:
            return HostedStep(f"No action could be read. {self.action_help()}")
        try:
            message, earned, over = self._act(action)
        except ActionRefused as reason:
            return HostedStep(f"That action was refused: {reason}. {self.action_help()}")
        return HostedStep(observation_text(message), earned, over)

    def _send_calls(self, reply: str) -> HostedStep:
        names = frozenset(str(tool["name"]) for tool in self._tools)
        _, calls = read_calls(reply, names)
        if not calls:
            listed = ", ".join(sorted(names)) or "none"
            return HostedStep(f"No tool was called. The tools are: {listed}.")
        results: list[str] = []
        total, over = 0.0, False
        for call in calls:
            if call.problem or over:
                results.append(call.problem or "The episode is over.")
                continue
            action = {"tool_name": call.name, "arguments": dict(call.arguments)}
            try:
                message, earned, over = self._act(action)
            except ActionRefused as reason:
                results.append(f"error: {reason}")
                continue
            total += earned
            results.append(tool_result_text(message))
        return HostedStep("\n\n".join(results), total, over, results=tuple(results))

    def _act(self, action: Mapping[str, Any]) -> tuple[dict[str, Any], float, bool]:
        """The answer to an action, its reward, and whether the episode is over.

        Raises ActionRefused, or HostedEnvFailed after closing the session.
        """
        assert self._session is not None
        try:
            message = self._session.step({**self._constants, **action})
        except HostedEnvFailed:
            self.close()
            raise
        over, reward = bool(message.get("done")), message.get("reward")
        self._rewarded |= reward is not None
        if over:
            self.close()
            # A reward that was never given is not a reward of 0: the episode stays unscored.
            if not self._rewarded:
                raise HostedEnvFailed("the episode ended without any reward")
        return message, 0.0 if reward is None else finite_reward(reward), over

    def parse_action(self, reply: str) -> dict[str, Any] | None:
        """The action a reply states; None where it states none."""
        if self._field and self._fields[self._field] == "string":
            return {self._field: reply}
        end = reply[-_SEARCHED_CHARACTERS:]
        marks = list(_ACTION.finditer(end))
        stated = end[marks[-1].end() :] if marks else end
        try:
            value = json.loads(stated.strip().strip("`"))
            # What cannot be sent would be lost with the connection: unscored, at the reply's wish.
            json.dumps([value], ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError):
            return None
        if self._field:
            return {self._field: value}
        return value if isinstance(value, dict) else None

    def out_of_turns(self) -> bool:
        """True once the replies are used up; the session is then closed."""
        if self._replies < self._max_turns:
            return False
        self.close()
        return True

    def fingerprint(self) -> str:
        """The hash of what the server says of itself, and the options; its tasks are its own."""
        rules = [self._sizes, self._field, self._max_turns, self._success_at]
        return digest([self.grader_version, self._metadata, self._schema, rules])

    def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            self._session.close()
            self._session = None


def _properties(schema: Mapping[str, Any]) -> dict[str, str]:
    """The fields of an action and their kinds, from its JSON schema."""
    action = schema.get("action")
    found = action.get("properties") if isinstance(action, dict) else None
    if not isinstance(found, dict):
        return {}
    kinds = {k: v.get("type") if isinstance(v, dict) else None for k, v in found.items()}
    constant = _constants(schema)
    hidden = {"metadata", *constant}
    return {str(k): str(kind or "any") for k, kind in kinds.items() if k not in hidden}


def _constants(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an action that have one value, with it: nobody needs to write those."""
    action = schema.get("action")
    found = action.get("properties") if isinstance(action, dict) else None
    fields = found if isinstance(found, dict) else {}
    return {str(k): v["const"] for k, v in fields.items() if isinstance(v, dict) and "const" in v}


def tool_result_text(message: Mapping[str, Any]) -> str:
    """The answer of a tool, or its error."""
    observation = message.get("observation")
    if not isinstance(observation, dict):
        raise HostedEnvFailed("the server's observation is no JSON object")
    error = observation.get("error")
    if error:
        told = error.get("message", error) if isinstance(error, dict) else error
        return truncate_middle(f"error: {told}")
    if "result" not in observation:
        return observation_text(message)
    result = observation["result"]
    content = result.get("content") if isinstance(result, dict) else None
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        if texts and all(isinstance(text, str) for text in texts):
            return truncate_middle("\n".join(map(str, texts)))
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    return truncate_middle(text)


def observation_text(message: Mapping[str, Any]) -> str:
    """An observation as text: alone where it is one text, else line by line."""
    observation = message.get("observation")
    if not isinstance(observation, dict):
        raise HostedEnvFailed("the server's observation is no JSON object")
    shown = {k: v for k, v in observation.items() if k not in _HIDDEN_FIELDS and v is not None}
    if len(shown) == 1 and isinstance(next(iter(shown.values())), str):
        return str(next(iter(shown.values())))
    lines = [f"{k}: {v if isinstance(v, str) else json.dumps(v)}" for k, v in shown.items()]
    return truncate_middle("\n".join(lines))
