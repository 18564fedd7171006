"""Single-player games of the textarena package: `textarena/Sudoku-easy`, `textarena/FrozenLake` ….

A game is named by its package id without "-v0". Of a reply the last [bracketed] move counts, one a
turn; the observation is what the game has said since. The reward is the game's own at its end: 1
for a win, a share of the way elsewhere; less than 0 counts as 0, and so does a game without one
valid move. A game that goes on for `max_turns` is truncated. What of a game differs by seed
decides, by its hash, which split may have it.

The package draws from Python's and NumPy's global generators: each environment has its own states
of both, put in place while its game is at work, one game at a time. Games that cannot be played
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
from envs.games.multi_turn_env import MultiTurnEnv
from envs.integrations.extras import installed, require
from envs.integrations.split_shares import belongs_to_split, stream_seed
from envs.integrations.textarena.oracles import ORACLES
from envs.text_env import SPLITS, Problem, Split
from envs.verdict import Verdict

GENERATOR_VERSION = "1"
_SIZES: Mapping[Split, int] = {"train": 100, "validation": 25, "test": 50}
_MAX_ATTEMPTS = 400
_MOVE = re.compile(r"\[[^\[\]]{1,100}\]")
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
_DOWNLOADS_WORDS = "it downloads a list of words"
_NEEDS_A_MODEL = "it needs a language model as the other player"
_ONE_PUZZLE = "it has one puzzle only, so training and test would be the same"
_CHANCE = "chance decides it, so nobody knows a reply that earns the full reward"
REFUSED: Mapping[str, str] = {
    "2048": _CHANCE,
    "Blackjack": _CHANCE,
    "Bandit": "its final choice is compared with a table and can never be right",
    "FifteenPuzzle": "it crashes when it is solved",
    "Slitherlink": "its puzzles come without a solution",
    "Countdown": _ONE_PUZZLE,
    "Cryptarithm": _ONE_PUZZLE,
    "PegJump": _ONE_PUZZLE,
    "TowerOfHanoi": _ONE_PUZZLE,
    **dict.fromkeys(
        ("Wordle", "Hangman", "WordLadder", "WordSearch", "SpellingBee"), _DOWNLOADS_WORDS
    ),
    **dict.fromkeys(("TwentyQuestions", "GuessWho"), _NEEDS_A_MODEL),
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


# Reentrant: `problem` holds it while the game it starts takes it again.
_one_game_lock = threading.RLock()


class GlobalRandomState:
    """The states of Python's and NumPy's global generators for one game alone."""

    def __init__(self, seed: int) -> None:
        self._python: Any = random.Random(seed).getstate()
        # NumPy takes no seed from 2**32 on.
        self._numpy: Any = np.random.RandomState(seed % 2**32).get_state()

    @contextlib.contextmanager
    def installed_here(self) -> Iterator[None]:
        """Installed for one call; what the game prints is discarded."""
        with _one_game_lock:
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


_found_games: dict[tuple[str, Split], list[tuple[int, Problem]]] = {}
"""Games by split, each with the place of its seed; all environments of a process share them."""


class TextArena(MultiTurnEnv):
    """A single-player game of the textarena package: boards, codes, cards, mazes.

    Args:
        game: Name of the game.
        max_turns (at least 1; in completions): Completions after which an episode is truncated.
        train_size (at least 1; in tasks): Tasks of the train split.
        validation_size (at least 1; in tasks): Tasks of the validation split.
        test_size (at least 1; in tasks): Tasks of the test split.
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
        self._game: Any = None
        self._random_state = GlobalRandomState(0)
        self._turns = 0

    def size(self, split: Split) -> int:
        """The number of games, an option."""
        return self._sizes[split]

    def problem(self, split: Split, index: int) -> Problem:
        """A game by its seed; what it says first is its text, what it hides its answer."""
        with _one_game_lock:
            found = _found_games.setdefault((self._id, split), [])
            # Half of a 31-bit number leaves room to count upwards.
            first = stream_seed("textarena", GENERATOR_VERSION, self._id, split) // 2
            tried = found[-1][0] + 1 if found else 0
            for _ in range(_MAX_ATTEMPTS * (index + 1)):
                if len(found) > index:
                    break
                text, hidden = self._task_content(first + tried)
                if belongs_to_split(f"{text}\n{hidden}", split):
                    problem = Problem(f"{self.name}:{first + tried}", text, hidden)
                    found.append((tried, problem))
                tried += 1
            if len(found) <= index:
                raise EnvError(f"{self.name} has no puzzle for the {split} split.")
            return found[index][1]

    def _task_content(self, seed: int) -> tuple[str, str]:
        game, random_state = self._start(seed)
        observation = new_observations(game)
        if self.family_name not in ("GuessTheNumber", "Mastermind", "Minesweeper", "Secretary"):
            return observation, ""
        if self.family_name == "Minesweeper":
            return observation, str(
                seed
            )  # mines are laid by the generator when the first cell is shown
        with random_state.installed_here():
            state = game.state.game_state
            return observation, str(state.get("draws") or ORACLES[self.family_name](game))

    def _start(self, seed: int) -> tuple[Any, GlobalRandomState]:
        textarena = importlib.import_module("textarena")
        random_state = GlobalRandomState(seed)
        with random_state.installed_here():
            game = textarena.make(self._id)
            game.reset(num_players=1, seed=seed)
        while hasattr(game, "env"):
            game = game.env
        return game, random_state

    def start_episode(self, problem: Problem) -> None:
        """Start the game from its seed."""
        self._game, self._random_state = self._start(int(problem.id.rpartition(":")[2]))
        new_observations(self._game)
        self._turns = 0

    def respond(self, reply: str) -> str | Verdict:
        """Make the move."""
        self._turns += 1
        with self._random_state.installed_here():
            done, _ = self._game.step(stated_move(reply))
        observation = new_observations(self._game)
        if not done:
            return observation
        reward = (self._game.state.rewards or {}).get(0)
        # Some games hand reason and reward over in the wrong order when a move is invalid.
        reward_share = float(reward) if isinstance(reward, int | float) else 0.0
        reward_share = min(1.0, max(0.0, reward_share / _SCALE.get(self.family_name, 1.0)))
        ended = self._game.state.game_info[0]
        if not ended["turn_count"]:  # some boards begin with a share of the way done
            reward_share = 0.0
        reason = ended.get("reason")
        reason_text = reason if isinstance(reason, str) else observation
        return Verdict(
            "scored", reward_share, reward_share >= 1.0, reason_text or "The game is over."
        )

    def verdict_at_limit(self) -> Verdict | None:
        """Nothing earned, once the turns are used up."""
        if self._turns < self.max_turns:
            return None
        return Verdict.wrong(f"The game was not over after {self.max_turns} turns.")

    def judge(self, reply: str, answer: str) -> Verdict:
        """A reply says nothing without its game; raises EnvError."""
        raise EnvError("A move is judged by playing; reset and step the world.")

    def feedback(self, verdict: Verdict, problem: Problem) -> str:
        """The game's own reason."""
        if self.split == "test" and verdict.outcome == "scored":
            return "Right." if verdict.success else "Wrong."
        return verdict.feedback

    def reference_reply(self) -> str:
        """A winning move."""
        with self._random_state.installed_here():
            return ORACLES[self.family_name](self._game)

    def rules(self) -> str:
        """Everything that games are drawn from."""
        return f"{GENERATOR_VERSION} {self._id} {self._sizes} {self.max_turns}"

    def fingerprint(self) -> str:
        """The hash of what the games are drawn from; none is started for it."""
        return digest([self.name, self.grader_version, self.rules()])

    @classmethod
    def sizes(cls) -> Mapping[str, int]:
        """Unless options say otherwise."""
        return {split: _SIZES[split] for split in SPLITS}


def new_observations(game: Any) -> str:
    """The game's messages since the last call, without the player's own moves."""
    reason_text = game.state.observations[0]
    game.state.observations[0] = []
    parts = [text for speaker, text, *_ in reason_text if speaker == -1 and isinstance(text, str)]
    return "\n".join(part.strip() for part in parts if part.strip())
