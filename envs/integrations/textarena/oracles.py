"""Winning moves for the games of `envs.integrations.textarena.env`, read from what the games hide.

Each takes a game and gives its next move; a game for which there is none here cannot be an
environment, since nobody could say what its full reward is.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

State = TypeVar("State")
Cell = tuple[int, int]
_STEPS: Mapping[str, Cell] = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


def shortest(
    start: State, over: Callable[[State], bool], moves: Callable[[State], Iterable[Any]]
) -> list[str]:
    """The fewest moves to a state that is over, by breadth first; [] where there is no way.

    `moves` gives pairs of a move's name and the state after it.
    """
    before: dict[State, tuple[State, str] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        if over(state):
            break
        for name, after in moves(state):
            if after not in before:
                before[after] = (state, name)
                queue.append(after)
    else:
        return []
    trail: list[str] = []
    while (step := before[state]) is not None:
        state = step[0]
        trail.append(step[1])
    return trail[::-1]


def crosswords(game: Any) -> str:
    """The first empty cell's letter."""
    board, solution = game.state.game_state["board"], game.state.game_state["solution"]
    cells = ((r, c) for r, row in enumerate(board) for c, x in enumerate(row) if x == "_")
    row, column = next(cells)
    return f"[{row} {column} {solution[row][column]}]"


def frozen_lake(game: Any) -> str:
    """A way around the holes."""
    grid = game.state.game_state["grid"]
    size = len(grid)

    def moves(at: Cell) -> Iterable[tuple[str, Cell]]:
        for name, (down, right) in _STEPS.items():
            to = at[0] + down, at[1] + right
            if 0 <= to[0] < size and 0 <= to[1] < size and grid[to[0]][to[1]] != "H":
                yield name, to

    goal, at = tuple(game.state.game_state["goal_pos"]), game.state.game_state["player_pos"]
    return f"[{shortest(tuple(at), lambda at: at == goal, moves)[0]}]"


def guess_the_number(game: Any) -> str:
    """The number."""
    return f"[{game.state.game_state['game_number']}]"


def lights_out(game: Any) -> str:
    """A light of the smallest set that has to be pressed; the first row decides the others."""
    grid = [list(map(int, row)) for row in game.state.game_state["grid"]]
    size = len(grid)
    found: list[list[Cell]] = []
    for first in itertools.product((0, 1), repeat=size):
        pressed = [(0, column) for column, press in enumerate(first) if press]
        lit = _pressed(grid, pressed)
        for row in range(1, size):
            chased = [(row, column) for column in range(size) if lit[row - 1][column]]
            lit = _pressed(lit, chased)
            pressed += chased
        if not any(map(any, lit)):
            found.append(pressed)
    row, column = min(found, key=len)[0]
    return f"[{row} {column}]"


def _pressed(grid: list[list[int]], cells: Iterable[Cell]) -> list[list[int]]:
    after = [row[:] for row in grid]
    for row, column in cells:
        for down, right in ((0, 0), *_STEPS.values()):
            if 0 <= row + down < len(grid) and 0 <= column + right < len(grid):
                after[row + down][column + right] ^= 1
    return after


def logic_puzzle(game: Any) -> str:
    """The first mark that is missing."""
    for name, rows in game.game_board_solution.items():
        for row, marks in rows.items():
            for column, mark in marks.items():
                if game.game_board[name][row][column] != mark:
                    return f"[{row} {column} {mark}]"
    raise AssertionError("the puzzle is solved")


def mastermind(game: Any) -> str:
    """The code."""
    return f"[{' '.join(map(str, game.state.game_state['secret_code']))}]"


def minesweeper(game: Any) -> str:
    """A hidden cell without a mine; mines are laid after the first."""
    cells = itertools.product(range(game.rows), range(game.cols))
    row, column = next(
        (r, c) for r, c in cells if not game.revealed[r][c] and game.grid[r][c] != -1
    )
    return f"[{row} {column}]"


