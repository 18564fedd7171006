"""Text that may surround a formula without changing it: words before it, units after it."""

from fractions import Fraction

from envs.grading.mathematics.lexer import Token
from envs.grading.mathematics.nodes import NotMathematics
from envs.grading.mathematics.symbols import vocabulary

# Words that change what the number beside them says: with one of them nothing is left out.
CHANGING = vocabulary(
    "not no never neither nor none or and but except least most less more fewer greater larger"
    " smaller than under over above below between up from minus negative plus times half twice"
    " double triple third quarter squared cubed square-root root hundred zero one two three four"
    " five six seven eight nine ten eleven twelve undefined false wrong incorrect unless if when"
    " otherwise mod modulo infinity inverse reciprocal log is was isn isnt t cannot any other"
    " another instead rather maybe perhaps possibly either both after before next previous of"
    " remainder divided multiplied to too without"
)
# Words of which an introduction may be made: "the answer is", "total".
LEADING = vocabulary(
    "the a an answer answers is are final result results value values total sum number numbers"
    " so thus hence therefore we get have obtain find found it that our this which must be equals"
    " equal to of for exactly approximately about roughly area perimeter volume length width height"
    " probability distance maximum minimum max min solution solutions required desired correct"
    " choice option simplified simplifies expected there x n y k m z ans and therefore largest"
    " smallest greatest possible distinct count cost price time speed ratio remainder"
)
_UNIT_TABLE = {
    ("length", "1"): "m meter meters metre metres",
    ("length", "1/100"): "cm centimeter centimeters centimetre centimetres",
    ("length", "1/1000"): "mm millimeter millimeters millimetre millimetres",
    ("length", "1000"): "km kilometer kilometers kilometre kilometres",
    ("length", "254/10000"): "inch inches in",
    ("length", "3048/10000"): "ft foot feet",
    ("length", "9144/10000"): "yd yard yards",
    ("length", "1609344/1000"): "mi mile miles",
    ("mass", "1"): "g gram grams",
    ("mass", "1000"): "kg kilogram kilograms",
    ("mass", "1/1000"): "mg milligram milligrams",
    ("weight", "1"): "lb lbs pound pounds",
    ("time", "1"): "s sec second seconds secs",
    ("time", "60"): "min minute minutes mins",
    ("time", "3600"): "h hr hrs hour hours",
    ("time", "86400"): "day days",
    ("time", "604800"): "week weeks",
    ("year", "1"): "year years yr yrs",
    ("money", "1"): "dollar dollars usd",
    ("money", "1/100"): "cent cents",
    ("volume", "1"): "l liter liters litre litres",
    ("volume", "1/1000"): "ml milliliter milliliters millilitre millilitres",
    ("speed", "1"): "mph", ("speed", "1000/1609"): "kph kmh",
}  # fmt: skip
UNITS = {
    word: (kind, Fraction(factor))
    for (kind, factor), words in _UNIT_TABLE.items()
    for word in words.split()
}
_RUNS = frozenset(word for word in UNITS if len(word) > 1) | {"deg", "units", "unit", "sq", "cu"}
_FACTORS = {"thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_PERCENT = frozenset(["percent", "pct", "per", "cent", "percentage"])
_DEGREES = frozenset(["degree", "degrees", "deg"])
_BEHIND = frozenset(["^", "{", "}", "/", "*", ".", "(", ")", "-", ",", "²"])


def unit_of(text: str) -> tuple[str, Fraction] | None:
    """The dimension and size of a unit as `behind` tells it; None for words that are none."""
    name, _, power = text.partition("^")
    if name not in UNITS:
        return None
    kind, factor = UNITS[name]
    exponent = int(power or 1)
    return f"{kind}^{exponent}", factor**exponent


def behind(tokens: list[Token]) -> tuple[list[Token], str, list[str]]:
    """Tokens without the words behind them; the unit these name; what they do to the number.

    Raises NotMathematics where the words may mean anything else than a unit.
    """
    start = _first_word(tokens)
    if start is None:
        return tokens, "", []
    words, power = [], ""
    rest = tokens[start:]
    for place, token in enumerate(rest):
        if token.kind in ("word", "run", "name"):
            words.append(token.text.lower())
        elif token.kind == "num" and place and rest[place - 1].text in ("^", "{"):
            power = token.text
        elif token.text not in _BEHIND:
            raise NotMathematics(f"{token.text!r} among words")
    if len(words) > 8 or any(word in CHANGING for word in words):
        raise NotMathematics("words behind a number that may change it")
    effects = [word for word in words if word in _FACTORS]
    if (words[0] in _PERCENT and words[0] not in ("per", "cent")) or words[:2] == ["per", "cent"]:
        effects.append("percent")
    elif words[0] in _DEGREES and len(words) == 1:
        effects.append("degrees")
    if "square" in words or "sq" in words:
        power = "2"
    elif "cubic" in words or "cu" in words:
        power = "3"
    plain = [word for word in words if word not in ("square", "cubic", "sq", "cu", *_FACTORS)]
    unit = plain[0] if len(plain) == 1 and plain[0] in UNITS else ""
    return tokens[:start], f"{unit}^{power}" if unit and power else unit, effects


def factor_of(effect: str) -> int:
    """The factor of a word like "million"."""
    return _FACTORS[effect]


def _first_word(tokens: list[Token]) -> int | None:
    level = 0
    for place, token in enumerate(tokens):
        if token.kind == "op":
            level += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
        wordy = token.kind == "word" or (
            token.kind == "run" and (len(token.text) > 3 or token.text.lower() in _RUNS)
        )
        if wordy and (level == 0 or (level == 1 and place and tokens[place - 1].text in "({")):
            if place == 0:
                return None
            while place > 1 and tokens[place - 1].text in ("{", "("):
                place -= 1
            return place if place else None
    return None


def introduced(tokens: list[Token]) -> list[Token]:
    """Tokens without words before them that only introduce the answer; others are kept."""
    place, words = 0, []
    while place < len(tokens) and _introducing(tokens, place):
        words.append(tokens[place].text.lower())
        place += 1
    wordy = any(t.kind == "word" or len(t.text) > 3 or t.text in ("is", "so", "the", "we")
                for t in tokens[:place])  # fmt: skip
    if not wordy or place >= len(tokens):
        return tokens
    following = tokens[place]
    if following.kind == "op" and following.text == ":":
        if any(word in CHANGING - {"of", "is", "and"} for word in words):
            return tokens
        return tokens[place + 1 :]
    if following.kind == "op" and following.text in ("=", "≈", "_", "^", "<", ">", "≤", "≥"):
        return tokens  # "Area = 25" names what it is
    if all(word in LEADING for word in words):
        return tokens[place:]
    said = words[-1] in ("is", "are", "be", "equals", "get", "gives")
    if said and not any(word in CHANGING - {"of", "is"} for word in words):
        return tokens[place:]
    return tokens


def _introducing(tokens: list[Token], place: int) -> bool:
    """Whether a token is a word before the answer, as a letter is where words follow: "a total"."""
    token = tokens[place]
    if token.kind == "name":
        following = tokens[place + 1].kind if place + 1 < len(tokens) else ""
        return token.text in ("a", "A", "I") and following in ("word", "run")
    return token.kind in ("word", "run")


_QUALIFYING = vocabulary(
    "for all every any each some where with constant constants is are an a the real integer"
    " integers number numbers positive negative nonnegative natural arbitrary non zero nonzero n k"
    " x in c complex reals values value of domain and whole"
)
_AROUND = vocabulary(", ∈ > < ≥ ≤ ≠ = ℝ ℤ ℕ ℚ ℂ ( ) { } ^ + - and")


def unqualified(tokens: list[Token]) -> list[Token]:
    """Tokens without a qualifier behind a formula: "for all x", "k ∈ ℤ"."""
    if not tokens:
        return tokens
    apart, letter, member, whole = tokens[-4:] if len(tokens) > 4 else [tokens[0]] * 4
    numbers = member.text == "∈" and whole.text in tuple("ℝℤℕℚℂ")
    if numbers and letter.kind == "name" and apart.text in (",", ";"):
        kept = unqualified(tokens[:-4])
        return kept or tokens[:-4]
    tokens = _unbracketed(tokens)
    for place, token in enumerate(tokens):
        if place and token.kind in ("word", "run") and token.text in ("for", "where", "with"):
            if _qualifies(tokens[place:]):
                kept = tokens[:place]
                while kept and kept[-1].text in (",", ";", "(", "{"):
                    kept = kept[:-1]
                return kept or tokens
            return tokens
    return tokens


def _unbracketed(tokens: list[Token]) -> list[Token]:
    """Tokens without a condition in brackets behind them: n² (n ≥ 1)."""
    level = 0
    for place in range(len(tokens) - 1, 0, -1):
        level += (tokens[place].text == ")") - (tokens[place].text == "(")
        if level == 0:
            inner = tokens[place + 1 : -1]
            conditional = any(token.text in tuple("∈<>≤≥≠") for token in inner)
            named = bool(inner) and inner[0].kind == "name"
            return tokens[:place] if conditional and named else tokens
    return tokens


def _qualifies(rest: list[Token]) -> bool:
    for place, token in enumerate(rest):
        if token.kind in ("word", "run"):
            if token.text.lower() not in _QUALIFYING and len(token.text) > 1:
                return False
        elif token.kind == "num":
            if rest[place - 1].text not in ("<", ">", "≤", "≥", "≠", "-", "^", "{", "("):
                return False
        elif token.kind not in ("name",) and token.text not in _AROUND:
            return False
    return True
