r"""Numbers that a reply states among words and units, compared by value.

A number that stands by itself is read here; roots, powers and whole formulas are handed to the
workers of `envs.grading.pool`, in the same notation for reference and reply.
"""

import re
from fractions import Fraction

from envs.grading.pool import shared_grader
from envs.grading.stated_answer import LONGEST_STATED, READ, boxed_or, stated_or_end, unwrapped
from envs.verdict import Verdict

_SIGN = r"[-−–—﹣－+]?"
_DIGITS = (
    r"(?:[0-9]{1,3}(?:(?:\{,\}|,|\\[,!;: ]|[\u00a0\u2009\u202f'’])[0-9]{3})+(?![0-9])|[0-9]{1,40})"
)
_NUMERAL = re.compile(
    rf"({_SIGN})[ ]?(?:\\?\$|[€£¥])?[ ]?({_SIGN})"
    rf"(?:\\[dtc]?frac\{{([0-9]{{1,40}})\}}\{{([0-9]{{1,40}})\}}"
    rf"|({_DIGITS})?(?:\.([0-9]{{1,40}}))?(?:[eE]([+-]?[0-9]{{1,4}})(?![0-9.]))?"
    rf"(?:[ ]?/[ ]?([0-9]{{1,40}})(?![0-9.,]))?)"
)
_SCIENTIFIC = re.compile(r"[eE][+-]?[0-9]")
_MIXED = re.compile(r"([0-9]{1,15})[ ]([0-9]{1,15})/([0-9]{1,15})")
_BRACKETED = re.compile(r"\(([^()]{1,80})\)")
_SPACED = re.compile(r"[-−–+]?[0-9]{1,3}(?: [0-9]{3})+(?:\.[0-9]{1,40})?")
_DIGIT = re.compile(r"[0-9]")
_BETWEEN = re.compile(
    r"[ \t,;/|&+·×*^–—−-]{1,8}|[ \t,;]{0,4}\b(?:or|and|to)\b[ \t]{0,4}", re.IGNORECASE
)
_NO_NUMBER = re.compile(r"[\^_\\{(*/×·÷√]\s?$")
_GOES_ON = re.compile(r"\s?(?:[\^!*×·÷/√]|\\(?!%|[,;!: ]|text|mathrm|mbox|\))|\.\.\.|…)")
_DENIAL = re.compile(
    r"\b(?:not|isn['’]t|never|except|anything but|other than|less than|more than|at least"
    r"|at most|greater than|fewer than|under|over|below|above|between)\s?$",
    re.IGNORECASE,
)
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
           "hundred": 100, "k": 1000}  # fmt: skip
_SCALE = re.compile(r"(k)\b|\s{0,2}(thousand|million|billion|trillion|dozen|hundred)\b", re.I)
_PERCENT = re.compile(r"\s?(?:\\?%|percent\b|per cent\b)", re.IGNORECASE)
_REMARK = re.compile(r"\s\([^()]{0,200}\)[.\s]{0,4}$")
_ONE_PERCENT = Fraction(1, 100)


class SeveralNumbers(Exception):
    """A text states more than one number, or a formula where one number should stand."""


def plain_number(text: str) -> tuple[Fraction, bool] | None:
    """A text that is one number and nothing else, and whether it is per cent; None otherwise."""
    text = unwrapped(text).rstrip(" .")
    if bracket := _BRACKETED.fullmatch(text):
        text = bracket[1].strip()
    if _SPACED.fullmatch(text):
        text = text.replace(" ", "")
    found = _NUMERAL.match(text)
    if found is None or not _DIGIT.search(found[0]):
        return None
    percent = _PERCENT.match(text, found.end())
    rest = text[percent.end() if percent else found.end() :].strip(" .")
    value = None if rest else _value(found)
    return None if value is None else (value, percent is not None)


def number_in(text: str) -> Fraction | None:
    """The last number of a text, with its sign, decimals, fraction and scale; None without one."""
    try:
        found = last_number(text)
    except SeveralNumbers:
        return None
    return found[0] if found else None


def _value(found: re.Match[str]) -> Fraction | None:
    outer, inner, upper, lower, whole, part, power, under = found.groups()
    if upper:
        if not int(lower):
            return None
        value = Fraction(int(upper), int(lower))
    elif whole or part:
        digits = "".join(sign for sign in whole or "0" if sign.isdigit())
        value = Fraction(f"{digits}.{part or 0}") * Fraction(10) ** int(power or 0)
        if under:
            if not int(under):
                return None
            value /= int(under)
    else:
        return None
    minus = sum(sign not in ("", "+") for sign in (outer, inner))
    return -value if minus % 2 else value


