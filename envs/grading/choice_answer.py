"""Letters of a multiple choice: which one a reply chooses, among wrappers and words."""

import re

from envs.grading.stated_answer import boxed_or, stated, unwrapped
from envs.verdict import Verdict

_ALONE = re.compile(r"[(\[{]?([A-Za-z])[)\]}]?[.:)]?")
_FIRST = re.compile(r"[(\[]?([A-Za-z])(?:[)\]]|[.:,;)]|\s?[-–—]\s|\s+(?:because|since|as|is|\()|$)")
_AFTER = re.compile(
    r"\b(?:is|be|option|choice|answer|letter|pick|choose|select|say)(?:\s?:)?\s+(?:definitely\s+|option\s+"
    r"|choice\s+|letter\s+)?[*_`$(\[\"'“]{0,4}([A-Za-z])(?![A-Za-z'’])",
    re.IGNORECASE,
)
_LETTER = re.compile(r"(?<![A-Za-z0-9'’])([A-Z]|(?<=[(\[])[a-z](?=[)\]]))(?![A-Za-z0-9'’])")
_ARTICLE = re.compile(r"(?:A|I|a)(?=\s+(?!(?:or|and|is|because|but|as|since)\b)[a-z])")
_NEXT = re.compile(
    r"[)\]}.]?\s{0,4}(?:(?:[,;/|&+]|\bor\b|\band\b)\s{0,4}(?:or\s+|and\s+)?|\s)[(\[{]?(?!a\b|I\b)[A-Za-z][)\]}]?"
    r"(?![\w'’])",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\b(?:not|isn['’]t|neither|nor|except|rather than|instead of|other than|anything but)\s+"
    r"(?:option\s+|choice\s+)?[(\[*_`$]{0,4}$",
    re.IGNORECASE,
)
_NOISE = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed|left|right)|[*_`$\\{}\"'“”]")
_LONGEST = 400


def reference_letter(answer: str) -> str:
    """The letter of a reference answer; "" where it is none."""
    found = _ALONE.fullmatch(unwrapped(answer))
    return found[1].upper() if found else ""


def chosen(text: str) -> str:
    """The letter a stated answer chooses; "" for none, "several" for more than one."""
    text = _NOISE.sub(" ", unwrapped(boxed_or(text))[:_LONGEST])
    text = " ".join(text.split())
    if alone := _ALONE.fullmatch(text):
        return alone[1].upper()
    first = _FIRST.match(text)
    if first and not _ARTICLE.match(text):
        rest = text[first.end(1) :]
        return "several" if _NEXT.match(rest) else first[1].upper()
    if _NEXT.match(text[1:]) and _ALONE.match(text[:1]) and not _ARTICLE.match(text):
        return "several"
    letters = {found[1].upper() for found in _LETTER.finditer(text) if _meant(text, found.start(1))}
    named = [found[1].upper() for found in _AFTER.finditer(text) if _meant(text, found.start(1))]
    if len(letters) > 1 or len(set(named)) > 1:
        return "several"
    if named:
        return named[-1]
    return next(iter(letters), "")


def _meant(text: str, place: int) -> bool:
    """Whether a letter is no article and is not denied."""
    return not _ARTICLE.match(text, place) and not _DENIED.search(text[:place])


def judge_choice(reply: str, answer: str) -> Verdict:
    """Judge if the completion chooses the letter of the reference answer, and no other."""
    said = chosen(stated(reply))
    if not said:
        return Verdict.wrong("Wrong: the reply does not say Answer: and a letter.")
    if said == "several":
        return Verdict.wrong("Wrong: several letters are stated as the answer.")
    return Verdict.right() if said == reference_letter(answer) else Verdict.wrong()
