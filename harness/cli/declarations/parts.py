"""Commands about environments, models and methods, and about this machine."""

from pathlib import Path
from typing import Annotated

from harness.cli import options as o
from harness.cli.declare import PLANNING, command, group

ENV = group("env", "List and describe environments; write and check your own.")
MODEL = group("model", "List models; write and check your own.")
METHOD = group("method", "List and describe methods; write and check your own.")

NewName = Annotated[str, o.argument("NAME", "a Python name for the file and what it defines")]
NewDir = Annotated[
    Path, o.option("--dir", metavar="FOLDER", help="where to write (default: this folder)")
]


@command(
    of=ENV,
    name="list",
    module="catalog",
    examples="""
    harness env list
    harness env list reasoning_gym
    """,
)
def env_list(
    family: Annotated[str | None, o.argument("FAMILY", "only environments of this family")] = None,
    json: o.Json = False,
) -> None:
    """List all environments."""


@command(of=ENV, name="show", module="catalog", examples="harness env show arithmetic")
def env_show(name: Annotated[str, o.argument("NAME", "an environment")]) -> None:
    """Describe one environment: splits, options, data files."""


@command(of=ENV, name="new", module="new", examples="harness env new my_env --dir mine")
def env_new(name: NewName, dir: NewDir = Path()) -> None:
    """Write an environment of your own, with a test, into a folder."""


@command(
    of=ENV,
    name="check",
    module="check_env",
    examples="""
    harness env check arithmetic
    harness env check my_env:Mine/MyEnv-v0 --set env.level=2
    """,
)
def env_check(
    name: Annotated[str, o.argument("NAME", "a name, or module:Namespace/Name-v0")],
    sets: o.Sets = None,
    data_dir: o.DataDir = None,
    accept_data: o.AcceptData = False,
    json: o.Json = False,
) -> None:
    """Check an environment against the rules that comparable results depend on."""


@command(of=MODEL, name="list", module="catalog", examples="harness model list")
def model_list(json: o.Json = False) -> None:
    """List all models."""


@command(of=MODEL, name="new", module="new", examples="harness model new my_model --dir mine")
def model_new(name: NewName, dir: NewDir = Path()) -> None:
    """Write a model backend of your own, with a test, into a folder."""


@command(
    of=MODEL,
    name="check",
    module="check_model",
    examples="""
    harness model check pocket
    harness model check my_model:BACKEND
    """,
)
def model_check(
    name: Annotated[str, o.argument("NAME", "a model, or module:BACKEND")],
    sets: o.Sets = None,
    json: o.Json = False,
) -> None:
    """Check that a model keeps the promises of its protocol: ids, seeds, limits, updates."""


@command(of=METHOD, name="list", module="catalog", examples="harness method list")
def method_list(json: o.Json = False) -> None:
    """List all methods."""


@command(
    of=METHOD,
    name="show",
    module="catalog",
    examples="""
    harness method show espl
    harness method show espl --set method.learning_rate=1e-5
    """,
)
def method_show(name: Annotated[str, o.argument("NAME", "a method")], sets: o.Sets = None) -> None:
    """Describe one method and its settings."""


@command(of=METHOD, name="new", module="new", examples="harness method new my_method --dir mine")
def method_new(name: NewName, dir: NewDir = Path()) -> None:
    """Write a method of your own, with a test, into a folder."""


@command(
    of=METHOD,
    name="check",
    module="check_method",
    examples="""
    harness method check espl
    harness method check my_method:SPEC
    """,
)
def method_check(
    name: Annotated[str, o.argument("NAME", "a name, or module:SPEC")],
    sets: o.Sets = None,
    json: o.Json = False,
) -> None:
    """Check a method: budget, declared capabilities, exact resume."""


@command(
    panel=PLANNING,
    module="doctor",
    examples="""
    harness doctor
    harness doctor --data-dir my_data
    """,
)
def doctor(data_dir: o.DataDir = None, json: o.Json = False) -> None:
    """Check graders, device, cache, vLLM and data on this machine."""


@command(
    panel=PLANNING,
    module="config",
    examples="""
    harness config
    harness config budget.episodes
    harness config method.learning_rate --method espl
    harness config --schema > harness.schema.json
    """,
)
def config(
    key: Annotated[str | None, o.argument("KEY", "one setting, like budget.episodes")] = None,
    method: Annotated[
        str | None, o.option("--method", metavar="NAME", help="whose settings are listed")
    ] = None,
    env: Annotated[
        str | None, o.option("--env", metavar="NAME", help="whose options are listed too")
    ] = None,
    schema: Annotated[
        bool, o.option("--schema", help="print a JSON schema of configuration files, for editors")
    ] = False,
    markdown: Annotated[
        bool, o.option("--markdown", help="print the page docs/settings.md")
    ] = False,
    json: o.Json = False,
) -> None:
    """List every setting with its meaning, choices, default and class."""
