r"""Tokens of one formula as a tree, by precedence: sums, products, powers, signs behind.

Signs side by side multiply, but for two that people read otherwise: `1\frac{1}{2}` and `1 1/2` are
mixed numbers, and two bare numbers side by side are no formula at all. `1/2x` is (1/2)·x.
"""

from envs.grading.mathematics.lexer import Token, written
from envs.grading.mathematics.nodes import Node, NotMathematics, number
from envs.grading.mathematics.numerals import rational
from envs.grading.mathematics.symbols import vocabulary

_OPEN = {"(": ")", "[": "]", "{": "}", "⌊": "⌋", "⌈": "⌉", "\\{": "\\}"}
_CLOSE = frozenset(_OPEN.values())
_CALLED = vocabulary("f g h F G P Q")
_LONGEST_PRODUCT = 3  # letters run together that are a product; longer ones are a word
_ONE_LETTER = {"pi": "pi", "e": "e", "i": "i"}
_SEVERAL = frozenset(["gcd", "lcm", "min", "max"])


def closing(tokens: list[Token], at: int) -> int:
    """The position of the closing bracket; raises NotMathematics if there is none."""
    level = 0
    for place in range(at, len(tokens)):
        if tokens[place].kind == "op":
            level += (tokens[place].text in _OPEN or tokens[place].text == "⟨") - (
                tokens[place].text in _CLOSE or tokens[place].text == "⟩"
            )
        if level == 0:
            return place
    raise NotMathematics("a bracket that is not closed")


