"""Makes and scores the tasks of the reasoning-gym package, in a process of `envs.workers`.

Model output is never executed. Four of the package's scorers hand it to Python's `eval`: here they
get `ast.literal_eval`. Five hand it to sympy's `parse_expr`, which ends in `eval` too: they get
nothing but arithmetic over known function names. Should anything slip past, an audit hook refuses
to write files, start programs or open connections while a reply is being scored.
"""

import ast
import importlib
import json
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import fields
from tokenize import TokenError
from typing import Any

Entry = dict[str, Any]
State = tuple[int, ...]
"""The first cell of each car of a Rush Hour board."""

_RED_AT_EXIT = 16
_SIZE = 500  # of a data set; some make all entries at once
_MAX_CACHED_ENTRIES = 5000  # entries; made again where one is needed later
EXCLUDED_TASKS = {
    "composite": "it only mixes other tasks",
    "codeio": "its tasks run programs that come as data, and differ from process to process",
}
_EVALUATES = ("string_insertion", "spiral_matrix", "binary_matrix", "n_queens")
_PARSES = (
    "simple_integration",
    "intermediate_integration",
    "polynomial_multiplication",
    "puzzle24",
    "countdown",
)
_FUNCTIONS = """
sin cos tan cot sec csc asin acos atan acot sinh cosh tanh asinh acosh atanh
exp log ln sqrt pi Abs abs erf Si Ci Ei li Rational
"""
_NAME = re.compile(r"[^\W\d]\w*")
_ARITHMETIC = re.compile(r"[\w\s+\-*/^().,=]*")
_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    SyntaxError,
    ArithmeticError,
    AssertionError,
    TokenError,
)
_REFUSED_EVENTS = """
os.system os.exec os.fork os.forkpty os.posix_spawn os.spawn os.remove os.rename os.rmdir
os.truncate os.symlink os.link os.chmod os.kill subprocess.Popen shutil.rmtree
socket.connect socket.bind
"""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_scoring = False


def refuse_side_effects(event: str, details: tuple[Any, ...]) -> None:
    """Audit hook: refuse what no scorer has reason to do."""
    if not _scoring:
        return
    writes = event == "open" and isinstance(details[2], int) and details[2] & _WRITING
    if writes or event in _REFUSED_EVENTS.split():
        raise PermissionError(f"{event} is refused while a reply is scored")


def curriculum_values(task: str, level: int) -> dict[str, Any]:
    """The difficulty parameters of a level, from the package's own curriculum; {} without one."""
    curricula = importlib.import_module("reasoning_gym.factory").CURRICULA
    if task not in curricula:
        return {}
    curriculum = curricula[task]()
    chosen: dict[str, Any] = {}

    def keep(**values: Any) -> None:
        chosen.update(values)

    for attribute in curriculum.attributes.values():
        curriculum.set_attr_level(attribute.name, min(level, len(attribute.levels) - 1))
    curriculum._config_cls = keep
    curriculum.generate_configuration()
    return chosen | fixed_parameters(task, level)


def fixed_parameters(task: str, level: int) -> dict[str, Any]:
    """Values for four curricula whose own ones the package refuses or cannot generate or solve."""
    if task == "knight_swap":
        return {"min_nodes": 6, "max_nodes": 9 + level, "min_steps": 4, "max_steps": 20}
    if task == "rubiks_cube":
        return {"cube_size": 3}
    if task == "modulo_grid":
        return {"max_target": min(3 + 4 * level, 20)}
    if task == "sokoban":
        return {"min_boxes": 1, "max_boxes": 2 + level, "max_w": 7 + level, "max_h": 7 + level}
    return {}


def _summary(name: str, dataset: Any) -> str:
    """The first sentence of the data set's own description, or of its module's; else its name."""
    said = dataset.__doc__ or sys.modules[dataset.__module__].__doc__
    text = " ".join((said or "").strip().split("\n\n")[0].split())
    text = text or f"Tasks of the kind {name.replace('_', ' ')}"
    return text.partition(". ")[0].rstrip(".")[:160]


