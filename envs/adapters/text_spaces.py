"""Text for Gymnasium spaces: observations written as text, actions parsed from replies.

An action stands after the last "Action:" of a reply, or is the whole of a short one. Spaces too
large for a page of text (pictures) are refused: their environment needs a description of its own.
"""

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.adapters.returned_values import form_of
from envs.errors import EnvFault, UnknownEnv, UnknownOption, option_key

MOST_NUMBERS = 400
"""Of one observation; a picture has more, and is no text."""
_MOST_NAMES = 60
_SHORT_REPLY = 100  # characters
_MOST_SHOWN = 200  # characters of a charset
_ROUNDED_FROM = 10_000  # whole numbers below look the same either way
_LONGEST_TEXT = 100_000  # characters of an observation
_ACTION = re.compile(r"action\s*:", re.IGNORECASE)
_ESCAPE = re.compile(r"\x1b\[([0-9;]*)m")
_COLOURS = ("gray", "red", "green", "yellow", "blue", "magenta", "cyan", "white", "crimson")


class UnreadableAction(ValueError):
    """A reply contains no action; the message tells the model how to write one."""


class SpaceText:
    """Text for one environment: its observations, and the actions parsed from replies.

    `actions` names the actions of a Discrete space, by comma; without them the environment's own
    `actions` enumeration is used where it has one, else numbers. Raises UnknownEnv for spaces
    that cannot be written as text.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], actions: str = "") -> None:
        self.observation_space = _space(env, "observation_space")
        self.action_space = _space(env, "action_space")
        problem = unsupported_observation(self.observation_space) or unsupported_action(
            self.action_space
        )
        if problem:
            raise UnknownEnv(
                f"'{_id(env)}' cannot be played in text: {problem}. Describe it yourself with"
                f" --set {option_key('wrapper')}=module:Class (docs/your_environment.md shows one)."
            )
        self.names = _names(env, self.action_space, actions)
        self.system_prompt = f"You act in a world, step by step. {self.manual()}"

    def say(self, observation: Any, info: Mapping[str, Any]) -> str:
        """The observation as text."""
        return observation_text(self.observation_space, observation)

    def read(self, reply: str) -> Any:
        """The action in a reply; raises UnreadableAction."""
        if is_text(self.action_space):
            return self._text(reply)
        stated = stated_action(reply)
        if stated is None:
            raise UnreadableAction(f"No action was stated. {self.manual()}")
        try:
            return self._parse(stated)
        except (ValueError, OverflowError):
            raise UnreadableAction(f"That is no action of this world. {self.manual()}") from None

    def manual(self) -> str:
        """A sentence on how to write an action."""
        if is_text(self.action_space):
            return f"Your whole reply is your action{_text_limits(self.action_space)}."
        return f"End your reply with a line that says Action: and {self._format()}."

    def _format(self) -> str:
        if isinstance(self.action_space, spaces.Dict):
            parts = (f"{key} = {action_format(part)}" for key, part in self.action_space.items())
            return f"all of these, separated by semicolons: {'; '.join(parts)}"
        if isinstance(self.action_space, spaces.Tuple):
            formats = map(action_format, self.action_space.spaces)
            return f"these, separated by semicolons: {'; '.join(formats)}"
        return action_format(self.action_space, self.names)

    def _text(self, reply: str) -> str:
        """The reply as an action: within the declared length, whatever its characters.

        A charset is not enforced: few environments declare one, and Gymnasium's default has neither
        blanks nor full stops.
        """
        space, text = self.action_space, reply.strip()
        if isinstance(space, spaces.Text):
            if space.min_length <= len(text) <= space.max_length:
                return text
            raise UnreadableAction(
                f"That text has {len(text)} characters, but an action has {space.min_length} to"
                f" {space.max_length}."
            )
        for said in (reply, text):
            if space.contains(said):
                return said
        raise UnreadableAction(f"That text is no action of this world, which takes {space}.")

    def _parse(self, stated: str) -> Any:
        if isinstance(self.action_space, spaces.Dict):
            named = dict(_named(part) for part in stated.split(";") if part.strip())
            if set(named) != set(self.action_space.keys()):
                raise UnreadableAction(f"Not every part of the action was stated. {self.manual()}")
            return {key: parse_action(part, named[key]) for key, part in self.action_space.items()}
        if isinstance(self.action_space, spaces.Tuple):
            texts = [part for part in stated.split(";") if part.strip()]
            if len(texts) != len(self.action_space.spaces):
                raise UnreadableAction(f"Not every part of the action was stated. {self.manual()}")
            return tuple(map(parse_action, self.action_space.spaces, texts))
        return parse_action(self.action_space, stated, self.names)


def stated_action(reply: str) -> str | None:
    """The first line after the last "Action:"; without one, a short reply as it is; else None."""
    end = reply[-4000:]
    marks = list(_ACTION.finditer(end))
    if not marks:
        whole = reply.strip() if len(reply) <= 4 * _SHORT_REPLY else ""
        return whole if 0 < len(whole) <= _SHORT_REPLY else None
    lines = end[marks[-1].end() :].strip(" \t\r\n*_`'\"").splitlines()
    return lines[0].strip(" \t*_`'\".") or None if lines else None


def _space(env: gymnasium.Env[Any, Any], attribute: str) -> spaces.Space[Any]:
    found = getattr(env, attribute, None)
    if not isinstance(found, spaces.Space):
        raise UnknownEnv(
            f"'{_id(env)}' cannot be played in text: its {attribute} is"
            f" {'missing' if found is None else f'a {type(found).__name__}'}, not a Gymnasium space"
            f" (a {attribute} of the package gym is none either)."
        )
    return found


def _text_limits(space: spaces.Space[Any]) -> str:
    """The limits that a Text space declares on purpose, for the end of a sentence."""
    if not isinstance(space, spaces.Text):
        return ""
    length = f", {space.min_length} to {space.max_length} characters"
    declared = "".join(sorted(space.character_set))
    if space.character_set == frozenset(spaces.text.alphanumeric):  # the default: nobody chose it
        return length
    shown = declared if len(declared) <= _MOST_SHOWN else f"{declared[:_MOST_SHOWN]}…"
    return f"{length} out of {shown!r}"


def is_text(space: spaces.Space[Any]) -> bool:
    """True for a space of texts, whatever its class."""
    if isinstance(space, spaces.Text):
        return True
    if type(space).__module__.startswith("gymnasium.spaces"):
        return False
    return space.contains("") or isinstance(space.sample(), str)


def unsupported_observation(space: spaces.Space[Any]) -> str:
    """The reason that observations of a space cannot be written as text; "" where they can."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.values() if isinstance(space, spaces.Dict) else space.spaces
        return next(filter(None, map(unsupported_observation, parts)), "")
    if isinstance(space, spaces.Discrete) or is_text(space):
        return ""
    if isinstance(space, spaces.Box | spaces.MultiDiscrete | spaces.MultiBinary):
        numbers = int(np.prod(space.shape))
        if numbers <= MOST_NUMBERS:
            return ""
        return f"an observation has {numbers} numbers, more than {MOST_NUMBERS}"
    return f"its observations are of {type(space).__name__}"


