r"""Tables of the reader: signs, commands and words, and what each stands for."""


def vocabulary(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


UNICODE: dict[str, str] = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "﹣": "-", "⁄": "/", "∕": "/",
    "×": "*", "·": "*", "⋅": "*", "∙": "*", "•": "*", "∗": "*", "✕": "*", "÷": "/", "√": "\\sqrt ",
    "∛": "\\sqrt[3] ", "∜": "\\sqrt[4] ", "±": "\\pm ", "∓": "\\mp ", "∞": "\\infty ", "π": "\\pi ",
    "≤": "\\le ", "≥": "\\ge ", "⩽": "\\le ", "⩾": "\\ge ", "≦": "\\le ", "≧": "\\ge ",
    "≠": "\\ne ", "≈": "\\approx ", "≅": "\\approx ", "≃": "\\approx ", "≡": "\\equiv ",
    "∈": "\\in ", "∪": "\\cup ", "∩": "\\cap ", "∖": "\\setminus ", "∅": "\\emptyset ",
    "∀": "\\forall ",
    "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}", "ℕ": "\\mathbb{N}", "ℚ": "\\mathbb{Q}",
    "ℂ": "\\mathbb{C}", "°": "^\\circ ", "º": "^\\circ ", "˚": "^\\circ ", "′": "'", "’": "'",
    "″": "''", "∴": "\\therefore ", "∵": "\\therefore ", "⇒": "\\implies ", "→": "\\to ",
    "⟨": "\\langle ", "⟩": "\\rangle ", "〈": "\\langle ", "〉": "\\rangle ", "∣": "|", "｜": "|",
    "ⅈ": "i", "ℯ": "e", "∧": "\\land ", "∨": "\\lor ", "¬": "\\neg ", "∠": "\\angle ",
    "△": "\\triangle ", "％": "\\%", "%": "\\%", "‰": "\\permille ", "$": " ", "€": "\\euro ",
    "£": "\\pounds ", "¢": "\\cent ", "₹": "\\rupee ", "¥": "\\yen ", "，": ",", "、": ",",
    "；": ";", "：": ":", "。": ".",
    "？": "?", "！": "!", "＝": "=", "＋": "+", "－": "-", "＊": "*", "／": "/", "＜": "<",
    "＞": ">",
    "（": "(", "）": ")", "［": "[", "］": "]", "｛": "\\{", "｝": "\\}", "【": "[", "】": "]",
    "￥": "\\yen ", "～": "~", "．": ".", "“": '"', "”": '"', "‘": "'", "\u00a0": "~",
    "\u2009": "\\,", "\u202f": "\\,", "\u2007": "\\,", "\u2002": " ", "\u2003": " ",
    "\u2004": " ", "\u2005": " ", "\u2006": "\\,", "\u2008": " ", "\u200a": " ", "\u3000": " ",
    "\u200b": "", "\ufeff": "", "\u2060": "", "\u2061": "", "\u2062": "", "\ufe0f": "",
}  # fmt: skip
UNICODE |= {chr(0xFF10 + n): str(n) for n in range(10)}
UNICODE |= {chr(0xFF21 + n): chr(65 + n) for n in range(26)}
UNICODE |= {chr(0xFF41 + n): chr(97 + n) for n in range(26)}
_GREEK_TEXT = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron rho sigma"
    " tau upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)
_GREEK = _GREEK_TEXT.split()
_LETTERS = "αβγδεζηθικλμνξορστυφχψωΓΔΘΛΞΠΣΥΦΨΩ"
UNICODE |= {sign: f"\\{name} " for sign, name in zip(_LETTERS, _GREEK, strict=True)}
UNICODE |= {"ϵ": "\\epsilon ", "ϕ": "\\phi ", "ϑ": "\\theta ", "ℓ": "\\ell "}
GREEK = frozenset(
    [*_GREEK, "pi", "ell", "hbar", "varepsilon", "vartheta", "varphi", "varrho", "varsigma"]
)
FRACTIONS = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5",
    "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅐": "1/7", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8",
    "⅑": "1/9", "⅒": "1/10",
}  # fmt: skip
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱˣ", "0123456789+-=()nix", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙₓ", "0123456789+-=()nx", strict=True))

