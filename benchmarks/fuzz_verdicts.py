"""Fuzzing the reader of mathematics: hostile text, and values with known right and wrong forms.

An input is judged against a reference that it does not say, or against itself; or it draws a value
(by the text, so that it can be repeated) and writes it in two ways, which are to be equal, or
changes it a little, which is to be refused.
"""

import random
from collections.abc import Callable
from fractions import Fraction
from math import gcd

Value = tuple[str, tuple[int, ...]]
_SQUAREFREE = (2, 3, 5, 6, 7, 10, 11, 13, 15)
_AROUND = ("{}", "{}", "{}", "${}$", " {} ", "{{{}}}", "\\left({}\\right)", "\\mathbf{{{}}}",
           "x = {}", "\\text{{The answer is }}{}", "\\displaystyle {}", "{}.",
           "\\color{{red}}{}")  # fmt: skip
# What no reply of this fuzzer says but by saying the number itself.
REFERENCES = ("918273645", "\\frac{918273645}{7}", "(918273645, 3)", "918273645\\sqrt{2}")


def drawn(rng: random.Random) -> Value:
    """A value: its kind and its whole numbers, in a form of which there is one for each value."""
    kind = rng.choice(("whole", "whole", "fraction", "surd", "complex", "pair", "set", "interval"))
    n = [rng.choice((rng.randint(-20, 20), rng.randint(-3000, 3000))) for _ in range(3)]
    if kind == "whole":
        return kind, (rng.choice((n[0], n[0] * 1009)),)
    if kind == "fraction":
        value = Fraction(n[0] or 1, rng.randint(2, 40))
        whole = value.denominator == 1
        parts = (value.numerator,) if whole else (value.numerator, value.denominator)
        return ("whole" if whole else kind), parts
    if kind == "surd":
        return kind, (n[0], n[1] or 1, rng.choice(_SQUAREFREE))
    if kind == "complex":
        return kind, (n[0], n[1] or 1)
    if kind == "set":
        return kind, tuple(sorted({n[0], n[0] + 1, n[1], n[2]}))
    low, high = min(n[0], n[1]), max(n[0], n[1])
    return kind, (n[0], n[1]) if kind == "pair" else (low, high + 1, rng.randint(0, 3))


def changed(value: Value, rng: random.Random) -> Value:
    """Another value of the same kind, near by."""
    kind, parts = value
    place = rng.randrange(len(parts))
    step = rng.choice((1, -1, 10, parts[place] + 1, -2 * parts[place] or 3))
    changed_parts = list(parts)
    changed_parts[place] += step or 1
    if kind == "fraction":
        upper, lower = changed_parts
        if lower < 2 or gcd(upper, lower) != 1 or not upper:
            return "whole", (parts[0],)
    if kind == "surd" and (changed_parts[2] != parts[2] or not changed_parts[1]):
        changed_parts = [parts[0] + 1, parts[1], parts[2]]
    if kind == "complex" and not changed_parts[1]:
        changed_parts = [parts[0], -parts[1]]
    if kind == "set":
        return kind, tuple(sorted(set(changed_parts)))
    if kind == "interval":
        if changed_parts[0] >= changed_parts[1]:
            return kind, (parts[0], parts[1] + 1, parts[2])
        changed_parts[2] %= 4
        if tuple(changed_parts) == parts:
            changed_parts[2] = (parts[2] + 1) % 4
    return kind, tuple(changed_parts)


def _signed(n: int, rest: str) -> str:
    """`+ n rest` or `- n rest`; a one is left out before a letter or root."""
    size = "" if abs(n) == 1 and rest else str(abs(n))
    return f"{'-' if n < 0 else '+'} {size}{rest}"


def _whole(n: int, rng: random.Random) -> str:
    grouped = f"{n:,}"
    return rng.choice((str(n), grouped, grouped.replace(",", "{,}"), grouped.replace(",", "\\,"),
                       f"{n}.0", f"\\frac{{{3 * n}}}{{3}}", f"{n - 7} + 7", f"{n}\\text{{ cm}}",
                       str(n).replace("-", "−")))  # fmt: skip


