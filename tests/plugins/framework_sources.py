"""Environments of other packages, as the text of their Python files."""

SUMS = '''
import os
import time

import verifiers as vf
from datasets import Dataset


def rows(first, last):
    asked = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(first, last)]
    return Dataset.from_list(asked)


def right(completion, answer, **kwargs):
    said = completion[-1]["content"] or ""
    if "explode" in said:
        raise RuntimeError("the judge is ill")
    if "hang" in said:
        time.sleep(600)
    if "die" in said.split():
        os._exit(7)
    return float(answer in said.split())


def double(n: int) -> str:
    """Twice a number.

    Args:
        n: the number
    """
    return str(2 * n)


class Again(vf.MultiTurnEnv):
    async def env_response(self, messages, state, **kwargs):
        return [{"role": "user", "content": "Think again."}]


def load_environment(kind="single"):
    parser = vf.Parser()
    rubric = vf.Rubric(funcs=[right], parser=parser)
    if kind == "single":
        return vf.SingleTurnEnv(dataset=rows(0, 20), eval_dataset=rows(15, 25), rubric=rubric,
                                system_prompt="Add the numbers.", parser=parser)
    if kind == "tool":
        return vf.ToolEnv(dataset=rows(0, 24), tools=[double], rubric=rubric, parser=parser)
    return Again(dataset=rows(0, 24), rubric=rubric, parser=parser)
'''

TASKSET = '''
import asyncio
import os

import verifiers.v1 as vf


class Doubling(vf.Toolset[vf.ToolsetConfig]):
    TOOL_PREFIX = None

    @vf.tool
    async def double(self, n: int) -> str:
        """Twice a number."""
        return str(2 * n)


class SumsData(vf.TaskData):
    answer: str = ""


class SumsTask(vf.Task[SumsData]):
    @vf.reward
    async def right(self, trace: vf.Trace) -> float:
        said = trace.last_reply
        if "explode" in said:
            raise RuntimeError("the judge is ill")
        if "hang" in said:
            await asyncio.sleep(600)
        if "die" in said.split():
            os._exit(7)
        return float(self.data.answer in said.split())


class ToolTask(SumsTask):
    @classmethod
    def toolsets(cls, config):
        return [Doubling(vf.ToolsetConfig())]


class SumsConfig(vf.TasksetConfig):
    kind: str = "single"


class SumsTaskset(vf.Taskset[SumsTask, SumsConfig]):
    def load(self):
        kind = ToolTask if self.config.kind == "tool" else SumsTask
        for n in range(24):
            data = SumsData(prompt=f"What is {n} + {n}?", answer=str(2 * n),
                            system_prompt="Add the numbers.")
            yield kind(data, self.config.task)


__all__ = ["SumsTaskset"]

if __name__ == "__main__":
    Doubling.run()
'''

TASK = '''
import os
import subprocess
import time

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import Score, accuracy, model_graded_qa, scorer
from inspect_ai.solver import generate, solver, use_tools
from inspect_ai.tool import tool


@tool
def double():
    async def execute(n: int):
        """Twice a number.

        Args:
            n: The number.
        """
        return str(2 * n)

    return execute


@solver
def twice():
    async def solve(state, generate):
        state = await generate(state)
        state.messages.append(type(state.messages[0])(content="Think again."))
        return await generate(state)

    return solve


@scorer(metrics=[accuracy()])
def strict():
    async def score(state, target):
        said = state.output.completion
        if "explode" in said:
            raise RuntimeError("the judge is ill")
        if "hang" in said:
            subprocess.Popen(["sleep", "600"], start_new_session=True)
            time.sleep(600)
        if "die" in said.split():
            os._exit(7)
        if "parts" in said:
            return Score(value={"a": 1, "b": 0})
        if "nothing" in said:
            return Score(value=float("nan"))
        return Score(value="C" if target.text in said.split() else "I")

    return score


def samples():
    asked = [Sample(input=f"What is {n} + {n}?", target=str(2 * n)) for n in range(24)]
    return MemoryDataset(asked)


@task
def sums(kind: str = "single"):
    if kind == "graded":
        return Task(dataset=samples(), solver=[generate()], scorer=model_graded_qa())
    solvers = {"single": [generate()], "twice": [twice()],
               "tool": [use_tools(double()), generate()]}
    return Task(dataset=samples(), solver=solvers[kind], scorer=strict())


@task
def other():
    return Task(dataset=samples()[:4], solver=[generate()], scorer=strict())
'''

SERVER = """
import os
import random
import sys

import uvicorn
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, EnvironmentMetadata, Observation, State


class Said(Action):
    message: str


class Shown(Observation):
    text: str


class Sums(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed=None, episode_id=None, **kwargs):
        rng = random.Random(seed)
        self.a, self.b, self.tries = rng.randrange(1000), rng.randrange(1000), 0
        return Shown(text=f"What is {self.a} + {self.b}?", done=False)

    def step(self, action, timeout_s=None, **kwargs):
        if action.message == "die":
            os._exit(7)
        if action.message == "explode":
            raise RuntimeError("the world is ill")
        self.tries += 1
        right = str(self.a + self.b) in action.message.split()
        over = right or self.tries == 3
        return Shown(text="" if over else "Try again.", reward=float(right), done=over)

    @property
    def state(self):
        return State()

    def get_metadata(self):
        return EnvironmentMetadata(name="Sums", description="Add the numbers.", version="1")


app = create_fastapi_app(Sums, Said, Shown, max_concurrent_envs=int(sys.argv[2]))
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""


TOOL_SERVER = """
import os
import sys

import uvicorn
from fastmcp import FastMCP
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.mcp_environment import MCPEnvironment
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import EnvironmentMetadata, Observation, State


class Doubling(MCPEnvironment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self):
        server = FastMCP("doubling")

        @server.tool
        def double(n: int) -> int:
            '''Twice a number.'''
            return 2 * n

        @server.tool
        def finish(answer: int) -> str:
            '''Give the answer.'''
            return "right" if answer == 2 * self.n else "wrong"

        super().__init__(server)

    def reset(self, seed=None, episode_id=None, **kwargs):
        self.n = (seed or 0) % 100
        return Observation(done=False, metadata={"task": f"What is {self.n} + {self.n}?"})

    def _step_impl(self, action, timeout_s=None, **kwargs):
        return Observation(done=False)

    async def step_async(self, action, timeout_s=None, **kwargs):
        told = await super().step_async(action, timeout_s=timeout_s, **kwargs)
        if getattr(action, "tool_name", "") == "finish":
            told.done, told.reward = True, float(action.arguments.get("answer") == 2 * self.n)
        return told

    @property
    def state(self):
        return State()

    def get_metadata(self):
        return EnvironmentMetadata(name="Doubling", description="Double it.", version="1")


sessions = {"max_concurrent_envs": int(sys.argv[2])}
app = create_fastapi_app(Doubling, CallToolAction, CallToolObservation, **sessions)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""