def rush_hour(game: Any) -> str:
    """The first of the fewest moves that free the red car."""
    cars = list(game.state.game_state["vehicles"].values())
    size = 6

    def cells(car: Any, at: int) -> list[Cell]:
        return [
            (car.row, at + i) if car.horizontal else (at + i, car.col) for i in range(car.length)
        ]

    def moves(state: tuple[int, ...]) -> Iterable[tuple[str, tuple[int, ...]]]:
        taken = {cell for car, at in zip(cars, state, strict=True) for cell in cells(car, at)}
        for number, (car, at) in enumerate(zip(cars, state, strict=True)):
            for sign, step, head in (("+", 1, at + car.length), ("-", -1, at - 1)):
                cell = (car.row, head) if car.horizontal else (head, car.col)
                if 0 <= head < size and cell not in taken:
                    yield f"[{car.vid}{sign}]", (*state[:number], at + step, *state[number + 1 :])

    red = next(i for i, car in enumerate(cars) if car.vid == "X")
    start = tuple(car.col if car.horizontal else car.row for car in cars)
    return shortest(start, lambda state: state[red] + cars[red].length >= size, moves)[0]


def secretary(game: Any) -> str:
    """Accept the highest."""
    state = game.state.game_state
    return (
        "[accept]"
        if state["draws"][state["current_idx"] - 1] == max(state["draws"])
        else ("[continue]")
    )


def three_cards(game: Any) -> str:
    """Any set on the board; where there is none the game deals before it looks at the move."""
    board, deck = game.state.game_state["board"], game.state.game_state["deck"]
    for cards in (board, [*board, *deck[-1:-4:-1]]):
        for chosen in itertools.combinations(range(len(cards)), 3):
            if all(len({cards[i][part] for i in chosen}) != 2 for part in range(4)):
                return f"[{', '.join(str(i + 1) for i in chosen)}]"
    return "[1, 2, 3]"


def sokoban(game: Any) -> str:
    """The first of the fewest steps that put every box on a target."""
    fixed, room = game.room_fixed, game.room_state
    rows, columns = fixed.shape
    walls = {(r, c) for r in range(rows) for c in range(columns) if fixed[r][c] == 0}
    goals = {(r, c) for r in range(rows) for c in range(columns) if fixed[r][c] == 2}
    boxes = {(r, c) for r in range(rows) for c in range(columns) if room[r][c] in (3, 4)}
    player = int(game.player_position[0]), int(game.player_position[1])

    def moves(state: tuple[Cell, frozenset[Cell]]) -> Iterable[Any]:
        at, stand = state
        for name, (down, right) in _STEPS.items():
            to, beyond = (at[0] + down, at[1] + right), (at[0] + 2 * down, at[1] + 2 * right)
            if to in walls or (to in stand and (beyond in walls or beyond in stand)):
                continue
            yield name, (to, stand - {to} | {beyond} if to in stand else stand)

    trail = shortest((player, frozenset(boxes)), lambda state: state[1] <= goals, moves)
    return f"[{trail[0]}]" if trail else "[up]"


def sudoku(game: Any) -> str:
    """The first empty cell's digit."""
    cells = itertools.product(range(9), range(9))
    row, column = next((r, c) for r, c in cells if not game.state.game_state["board"][r][c])
    return f"[{row + 1} {column + 1} {game.full_grid[row][column]}]"


def three_card_monte(game: Any) -> str:
    """The position of the ball."""
    return f"[{game.ball_pos}]"


ORACLES: Mapping[str, Callable[[Any], str]] = {
    "Crosswords": crosswords,
    "FrozenLake": frozen_lake,
    "GuessTheNumber": guess_the_number,
    "LightsOut": lights_out,
    "LogicPuzzle": logic_puzzle,
    "Mastermind": mastermind,
    "Minesweeper": minesweeper,
    "RushHour": rush_hour,
    "Secretary": secretary,
    "Set": three_cards,
    "Sokoban": sokoban,
    "Sudoku": sudoku,
    "ThreeCardMonte": three_card_monte,
}