def parse(tokens: list[Token]) -> Node:
    """The formula that all the tokens make; raises NotMathematics."""
    if not tokens:
        raise NotMathematics("nothing")
    for sign in ("over", "choose"):
        level = 0
        for place, token in enumerate(tokens):
            if token.kind == "op":
                level += (token.text in _OPEN) - (token.text in _CLOSE)
                if token.text == sign and level == 0:
                    parts = parse(tokens[:place]), parse(tokens[place + 1 :])
                    return Node("div" if sign == "over" else "binom", parts)
    parser = _Parser(tokens)
    node = parser.sum()
    if parser.at < len(tokens):
        raise NotMathematics(f"{tokens[parser.at].text!r}")
    return node


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.at, self.bars = tokens, 0, 0

    def peek(self) -> Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else Token("end", "")

    def sign(self, *texts: str) -> str:
        """The operator that stands next, taken, where it is one of these; "" otherwise."""
        token = self.peek()
        if token.kind == "op" and token.text in texts:
            self.at += 1
            return token.text
        return ""

    def sum(self) -> Node:
        first = self.sign("+", "-", "±", "∓")
        node = _signed(first, self.term())
        while sign := self.sign("+", "-", "±", "∓"):
            extra = self.sign("+", "-") if sign in "+-" else ""
            right = _signed(sign, _signed(extra, self.term()))
            node = Node("add", (node, right))
        return node

    def term(self) -> Node:
        node = self.mixed()
        while True:
            if sign := self.sign("*", "/"):
                inner = self.sign("-", "+", "±")
                right = _signed(inner, self.mixed())
                node = Node("mul" if sign == "*" else "div", (node, right))
            elif self.begins():
                node = Node("mul", (node, self.juxtaposed()))
            else:
                return node

    def begins(self) -> bool:
        """True if what stands next begins a factor."""
        token = self.peek()
        if token.kind in ("num", "name", "run", "func", "cmd"):
            return True
        if token.kind == "op" and token.text == "|":
            return self.bars == 0
        return token.kind == "op" and token.text in ("(", "[", "{", "⌊", "⌈", "∞")

    def juxtaposed(self) -> Node:
        place = self.at
        while place < len(self.tokens) - 1 and self.tokens[place].text == "{":
            place += 1
        before = self.tokens[self.at - 1]
        if self.tokens[place].kind == "num" and not (
            before.kind == "op" and before.text in (")", "!")
        ):
            raise NotMathematics("two numbers side by side")
        return self.power()

    def mixed(self) -> Node:
        """A factor; a whole number with a proper fraction behind it is their sum."""
        start = self.peek()
        node = self.power()
        if not (start.kind == "num" and start.text.isdigit() and node.op == "num"):
            return node
        place = self.at
        if self.peek().kind == "cmd" and self.peek().text == "frac":
            part = self.power()
            if _proper(part):
                return Node("add", (node, part))
        elif self.peek().kind == "num" and self.peek().space:
            upper, slash, lower = [*self.tokens[place : place + 3], start, start][:3]
            if slash.text == "/" and upper.text.isdigit() and lower.text.isdigit():
                part = Node("div", (number(int(upper.text)), number(int(lower.text))))
                self.at += 3
                if _proper(part):
                    return Node("add", (node, part))
        self.at = place
        return node

    def power(self) -> Node:
        node = self.postfix(self.atom())
        if self.sign("^"):
            exponent = self.exponent()
            node = exponent if exponent.op == "deg" else Node("pow", (node, exponent))
            if exponent.op == "deg":
                raise NotMathematics("a power of degrees")
            node = self.postfix(node)
        return node

    def exponent(self) -> Node:
        inner = self.sign("-", "+", "±", "∓")
        node = self.atom()
        if node.op in ("num", "var") and self.peek().text == "!" and not inner:
            self.at += 1
            node = Node("fact", (node,))
        if self.sign("^"):
            node = Node("pow", (node, self.exponent()))
        return _signed(inner, node)

    def postfix(self, node: Node) -> Node:
        while True:
            if self.sign("!"):
                if node.op == "fact":
                    raise NotMathematics("a factorial of a factorial")
                node = Node("fact", (node,))
            elif self.sign("%"):
                node = Node("percent", (node,))
            elif self.sign("‰"):
                node = Node("div", (node, number(1000)))
            elif self.sign("°") or self._ring():
                node = Node("deg", (node,))
            else:
                return node

    def _ring(self) -> bool:
        r"""Whether `^{\circ}` stands next; it is then taken."""
        if [t.text for t in self.tokens[self.at : self.at + 4]] == ["^", "{", "°", "}"]:
            self.at += 4
            return True
        return False

    def atom(self) -> Node:
        token = self.peek()
        self.at += 1
        if token.kind == "num":
            return number(rational(token.text), token.text if "." in token.text else "")
        if token.kind == "name":
            return self.named(token.text)
        if token.kind == "run" and len(token.text) <= _LONGEST_PRODUCT:
            letters = [Token("name", letter) for letter in token.text]
            self.tokens = [*self.tokens[: self.at - 1], *letters, *self.tokens[self.at :]]
            return self.named(token.text[0])
        if token.kind == "func":
            return self.function(token.text)
        if token.kind == "cmd":
            return self.command(token.text)
        if token.kind == "op" and token.text == "∞":
            return Node("inf")
        if token.kind == "op" and token.text == "|":
            return self.absolute()
        if token.kind == "op" and token.text in _OPEN:
            return self.group(token.text)
        raise NotMathematics(f"{token.text!r} where a number or a letter should stand")

    def group(self, opened: str) -> Node:
        end = closing(self.tokens, self.at - 1)
        inner, shut = self.tokens[self.at : end], self.tokens[end].text
        if shut != _OPEN[opened]:
            raise NotMathematics("brackets that do not match")
        self.at = end + 1
        node = parse(inner)
        if opened in ("⌊", "⌈"):
            return Node("floor" if opened == "⌊" else "ceil", (node,))
        return node

    def absolute(self) -> Node:
        self.bars += 1
        node = self.sum()
        self.bars -= 1
        if not self.sign("|"):
            raise NotMathematics("a bar that is not closed")
        return Node("abs", (node,))

    def named(self, text: str) -> Node:
        """A letter, with its index and primes; f(x) is a name as a whole."""
        indexed = ""
        if self.sign("_"):
            indexed = f"_{written(self.single())}"
        while self.sign("'"):
            indexed += "'"
        following = self.peek()
        called = following.text == "(" and following.kind == "op"
        if text == "C" and not indexed and called and (chosen := self.combination()):
            return chosen
        if text in _CALLED and called:
            end = closing(self.tokens, self.at)
            inner, self.at = self.tokens[self.at : end + 1], end + 1
            return Node("var", (), text=text + indexed + written(inner))
        return Node("var", (), text=text + indexed) if indexed else _letter(text)

    def combination(self) -> Node | None:
        """C(n, k) as a binomial coefficient; None where C is but a letter before a bracket."""
        start = self.at
        parts = self.several()
        if len(parts) == 2:
            return Node("binom", tuple(parts))
        self.at = start
        return None

    def single(self) -> list[Token]:
        """The tokens of one TeX argument: a group without its braces, or one token."""
        token = self.peek()
        if token.kind == "op" and token.text == "{":
            end = closing(self.tokens, self.at)
            inner = self.tokens[self.at + 1 : end]
            self.at = end + 1
            return inner
        if token.kind == "end" or (token.kind == "op" and token.text in _CLOSE):
            raise NotMathematics("an argument is missing")
        self.at += 1
        return [token]

    def argument(self, digits: bool) -> Node:
        r"""One argument; of `\frac12` each digit is one."""
        token = self.peek()
        if digits and token.kind == "num" and len(token.text) > 1 and token.text.isdigit():
            rest = Token("num", token.text[1:])
            self.tokens = [*self.tokens[: self.at], rest, *self.tokens[self.at + 1 :]]
            return number(int(token.text[0]))
        if token.kind == "op" and token.text == "{":
            return parse(self.single())
        if token.kind in ("cmd", "func") or (token.kind == "op" and token.text in _OPEN):
            return self.atom()
        return parse(self.single())

    def command(self, name: str) -> Node:
        digits = self.peek().text != "{"
        upper = self.argument(digits)
        return Node("div" if name == "frac" else "binom", (upper, self.argument(digits)))

    def function(self, name: str) -> Node:
        if name in ("sqrt", "cbrt"):
            return self.radical(name)
        if name in _SEVERAL:
            return Node(name, tuple(self.several()))
        base = exponent = None
        while sign := self.sign("_", "^"):
            if sign == "_":
                base = parse(self.single())
            elif self.peek().text == "°":
                raise NotMathematics("degrees of a function")
            else:
                exponent = self.exponent()
        inner = self.applied()
        if name == "exp":
            node = Node("pow", (Node("e"), inner))
        elif name == "lg":
            node = Node("log", (inner, number(10)))
        else:
            node = Node(name, (inner,) if base is None else (inner, base))
        if exponent is None:
            return node
        if exponent == Node("neg", (number(1),)) and name in ("sin", "cos", "tan", "cot"):
            return Node(f"arc{name}", (inner,))
        return Node("pow", (node, exponent))

    def radical(self, name: str) -> Node:
        index: Node = number(3 if name == "cbrt" else 2)
        if self.peek().text == "[" and name == "sqrt":
            end = closing(self.tokens, self.at)
            index = parse(self.tokens[self.at + 1 : end])
            self.at = end + 1
        return Node("root", (self.argument(False), index))

    def several(self) -> list[Node]:
        opened = self.peek().text
        if opened not in ("(", "\\{", "["):
            raise NotMathematics("a function of several numbers without brackets")
        end = closing(self.tokens, self.at)
        parts: list[list[Token]] = [[]]
        for token in self.tokens[self.at + 1 : end]:
            if token.kind == "op" and token.text == ",":
                parts.append([])
            else:
                parts[-1].append(token)
        self.at = end + 1
        return [parse(part) for part in parts]

    def applied(self) -> Node:
        """The argument of a function: a bracket, or the letters and numbers that follow."""
        minus = self.sign("-")
        if self.peek().kind == "op" and self.peek().text in ("(", "[", "{", "|"):
            return _signed(minus, self.postfix(self.atom()))
        node = self.power()
        while self.begins() and self.peek().kind in ("name", "run", "cmd"):
            node = Node("mul", (node, self.power()))
        return _signed(minus, node)


def _letter(text: str) -> Node:
    return Node(_ONE_LETTER[text]) if text in _ONE_LETTER else Node("var", (), text=text)


def _signed(sign: str, node: Node) -> Node:
    if sign in ("", "+"):
        return node
    return Node({"-": "neg", "±": "pm", "∓": "mp"}[sign], (node,))


def _proper(node: Node) -> bool:
    if node.op != "div" or any(part.op != "num" or part.text for part in node.args):
        return False
    upper, lower = (part.value for part in node.args)
    return 0 < upper < lower and upper.denominator == lower.denominator == 1
