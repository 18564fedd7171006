r"""The content of a completion's last `\boxed{…}`, and checks that it is an answer.

Text only, before any mathematics is done: a box may be too long or too deep, hold several boxes,
leave the work to the grader (a sum, a limit, a remainder), or ask for numbers that would fill a
machine. A notation that the reference answer uses itself is never refused.
"""

import re

LONGEST_BOX = 300  # characters
DEEPEST_BOX = 10  # brackets
_LAST_BOXES = 20  # that are looked at for one that holds something
LARGEST_POWER = 10_000  # of an exponent or a factorial; more digits than any contest asks for

_TOKEN = re.compile(r"\\+boxed\s*\{|\\.|[{}]", re.DOTALL)
_WRAPPED = re.compile(r"\s*\\+boxed\s*\{(.*)\}\s*", re.DOTALL)
_BOX = re.compile(r"(?<!\\)\\+boxed\b")
# Each is a way of handing in the question in place of the answer.
_WORK = re.compile(
    r"(?<!_)(?<!_\{)\\(?:sum|prod|coprod|i*int|oint|lim(?:sup|inf)?|[bp]?mod|gcd|lcm|max|min|sup|inf|det"
    r"|lfloor|lceil|limits|operatorname\*?\s*\{\s*(?:lcm|gcd|mod|max|min)\s*\})(?![a-z])"
    r"|\\[dt]?frac\s*\{\s*(?:\\mathrm\s*\{)?d\b|[⌊⌈∑∏∫]"
)
_DOTS = re.compile(r"\\[lcd]?dots[a-z]?(?![a-z])|\.\.\.|…")
_BASE = re.compile(r"\d\s*\}?\s*_")
_POWER = re.compile(r"\^\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|(\d)|\()")
_FACTORIAL = re.compile(r"(?<!\d)(\d+)\s*+[)}]*+\s*+!")
_CHAIN = re.compile(r"\^\s*\d+\s*\^")
_CHOICE = re.compile(r"\\[dt]?binom\s*\{([^{}]*(?:\{[^{}]*\})?[^{}]*)\}")
_EXPANSION = re.compile(r"\(([^()]*)\)\s*\^\s*\{?\s*\d{3}")
_GROUPING = re.compile(r"(?<=\d)(?:\{,\}|,|\\[,;! ])(?=\d{3})")
_LONG = re.compile(r"\d{6,}")
_DIGITS = re.compile(r"\d+")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_PLAIN_POWER = re.compile(r"\s*\{?(\d+)\}?\s*\^\s*\{?\s*(\d+)\s*\}?\s*")


_WHOLE = re.compile(r"-?[1-9][0-9]{0,14}|0")


def both_whole(box: str, answer: str) -> bool:
    """True if both are whole numbers in the usual form, which compare as texts: digits alone,
    at most 15, no leading zero, no minus before 0.
    """
    return bool(_WHOLE.fullmatch(box) and _WHOLE.fullmatch(answer))


def last_boxed(reply: str) -> str | None:
    r"""The content of the last `\boxed{…}`; None where there is none or it is not closed.

    A box that stands within another is part of it: `\boxed{1, \boxed{2}}` is one box. An empty one
    behind an answer is passed over: "I put it in \boxed{} as asked" takes nothing back.
    """
    opened: list[tuple[int, int]] = []  # where each open brace's content begins, and its box
    outermost: list[tuple[int, int]] = []  # closed boxes, none within another
    last_start, last_closed = -1, True
    for token in _TOKEN.finditer(reply):
        word = token[0]
        if word.endswith("{") and (len(word) > 1 and "boxed" in word):
            opened.append((token.end(), 1))
            last_start, last_closed = token.end(), False
        elif word == "{":
            opened.append((token.end(), 0))
        elif word == "}" and opened:
            start, box = opened.pop()
            if box:
                last_closed = last_closed or start == last_start
                while outermost and outermost[-1][0] >= start:
                    outermost.pop()
                outermost.append((start, token.start()))
    if last_start < 0 or not last_closed:
        return None
    filled = [place for place in outermost[-_LAST_BOXES:] if reply[slice(*place)].strip()]
    start, end = filled[-1] if filled else outermost[-1]
    content = reply[start:end] if end - start <= 4 * LONGEST_BOX else "?" * (LONGEST_BOX + 1)
    while wrapped := _WRAPPED.fullmatch(content):
        inner = wrapped[1]
        if _closes_early(inner):
            break
        content = inner
    return " ".join(content.split())


def _closes_early(text: str) -> bool:
    level = 0
    for token in _TOKEN.finditer(text):
        level += token[0].endswith("{") and token[0] != "\\{"
        level -= token[0] == "}"
        if level < 0:
            return True
    return False


def depth(text: str) -> int:
    """The deepest nesting of brackets of any kind."""
    deepest = level = 0
    for sign in text:
        level += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, level)
    return deepest


def objection(box: str, answer: str) -> str:
    """The reason, in a sentence, why the content of a box cannot be right; "" if it may be."""
    if not box:
        return "the box is empty."
    if len(box) > LONGEST_BOX:
        return f"the box holds over {LONGEST_BOX} characters."
    if depth(box) > DEEPEST_BOX:
        return f"the box nests over {DEEPEST_BOX} brackets."
    if _BOX.search(box):
        return "a box within the box: one answer is asked for."
    for pattern, reason in (
        (_WORK, "what is boxed leaves the last step to the grader."),
        (_DOTS, "what is boxed goes on in dots."),
        (_BASE, "a number with an index is boxed."),
    ):
        if pattern.search(box) and not pattern.search(answer):
            return reason
    if enormous(box) and not enormous(answer):
        return f"what is boxed has powers or factorials over {LARGEST_POWER:,}."
    return ""


def enormous(text: str) -> bool:
    """True if exponents or factorials would make a number that exhausts memory."""
    text = _GROUPING.sub("", text)
    if any(len(n) > 5 or int(n) > LARGEST_POWER for n in _FACTORIAL.findall(text)):
        return True
    if "!!" in text.replace(" ", "") or text.count("^") > 20 or _CHAIN.search(text):
        return True
    if any(_COMMAND.sub("", base).strip("0123456789 .+-*/{}") for base in _EXPANSION.findall(text)):
        return True
    if any("^" in chosen or _steep(chosen) for chosen in _CHOICE.findall(text)):
        return True
    return any(
        _steep(power[1] or power[2] or text[power.end() : power.end() + 40])
        for power in _POWER.finditer(text)
    )


def _steep(exponent: str) -> bool:
    if _LONG.search(exponent) or any(int(n) > LARGEST_POWER for n in _DIGITS.findall(exponent)):
        return True
    if "^" not in exponent or any(c.isalpha() for c in _COMMAND.sub("", exponent)):
        return False
    plain = _PLAIN_POWER.fullmatch(exponent)
    return plain is None or not _small(int(plain[1]), int(plain[2]))


def _small(base: int, exponent: int) -> bool:
    if base < 2:
        return True
    return exponent <= LARGEST_POWER.bit_length() and base**exponent <= LARGEST_POWER
