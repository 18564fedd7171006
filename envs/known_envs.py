"""Tables of the environments of this package: short names, entry points, and kinds of names."""

from collections.abc import Mapping
from dataclasses import dataclass

ALIASES: Mapping[str, str] = {
    "aime25": "harness/AIME25-v1",
    "arithmetic": "harness/Arithmetic-v1",
    "beyond_aime": "harness/BeyondAIME-v1",
    "calibration/both": "harness/CalibrationBoth-v1",
    "calibration/neither": "harness/CalibrationNeither-v1",
    "calibration/shown": "harness/CalibrationShown-v1",
    "calibration/told": "harness/CalibrationTold-v1",
    "guess_number": "harness/GuessNumber-v1",
    "hmmt": "harness/HMMT-v1",
    "search": "harness/Search-v1",
    "search/fictional": "harness/SearchFictional-v1",
    "terminal": "harness/Terminal-v1",
    "twenty_questions": "harness/TwentyQuestions-v1",
}
"""Short name → Gymnasium id."""

ENTRY_POINTS: Mapping[str, str] = {
    "harness/AIME25-v1": "envs.competition:AIME25",
    "harness/Arithmetic-v1": "envs.arithmetic:Arithmetic",
    "harness/BeyondAIME-v1": "envs.competition:BeyondAIME",
    "harness/CalibrationBoth-v1": "envs.calibration:Both",
    "harness/CalibrationNeither-v1": "envs.calibration:Neither",
    "harness/CalibrationShown-v1": "envs.calibration:Shown",
    "harness/CalibrationTold-v1": "envs.calibration:Told",
    "harness/GuessNumber-v1": "envs.games.guess_number:GuessNumber",
    "harness/HMMT-v1": "envs.competition:HMMT",
    "harness/Inspect-v1": "envs.integrations.inspect.env:Inspect",
    "harness/Harbor-v1": "envs.integrations.harbor.env:Harbor",
    "harness/JSONL-v1": "envs.jsonl:Questions",
    "harness/MCP-v1": "envs.integrations.mcp.env:MCPTools",
    "harness/OpenEnv-v1": "envs.integrations.openenv.env:OpenEnv",
    "harness/Search-v1": "envs.search.env:SearchEnv",
    "harness/SearchFictional-v1": "envs.search.fictional:Fictional",
    "harness/Terminal-v1": "envs.terminal.env:Terminal",
    "harness/TwentyQuestions-v1": "envs.games.twenty_questions:TwentyQuestions",
    "harness/Verifiers-v1": "envs.integrations.verifiers.env:Verifiers",
}
"""Gymnasium id → class, as `module:Class`."""


@dataclass(frozen=True, slots=True)
class Family:
    """Environments of one class, named `FAMILY/MEMBER`.

    The member is passed to the class as the option `option`; calling `members` lists them all.
    Calling `summaries` gives a line on each member by name; "": the class's line serves for all.
    """

    entry_point: str
    option: str
    members: str
    version: int = 1
    summaries: str = ""


FAMILIES: dict[str, Family] = {
    "reasoning_gym": Family(
        "envs.integrations.reasoning_gym.env:ReasoningGym",
        "task",
        "envs.integrations.reasoning_gym.env:tasks",
        summaries="envs.integrations.reasoning_gym.env:summaries",
    ),
    "textarena": Family(
        "envs.integrations.textarena.env:TextArena", "game", "envs.integrations.textarena.env:games"
    ),
    "textworld": Family(
        "envs.integrations.textworld.env:TextWorld",
        "level",
        "envs.integrations.textworld.env:levels",
    ),
}

PATH_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "harness/Harbor-v1": ("path", "python"),
    "harness/JSONL-v1": ("path",),
    "harness/Search-v1": ("questions", "corpus"),
    "harness/Terminal-v1": ("tasks",),
}
"""Options that name files or folders, by Gymnasium id."""

SCHEMES: Mapping[str, tuple[str, str]] = {
    "inspect": ("harness/Inspect-v1", "environment"),
    "harbor": ("harness/Harbor-v1", "path"),
    "jsonl": ("harness/JSONL-v1", "path"),
    "mcp": ("harness/MCP-v1", "server"),
    "openenv": ("harness/OpenEnv-v1", "url"),
    "verifiers": ("harness/Verifiers-v1", "environment"),
}
"""Names of the form `SCHEME:LOCATION`: the Gymnasium id, and the option that gets the location."""