def last_number(text: str) -> tuple[Fraction, bool] | None:
    """The last number a text states, and whether it is per cent; None where it states none.

    Raises SeveralNumbers where it stands in a list of guesses or in a formula.
    """
    line = next((ln for ln in reversed(text[-READ:].splitlines()) if _DIGIT.search(ln)), "")
    numerals = [found for found in _NUMERAL.finditer(line) if _DIGIT.search(found[0])]
    if not numerals:
        return None
    last = numerals[-1]
    start = last.start() + len(last[0]) - len(last[0].lstrip())
    if len(numerals) > 1:
        gap = line[numerals[-2].end() : start]
        if _BETWEEN.fullmatch(gap) or (not gap and start):
            if mixed := _MIXED.search(line, numerals[-2].start()):
                whole, upper, lower = map(int, mixed.groups())
                if lower and mixed.end() == last.end():
                    return Fraction(whole) + Fraction(upper, lower), False
            raise SeveralNumbers
    before, after = line[:start], line[last.end() :]
    glued = before[-1:].isalnum() or before[-1:] in ("_", ".")
    if glued or _NO_NUMBER.search(before) or _GOES_ON.match(after):
        raise SeveralNumbers
    if _DENIAL.search(before):
        raise SeveralNumbers
    value = _value(last)
    if value is None:
        return None
    if scale := _SCALE.match(after):
        value *= _SCALES[scale[0].strip().lower()]
    return value, _PERCENT.match(after) is not None


def readable(answer: str) -> bool:
    """True if a reference answer is a number, plain or a formula without letters."""
    if plain_number(answer) is not None:
        return True
    if len(answer) > LONGEST_STATED or not _DIGIT.search(answer):
        return False
    try:
        if last_number(answer) is not None and not _formula(answer):
            return True
    except SeveralNumbers:
        pass
    from envs.grading.mathematics.judge import says_number

    return says_number(answer)


def _formula(text: str) -> bool:
    """Whether a text has signs of a formula in it: a command, a power, a sum."""
    return bool(re.search(r"\\(?!\$|%|,|!|;|text|boxed)|\^|[0-9)}] ?[+*/×·÷√(-]|sqrt|√|!|π", text))


def judge_number(reply: str, answer: str) -> Verdict:
    """Judge if the completion states the number that is the reference answer."""
    said = stated_or_end(reply)
    marked = said != reply.strip()
    text = unwrapped(boxed_or(said)).strip()
    expected = plain_number(answer) or (None if _formula(answer) else _last_or_none(answer))
    given = plain_number(text)
    if given is None and marked and _REMARK.search(text):
        text = _REMARK.sub("", text)
        given = plain_number(text)
    if given is not None and expected is not None:
        return _same(given, expected)
    if len(text) <= LONGEST_STATED and _DIGIT.search(text) and (expected is None or _formula(text)):
        verdict = shared_grader().compare(text.rstrip(". "), answer)
        decided = verdict.success or verdict.outcome == "unscored" or expected is None
        if decided or "two sides" in verdict.feedback:
            return verdict
        if _formula(text) and "=" not in text and not _wordy(text):
            return Verdict.wrong()
    try:
        given = last_number(text.rpartition("=")[2] if "=" in text else text)
    except SeveralNumbers:
        return Verdict.wrong("Wrong: several numbers are stated as the answer, or a formula.")
    if given is None:
        return Verdict.wrong("Wrong: the reply states no number as its answer.")
    return _same(given, expected) if expected is not None else Verdict.wrong()


def _last_or_none(text: str) -> tuple[Fraction, bool] | None:
    try:
        return last_number(text)
    except SeveralNumbers:
        return None


def _wordy(text: str) -> bool:
    return len(re.findall(r"(?<![\\A-Za-z])[A-Za-z]{2,}", text)) > 1


def _same(given: tuple[Fraction, bool], expected: tuple[Fraction, bool]) -> Verdict:
    """Equal by value; a sign of per cent may be left out beside a number above 1, or is 1/100."""
    (one, percent), (other, per) = given, expected
    if percent == per:
        right = one == other
    else:
        counted, bare = (one, other) if percent else (other, one)
        right = counted * _ONE_PERCENT == bare or (abs(bare) > 1 and counted == bare)
    return Verdict.right() if right else Verdict.wrong()
