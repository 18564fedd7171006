r"""Numbers that a reply states among words and units, compared by value.

A number that stands by itself is read here; roots, powers and whole formulas are handed to the
workers of `envs.grading.pool`, in the same notation for reference and reply.
"""

import re
import unicodedata
from fractions import Fraction

from envs.grading.doubt import DENIES, related
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
    r"[ \t.,;/|&+·×*^–—−-]{1,8}|[ \t,;]{0,4}\b(?:or|and|to)\b[ \t]{0,4}", re.IGNORECASE
)
_NO_NUMBER = re.compile(r"[\^_\\{(*/×·÷√]\s?$")
_GOES_ON = re.compile(r"\s?(?:[\^!*×·÷/√]|\\(?!%|[,;!: ]|text|mathrm|mbox|\))|\.\.\.|…)")
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
           "hundred": 100, "k": 1000, "mn": 10**6, "bn": 10**9, "lakh": 10**5,
           "crore": 10**7}  # fmt: skip
_SCALE = re.compile(
    r"(k)\b|\s{0,2}(thousand|million|billion|trillion|dozen|hundred|mn|bn|lakh|crore)\b", re.I
)
_MINUS = re.compile(r"\b(?:minus|negative)\s+[$€£¥]?$", re.IGNORECASE)
_SUBTRACTS = re.compile(r"[0-9)]\s*+\w{0,12}\s*$")
_CLAUSE = re.compile(r"[.,;]\s|\b(?:but|so|therefore|thus|hence)\b", re.IGNORECASE)
_SUBORDINATE = re.compile(
    r"[.,;:]\s|\(|\b(?:but|so|if|when|because|since|that|which|who|until|before|after|while)\b",
    re.I,
)
_CHANGES = re.compile(
    r"\s?(?:squared|cubed|factorial|doubled|tripled|halved|and (?:a|one) (?:half|third|quarter)"
    r"|or (?:more|less|fewer|so|above|below|greater|higher|lower)"
    r"|too (?:few|many|little|much|large|small)"
    r"|times (?:a|the|as|\S{1,3}$)|(?:halves|thirds?|quarters?|fourths?"
    r"|(?:fif|six|seven|eigh|nin|ten"
    r"|eleven|twelf|hundred|thousand|million)ths?|th|st|nd|rd|pi|plus|minus)\b|π|\+)",
    re.IGNORECASE,
)
_LETTER = re.compile(r"\s?(?:[b-fi-kn-rt-zBDEGHIKMO-UX-Zα-ω])(?![\w/'’])")
_FUNCTION = re.compile(r"\b(?:log|ln|lg|sin|cos|tan|exp|sqrt|root|square)\s?$", re.IGNORECASE)
_EMPHASIS = re.compile(
    r"(?<![\w)*])(\*\*|__)([^*_\n]{1,80})\1(?![\w(*])|(?<==)\*\*([^*_\n]{1,80})\*\*$"
)
_SQUARE = re.compile(
    r"\b((?:[kcm]?m|ft|in|yd|mi|units?|feet|inches|meters?|metres?))\s?\^\{?[23]\}?"
)
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_DECIMAL = re.compile(r"(?<![0-9.])[0-9]{0,40}\.([0-9]{1,60})(?![0-9.])")
_LEAST_DIGITS = 6
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
    own = before[max((end.start() for end in _CLAUSE.finditer(before)), default=0) :]
    rest = after[: end.start()] if (end := _SUBORDINATE.search(after)) else after
    minus = _MINUS.search(own)
    if minus:
        if _SUBTRACTS.search(own[: minus.start()][-40:]) or (
            minus.start() and own[minus.start() - 1] == "-"
        ):
            raise SeveralNumbers
        own = own[: minus.start()]
    if DENIES.search(own) or DENIES.search(rest) or related(own) or _FUNCTION.search(own):
        raise SeveralNumbers
    if (_CHANGES.match(after) or _LETTER.match(after)) and not _SCALE.match(after):
        raise SeveralNumbers
    value = _value(last)
    if value is None:
        return None
    value = -value if minus else value
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


def _tidy(text: str) -> str:
    """A text without emphasis and powers of units, and with ⅓ as 1/3."""
    text = _EMPHASIS.sub(lambda found: found[2] or found[3], text[-READ:])
    text = _SQUARE.sub(r"\1", text)
    return _VULGAR.sub(
        lambda found: " " + unicodedata.normalize("NFKC", found[0]).replace("⁄", "/"), text
    )


def _formula(text: str) -> bool:
    """True if a text has signs of a formula in it: a command, a power, a sum."""
    return bool(re.search(r"\\(?!\$|%|,|!|;|text|boxed)|\^|[0-9)}] ?[+*/×·÷√(-]|sqrt|√|!|π", text))


def judge_number(reply: str, answer: str) -> Verdict:
    """Judge if the completion states the number that is the reference answer."""
    said = stated_or_end(reply)
    marked = said != reply.strip()
    text = _tidy(unwrapped(boxed_or(said))).strip()
    expected = plain_number(answer) or (None if _formula(answer) else _last_or_none(answer))
    given = plain_number(text)
    if given is None and marked and _REMARK.search(text):
        text = _REMARK.sub("", text)
        given = plain_number(text)
    if given is not None and expected is not None:
        return _alike(given, expected, text, answer)
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
    return _alike(given, expected, text, answer) if expected is not None else Verdict.wrong()


def _last_or_none(text: str) -> tuple[Fraction, bool] | None:
    try:
        return last_number(text)
    except SeveralNumbers:
        return None


def _wordy(text: str) -> bool:
    return len(re.findall(r"(?<![\\A-Za-z])[A-Za-z]{2,}", text)) > 1


def _alike(
    given: tuple[Fraction, bool], expected: tuple[Fraction, bool], text: str, answer: str
) -> Verdict:
    """Equal by value, or one a decimal of six digits or more to which the other rounds."""
    if given[1] or expected[1]:
        return _same(given, expected)
    for (one, _), (other, _), said in ((given, expected, text), (expected, given, answer)):
        decimals = _DECIMAL.findall(said)
        if len(decimals) == 1 and Fraction(_DECIMAL.search(said)[0]) == abs(one):  # type: ignore[index]
            places = len(decimals[0])
            digits = len(str(abs(one.numerator * 10**places // one.denominator)))
            if digits >= _LEAST_DIGITS and round(other, places) == one:
                return Verdict.right()
    return _same(given, expected)


def _same(given: tuple[Fraction, bool], expected: tuple[Fraction, bool]) -> Verdict:
    """Equal by value; a sign of per cent may be left out beside a number above 1, or is 1/100."""
    (one, percent), (other, per) = given, expected
    if percent == per:
        right = one == other
    else:
        counted, bare = (one, other) if percent else (other, one)
        right = counted * _ONE_PERCENT == bare or (abs(bare) > 1 and counted == bare)
    return Verdict.right() if right else Verdict.wrong()