# Commands that say how something looks, not what it is.
STYLE = vocabulary(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle"
    " textstyle scriptstyle limits nolimits boldsymbol bm mathbf mathit mathsf mathtt mathcal"
    " mathnormal bf it rm sf tt em bfseries itshape rmfamily large Large LARGE huge Huge small"
    " normalsize footnotesize tiny underline uline emph ensuremath boxed fbox framebox vphantom"
    " therefore because implies Rightarrow Longrightarrow rightarrow to quad qquad enspace enskip"
    " thinspace medspace thickspace negthinspace nobreakspace strut smash mathstrut middle protect"
    " hline centering mathop mathrel mathbin mathord mathclose mathopen overline_ noindent"
    " mathring_ underbrace overbrace allowbreak nobreak relax checkmark"
)
# Commands whose first argument says how the second looks, or how wide a gap is.
SKIP_ONE = vocabulary("textcolor color colorbox hspace vspace hskip vskip phantom hphantom tag")
TEXT = vocabulary(
    "text textbf textit textrm textsf texttt textnormal textup textsl textsc mbox hbox"
    " textsuperscript_"
)
ROMAN = vocabulary("mathrm operatorname mathup operatornamewithlimits mathop")
FUNCTIONS = vocabulary(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth sech"
    " csch arcsinh arccosh arctanh log ln lg exp sqrt cbrt gcd lcm max min floor ceil abs sgn"
    " arg Re Im"
)
ALIASES = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh",
    "atanh": "arctanh", "arsinh": "arcsinh", "arcosh": "arccosh", "artanh": "arctanh", "tg": "tan",
    "ctg": "cot", "cosec": "csc", "arctg": "arctan", "sign": "sgn", "ceiling": "ceil",
    "Log": "log", "Ln": "ln", "Sqrt": "sqrt", "cotg": "cot", "th": "tanh", "ch": "cosh",
    "sh": "sinh",
}  # fmt: skip
OPERATORS = {
    "cdot": "*", "times": "*", "ast": "*", "star": "*", "bullet": "*", "div": "/", "pm": "±",
    "mp": "∓", "le": "≤", "leq": "≤", "leqslant": "≤", "leqq": "≤", "ge": "≥", "geq": "≥",
    "geqslant": "≥", "geqq": "≥", "lt": "<", "gt": ">", "ne": "≠", "neq": "≠", "approx": "≈",
    "approxeq": "≈", "simeq": "≈", "cong": "≈", "doteq": "≈", "thickapprox": "≈", "equiv": "≡",
    "in": "∈", "cup": "∪", "bigcup": "∪", "cap": "∩", "setminus": "∖", "smallsetminus": "∖",
    "backslash": "∖", "lor": "∨", "vee": "∨", "land": "∧", "wedge": "∧", "colon": ":",
    "coloneqq": "=", "mid": "|", "vert": "|", "lvert": "|", "rvert": "|", "prime": "'",
    "slash": "/", "circ": "∘", "degree": "°", "over": "over", "choose": "choose", "%": "%",
    "permille": "‰", "lbrace": "\\{", "rbrace": "\\}", "{": "\\{", "}": "\\}", "lbrack": "[",
    "rbrack": "]", "langle": "⟨", "rangle": "⟩", "lparen": "(", "rparen": ")", "infty": "∞",
    "infinity": "∞", "emptyset": "∅", "varnothing": "∅", "pmod": "pmod", "bmod": "bmod",
    "mod": "bmod", "pod": "pmod", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉",
    "neg": "¬", "lnot": "¬", "land ": "∧", "ldots": "…", "dots": "…", "cdots": "…", "dotsc": "…",
    "comma": ",", "textdegree": "°", "textperiodcentered": "*", "gets": "=", "triangleq": "=",
    "divides": "|", "textbar": "|", "Vert": "‖", "|": "‖", "lVert": "‖", "rVert": "‖",
    "textasciitilde": "≈", "sim": "≈",
}  # fmt: skip
CURRENCY = {
    "$": "dollar", "dollar": "dollar", "textdollar": "dollar", "mathdollar": "dollar",
    "S": "dollar", "euro": "euro", "texteuro": "euro", "pounds": "sterling",
    "textsterling": "sterling", "yen": "yen", "cent": "cent", "textcent": "cent",
    "rupee": "rupee",
}  # fmt: skip
RELATIONS = vocabulary("= ≈ ≡ < > ≤ ≥ ≠ ∈")
BASES = {
    "two": 2, "binary": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "octal": 8, "nine": 9, "ten": 10, "decimal": 10, "eleven": 11, "twelve": 12, "thirteen": 13,
    "fourteen": 14, "fifteen": 15, "sixteen": 16, "hex": 16, "hexadecimal": 16, "twenty": 20,
}  # fmt: skip
