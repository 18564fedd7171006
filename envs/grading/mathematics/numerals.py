"""Numbers as the lexer writes them, in exact arithmetic."""

from fractions import Fraction

from envs.grading.mathematics.nodes import NotMathematics

LARGEST_POWER_OF_TEN = 10_000


def rational(text: str) -> Fraction:
    """The value of a number token; what repeats stands in brackets: 0.1(6)."""
    if "(" in text:
        plain, ring = text[:-1].split("(")
        scale = 10 ** len(plain.partition(".")[2])
        return Fraction(plain if plain[-1] != "." else plain + "0") + Fraction(
            int(ring), scale * (10 ** len(ring) - 1)
        )
    if "e" in text and abs(int(text.partition("e")[2])) > LARGEST_POWER_OF_TEN:
        raise NotMathematics("a power of ten beyond all use")
    return Fraction(text)
