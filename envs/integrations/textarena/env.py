"""Single-player games of the textarena package: `textarena/Sudoku-easy`, `textarena/FrozenLake` ….

A game is named by its package id without "-v0". Of a reply the last [bracketed] move counts, one a
turn; the observation is what the game says since. The reward is the game's own at its end: 1 for a
win, a share of the way elsewhere; less than 0 counts as 0, and so does a game without one valid
move. A game that goes on for `max_turns` is truncated. What of a game differs by seed decides, by
its hash, which split may have it.

The package draws from Python's and NumPy's global generators: each world has its own states of
both, put in place while its game is at work, one game at a time. Games that cannot be played
alone, offline, with different puzzles and a known best reply are refused with the reason.
"""

import contextlib
import importlib
import io
import random
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from envs.errors import EnvError, UnknownEnv, did_you_mean
from envs.fingerprint import digest
from envs.games.multi_turn_env import Game
from envs.integrations.extras import installed, require
from envs.integrations.split_shares import in_share, stream_seed
from envs.integrations.textarena.oracles import ORACLES
from envs.text_env import SPLITS, Problem, Split
from envs.verdict import Verdict

GENERATOR_VERSION = "1"
_SIZES: Mapping[Split, int] = {"train": 100, "validation": 25, "test": 50}
_DESPAIR = 400
_MOVE = re.compile(r"\[[^\[\]]{1,100}\]")
_ID = re.compile(r"([A-Za-z0-9]+)-v0(?:-(.+))?")
_SCALE = {"Set": 20.0}
"""The highest reward of games whose reward is no share."""

GAMES: Mapping[str, tuple[str, ...]] = {
    "Crosswords": ("",),
    "FrozenLake": ("", "hardcore", "random"),
    "GuessTheNumber": ("", "hardcore"),
    "LightsOut": ("",),
    "LogicPuzzle": ("", "hard"),
    "Mastermind": ("", "hard", "extreme"),
    "Minesweeper": ("", "small", "medium", "hard"),
    "RushHour": ("",),
    "Secretary": ("", "long"),
    "Set": ("",),
    "Sokoban": ("",),
    "Sudoku": ("", "very-easy", "easy", "medium", "hard"),
    "ThreeCardMonte": ("",),
}
_WORDS = "it downloads a list of words"
_PEOPLE = "it needs a language model as the other player"
_FIXED = "it has one puzzle only, so training and test would be the same"
_LUCK = "chance decides it, so nobody knows a reply that earns the full reward"
REFUSED: Mapping[str, str] = {
    "2048": _LUCK,
    "Blackjack": _LUCK,
    "Bandit": "its final choice is compared with a table and can never be right",
    "FifteenPuzzle": "it crashes when it is solved",
    "Slitherlink": "its puzzles come without a solution",
    "Countdown": _FIXED,
    "Cryptarithm": _FIXED,
    "PegJump": _FIXED,
    "TowerOfHanoi": _FIXED,
    **dict.fromkeys(("Wordle", "Hangman", "WordLadder", "WordSearch", "SpellingBee"), _WORDS),
    **dict.fromkeys(("TwentyQuestions", "GuessWho"), _PEOPLE),
    "Klondike": "it cannot be imported by Python 3.11",
}


def games() -> tuple[str, ...]:
    """The names that may follow textarena/."""
    return tuple(f"{game}-{kind}" if kind else game for game in GAMES for kind in GAMES[game])


def stated_move(reply: str) -> str:
    """The last bracketed move of a reply, or its last line in brackets."""
    moves = _MOVE.findall(reply)
    if moves:
        return str(moves[-1])
    lines = reply.strip().splitlines() or [""]
    return f"[{lines[-1].strip()[:100]}]"


_one_game = threading.RLock()


class Dice:
    """The states of the global generators that one game sees; nobody else sees its own."""

    def __init__(self, seed: int) -> None:
        self._python: Any = random.Random(seed).getstate()
        self._numpy: Any = np.random.RandomState(seed % 2**32).get_state()

    @contextlib.contextmanager
    def thrown(self) -> Iterator[None]:
        """In place for one call; what the game prints goes nowhere."""
        with _one_game:
            python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
            random.setstate(self._python)
            np.random.set_state(self._numpy)  # noqa: NPY002
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    yield
            finally:
                self._python, self._numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
                random.setstate(python)
                np.random.set_state(numpy)  # noqa: NPY002


_found: dict[tuple[str, Split], list[tuple[int, Problem]]] = {}
"""Games by split, each with the place of its seed; all worlds of a process share them."""


