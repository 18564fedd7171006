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
    " another instead rather rejected invalid excluded extraneous discarded fails failed"
    " tens tenth tenths hundreds hundredth hundredths thousandth thousandths halves thirds"
    " quarters fourths fifths sixths sevenths eighths ninths twelfths sixteenths pi factorial"
    " doubled tripled halved gross score k bn mn lakh crore guess maybe perhaps possibly either"
    " both after before next previous of remainder divided multiplied to too without"
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
    ("euro", "1"): "euro euros eur",
    ("sterling", "1"): "sterling gbp",
    ("yen", "1"): "yen jpy",
    ("yuan", "1"): "yuan",
    ("rupee", "1"): "rupee rupees",
    ("force", "1"): "N newton newtons",
    ("force", "1000"): "kN",
    ("energy", "1"): "J joule joules",
    ("energy", "1000"): "kJ",
    ("power", "1"): "W watt watts",
    ("power", "1000"): "kW",
    ("pressure", "1"): "Pa pascal pascals",
    ("pressure", "1000"): "kPa",
    ("frequency", "1"): "Hz hertz",
    ("voltage", "1"): "V volt volts",
    ("current", "1"): "ampere amperes amps",
    ("celsius", "1"): "C celsius",
    ("fahrenheit", "1"): "F fahrenheit",
    ("kelvin", "1"): "kelvin kelvins",
    ("volume", "3785411784/1000000000"): "gallon gallons gal",
    ("volume", "1"): "l liter liters litre litres",
    ("volume", "1/1000"): "ml milliliter milliliters millilitre millilitres",
    ("speed", "1609344/3600000"): "mph", ("speed", "1000/3600"): "kph kmh",
}  # fmt: skip
UNITS = {
    word: (kind, Fraction(factor))
    for (kind, factor), words in _UNIT_TABLE.items()
    for word in words.split()
}
_KINDS = {"speed": {"length": 1, "time": -1}}
_RUNS = frozenset(word for word in UNITS if len(word) > 1) | {"deg", "units", "unit", "sq", "cu"}
_FACTORS = {"thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_PERCENT = frozenset(["percent", "pct", "per", "cent", "percentage"])
_DEGREES = frozenset(["degree", "degrees", "deg"])
_LARGE = frozenset(["K", "M", "B", "T"])  # thousands and more, or a unit: nobody can tell
# Words behind a number that say nothing of it.
_HARMLESS = vocabulary(
    "unit units square sq cubic cu total altogether exactly only precisely respectively each in"
    " apple apples orange oranges marble marbles ball balls coin coins card cards book books page"
    " pages point points student students people person persons child children boy boys girl girls"
    " man men woman women way ways game games team teams time step steps move moves digit digits"
    " number numbers integer integers solution solutions pair pairs triple triples value values"
    " root roots triangle triangles rectangle rectangles square squares circle circles edge edges"
    " vertex vertices face faces side sides line lines item items piece pieces cup cups ticket"
    " tickets car cars box boxes bag bags tree trees dog dogs cat cats degree degrees"
    " radian radians"
    " different distinct possible such a an per arrangements permutations combinations outcomes"
    " sequences functions subsets elements tiles stamps candies cookies pencils pens flowers eggs"
)
_BEHIND = frozenset(["^", "{", "}", "/", "*", ".", "(", ")", "-", ",", "²"])


def _unit(word: str) -> str:
    """The unit that a word names; "" for others. A single letter keeps its case."""
    if word in UNITS:
        return word
    return word.lower() if len(word) > 1 and word.lower() in UNITS else ""


def unit_of(text: str) -> tuple[str, Fraction] | None:
    """The dimension and size of a unit as `behind` tells it; None for words that are none."""
    if not text or text.startswith("?"):
        return None
    sizes: dict[str, int] = {}
    factor = Fraction(1)
    for part in text.split("*"):
        name, _, power = part.partition("^")
        for kind, exponent in _KINDS.get(UNITS[name][0], {UNITS[name][0]: 1}).items():
            sizes[kind] = sizes.get(kind, 0) + exponent * int(power or 1)
        factor *= UNITS[name][1] ** int(power or 1)
    return " ".join(f"{kind}^{power}" for kind, power in sorted(sizes.items()) if power), factor


def with_currency(sign: str, unit: str) -> str:
    """The unit of an amount with a sign of money: $12 per hour."""
    if unit.startswith("?") or any(UNITS[part.partition("^")[0]][0] == "money"
                                   for part in unit.split("*") if part):  # fmt: skip
        return unit
    return f"{sign}*{unit}" if unit else sign


def behind(tokens: list[Token]) -> tuple[list[Token], str, list[str]]:
    """Tokens without the words behind them; the unit these name; what they do to the number.

    A unit that begins with "?" is words that are neither units nor known to be harmless. Raises
    NotMathematics where the words change the number.
    """
    start = _first_word(tokens)
    if start is None:
        return tokens, "", []
    rest = tokens[start:]
    while start and tokens[start - 1].text == "/":
        start -= 1
        rest = tokens[start:]
    words = [token.text for token in rest if token.kind in ("word", "run", "name")]
    for place, token in enumerate(rest):
        powered = token.kind == "num" and place and rest[place - 1].text in ("^", "{", "-")
        if token.kind not in ("word", "run", "name") and not powered and token.text not in _BEHIND:
            raise NotMathematics(f"{token.text!r} among words")
    folded = [word.lower() for word in words]
    effects = [word for word in folded if word in _FACTORS]
    spelled = folded[:2] == ["per", "cent"]
    if spelled or (folded[0] in _PERCENT and folded[0] not in ("per", "cent")):
        if any(word not in _PERCENT for word in folded):
            raise NotMathematics("words behind a percentage")
        return tokens[:start], "", ["percent"]
    if folded[0] in _DEGREES and len(words) == 1:
        return tokens[:start], "", ["degrees"]
    rest = [token for token in rest if token.text.lower() not in _FACTORS]
    if (unit := _compound(rest)) is not None:
        return tokens[:start], unit, effects
    if len(words) > 8 or any(w in CHANGING or words[i] in _LARGE for i, w in enumerate(folded)):
        raise NotMathematics("words behind a number that may change it")
    harmless = all(
        folded[i] in _HARMLESS or folded[i] in _FACTORS or _unit(word)
        for i, word in enumerate(words)
    )
    effect_free = [word for word in folded if word not in _FACTORS]
    return tokens[:start], "" if harmless else "?" + " ".join(effect_free), effects


def _compound(tokens: list[Token]) -> str | None:
    """A unit made of known ones: m/s^2, miles per hour; None where other words stand in it."""
    parts: list[list[str | int]] = []
    sign, power, place = 1, 1, 0
    while place < len(tokens):
        token = tokens[place]
        word = token.text.lower()
        if token.kind in ("word", "run", "name"):
            if name := _unit(token.text):
                parts.append([name, sign * power])
                power = 1
            elif word == "per" or (word in ("a", "an", "each") and parts):
                sign = -1
            elif word in ("square", "sq", "cubic", "cu"):
                power = 2 if word[0] == "s" else 3
            elif word in ("squared", "cubed") and parts:
                parts[-1][1] = int(parts[-1][1]) * (2 if word == "squared" else 3)
            else:
                return None
        elif token.text == "/":
            sign = -1
        elif token.text == "²" and parts:
            parts[-1][1] = int(parts[-1][1]) * 2
        elif token.kind == "num":
            minus = tokens[place - 1].text == "-"
            if not parts or len(token.text) > 1:
                return None
            parts[-1][1] = int(parts[-1][1]) * int(token.text) * (-1 if minus else 1)
        place += 1
    if power != 1 or (sign == -1 and not any(int(part[1]) < 0 for part in parts)):
        return None
    return "*".join(f"{name}^{exponent}" for name, exponent in parts) or None


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
    """True if a token is a word before the answer, as a letter is where words follow: "a total"."""
    token = tokens[place]
    if token.kind == "name" or token.text == "A":
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
