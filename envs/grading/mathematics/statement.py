r"""A text as the answers it may say: numbers, lists, tuples, intervals, equations, words.

A text may be read in more than one way where people write two things alike: `1,234` is a number
and a list, `(A) 25` is a choice and a number.
"""

import re
from collections.abc import Callable

from envs.grading.mathematics.brackets import bracketed, matrix, united
from envs.grading.mathematics.expression import closing, parse
from envs.grading.mathematics.lexer import Token, lex, written
from envs.grading.mathematics.nodes import (
    Answer,
    Based,
    Clock,
    Congruence,
    Formula,
    Node,
    NotMathematics,
    Ratio,
    Region,
    Sequence,
    Words,
    number,
    variables,
)
from envs.grading.mathematics.relations import related
from envs.grading.mathematics.sets import as_region, intersection, union
from envs.grading.mathematics.symbols import BASES, GREEK, RELATIONS, vocabulary
from envs.grading.mathematics.units import behind, factor_of, introduced, unqualified, with_currency

_OPENING = vocabulary("( [ \\{ { ⟨")
_CLOSING = vocabulary(") ] \\} } ⟩")
_SEPARATORS = frozenset([",", ";", "or", "and", "\\\\"])
_BEFORE = frozenset([",", ".", ":", ";", "=", "≈", "≡"])
_AFTER = frozenset([",", ".", ":", ";"])
_MOST_PIECES = 60
_BASED = re.compile(
    r"[({]{0,2}([0-9A-Z]{1,60})[)}]{0,2}(?:_\{?\(?(?:base)?|\(base|base)([0-9]{1,2}|[a-z]{1,20})\)?\}?"
)
_CLOCK = re.compile(r"([0-9]{1,2}):([0-5][0-9])(?::([0-5][0-9]))?")
_HALVES = {
    "am": "am",
    "a.m": "am",
    "a.m.": "am",
    "pm": "pm",
    "p.m": "pm",
    "p.m.": "pm",
    "noon": "pm",
    "midnight": "am",
}
_JOINING = (False, True)
_LABELS = frozenset("ABCDEFGH")
_AMONG_LABELS = vocabulary("( ) { } , ; . : / and or")


def readings(text: str) -> list[Answer]:
    """All that a text may say, at least one; raises NotMathematics."""
    found: list[Answer] = []
    reason = NotMathematics("nothing")
    for join in _JOINING:
        try:
            tokens = _trimmed(lex(text, join))
        except NotMathematics as error:
            raise error from None
        ways: list[Callable[[], Answer]] = [lambda tokens=tokens: statement(tokens)]  # type: ignore[misc]  # bound at once
        rest, label = _labelled(tokens)
        if label:
            found.append(Words(label))
            ways.append(lambda rest=rest: statement(rest))  # type: ignore[misc]  # bound at once
        if words := _in_words(tokens):
            found.append(Words(words))
        for way in ways:
            try:
                answer = way()
                if answer not in found:
                    found.append(answer)
            except NotMathematics as error:
                reason = error
        if "," not in text and "，" not in text:
            break
    if not found:
        raise reason
    return found


def statement(tokens: list[Token]) -> Answer:
    """The statement that the tokens make; raises NotMathematics."""
    tokens = _trimmed(tokens)
    if not tokens:
        raise NotMathematics("nothing")
    pieces, signs = _pieces(tokens)
    if len(pieces) > _MOST_PIECES:
        raise NotMathematics("too many answers")
    if len(pieces) == 1:
        return _piece(pieces[0])
    answers = tuple(_piece(piece) for piece in pieces)
    if len(answers) == 2 and _condition(answers[0], answers[1]):
        return answers[0]
    regions = [as_region(answer) for answer in answers if isinstance(answer, Region)]
    if len(regions) == len(answers):
        parts = [region for region in regions if region is not None]
        if "or" in signs:
            return union(parts)
        met = intersection(parts)
        return met if met.parts or "and" in signs else union(parts)
    return Sequence("bare", answers)


def _condition(answer: Answer, extra: Answer) -> bool:
    """True if the second says but where a letter of the first lies: n², n ≥ 1."""
    if not (isinstance(answer, Formula) and isinstance(extra, Region)):
        return False
    return extra.name in variables(answer.node)


def _trimmed(tokens: list[Token]) -> list[Token]:
    """Tokens without the signs, braces and words that stand around an answer."""
    before: list[Token] = []
    while tokens != before:
        before = tokens
        while tokens and tokens[0].kind == "op" and tokens[0].text in _BEFORE:
            tokens = tokens[1:]
        while tokens and tokens[-1].kind == "op" and tokens[-1].text in _AFTER:
            tokens = tokens[:-1]
        if _grouped(tokens):
            tokens = tokens[1:-1]
        tokens = unqualified(introduced(tokens))
    return tokens


def _grouped(tokens: list[Token]) -> bool:
    """True if the tokens are one TeX group."""
    begins = len(tokens) > 1 and tokens[0].text == "{" and tokens[0].kind == "op"
    return begins and closing(tokens, 0) == len(tokens) - 1


def _labelled(tokens: list[Token]) -> tuple[list[Token], str]:
    """Tokens behind the letter of a choice, as in "(A) 25", and the letter; "" where none is."""
    texts = [token.text for token in tokens[:3]]
    told = [token.text for token in tokens if token.text not in _AMONG_LABELS]
    if len(set(told)) > 1 and all(text in _LABELS for text in told):
        return tokens, ""  # several letters are a guess, not a choice
    if len(tokens) >= 3 and texts[0] == "(" and texts[2] == ")" and texts[1] in _LABELS:
        return tokens[3:], texts[1]
    if len(tokens) >= 3 and texts[0] in _LABELS and texts[1] in (".", ")", ":"):
        return tokens[2:], texts[0]
    if len(tokens) == 2 and texts[0] in _LABELS and texts[1] == ")":
        return [], texts[0]
    return tokens, ""


