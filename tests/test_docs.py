"""Every page of the repository: links and named files exist, commands and options are today's."""

import importlib.util
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.registry import METHODS, config_type
from harness.cli.parser import parse
from harness.settings.fields import describe
from harness.settings.old_names import OLD_SECTIONS, SECTIONS

HOME = Path(__file__).resolve().parent.parent
SKIPPED = {"runs", "build", "dist", "node_modules", "templates"}
FOLDERS = "harness|agents|envs|leaderboards|benchmarks|tests|docs|\\.ci"
NAMED_FILE = re.compile(rf"(?<![\w./-])(?:{FOLDERS})/[\w./*-]+")
LINK = re.compile(r"\]\(([^)\s]+)\)")
OLD_FLAGS = ("--track", "--engine", "--no-play", "--worlds")
# Pages that list spellings of earlier versions on purpose, and what each may name.
HISTORY = {
    "CHANGELOG.md": re.compile(r"."),
    "docs/ray.md": re.compile(r"engine\.(samplers|learner|worlds|shard|staleness)|--engine"),
    "docs/scaling.md": re.compile(r"engine\.staleness"),
}


def pages() -> Iterator[Path]:
    for folder, below, files in os.walk(HOME):
        below[:] = [name for name in below if name not in SKIPPED and not name.startswith(".")]
        yield from (Path(folder) / name for name in files if name.endswith(".md"))


PAGES = sorted(pages())
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(HOME)) for p in PAGES])


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives the page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, fragment = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (fragment and fragment not in anchors(target)):
            broken.append(link)
    return broken


def missing_files(text: str) -> list[str]:
    """Names of repository files and folders that do not exist."""
    names = {found.rstrip(".-") for found in NAMED_FILE.findall(text)}
    # Placeholders (`agents/METHOD.py`) and environment ids (`harness/CalibrationBoth-v1`).
    real = {n for n in names if not re.search(r"/[A-Z]+\.py$|-v\d+$", n)}
    return sorted(n for n in real if not any(HOME.glob(n.rstrip("/"))))


def missing_modules(text: str) -> list[str]:
    names = set(re.findall(r"python -m (benchmarks(?:\.\w+)*)", text))
    return sorted(n for n in names if importlib.util.find_spec(n) is None)


def old_keys() -> set[str]:
    """`section.key` of every setting that had another name in an earlier version."""
    classes = [*SECTIONS.items(), *(("method", config_type(name)) for name in METHODS)]
    return {
        f"{section}.{setting.formerly.name}"
        for section, typed in classes
        for setting in describe(typed).values()
        if setting.formerly.name
    }


def old_spellings(text: str) -> list[str]:
    """Options and setting names of earlier versions in a page."""
    text = re.sub(r"(?:python|-m) benchmarks[./]\S+[^`\n]*", "", text)  # have options of their own
    words = [rf"{re.escape(w)}(?![\w-])" for w in sorted({*OLD_FLAGS, *old_keys()})]
    words += [rf"{section}\.[a-z_]+\b" for section in OLD_SECTIONS]
    return re.findall(rf"(?<![\w.-])(?:{'|'.join(words)})", text)


def commands(text: str) -> Iterator[str]:
    """The `harness …` lines of a page's code blocks, continued lines joined."""
    text = text.replace("\\\n", " ")
    for block in re.findall(r"^```bash\n(.*?)^```|((?:^ {4}.*\n)+)", text, re.M | re.S):
        for line in "".join(block).splitlines():
            if line.strip().startswith("harness ") and "…" not in line.split("#")[0]:
                yield re.sub(r"\s+# .*", "", line.strip())


@EACH_PAGE
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


@EACH_PAGE
def test_named_files_and_modules_exist(page):
    text = page.read_text(encoding="utf-8")
    assert missing_files(text) == []
    assert missing_modules(text) == []


@EACH_PAGE
def test_options_have_their_names_of_today(page):
    allowed = HISTORY.get(str(page.relative_to(HOME)))
    found = old_spellings(page.read_text(encoding="utf-8"))
    assert [word for word in found if not (allowed and allowed.match(word))] == []


@EACH_PAGE
def test_commands_are_understood(page):
    for command in commands(page.read_text(encoding="utf-8")):
        parse(shlex.split(command)[1:])


def test_a_page_with_mistakes_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](gone.md) [b](#two) [c](#one) [d](https://example.org)\n")
    assert broken_links(page) == ["gone.md", "#two"]
    assert missing_files("`harness/train.py`, `harness/no_such.py`, tests/golden.") == [
        "harness/no_such.py"
    ]
    assert missing_modules("python -m benchmarks.speed, python -m benchmarks.gone") == [
        "benchmarks.gone"
    ]
    text = "--track wandb, --tracker wandb, `--set world.turns=3`, model.grammar=true, env.turns"
    assert sorted(old_spellings(text)) == ["--track", "model.grammar", "world.turns"]
