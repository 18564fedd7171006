"""Pairs of a reference answer and a reply whose verdict is known.

The battery was written by hand. Rewritings say a pinned reference in another way, so they are
right; two different references side by side are wrong. Texts of data sets are read where
HARNESS_DATA_DIR has them and are kept nowhere.
"""

import difflib
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

BATTERY = Path(__file__).with_name("battery.jsonl")
DATA = (
    "aime_2022_2024", "aime_2025", "beyond_aime", "dapo_100", "dapo_math_2k", "gsm8k_test",
    "hmmt_feb_2023_partial", "hmmt_feb_2024", "hmmt_feb_2025", "hmmt_nov_2025", "math500",
)  # fmt: skip
_WHOLE = re.compile(r"-?[0-9]+")
_LETTER = re.compile(r"\\text\{\([A-H]\)\}")
_FRACTION = re.compile(r"(?<![0-9 ])\\frac\{([^{}]*)\}\{([^{}]*)\}")
_ROOT = re.compile(r"(?<![a-z])\\sqrt\{(\w+)\}")
_NEAREST = 9  # most similar references with which each is paired
# References of the data that say the same; a pair of them is no pair of different answers.
SAME = (
    ("\\pi", "180^\\circ"), ("1,-2", "-2,1"), ("(-2,1)", "-2,1"), ("\\frac{1}{4}", "\\frac14"),
    ("36^\\circ", "\\$36"), ("2 \\sqrt{5}", "2\\sqrt{5}"), ("58,500", "58500"),
    ("10,\\!080", "10080"), ("\\$36", "36"), ("36^\\circ", "36"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """A reference and a reply, and whether the reply is right."""

    grader: str
    reference: str
    reply: str
    right: bool
    kind: str


def battery() -> list[Pair]:
    """The pairs written by hand."""
    lines = BATTERY.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [
        Pair(r["grader"], r["reference"], r["reply"], r["right"] == "right", r["kind"])
        for r in rows
    ]


def references(folder: Path) -> list[str]:
    """Every different reference answer of the pinned data, in order."""
    seen: dict[str, None] = {}
    for name in DATA:
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            answer = str(json.loads(line)["answer"])
            seen.setdefault(answer.rpartition("####")[2].strip(), None)
    return list(seen)


def _any_ways(a: str) -> list[str]:
    """Ways to write any reference."""
    ways = [f"${a}$", f"{a}.", f"\\boldsymbol{{{a}}}", f"{{{a}}}", f"\\displaystyle {a}",
            f"\\text{{The answer is }}{a}", f"  {a} ", f"\\color{{blue}}{a}",
            f"\\textbf{{(B) }}{a}", f"\\underline{{{a}}}", f"\\,{a}\\,",
            re.sub(r"(?<![a-z]) ", "", a)]  # fmt: skip
    structured = any(sign in a for sign in ("=", "_", "pm", "begin", "\\in", "text", ","))
    return ways if structured else [*ways, f"x = {a}", f"\\left({a}\\right)", f"{a} = {a}"]


def _whole_ways(n: int) -> list[str]:
    grouped = f"{n:,}"
    ways = [grouped, grouped.replace(",", "{,}"), grouped.replace(",", "\\,"), f"{n}.0", f"{n}.00",
            f"\\frac{{{2 * n}}}{{2}}", f"{n}\\text{{ cm}}", f"\\text{{{n}}}", f"\\${n}",
            f"{n}^\\circ", str(n).replace("-", "−"), f"{n - 1}+1", f"N = {grouped}",
            f"\\approx {n}", f"x = {n}", f"\\mathbf{{{grouped}}}"]  # fmt: skip
    if n > 0:
        ways += [f"+{n}", f"0{n}"]
    return [*ways, f"{n}\\%"] if abs(n) > 1 else ways


def _formula_ways(a: str) -> list[str]:
    ways = [a.replace("\\frac", "\\dfrac"), a.replace("\\dfrac", "\\frac"),
            a.replace("\\left", "").replace("\\right", ""), _FRACTION.sub(r"(\1)/(\2)", a),
            a.replace("\\cdot", "\\times"), a.replace("\\pi", "π"), a.replace("-", "−"),
            a.replace("^\\circ", "°"), a.replace("\\infty", "∞"), a.replace("\\cup", "∪"),
            _ROOT.sub(r"√{\1}", a), _ROOT.sub(r" sqrt(\1)", a),
            a.replace("pmatrix", "bmatrix")]  # fmt: skip
    if not any(sign in a for sign in ("\\left", "[", "]")):
        ways.append(a.replace("(", "\\left(").replace(")", "\\right)"))
    return ways


def rewritings(some: list[str], seed: int = 0) -> list[Pair]:
    """Formulas in all ways, whole numbers each in five of theirs, drawn by the seed."""
    rng, found = random.Random(seed), []
    for answer in some:
        if _WHOLE.fullmatch(answer):
            ways = [*_any_ways(answer), *_whole_ways(int(answer))]
            ways = rng.sample(ways, 5)
        else:
            ways = [*_any_ways(answer), *_formula_ways(answer)]
        if _LETTER.fullmatch(answer):  # the letter of another choice before it makes two guesses
            ways = [way for way in ways if not way.startswith("\\textbf{(")]
        for way in dict.fromkeys(way for way in ways if way != answer):
            found.append(Pair("math", answer, f"So it is $\\boxed{{{way}}}$.", True, "rewriting"))
    return found


def different(some: list[str], seed: int = 0) -> list[Pair]:
    """Each formula with those that look most like it and one at random; numbers with neighbours."""
    rng, chosen = random.Random(seed), dict[tuple[str, str], None]()
    formulas = [answer for answer in some if not _WHOLE.fullmatch(answer)]
    whole = [answer for answer in some if _WHOLE.fullmatch(answer)]
    for answer in formulas:
        near = difflib.get_close_matches(answer, formulas, _NEAREST + 1, 0.0)
        for other in [*near, rng.choice(formulas), rng.choice(whole)]:
            chosen.setdefault((answer, other), None)
    for answer in whole:
        for other in (str(int(answer) + 1), rng.choice(whole)):
            chosen.setdefault((answer, other), None)
    same = {frozenset(pair) for pair in SAME}
    return [
        Pair("math", one, f"So it is $\\boxed{{{other}}}$.", False, "different references")
        for one, other in chosen
        if frozenset((one, other)) not in same and one != other
    ]