class TaskMaker:
    """The data sets in use and the entries made, so that scoring need not make them again."""

    def __init__(self) -> None:
        importlib.import_module("reasoning_gym")  # fills the registry
        self.registry = importlib.import_module("reasoning_gym.factory").DATASETS
        for task in _EVALUATES:
            module: Any = sys.modules[self.registry[task][0].__module__]
            module.eval = ast.literal_eval
        self._sets: dict[str, Any] = {}
        self._entries: dict[tuple[int, int], Entry] = {}

    def answer(self, job: dict[str, Any]) -> dict[str, Any]:
        """`tasks`, `config`, `item` or `score`, as the job says."""
        if job["ask"] == "tasks":
            return {
                "tasks": sorted(set(self.registry) - set(EXCLUDED_TASKS)),
                "refused": EXCLUDED_TASKS,
                "summaries": {name: _summary(name, one[0]) for name, one in self.registry.items()},
            }
        if job["ask"] == "config":
            return self.config(job)
        if job["ask"] == "item":
            return self.item(job)
        return self.score(job)

    def config(self, job: dict[str, Any]) -> dict[str, Any]:
        """All difficulty parameters that apply, or why they are refused."""
        names = [f.name for f in fields(self.registry[job["task"]][1])]
        known = sorted(set(names) - {"seed", "size"})
        unknown = sorted(set(job["parameters"]) - set(known))
        if unknown:
            return {"unknown": unknown[0], "known": known}
        try:
            config = self.dataset(job).config
        except (AssertionError, ValueError, TypeError) as reason:
            return {"invalid": str(reason) or type(reason).__name__}
        return {"config": {name: repr(getattr(config, name)) for name in known}}

    def dataset(self, job: dict[str, Any]) -> Any:
        """The data set of a task at a level with parameters, from a seed."""
        key = repr([job["task"], job["level"], sorted(job["parameters"].items()), job["seed"]])
        if key not in self._sets:
            dataset_class, configure = self.registry[job["task"]]
            values = curriculum_values(job["task"], job["level"]) | job["parameters"]
            config = configure(**values, seed=job["seed"], size=_SIZE)
            if hasattr(config, "validate"):
                config.validate()
            self._sets[key] = dataset_class(config)
        return self._sets[key]

    def entry(self, job: dict[str, Any]) -> Entry:
        """One entry, its missing solution filled in."""
        data = self.dataset(job)
        key = (id(data), job["index"])
        if len(self._entries) > _MAX_CACHED_ENTRIES:
            self._entries.clear()
        if key not in self._entries:
            entry = dict(data[job["index"]])
            if entry["answer"] is None:
                entry["solution"] = solution(job["task"], entry["metadata"])
            self._entries[key] = entry
        return self._entries[key]

    def item(self, job: dict[str, Any]) -> dict[str, Any]:
        """The question, an answer that should earn everything, and what it does earn."""
        try:
            entry = self.entry(job)
        except (*_UNREADABLE, RuntimeError):  # some generators give up on some seeds
            return {"question": "", "answer": "", "earns": None}
        answer_text = entry["answer"] if entry["answer"] is not None else entry["solution"]
        score_of_answer = self.score({**job, "text": str(answer_text)})
        return {
            "question": entry["question"],
            "answer": str(answer_text),
            "earns": score_of_answer.get("score"),
        }

    def score(self, job: dict[str, Any]) -> dict[str, Any]:
        """The score of the package's scorer, or "unreadable" where the answer makes it raise."""
        global _scoring
        task, text, entry = job["task"], job["text"], self.entry(job)
        if task == "game_of_life_halting":  # the package calls every answer right there
            return {"score": float(text.strip().lower() == str(entry["answer"]).lower())}
        if task in _PARSES and not is_plain_arithmetic(text):
            return {"unreadable": "it holds more than an expression"}
        _scoring = True
        try:
            return {"score": float(self.dataset(job).score_answer(text, entry))}
        except _UNREADABLE as error:
            return {"unreadable": f"the scorer met {type(error).__name__}"}
        finally:
            _scoring = False


