"""Letters of a multiple choice: which one a reply chooses, among wrappers and words.

A letter counts where closed lists of words stand around it: an option's own text after a sign, a
reason, "is correct". Any other sentence about a letter states no choice.
"""

import re
import unicodedata

from envs.grading.doubt import DENIES
from envs.grading.stated_answer import boxed_or, stated, unwrapped
from envs.verdict import Verdict

_ALONE = re.compile(r"[(\[{]?([A-Za-z])[)\]}]?[.:)!/]{0,2}")
_FIRST = re.compile(r"[(\[]?([A-Za-z])(?![\w'’])")
_LETTER = re.compile(r"(?<![A-Za-z0-9_'’.-])(?:[A-Z]|(?<=[(\[])[a-z](?=[)\]]))(?![\w'’])")
_ARTICLE = re.compile(
    r"(?:A|I|a)(?=\s+(?!(?:or|and|is|are|was|because|but|as|since|then|through|vs|isn['’]t"
    r"|doesn['’]t|does|can['’]?t|cannot|would|fails)\b)[a-z])"
)
_NEXT = re.compile(
    r"[)\]}.]?\s{0,4}(?:(?:[,;/|&+]|\bor\b|\band\b)\s{0,4}(?:or\s+|and\s+)?|\s)[(\[{]?(?!a\b|I\b)[A-Za-z][)\]}]?"
    r"(?![\w'’])",
    re.IGNORECASE,
)
_OPTION = re.compile(r"[)\]]|[:.](?!\.)|\s?[=→✔✓✅]|\s[-–—]\s")
_REASON = re.compile(r"\)?[,;]?\s?(?:\(\s?)?(?:because|since|as|for)\b", re.IGNORECASE)
_ASIDE = re.compile(r"\s?[,;(]")
_RIGHT = re.compile(
    r"\)?\s(?:is|was|must be)\s(?:(?:definitely|clearly|the|only|most|indeed|a|not(?=\s(?:wrong"
    r"|incorrect|false)\b))\s){0,4}(?:correct|right|true|best|answer|one|choice|option"
    r"|wrong(?<=not wrong)"
    r"|incorrect(?<=not incorrect)|false(?<=not false))\b"
    r"(?:\s(?:answer|one|choice|option|letter))?",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[.;,:]\s|\b(?:so|but|therefore|thus|hence)\b", re.IGNORECASE)
_ALL_BUT = re.compile(r"\b(?:all|any\w{0,6}|every\w{0,6})\s(?:\w{1,20}\s)?but\b[^.;,]{0,12}$", re.I)
_ARE_DENIED = re.compile(
    r"(?:,\s[A-Z]){0,4}\s(?:and|or|nor)\s[A-Z]\s(?:is|are)\s(?:both\s|all\s)?(?=(\w{1,12}))"
)
_SIGNS = re.compile(r"[<>+=^/|]")
_WORD = re.compile(r"[^\W\d_]+(?:['’][a-z]+)?")
_LEADS_TEXT = (
    "a an the this that my our i we it it's it’s is are be was must would should will choose"
    " chose choosing pick picked select selected say think believe go with to think answer"
    " answers option options choice choices letter statement guess one final correct right"
    " best better good nice fine most likely only definitely clearly indeed probably so"
    " therefore thus hence but and first second third fourth fifth last which 答案 答案是 选"
)
_LEADS = frozenset(_LEADS_TEXT.split())
_NOISE = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf|boxed|left|right)|[*`$\\{}\"“”]|</?[a-z]{1,6}>"
    r"|(?<!\w)_|_(?!\w)|(?<!\w)'(?=[A-Za-z]'(?!\w))|(?<='[A-Za-z])'"
)
_DECORATED = re.compile(r"^[^\w(\[]+|(?<![\s✔✓✅])[\s✔✓✅]+$")
_LONGEST = 400


def reference_letter(answer: str) -> str:
    """The letter of a reference answer; "" where it is none."""
    found = _ALONE.fullmatch(unwrapped(answer))
    return found[1].upper() if found else ""


def chosen(text: str) -> str:
    """The letter a stated answer chooses; "" for none, "several" for more than one."""
    text = unicodedata.normalize("NFKC", unwrapped(boxed_or(text))[:_LONGEST])
    text = _DECORATED.sub("", " ".join(_NOISE.sub(" ", text).replace("。", ".").split()))
    if alone := _ALONE.fullmatch(text):
        return alone[1].upper()
    first = _FIRST.match(text)
    if first and not _ARTICLE.match(text):
        if _NEXT.match(text[first.end(1) :]):
            return "several"
        if text[0] in "([" or _OPTION.match(text, first.end(1)):
            return first[1].upper()
    if _NEXT.match(text[1:]) and _ALONE.match(text[:1]) and not _ARTICLE.match(text):
        return "several"
    places = [at.start() for at in _LETTER.finditer(text) if not _ARTICLE.match(text, at.start())]
    if first and first.start(1) not in places and not _ARTICLE.match(text):
        places.insert(0, first.start(1))
    held: set[str] = set()
    denied: set[str] = set()
    for place in places:
        if _denied(text, place):
            denied.add(text[place].upper())
            continue
        held.add(text[place].upper())
        if not _leads(text, place):
            return ""
        if _REASON.match(text, place + 1) or (text[place - 1 : place] == "("):
            break  # a reason, or an option's own text, speaks of others
    if held & denied:
        return ""
    return "several" if len(held) > 1 else next(iter(held), "")


def _clause_before(text: str, place: int) -> str:
    start = max((end.start() for end in _CLAUSE.finditer(text, 0, place)), default=0)
    return text[start:place]


def _denied(text: str, place: int) -> bool:
    """True if a letter is denied, or said to be anything but right."""
    before = _clause_before(text, place)
    if _ALL_BUT.search(text[:place]):
        return True
    return bool(DENIES.search(before)) or not _stands(text, place + 1)


def _stands(text: str, end: int) -> bool:
    """True if what follows a letter leaves it a choice."""
    rest = text[end:]
    if (others := _ARE_DENIED.match(rest)) and DENIES.fullmatch(others[1]):
        return False
    if not rest.strip(" .)]!") or _REASON.match(rest) or _OPTION.match(rest):
        return True
    if right := _RIGHT.match(rest):
        return not rest[right.end() :].strip(" .)!") or bool(
            re.match(r"[.,;:)]|\s(?:because|since|as|and|\()", rest[right.end() :])
        )
    if aside := _ASIDE.match(rest):
        said = rest[aside.end() :]
        return not DENIES.search(said) or bool(_LETTER.search(said)) or said.startswith(" so ")
    return bool(re.match(r"\sbut\b|\s(?:or|and)\s", rest))


def _leads(text: str, place: int) -> bool:
    """True if only words that lead to a choice stand before a letter in its clause."""
    before = _clause_before(text, place)
    words = _WORD.findall(before.lower())
    return not _SIGNS.search(before) and all(word in _LEADS or len(word) == 1 for word in words)


def judge_choice(reply: str, answer: str) -> Verdict:
    """Judge if the completion chooses the letter of the reference answer, and no other."""
    said = chosen(stated(reply))
    if not said:
        return Verdict.wrong("Wrong: the reply does not say Answer: and a letter.")
    if said == "several":
        return Verdict.wrong("Wrong: several letters are stated as the answer.")
    return Verdict.right() if said == reference_letter(answer) else Verdict.wrong()
