r"""A text of mathematics, LaTeX or plain, as tokens: spacing, fonts and colours are gone.

One pass over the text; what stands within `\text{…}` is read as words. Digit groups are joined
here: `58{,}500` and `58\,500` always, `58,500` where the caller says so, for it may be a list.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from envs.grading.mathematics.nodes import NotMathematics
from envs.grading.mathematics.symbols import (
    ALIASES,
    CURRENCY,
    FRACTIONS,
    FUNCTIONS,
    GREEK,
    LOWERED,
    OPERATORS,
    RAISED,
    ROMAN,
    SKIP_ONE,
    STYLE,
    TEXT,
    UNICODE,
    vocabulary,
)  # fmt: skip

LONGEST = 4000  # characters; a reply's box is shorter by far
DEEPEST = 40  # commands that hold text within each other
_TABLE = {ord(sign): text for sign, text in UNICODE.items()}
_TOKEN = re.compile(r"\\[A-Za-z]+\*?|\\.|[A-Za-z]+|[0-9]+|\s+|.", re.DOTALL)
_GROUP = re.compile(r"(\{,\}\s?|,\\!\s?|\\[,!;: ]\s?|~|'|,|\s)([0-9]{3})(?![0-9])")
_SPACED = re.compile(r"~|\s|\\ \s?")
_TAIL = re.compile(r"(?:(?:\.|\{\.\}|\{,\})([0-9]+))?([eE][+-]?[0-9]{1,6}(?![0-9.A-Za-z]))?")
_REPEAT = re.compile(
    r"\.?([0-9]*)(?:\\(?:overline|bar|dot)\s?\{?\s?([0-9]{1,40})\}?|\(([0-9]{1,40})\))"
    r"(?:([0-9]{0,40})\\dot\s?\{?([0-9])\}?)?"
)
_DIGITS = "0123456789"
_DOUBLES = {"<=": "≤", ">=": "≥", "!=": "≠", "==": "=", "**": "^", ":=": "=", "=<": "≤", "'": "'"}
_MARKED = vocabulary(
    "overline bar vec hat tilde widehat widetilde overrightarrow dot ddot overleftrightarrow"
)
_FRACS = vocabulary("frac dfrac tfrac cfrac nicefrac sfrac flatfrac xfrac")
_BINOMS = vocabulary("binom dbinom tbinom")
_ARCS = vocabulary("arcsin arccos arctan arccot arcsec arccsc arctg asin acos atan")
_FRENCH = re.compile(r"(?<![\\])([\](\[])([^][(),;]+[,;][^][(),;]+)(?<![\\])([\[)\]])")
_GAPS = re.compile(r"(?<=\\\\)\s*\[-?[0-9.]+\s*(?:pt|em|ex|mm|cm)\]")
_LAST = re.compile(r"(?:\\\\|\\newline)\s*$")
_ALIGNED = re.compile(r"\\(?:begin|end)\s*\{(?:aligned|align\*?|gathered|gather\*?|split)\}")
_CHINESE = re.compile(r"^\s*((?:\\text\s*\{\s*)?)(?:最终答案|答案|答)(?:是|为)?\s*[:：]?\s*")
_COUNTED = re.compile(r"(?<!\s)\s*[元个人种]\s*+(\}?)\s*$")
_SETS = {"R": "ℝ", "Z": "ℤ", "N": "ℕ", "Q": "ℚ", "C": "ℂ"}
_VARIANTS = {"varepsilon": "epsilon", "vartheta": "theta", "varphi": "phi", "varrho": "rho",
             "varsigma": "sigma", "straightphi": "phi"}  # fmt: skip
_SPELLED = {"or": "or", "and": "and", "mod": "bmod", "modulo": "bmod", "infinity": "∞",
            "infty": "∞", "inf": "∞", "oo": "∞", "union": "∪"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """One sign, number, letter, command or word; `space` says that white space stood before it."""

    kind: str
    text: str
    space: bool = False


def lex(text: str, join_commas: bool) -> list[Token]:
    """The tokens of a text; raises NotMathematics where it is too long or holds what is no sign."""
    if len(text) > LONGEST:
        raise NotMathematics(f"over {LONGEST} characters")
    text = _COUNTED.sub(r"\1", _CHINESE.sub(r"\1", _laid_out(text)))
    plain = text.replace("\\%", "%").replace("\\$", "\\dollar ").translate(_TABLE)
    return _after(list(_Lexer(plain, join_commas).tokens(words=False)))


def _laid_out(text: str) -> str:
    """The text without gaps between rows and alignment; ]a,b[ in its usual brackets."""
    text = _GAPS.sub("", text)
    if _ALIGNED.search(text):
        text = _ALIGNED.sub("", text).replace("&", "")
    text = _LAST.sub("", text)
    depth = 0
    for sign in text:
        depth += (sign == "[") - (sign == "]")
        if depth < 0:
            break
    if depth == 0:
        return text
    return _FRENCH.sub(lambda m: ("(" if m[1] == "]" else m[1]) + m[2] +
                       (")" if m[3] == "[" else m[3]), text)  # fmt: skip


class _Lexer:
    def __init__(self, text: str, join_commas: bool, depth: int = 0) -> None:
        if depth > DEEPEST:
            raise NotMathematics("text within text within text")
        self.text, self.join, self.at, self.depth = text, join_commas, 0, depth
        self.space = False

    def tokens(self, words: bool) -> Iterator[Token]:
        while self.at < len(self.text):
            match = _TOKEN.match(self.text, self.at)
            assert match is not None
            piece, start = match[0], self.at
            self.at = match.end()
            if piece.isspace() or piece in ("\\,", "\\;", "\\:", "\\ ", "\\>", "~", "\\\n", "\\/"):
                self.space = True
                continue
            if piece in ("\\", "\\!", '"', "`", "\\(", "\\)", "\\[", "\\]", "\\-"):
                continue
            for token in self._one(piece, start, words):
                yield Token(token.kind, token.text, self.space)
                self.space = False

    def _one(self, piece: str, start: int, words: bool) -> Iterator[Token]:
        after = self.text[self.at : self.at + 1]
        if piece[0] in _DIGITS or (piece == "." and after and after in _DIGITS):
            yield self._number(start)
        elif piece[0] == "\\" and len(piece) > 1:
            yield from self._command(piece[1:].rstrip("*"), words)
        elif piece.isascii() and piece.isalpha():
            yield from _letters(piece, words)
        elif piece in RAISED or piece in LOWERED:
            yield from self._shifted(piece)
        elif piece in FRACTIONS:
            upper, lower = FRACTIONS[piece].split("/")
            yield Token("cmd", "frac")
            for part in (upper, lower):
                yield from (Token("op", "{"), Token("num", part), Token("op", "}"))
        elif piece in "+-*/^_=<>()[]{}|,;:.!&'":
            double = piece + self.text[self.at : self.at + 1]
            if double in _DOUBLES:
                self.at += 1
                piece = _DOUBLES[double]
            yield Token("op", piece)
        else:
            raise NotMathematics(f"the sign {piece!r}")

    def _shifted(self, piece: str) -> Iterator[Token]:
        table, sign = (RAISED, "^") if piece in RAISED else (LOWERED, "_")
        inner = table[piece]
        while self.text[self.at : self.at + 1] in table and self.at < len(self.text):
            inner += table[self.text[self.at]]
            self.at += 1
        yield from (Token("op", sign), Token("op", "{"))
        yield from _Lexer(inner, False, self.depth + 1).tokens(False)
        yield Token("op", "}")

    def _number(self, start: int) -> Token:
        """A number with its groups, decimals, repeating decimals and power of ten."""
        at = start
        while self.text[at : at + 1] in tuple("0123456789"):
            at += 1
        digits = self.text[start:at]
        if 0 < len(digits) <= 3 and digits[0] != "0":
            while group := _GROUP.match(self.text, at):
                if group[1] == "," and not self.join:
                    break
                after = self.text[group.end() :].lstrip()[:1]
                if _SPACED.fullmatch(group[1]) and after == "/":
                    break
                digits += group[2]
                at = group.end()
        repeat = _REPEAT.match(self.text, at)
        if repeat and self.text[at : at + 1] == ".":
            self.at = repeat.end()
            ring = (repeat[2] or repeat[3]) + (repeat[4] or "") + (repeat[5] or "")
            return Token("num", f"{digits or '0'}.{repeat[1]}({ring})")
        tail = _TAIL.match(self.text, at)
        assert tail is not None
        self.at = tail.end()
        if tail.end() == at and self.text[at : at + 1] == "." and not digits:
            raise NotMathematics("a point without digits")
        decimals = f".{tail[1]}" if tail[1] else ""
        return Token("num", f"{digits or '0'}{decimals}{(tail[2] or '').lower()}")

    def _argument(self) -> str:
        """The text within the braces that follow; "" where none do."""
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        if self.text[self.at : self.at + 1] != "{":
            return ""
        level, start = 0, self.at + 1
        while self.at < len(self.text):
            sign = self.text[self.at]
            self.at += 1
            if sign == "\\":
                self.at += 1
            level += (sign == "{") - (sign == "}")
            if level == 0:
                return self.text[start : self.at - 1]
        raise NotMathematics("a brace that is not closed")

    def _command(self, name: str, words: bool) -> Iterator[Token]:
        if name in TEXT:
            self.space = self.space or self.text[self.at : self.at + 2] in ("{ ", "{~")
            inner = self._argument()
            if inner.strip() in _ARCS:
                yield Token("func", ALIASES.get(inner.strip(), inner.strip()))
                return
            yield from _Lexer(inner, self.join, self.depth + 1).tokens(words=True)
        elif name in ROMAN:
            inner = self._argument()
            if inner.strip() in _ARCS:
                yield Token("func", ALIASES.get(inner.strip(), inner.strip()))
                return
            yield from _Lexer(inner, self.join, self.depth + 1).tokens(inner not in tuple("iedxyn"))
        elif name in SKIP_ONE:
            self._argument()
        elif name in STYLE:
            pass
        elif name in ("mathbb", "Bbb"):
            yield Token("op", _SETS.get(self._argument().strip(), "?"))
        elif name in ("begin", "end"):
            kind = self._argument().strip("* ")
            if kind == "array" and name == "begin":
                self._argument()
            yield Token(name, kind)
        elif name == "\\":
            yield Token("op", "\\\\")
        elif name == "not":
            yield Token("op", "not")
        else:
            yield from self._symbol(name)

    def _symbol(self, name: str) -> Iterator[Token]:
        if name in _FRACS:
            yield Token("cmd", "frac")
        elif name in _BINOMS:
            yield Token("cmd", "binom")
        elif name in FUNCTIONS or name in ALIASES:
            yield Token("func", ALIASES.get(name, name))
        elif name in OPERATORS:
            sign = OPERATORS[name]
            yield Token("op", {"∨": "or", "∧": "and"}.get(sign, sign))
        elif name in GREEK or name in _VARIANTS:
            yield Token("name", _VARIANTS.get(name, name))
        elif name in ("imath", "mathi"):
            yield Token("name", "i")
        elif name in CURRENCY:
            yield Token("op", f"currency:{CURRENCY[name]}")
        elif name in _MARKED:
            inner = "".join(self._argument().split()) or self._letter()
            yield Token("name", f"{'overline' if name == 'bar' else name}:{inner}")
        elif name == "forall":
            yield from (Token("word", "for"), Token("word", "all"))
        elif name in ("angle", "triangle", "measuredangle"):
            pass
        else:
            raise NotMathematics(f"the command {name}")

    def _letter(self) -> str:
        match = _TOKEN.match(self.text, self.at)
        if match is None or not match[0].isalnum():
            raise NotMathematics("a mark over nothing")
        self.at += 1
        return match[0][0]


def _letters(run: str, words: bool) -> Iterator[Token]:
    folded = run.lower()
    if folded in _SPELLED:
        yield Token("op", _SPELLED[folded])
    elif words:
        yield Token("word", run)
    elif len(run) == 1:
        yield Token("name", run)
    elif run in FUNCTIONS or run in ALIASES:
        yield Token("func", ALIASES.get(run, run))
    elif run in GREEK or folded == "pi":
        yield Token("name", "pi" if folded == "pi" else run)
    elif len(run) <= 4 and run[:-1] in ("sin", "cos", "tan", "ln", "log", "cot"):
        yield from (Token("func", run[:-1]), Token("name", run[-1]))
    else:
        yield Token("run", run)


def _after(tokens: list[Token]) -> list[Token]:
    r"""What only a sign's neighbours tell: `\not=`, `^\circ`, "x in [", "(…) U (…)"."""
    found: list[Token] = []
    for place, token in enumerate(tokens):
        following = tokens[place + 1].text if place + 1 < len(tokens) else ""
        before = found[-1].text if found else ""
        if before == "not" and token.kind == "op":
            found.pop()
            sign = {"=": "≠", "∈": "∉"}.get(token.text)
            if sign is None:
                raise NotMathematics("a negated sign")
            token = Token("op", sign, token.space)
        elif (
            token.kind in ("run", "word") and token.text == "in" and following in ("[", "(", "\\{")
        ):
            token = Token("op", "∈", token.space)
        elif token.text == "U" and token.kind in ("name", "word"):
            if before in (")", "]", "\\}") and following in ("(", "[", "\\{"):
                token = Token("op", "∪", token.space)
        elif token.text == "∘" or (token.text == "o" and _raised(found, following)):
            token = _degree(found, following)
        found.append(token)
    return [token for token in found if token.kind != "gone"]


def _raised(found: list[Token], following: str) -> bool:
    """True if a letter o stands where the ring of a degree would: `90^o`."""
    if found and found[-1].text == "^":
        return True
    return len(found) > 1 and [t.text for t in found[-2:]] == ["^", "{"] and following == "}"


def _degree(found: list[Token], following: str) -> Token:
    """The ring of a degree, of which the ^ before it is no power."""
    if found and found[-1].text == "^":
        found.pop()
    elif len(found) > 1 and found[-1].text == "{" and found[-2].text == "^" and following == "}":
        return Token("op", "°")  # x^{°}: the parser takes the group for the sign
    else:
        raise NotMathematics("a ring that is no degree")
    return Token("op", "°")


def written(tokens: list[Token]) -> str:
    """The tokens as one text; two texts that differ in looks alone give the same."""
    parts = []
    for place, token in enumerate(tokens):
        wordy = token.kind in ("word", "run", "num")
        apart = wordy and place > 0 and tokens[place - 1].kind in ("word", "run", "num")
        parts.append(f" {token.text}" if apart else token.text)
    return "".join(parts)