def unsupported_action(space: spaces.Space[Any], inner: bool = False) -> str:
    """The reason that actions of a space cannot be parsed from a reply; "" where they can."""
    if isinstance(space, spaces.Dict | spaces.Tuple) and not inner:
        parts = list(space.values() if isinstance(space, spaces.Dict) else space.spaces)
        return next(filter(None, (unsupported_action(part, True) for part in parts)), "")
    if isinstance(space, spaces.Discrete) or (not inner and is_text(space)):
        return ""
    if isinstance(space, spaces.Box | spaces.MultiDiscrete | spaces.MultiBinary):
        numbers = int(np.prod(space.shape))
        return "" if numbers <= 32 else f"an action has {numbers} numbers, more than 32"
    return f"its actions are of {type(space).__name__}{' within another space' if inner else ''}"


def observation_text(space: spaces.Space[Any], value: Any) -> str:
    """A value of a space as text; raises EnvFault where it cannot be one of that space."""
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode("utf-8", "replace")
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]} […]"
    try:
        return _value_text(space, value)
    except EnvFault:
        raise
    except Exception as error:  # whatever a value of another form leads to
        raise EnvFault(
            f"the observation {form_of(value)} is none of its space {str(space)[:200]}"
        ) from error


def _value_text(space: spaces.Space[Any], value: Any) -> str:
    if isinstance(space, spaces.Dict):
        return "\n".join(
            f"{key}: {observation_text(part, value[key])}" for key, part in space.items()
        )
    if isinstance(space, spaces.Tuple):
        parts = zip(space.spaces, value, strict=True)
        return "\n".join(
            f"{i}: {observation_text(part, one)}" for i, (part, one) in enumerate(parts, 1)
        )
    if isinstance(space, spaces.Discrete):
        return f"{int(value)} (of {space.start} to {space.start + space.n - 1})"
    if is_text(space):
        raise EnvFault(f"the observation is {form_of(value)}, where its space has texts")
    return _array(np.asarray(value))