class TextArena(Game):
    """A single-player game of the textarena package: boards, codes, cards, mazes.

    Options: `game`, its name; `max_turns`, after which the episode is truncated; `train_size`,
    `validation_size`, `test_size`.
    """

    name = "textarena"
    system_prompt = "Play this game to win. Reply with one move in square brackets."
    reply_tokens = 48

    def __init__(
        self,
        *,
        game: str,
        split: Split = "train",
        max_turns: int = 100,
        train_size: int = _SIZES["train"],
        validation_size: int = _SIZES["validation"],
        test_size: int = _SIZES["test"],
    ) -> None:
        super().__init__(split=split)
        require("textarena", "textarena", f"textarena/{game}")
        self.family_name, _, kind = game.partition("-")
        if game not in games():
            reason = REFUSED.get(self.family_name, "")
            if reason:
                raise UnknownEnv(f"textarena/{game} is no world: {reason}.")
            raise UnknownEnv(f"There is no textarena/{game}. {did_you_mean(game, games())}")
        self.game = game
        self.name = f"textarena/{game}"
        self.grader_version = f"{installed('textarena')}/bracket-1"
        self._id = f"{self.family_name}-v0-{kind}-raw" if kind else f"{self.family_name}-v0-raw"
        self._sizes = {"train": train_size, "validation": validation_size, "test": test_size}
        self.max_turns = max_turns
        if any(type(n) is not int or n < 1 for n in (max_turns, *self._sizes.values())):
            raise EnvError("max_turns and the sizes of the splits must be whole numbers from 1.")
        self._play: Any = None
        self._dice = Dice(0)
        self._turns = 0

    def size(self, split: Split) -> int:
        """As the options say."""
        return self._sizes[split]

    def problem(self, split: Split, index: int) -> Problem:
        """A game by its seed; what it says first is its text, what it hides its answer."""
        with _one_game:
            found = _found.setdefault((self._id, split), [])
            first = stream_seed("textarena", GENERATOR_VERSION, self._id, split) // 2
            tried = found[-1][0] + 1 if found else 0
            for _ in range(_DESPAIR * (index + 1)):
                if len(found) > index:
                    break
                text, hidden = self._content(first + tried)
                if in_share(f"{text}\n{hidden}", split):
                    problem = Problem(f"{self.name}:{first + tried}", text, hidden)
                    found.append((tried, problem))
                tried += 1
            if len(found) <= index:
                raise EnvError(f"{self.name} has no puzzle for the {split} split.")
            return found[index][1]

    def _content(self, seed: int) -> tuple[str, str]:
        game, dice = self._started(seed)
        said = heard(game)
        if self.family_name not in ("GuessTheNumber", "Mastermind", "Minesweeper", "Secretary"):
            return said, ""
        if self.family_name == "Minesweeper":
            return said, str(seed)  # mines are laid by the generator when the first cell is shown
        with dice.thrown():
            state = game.state.game_state
            return said, str(state.get("draws") or ORACLES[self.family_name](game))

    def _started(self, seed: int) -> tuple[Any, Dice]:
        textarena = importlib.import_module("textarena")
        dice = Dice(seed)
        with dice.thrown():
            game = textarena.make(self._id)
            game.reset(num_players=1, seed=seed)
        while hasattr(game, "env"):
            game = game.env
        return game, dice

    def begin(self, problem: Problem) -> None:
        """Start the game from its seed."""
        self._play, self._dice = self._started(int(problem.id.rpartition(":")[2]))
        heard(self._play)
        self._turns = 0

    def hear(self, reply: str) -> str | Verdict:
        """Make the move."""
        self._turns += 1
        with self._dice.thrown():
            done, _ = self._play.step(stated_move(reply))
        said = heard(self._play)
        if not done:
            return said
        reward = (self._play.state.rewards or {}).get(0)
        # Some games hand reason and reward over in the wrong order when a move is invalid.
        worth = float(reward) if isinstance(reward, int | float) else 0.0
        worth = min(1.0, max(0.0, worth / _SCALE.get(self.family_name, 1.0)))
        ended = self._play.state.game_info[0]
        if not ended["turn_count"]:  # some boards begin with a share of the way done
            worth = 0.0
        reason = ended.get("reason")
        told = reason if isinstance(reason, str) else said
        return Verdict("scored", worth, worth >= 1.0, told or "The game is over.")

    def overtime(self) -> Verdict | None:
        """Nothing earned, once the turns are used up."""
        if self._turns < self.max_turns:
            return None
        return Verdict.wrong(f"The game was not over after {self.max_turns} turns.")

    def judge(self, reply: str, answer: str) -> Verdict:
        """A reply says nothing without its game; raises WorldError."""
        raise EnvError("A move is judged by playing; reset and step the world.")

    def feedback(self, verdict: Verdict, problem: Problem) -> str:
        """The game's own reason."""
        if self.split == "test" and verdict.outcome == "scored":
            return "Right." if verdict.success else "Wrong."
        return verdict.feedback

    def best_reply(self) -> str:
        """A winning move."""
        with self._dice.thrown():
            return ORACLES[self.family_name](self._play)

    def rules(self) -> str:
        """What games are drawn from."""
        return f"{GENERATOR_VERSION} {self._id} {self._sizes} {self.max_turns}"

    def fingerprint(self) -> str:
        """The hash of what the games are drawn from; none is started for it."""
        return digest([self.name, self.grader_version, self.rules()])

    @classmethod
    def sizes(cls) -> Mapping[str, int]:
        """Unless options say otherwise."""
        return {split: _SIZES[split] for split in SPLITS}


def heard(game: Any) -> str:
    """What the game has said since it was last asked, without the player's own moves."""
    told = game.state.observations[0]
    game.state.observations[0] = []
    parts = [text for speaker, text, *_ in told if speaker == -1 and isinstance(text, str)]
    return "\n".join(part.strip() for part in parts if part.strip())