def is_plain_arithmetic(text: str) -> bool:
    """True for arithmetic over single letters and known functions, and nothing else."""
    names = _NAME.findall(text)
    known = all(len(name) == 1 or name in _FUNCTIONS.split() for name in names)
    return known and _ARITHMETIC.fullmatch(text) is not None


def solution(task: str, metadata: Entry) -> str:
    """A right answer for the five tasks that store none."""
    if task == "graph_color":
        return json.dumps(metadata["possible_answer"])
    if task == "rubiks_cube":
        return str(metadata["example_correct_answer"])
    if task == "propositional_logic":
        return str(metadata["example_answer"])
    if task == "boxnet":
        return json.dumps(boxnet_plan(metadata["initial_state"]))
    if task == "rush_hour":
        return rush_hour_moves(metadata["board_config"])
    return ""


def boxnet_plan(state: dict[str, list[str]]) -> list[dict[str, str]]:
    """A plan that carries one box after the other to a target of its colour."""
    plan: list[dict[str, str]] = []
    targets = [(t, place) for place, things in state.items() for t in things if t[:6] == "target"]
    for place, things in state.items():
        for box in (thing for thing in things if thing[:4] == "box_"):
            found = next(t for t in targets if t[0][7:] == box[4:])
            targets.remove(found)
            plan += list(carry_box(box, place, found))
    return plan


def carry_box(box: str, place: str, target: tuple[str, str]) -> Iterator[dict[str, str]]:
    """Square by square, first along the rows, and into the target."""
    here = [float(part) for part in place.split("_")]
    there = [float(part) for part in target[1].split("_")]
    for axis in (0, 1):
        while here[axis] != there[axis]:
            agent = f"Agent[{here[0]}, {here[1]}]"
            here[axis] += 1.0 if there[axis] > here[axis] else -1.0
            yield {agent: f"move({box}, square[{here[0]}, {here[1]}])"}
    yield {f"Agent[{here[0]}, {here[1]}]": f"move({box}, {target[0]})"}


def rush_hour_moves(board: str) -> str:
    """The shortest solution of a 6 × 6 board of letters; the package numbers the cars by letter."""
    cars = [[i for i, x in enumerate(board) if x == c] for c in sorted(set(board) - set("ox."))]
    shapes = [(len(at), at[1] - at[0]) for at in cars]
    walls = {i for i, x in enumerate(board) if x == "x"}
    start = tuple(at[0] for at in cars)
    before: dict[State, tuple[State, str]] = {start: (start, "")}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        if state[0] == _RED_AT_EXIT:
            return " ".join(moves_from_start(before, state, start))
        for after, move in neighbours(state, shapes, walls):
            if after not in before:
                before[after] = (state, move)
                queue.append(after)
    return ""


def neighbours(
    state: State, shapes: list[tuple[int, int]], walls: set[int]
) -> Iterator[tuple[State, str]]:
    """Every board one slide away, and the slide."""
    taken = set(walls)
    for at, (length, stride) in zip(state, shapes, strict=True):
        taken.update(range(at, at + length * stride, stride))
    for number, (at, (length, stride)) in enumerate(zip(state, shapes, strict=True)):
        for sign in (1, -1):
            head = at + stride * (length - 1) if sign > 0 else at
            steps = 0
            while is_free(head + sign * stride, head, stride, taken):
                head += sign * stride
                steps += sign
                moved = (*state[:number], at + steps * stride, *state[number + 1 :])
                yield moved, f"{chr(ord('A') + number)}{steps:+d}"


def is_free(cell: int, before: int, stride: int, taken: set[int]) -> bool:
    """True where a car can move from one cell to the next without leaving its row or the board."""
    return 0 <= cell < 36 and cell not in taken and (stride == 6 or cell // 6 == before // 6)


def moves_from_start(
    before: dict[State, tuple[State, str]], state: State, start: State
) -> list[str]:
    """The moves from the start to a state."""
    moves: list[str] = []
    while state != start:
        state, move = before[state]
        moves.append(move)
    return moves[::-1]


def make() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function that `envs.workers.serve` serves."""
    sys.addaudithook(refuse_side_effects)
    return TaskMaker().answer
