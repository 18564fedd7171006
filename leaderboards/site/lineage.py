"""The evolutionary tree: who descends from whom, what each edge changed, where each node is drawn.

Pure: prompts in, positions and differences out. Ratings decide nothing here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from leaderboards.site.log import Lived

ALIKE = 0.7  # of two principles: above it, one became the other; below, one left and one came
_COMPARED = 2000  # characters of a principle that are compared word by word

Part = tuple[Literal["same", "gone", "new"], str]


@dataclass(frozen=True, slots=True)
class Change:
    """What an edge did to one principle: added, removed, or changed word by word."""

    kind: Literal["added", "removed", "changed"]
    parts: tuple[Part, ...]
    source: str = ""  # the other parent that had this principle before


@dataclass(frozen=True, slots=True)
class Edge:
    """From a parent to its child. `first` is the parent that the child's text is compared with."""

    parent: str
    child: str
    first: bool


@dataclass(frozen=True, slots=True)
class LineageNode:
    """A prompt, its place in the drawing (column by birth, lane), and what made it."""

    prompt: Lived
    column: int
    lane: int
    changes: tuple[Change, ...]
    champion: bool
    ancestor: bool  # of the champion, or the champion itself


@dataclass(frozen=True, slots=True)
class LineageTree:
    """All prompts by birth, with their edges; `columns` and `lanes` say how large the drawing is.

    `path` leads from the root to the champion by first parents.
    """

    nodes: tuple[LineageNode, ...]
    edges: tuple[Edge, ...]
    columns: int
    lanes: int
    path: tuple[LineageNode, ...]


def grow(prompts: Sequence[Lived], champion: str) -> LineageTree:
    """Lay the tree out: the champion's line keeps the first lane for itself."""
    known = {prompt.id: prompt for prompt in prompts}
    line = _line(known, champion)
    columns = _columns(prompts, known)
    ordered = sorted(prompts, key=lambda p: columns[p.id])
    lanes = _lanes(ordered, columns, line)
    nodes = tuple(
        LineageNode(
            prompt,
            columns[prompt.id],
            lanes[prompt.id],
            tuple(changes(prompt, known)),
            prompt.id == champion,
            prompt.id in line,
        )
        for prompt in ordered
    )
    edges = tuple(
        Edge(parent, p.id, number == 0)
        for p in ordered
        for number, parent in enumerate([q for q in p.parents if q in known])
    )
    by_id = {node.prompt.id: node for node in nodes}
    path = tuple(by_id[id] for id in line)
    wide, deep = max(columns.values(), default=0), max(lanes.values(), default=0)
    return LineageTree(nodes, edges, wide + 1, deep + 1, path)


def _line(known: Mapping[str, Lived], champion: str) -> list[str]:
    """From the oldest known ancestor to the champion, by first parents."""
    line: list[str] = []
    at = champion
    while at in known and at not in line:
        line.append(at)
        at = next(iter(known[at].parents), "")
    return line[::-1]


def _columns(prompts: Sequence[Lived], known: Mapping[str, Lived]) -> dict[str, int]:
    """One column for each round in which something was born; a child is right of its parents."""
    columns: dict[str, int] = {}
    for prompt in sorted(prompts, key=lambda p: p.born):
        parents = [columns[p] for p in prompt.parents if p in columns]
        columns[prompt.id] = max(
            [prompt.born + (1 if prompt.parents else 0)] + [c + 1 for c in parents]
        )
    steps = {column: place for place, column in enumerate(sorted(set(columns.values())))}
    return {id: steps[column] for id, column in columns.items()}


def _lanes(
    ordered: Sequence[Lived], columns: Mapping[str, int], line: Sequence[str]
) -> dict[str, int]:
    """A lane for each: on from its parent's where that is free, else the nearest free one.

    An edge leaves its parent at once and then runs along its child's lane, which is therefore
    taken from behind the parent on.
    """
    lanes = dict.fromkeys(line, 0)
    taken: dict[int, int] = {0: max(columns.values(), default=0)} if line else {}
    tips = set(line)  # prompts whose lane goes on already
    for prompt in ordered:
        if prompt.id in lanes:
            continue
        parent = next((p for p in prompt.parents if p in lanes), None)
        if parent is not None and parent not in tips:
            lane = lanes[parent]
            tips.add(parent)
        else:
            begins = columns[parent] + 1 if parent else columns[prompt.id]
            near = sorted(taken, key=lambda n: (abs(n - (lanes[parent] if parent else 0)), n))
            lane = next((n for n in near if taken[n] < begins), len(taken))
        lanes[prompt.id] = lane
        taken[lane] = max(taken.get(lane, 0), columns[prompt.id])
    return lanes


def changes(child: Lived, known: Mapping[str, Lived]) -> Iterator[Change]:
    """How a child's principles differ from its first parent's, in the child's order."""
    parents = [known[p] for p in child.parents if p in known]
    if not child.parents:
        yield from (Change("added", (("new", text),)) for text in child.principles)
        return
    old = parents[0].principles if parents else ()
    others = {text: p.id for p in parents[1:] for text in p.principles}
    blocks = SequenceMatcher(None, old, child.principles, autojunk=False).get_opcodes()
    for tag, i, end, j, stop in blocks:
        if tag != "equal":
            yield from _block(old[i:end], child.principles[j:stop], others)


def _block(gone: Sequence[str], new: Sequence[str], others: Mapping[str, str]) -> Iterator[Change]:
    """Pair what was replaced with the most alike of what replaced it."""
    left = list(gone)
    for text in new:
        alike = [(SequenceMatcher(None, was, text, autojunk=False).ratio(), was) for was in left]
        ratio, was = max(alike, default=(0.0, ""))
        if ratio > ALIKE and text not in others:
            left.remove(was)
            yield Change("changed", tuple(_words(was, text)))
        else:
            yield Change("added", (("new", text),), others.get(text, ""))
    yield from (Change("removed", (("gone", text),)) for text in left)


def _words(was: str, now: str) -> Iterator[Part]:
    if max(len(was), len(now)) > _COMPARED:
        yield "gone", was
        yield "new", now
        return
    old, new = re.findall(r"\s+|\w+|[^\w\s]", was), re.findall(r"\s+|\w+|[^\w\s]", now)
    for tag, i, end, j, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            yield "same", "".join(old[i:end])
            continue
        if i < end:
            yield "gone", "".join(old[i:end])
        if j < stop:
            yield "new", "".join(new[j:stop])
