"""Hooks of the documentation site: pages from other folders, the commands, formulas as MathML."""

import html
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from harness.cli.reference import commands_page

HOME = Path(__file__).resolve().parent.parent
PAGES = {
    "leaderboards/README.md": "leaderboards.md",
    "harness/policies/pocket/CARD.md": "pocket.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the repository that the site shows under another name."""
LINK = re.compile(r"\[([^\]\n]*)\]\(([^()\s]+)\)")
OUTSIDE = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=.?https?:|<link\b[^>]*stylesheet[^>]*https?:"
)
SHIM = re.compile(r'<script src="?https://unpkg.com/iframe-worker/shim"?></script>')
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.S)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of other folders and the reference of commands."""
    for name, shown in PAGES.items():
        text = (HOME / name).read_text(encoding="utf-8")
        files.append(File.generated(config, shown, content=_moved(text, HOME / name)))
    files.append(File.generated(config, "commands.md", content=commands_page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to repository files at the site's page, or show their names."""
    source = Path(page.file.abs_src_path or "/")
    return _moved(markdown, source) if source.is_relative_to(HOME) else markdown


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace formulas with MathML, which browsers show without scripts."""
    return FORMULA.sub(_mathml, content)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Replace the script that the offline plugin would load from elsewhere by this site's own."""
    up = "../" * page.url.count("/")
    return SHIM.sub(f'<script src="{up}assets/search_worker.js"></script>', output)


def on_post_template(output: str, template_name: str, config: MkDocsConfig) -> str:
    """Leave that script out of the page for unknown addresses, which a server shows."""
    return SHIM.sub("", output)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that would load a script, a style or a picture from elsewhere."""
    for page in Path(config.site_dir).rglob("*.html"):
        if found := OUTSIDE.search(page.read_text(encoding="utf-8")):
            raise PluginError(f"{page.name} loads something from elsewhere: {found[0]}")


def _mathml(found: re.Match[str]) -> str:
    display = "block" if found[2] == "[" else "inline"
    return str(convert(html.unescape(found[3]), display=display))


def _moved(markdown: str, source: Path) -> str:
    """The text of a page, with its links as they must be on the site."""

    def link(found: re.Match[str]) -> str:
        text, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        name, _, fragment = target.partition("#")
        path = (source.parent / name).resolve()
        anchor = f"#{fragment}" if fragment else ""
        if path.is_relative_to(HOME / "docs"):
            return f"[{text}]({path.relative_to(HOME / 'docs')}{anchor})"
        inside = str(path.relative_to(HOME)) if path.is_relative_to(HOME) else name
        if inside == "README.md":
            return f"[{text}](index.md)"
        if inside in PAGES:
            return f"[{text}]({PAGES[inside]}{anchor})"
        return text if "`" in text else f"{text} (`{inside}`)"

    return LINK.sub(link, markdown)