def _array(values: Any) -> str:
    """Numbers with blanks between them; rows on lines, what is deeper joined by commas."""
    if values.size > MOST_NUMBERS:
        raise EnvFault(f"the observation has {values.size} numbers, more than {MOST_NUMBERS}")
    if values.ndim <= 1:
        return " ".join(map(_number, values.reshape(-1)))
    rows = values.reshape(values.shape[0], values.shape[1], -1)
    lines = (" ".join(",".join(map(_number, cell)) for cell in row) for row in rows)
    return "\n" + "\n".join(lines)


def _number(value: Any) -> str:
    """A number with four digits, or, where it is whole by its type, with all of them."""
    if isinstance(value, int | np.integer) and abs(int(value)) >= _ROUNDED_FROM:
        return str(int(value))
    return f"{float(value):.4g}"


def action_format(space: spaces.Space[Any], names: Sequence[str] = ()) -> str:
    """The format of an action of a simple space, as a phrase."""
    if isinstance(space, spaces.Discrete):
        if names:
            return f"one of: {', '.join(names)}"
        return f"a whole number from {space.start} to {space.start + space.n - 1}"
    if isinstance(space, spaces.MultiDiscrete):
        first = space.start.reshape(-1)
        sizes = ", ".join(str(int(n) - 1) for n in space.nvec.reshape(-1) + first)
        if first.any():
            return f"whole numbers, at least {', '.join(map(str, first))}, at most {sizes}"
        return f"whole numbers from 0 on, at most {sizes}"
    count = int(np.prod(space.shape or ()))
    if isinstance(space, spaces.MultiBinary):
        return f"{count} numbers, each 0 or 1"
    assert isinstance(space, spaces.Box)
    lows, highs = space.low.reshape(-1), space.high.reshape(-1)
    ranges = ", ".join(f"{a:.4g} to {b:.4g}" for a, b in zip(lows, highs, strict=True))
    return f"{count} number{'s' if count > 1 else ''} ({ranges})"


def parse_action(space: spaces.Space[Any], text: str, names: Sequence[str] = ()) -> Any:
    """An action of a simple space; raises ValueError where the text is none."""
    text = text.strip(" \t()[]{}")
    if isinstance(space, spaces.Discrete):
        lower = [name.lower() for name in names]
        number = lower.index(text.lower()) + space.start if text.lower() in lower else int(text)
        if not space.start <= number < space.start + space.n:
            raise ValueError(text)
        return int(number)
    numbers = [float(part) for part in re.split(r"[\s,]+", text) if part]
    value = np.array(numbers).reshape(space.shape)
    if space.dtype is not None and np.issubdtype(space.dtype, np.integer):
        if (value != np.round(value)).any() or not np.isfinite(value).all():
            raise ValueError(text)
        value = np.clip(value, -(2.0**31), 2.0**31)
    with np.errstate(over="ignore"):  # becomes infinite, which the space then refuses or takes
        made = value.astype(space.dtype)
    if not space.contains(made):
        raise ValueError(text)
    return made


def colours_as_tags(drawing: str) -> str:
    """A terminal drawing as text, its colours as tags: <red>…</red>."""
    out, open_colour, end = [], "", 0
    for match in _ESCAPE.finditer(drawing):
        out.append(drawing[end : match.start()])
        end = match.end()
        codes = [int(code) for code in match[1].split(";") if code]
        colour = next((_COLOURS[c % 10] for c in codes if 30 <= c <= 48 and c % 10 < 9), "")
        if open_colour:
            out.append(f"</{open_colour}>")
        if colour:
            out.append(f"<{colour}>")
        open_colour = colour
    return "".join([*out, drawing[end:]])


def _named(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip(), value


def _names(env: gymnasium.Env[Any, Any], space: spaces.Space[Any], said: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in said.split(",") if name.strip())
    if not isinstance(space, spaces.Discrete):
        if names:
            raise UnknownOption(
                f"'{_id(env)}' has no list of actions to name; leave {option_key('actions')} out."
            )
        return ()
    own = getattr(env.unwrapped, "actions", None)
    if not names and isinstance(own, type) and issubclass(own, Enum):
        values = {member.value: member.name.lower() for member in own}
        names = tuple(values.get(space.start + i, "") for i in range(int(space.n)))
        return names if all(names) and int(space.n) <= _MOST_NAMES else ()
    if names and (len(names) != space.n or len({n.lower() for n in names}) != len(names)):
        raise UnknownOption(
            f"'{_id(env)}' has {space.n} actions, but {option_key('actions')} names {len(names)}"
            f" ({', '.join(names)}); name each once, in their order."
        )
    return names


def _id(env: gymnasium.Env[Any, Any]) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