def _fraction(upper: int, lower: int, rng: random.Random) -> str:
    sign, size = ("-" if upper < 0 else ""), abs(upper)
    ways = [f"{sign}\\frac{{{size}}}{{{lower}}}", f"{upper}/{lower}",
            f"\\dfrac{{{upper}}}{{{lower}}}", f"\\frac{{{2 * upper}}}{{{2 * lower}}}",
            f"{sign}\\tfrac{{{size}}}{{{lower}}}"]  # fmt: skip
    if size > lower:
        ways.append(f"{sign}{size // lower}\\frac{{{size % lower}}}{{{lower}}}")
    if not lower % 2 and not any(lower % p == 0 for p in (3, 7, 11, 13, 17, 19, 23, 29, 31, 37)):
        ways.append(f"{float(Fraction(upper, lower)):.10f}")
    elif lower in (3, 9):
        ways.append(f"{sign}{size // lower}.\\overline{{{size % lower * 9 // lower}}}")
    return rng.choice(ways)


def _several(kind: str, parts: tuple[int, ...], rng: random.Random) -> str:
    plain = [str(n) for n in parts]
    if kind == "pair":
        return rng.choice(("({}, {})", "\\left( {} , {} \\right)", "(x,y) = ({},{})")).format(
            *plain
        )
    if kind == "set":
        rng.shuffle(plain)
        return rng.choice(("\\{{{}\\}}", "{}", "\\left\\{{ {} \\right\\}}")).format(
            ", ".join(plain)
        )
    low, high, ends = plain[0], plain[1], parts[2]
    left, right = ends & 1, ends & 2
    less = ("\\le" if left else "<"), ("\\leq" if right else "<")
    return rng.choice((
        f"{'[' if left else '('}{low}, {high}{']' if right else ')'}",
        f"{low} {less[0]} x {less[1]} {high}",
        f"x \\in {'[' if left else '('}{low},{high}{']' if right else ')'}",
    ))  # fmt: skip


def written(value: Value, rng: random.Random) -> str:
    """One of the ways to write a value."""
    kind, parts = value
    if kind == "whole":
        text = _whole(parts[0], rng)
    elif kind == "fraction":
        text = _fraction(parts[0], parts[1], rng)
    elif kind == "surd":
        n, times, root = parts
        surd = rng.choice((f"\\sqrt{{{root}}}", f"√{root}", f"\\sqrt {{{root}}}"))
        text = rng.choice((f"{n} {_signed(times, surd)}", f"{n} - {-times}{surd}" if times < 0 else
                           f"{n} + \\sqrt{{{times * times * root}}}",
                           f"{times}{surd} {_signed(n, '')}"))  # fmt: skip
    elif kind == "complex":
        real, imag = parts
        text = rng.choice((f"{real} {_signed(imag, 'i')}", f"{imag}i {_signed(real, '')}",
                           f"{real} {_signed(imag, '')}\\cdot i"))  # fmt: skip
    else:
        return _several(kind, parts, rng)
    return rng.choice(_AROUND).format(text)


def verdicts() -> Callable[[str], None]:
    """The target: raises where a promise is broken."""
    from envs.grading.boxed_answer import objection
    from envs.grading.mathematics.judge import judge

    def check(text: str) -> None:
        rng = random.Random(text.encode("utf-8", "surrogatepass"))
        box, does = " ".join(text.split())[:300], rng.random()
        if does < 0.4:
            reference = rng.choice(REFERENCES)
            digits = "".join(sign for sign in box if sign.isdigit())
            right = not objection(box, reference) and judge(box, reference)["right"]
            assert not right or "918273645" in digits, f"{box!r} is right for {reference!r}"
        elif does < 0.5:
            assert not box or judge(box, box)["right"], f"{box!r} is not itself"
        else:
            value = drawn(rng)
            other = value if does < 0.7 else changed(value, rng)
            reference, way = written(value, rng), written(other, rng)
            right = judge(way, reference)["right"]
            assert right == (value == other), f"{way!r} is judged {right} for {reference!r}"

    return check
