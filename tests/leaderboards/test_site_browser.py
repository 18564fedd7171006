"""The site in a real browser, from `file://`: it draws, sorts, filters and speaks, and no console
error or blocked resource is seen. Chromium is spoken to over its own pipe; nothing is installed.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from dataclasses import replace

import pytest

from leaderboards.records.store import write_entry
from leaderboards.site import PopulationMember, RoundLog, RunLog, build_site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="not run: chromium is not installed")


class Browser:
    """One page of a headless Chromium, spoken to in its own protocol over a pipe."""

    def __init__(self, profile):
        down, mine = os.pipe()
        theirs, up = os.pipe()
        # The browser reads descriptor 3 and writes descriptor 4.
        pipes = f'exec {CHROMIUM} "$@" 3<&{down} 4>&{up}'
        asked = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        self.process = subprocess.Popen(
            ["bash", "-c", pipes, "chromium", *asked, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(down, up),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(down)
        os.close(up)
        self.pen, self.paper = os.fdopen(mine, "wb"), os.fdopen(theirs, "rb")
        self.rest, self.number, self.session = b"", 0, None
        self.errors = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        asked = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = asked["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.pen.write(json.dumps(message).encode() + b"\0")
        self.pen.flush()
        while True:
            told = self.hear()
            if told.get("id") == self.number:
                assert "error" not in told, told
                return told["result"]

    def hear(self):
        while b"\0" not in self.rest:
            more = os.read(self.paper.fileno(), 1 << 20)
            assert more, "the browser has gone"
            self.rest += more
        line, self.rest = self.rest.split(b"\0", 1)
        told = json.loads(line)
        if told.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(told["params"]["exceptionDetails"]))
        if told.get("method") == "Log.entryAdded":
            self.errors.append(str(told["params"]["entry"]["text"]))
        return told

    def look(self, path, width=1280, height=900, dark=False):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        began = time.monotonic()
        self.ask("Page.navigate", url=f"file://{path}")
        self.run(
            "new Promise(r => document.readyState === 'complete' ? r() :"
            " addEventListener('load', r))"
        )
        return time.monotonic() - began

    def run(self, expression):
        told = self.ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key)

    def picture(self, path, height=None):
        whole = {"captureBeyondViewport": True} if height is None else {}
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", **whole)["data"]))

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        self.pen.close()
        self.paper.close()


def read_log(path):
    rounds = tuple(
        RoundLog(
            n, 0.2 * n, 96 * (n + 1), 900, 100, n, 1.0, {"root": (25.0, 8.0), "kid": (27.0, 5.0)}
        )
        for n in range(5)
    )
    kid = PopulationMember(
        "kid", ("Carry <b>the</b> one.",), ("root",), "mutation", 1, 27.0, 5.0, 4
    )
    return RunLog(rounds, (PopulationMember("root", (), (), "root", 0, 25.0, 8.0, 5), kid), "kid")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture
def site(tmp_path, make_entry, browser):
    for number in range(60):
        right = [1 if n < number % 9 else 0 for n in range(8)]
        entry = make_entry(
            {f"test:{n}": [value, value] for n, value in enumerate(right)},
            config={"learning_rate": number},
            method=("espl", "rl")[number % 2],
            notes=("<img src=x onerror=alert(1)>",) if number == 8 else (),
        )
        entry = replace(entry, seed=number % 3)
        write_entry(tmp_path / "in" / f"{number:02}.entry.json", entry)
    browser.errors.clear()
    return build_site(tmp_path / "site", [tmp_path / "in"], read_log).folder


def rows(browser, column="score"):
    return browser.run(f"[...document.querySelectorAll('tbody .c-{column}')].map(e => e.innerText)")


def test_pages_open_from_a_file_without_a_complaint(browser, site):
    for place in (
        "index.html",
        *(
            f"{p.parent.name}/{p.name}"
            for p in [next(site.glob("boards/*.html")), next(site.glob("runs/*.html"))]
        ),
    ):
        for width, dark in ((1280, False), (768, False), (360, True)):
            browser.look(site / place, width, dark=dark)
            wide = browser.run("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{place} is wider than a screen of {width}"
    assert browser.errors == []


def test_a_heading_sorts_says_so_and_turns_round(browser, site):
    browser.look(next(site.glob("boards/*.html")))
    click = "document.querySelector('th.c-score button').click()"
    sort = "document.querySelector('th.c-score').getAttribute('aria-sort')"
    browser.run(click)
    falling = [float(s) for s in rows(browser)]
    assert falling == sorted(falling, reverse=True) and browser.run(sort) == "descending"
    browser.run(click)
    rising = [float(s) for s in rows(browser)]
    assert rising == sorted(rising) and rising[0] == 0 and browser.run(sort) == "ascending"
    assert browser.run("document.querySelectorAll('[aria-sort]').length") == 1
    assert "by score, ascending" in browser.run("document.getElementById('where').innerText")


def test_filters_and_pages_show_the_rows_that_fit(browser, site):
    browser.look(next(site.glob("boards/*.html")))
    assert len(rows(browser)) == 50
    browser.run("document.getElementById('later').click()")
    assert len(rows(browser)) == 10
    browser.run(
        "const f = document.getElementById('filters'); f.method.value = 'rl';"
        "f.dispatchEvent(new Event('input'))"
    )
    assert len(rows(browser)) == 30
    assert all(text.startswith("rl") for text in rows(browser, "method"))
    browser.run("f.find.value = 'no such'; f.dispatchEvent(new Event('input'))")
    assert rows(browser) == []
    assert browser.run("document.getElementById('where').innerText") == "no row matches"


def test_rows_drawn_by_the_script_look_like_those_in_the_page(browser, site):
    browser.look(next(site.glob("boards/*.html")))
    text = "[...document.querySelectorAll('#board > tbody > tr')].map(e => e.innerText)"
    size = (
        "[...document.querySelectorAll('#board > tbody > tr > *')]"
        ".map(e => [e.tagName, e.offsetWidth, e.offsetHeight])"
    )
    before, sizes = browser.run(text), browser.run(size)
    for _ in range(2):
        browser.run("document.querySelector('th.c-rank button').click()")
    assert len(before) == 50 and browser.run(text) == before
    assert browser.run(size) == sizes
    warned = "[...document.querySelectorAll('#board .badge.warn + ul')].map(e => e.textContent)"
    browser.run(
        "const f = document.getElementById('filters'); f.find.value = 'rate=8)';"
        "f.dispatchEvent(new Event('input'))"
    )
    assert browser.run(warned) == ["<img src=x onerror=alert(1)>"]
    assert browser.run("document.images.length") == 0


def test_nothing_moves_once_it_is_there(browser, site):
    browser.look(next(site.glob("boards/*.html")))
    moved = browser.run(
        "new Promise(r => { let sum = 0; new PerformanceObserver(list => {"
        " for (const e of list.getEntries()) sum += e.value }).observe("
        "{type: 'layout-shift', buffered: true}); setTimeout(() => r(sum), 300) })"
    )
    assert moved < 0.01


def test_a_plot_is_read_with_the_arrow_keys(browser, site):
    browser.look(next(site.glob("runs/*.html")))
    assert browser.run("document.querySelectorAll('.canvas canvas').length") == 2
    browser.run("document.querySelector('[data-plot=curve] .canvas').focus()")
    read = "document.querySelector('[data-plot=curve] .read').textContent"
    browser.press("ArrowRight")
    assert browser.run(read) == "this run: 0 at 96 training episodes"
    browser.press("End")
    assert browser.run(read) == "this run: 80 at 480 training episodes"
    browser.run("document.querySelector('[data-plot=curve] [data-axis=tokens]').click()")
    pressed = "document.querySelector('[data-plot=curve] [aria-pressed=true]').dataset.axis"
    assert browser.run(pressed) == "tokens"


def test_transcripts_are_chosen_opened_and_shown_as_text(browser, site):
    browser.look(next(site.glob("runs/*.html")))
    count = "document.querySelectorAll('#episodes details').length"
    assert browser.run(count) == 16
    browser.run(
        "const f = document.getElementById('transcript-filters'); f.find.value = 'test:3';"
        "f.dispatchEvent(new Event('input'))"
    )
    assert browser.run(count) == 2
    browser.run("document.querySelector('#episodes details').open = true")
    shown = (
        "new Promise(r => setTimeout(() => r(document.querySelector('#episodes dl').innerText)))"
    )
    assert "12" in browser.run(shown)


def test_a_link_to_a_prompt_opens_what_it_stands_in(browser, site):
    place = next(site.glob("runs/*.html"))
    browser.look(place)
    browser.run("location.hash = 'p-kid'")
    browser.run("new Promise(r => setTimeout(r, 200))")
    assert browser.run(
        "document.getElementById('p-kid').open && document.getElementById('all-prompts').open"
    )
    assert "Carry <b>the</b> one." in browser.run("document.getElementById('p-kid').innerText")


def test_a_prompt_of_the_tree_is_shown_when_pointed_at_and_kept_after_a_click(browser, site):
    browser.look(next(site.glob("runs/*.html")))
    hidden = "document.getElementById('preview').hidden"
    text = "document.getElementById('preview').innerText"
    node = "document.querySelector('.node.selected')"
    other = "document.querySelector('.node:not(.selected)')"
    assert browser.run(hidden)
    browser.run(f"{node}.dispatchEvent(new MouseEvent('mouseenter'))")
    assert "Carry <b>the</b> one." in browser.run(text)
    browser.run(f"{node}.dispatchEvent(new MouseEvent('mouseleave'))")
    assert browser.run(hidden)
    click = "dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true}))"
    browser.run(f"{node}.{click}")
    browser.run(f"{other}.dispatchEvent(new MouseEvent('mouseenter'))")
    assert "no principles" in browser.run(text)
    browser.run(f"{other}.dispatchEvent(new MouseEvent('mouseleave'))")
    assert "Carry <b>the</b> one." in browser.run(text)
    browser.run("document.getElementById('preview-close').click()")
    assert browser.run(hidden) and browser.errors == []


def test_a_cell_of_the_grid_opens_the_transcripts_of_its_task(browser, site):
    browser.look(next(site.glob("boards/*.html")))
    cells = "[...document.querySelectorAll('#reward-grid a')]"
    assert browser.run(f"{cells}.filter(e => e.tabIndex === 0).length") == 1
    browser.run(f"{cells}[0].focus()")
    read = "document.getElementById('reward-read').textContent"
    assert "task test:0: 100 %, 2 outcomes" in browser.run(read)
    browser.press("ArrowRight")
    assert "task test:1: 100 %, 2 outcomes" in browser.run(read)
    browser.press("ArrowDown")
    assert browser.run(f"{cells}.filter(e => e.tabIndex === 0).length") == 1
    link = browser.run("document.activeElement.getAttribute('href')")
    name, _, fragment = link.partition("#")
    assert fragment == "task=test%3A1" and (site / "boards" / name).resolve().is_file()
    browser.look(f"{(site / 'boards' / name).resolve()}#{fragment}")
    found = browser.run("[...document.querySelectorAll('#episodes details')].map(e => e.innerText)")
    assert len(found) == 2 and all("test:1" in text for text in found)
    assert browser.run("document.querySelector('#episodes details').open") and not browser.errors


def test_the_colours_follow_the_system_or_the_reader(browser, site):
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    browser.look(site / "index.html", dark=True)
    assert browser.run(paper) == "rgb(16, 19, 23)"
    browser.run("document.getElementById('theme').click()")  # from the system's to light
    assert browser.run(paper) == "rgb(255, 255, 255)"
    browser.run("document.getElementById('theme').click()")
    browser.run("document.getElementById('theme').click()")
    browser.look(site / "index.html")
    assert browser.run(paper) == "rgb(255, 255, 255)"