def _in_words(tokens: list[Token]) -> str:
    """The words that the tokens are, folded; "" where other things stand among them."""
    words: list[str] = []
    for token in tokens:
        if token.kind in ("word", "run", "name") or token.text in ("and", "or"):
            words.append(token.text)
        elif token.text in ("-", "'", ".", "!") and words and len(words[-1]) > 1:
            continue
        elif token.text not in ("(", ")", "{", "}"):
            return ""
    if len(words) == 1 and (len(words[0]) == 1 or words[0] in GREEK):
        return words[0]
    return " ".join(words).casefold()


def _pieces(tokens: list[Token]) -> tuple[list[list[Token]], set[str]]:
    """The parts between separators outside of all brackets, and the separators."""
    pieces: list[list[Token]] = [[]]
    signs, level = set(), 0
    for token in tokens:
        if token.kind == "op":
            level += (token.text in _OPENING) - (token.text in _CLOSING)
        level += (token.kind == "begin") - (token.kind == "end")
        if token.kind == "op" and level == 0 and token.text in _SEPARATORS:
            signs.add(token.text)
            if not pieces[-1] and token.text not in ("or", "and"):
                raise NotMathematics("an answer is missing")
            if pieces[-1]:
                pieces.append([])
        else:
            pieces[-1].append(token)
    if not pieces[-1]:
        raise NotMathematics("an answer is missing")
    return pieces, signs


def _at_top(tokens: list[Token], signs: frozenset[str]) -> bool:
    level = 0
    for token in tokens:
        if token.kind == "op":
            level += (token.text in _OPENING) - (token.text in _CLOSING)
            if level == 0 and token.text in signs:
                return True
        level += (token.kind == "begin") - (token.kind == "end")
    return False


def _piece(tokens: list[Token]) -> Answer:
    tokens = _trimmed(tokens)
    if not tokens:
        raise NotMathematics("nothing")
    if any(token.text in ("bmod", "pmod") for token in tokens):
        return _congruence(tokens)
    if _at_top(tokens, RELATIONS):
        return related(tokens, statement, _formula)
    if _at_top(tokens, frozenset("∪∩∖")):
        return united(tokens, statement)
    if special := _special(tokens):
        return special
    if _at_top(tokens, frozenset(":")):
        return Ratio(tuple(_formula(part).node for part in _parted(tokens, ":")))
    if tokens[0].kind == "begin" or (len(tokens) > 1 and tokens[1].kind == "begin"):
        return matrix(tokens, statement)
    if structure := bracketed(tokens, statement):
        return structure
    if all(t.kind == "word" or (t.kind == "run" and len(t.text) > 3) for t in tokens):
        return Words(_in_words(tokens))
    return _formula(tokens)


def _special(tokens: list[Token]) -> Answer | None:
    """A set by its sign, a numeral with a base, or a time of day."""
    if len(tokens) == 1 and tokens[0].kind == "op":
        if tokens[0].text in "ℝ∅":
            from envs.grading.mathematics.sets import EVERYTHING, NOTHING

            return EVERYTHING if tokens[0].text == "ℝ" else NOTHING
        if tokens[0].text in "ℤℕℚℂ":
            return Words(tokens[0].text)
    if tokens[0].text == "(" and closing(tokens, 0) == len(tokens) - 1 and len(tokens) > 2:
        tokens = tokens[1:-1]
    text = written(tokens).replace(" ", "")
    if based := _BASED.fullmatch(text):
        base = int(based[2]) if based[2].isdigit() else BASES.get(based[2], 0)
        if base and any(sign.isdigit() for sign in based[1]):
            return Based(based[1].lstrip("0") or "0", base)
    if clock := _CLOCK.match(text):
        rest = text[clock.end() :].strip("()").lower()
        half = _HALVES.get(rest, "")
        if not rest or half:
            hours, minutes, seconds = (int(part or 0) for part in clock.groups())
            if hours <= 24:
                return Clock(3600 * hours + 60 * minutes + seconds, half)
    return None


def _parted(tokens: list[Token], sign: str) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    level = 0
    for token in tokens:
        if token.kind == "op":
            level += (token.text in _OPENING) - (token.text in _CLOSING)
        if token.kind == "op" and token.text == sign and level == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _congruence(tokens: list[Token]) -> Answer:
    place = next(i for i, token in enumerate(tokens) if token.text in ("bmod", "pmod"))
    modulus, left = tokens[place + 1 :], tokens[:place]
    if left and left[-1].text == "(" and modulus and modulus[-1].text == ")":
        left, modulus = left[:-1], modulus[:-1]
    parts = _parted(left, "≡")
    if len(parts) == 1:
        parts = _parted(left, "=")
    if len(parts) > 2:
        raise NotMathematics("several congruences")
    name = written(parts[0]) if len(parts) == 2 else ""
    return Congruence(parse(parts[-1]), parse(modulus), name)


def _formula(tokens: list[Token]) -> Formula:
    """A formula, with the unit behind it."""
    signs = [token.text for token in tokens if token.text.startswith("currency:")]
    if len(signs) > 1:
        raise NotMathematics("several signs of money")
    kept, unit, effects = behind([token for token in tokens if token.text not in signs])
    if signs:
        unit = with_currency(signs[0].partition(":")[2], unit)
    node = parse(kept)
    for effect in effects:
        if effect == "percent":
            node = Node("percent", (node,))
        elif effect == "degrees":
            node = Node("deg", (node,))
        else:
            node = Node("mul", (node, number(factor_of(effect))))
    return Formula(node, unit=unit)
