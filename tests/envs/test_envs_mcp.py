"""An MCP server's tools beside the tasks of another environment."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

import envs
from envs.errors import EnvError
from envs.integrations.hosted_env import HostedEnvFailed

SERVER = """
try:
    from mcp.server.mcpserver import MCPServer as Server
except ImportError:
    from mcp.server.fastmcp import FastMCP as Server

server = Server("demo")


@server.tool()
def double(n: int) -> str:
    return str(2 * n)


server.run()
"""
CALL = '<tool_call>{"name": "double", "arguments": {"n": 4}}</tool_call>'


def made(folder: Path, **options: Any) -> Any:
    """An arithmetic environment with the server's tools."""
    if importlib.util.find_spec("mcp") is None:
        pytest.skip("not run: mcp is not installed")
    (folder / "server.py").write_text(SERVER)
    name = f"mcp:{sys.executable} {folder / 'server.py'}"
    return envs.make(name, "train", base="arithmetic", **options)


def test_without_the_package_it_says_what_to_type() -> None:
    if importlib.util.find_spec("mcp") is not None:
        made_of = envs.make("mcp:server", "train", base="arithmetic")
        assert made_of.size("test") == envs.make("arithmetic").size("test")
        return
    with pytest.raises(EnvError, match=r"pip install '\.\[mcp\]'"):
        envs.make("mcp:server", base="arithmetic")


def test_tools_are_called_and_other_replies_are_graded(tmp_path: Path) -> None:
    env = made(tmp_path, calls=2)
    plain = envs.make("arithmetic", "train")
    assert env.reset(seed=1)[0] == plain.reset(seed=1)[0]
    assert [tool["name"] for tool in env.tool_definitions] == ["double"]
    text, _, over, _, info = env.step(CALL + CALL)
    assert (text, over, info["tool_results"]) == ("8\n\n8", False, ("8", "8"))
    assert env.step(CALL.replace("4", '"x"'))[0].startswith("error: ")
    assert "no calls are left" in env.step(CALL)[0]
    assert env.step(plain.oracle())[1:3] == (1.0, True)
    assert env.fingerprint() != plain.fingerprint()
    env.close()


def test_a_server_that_does_not_start_is_a_sentence(tmp_path: Path) -> None:
    made(tmp_path).close()
    env: Any = envs.make("mcp:/nonexistent/server", "train", base="arithmetic")
    with pytest.raises(HostedEnvFailed, match="the MCP server failed"):
        env.reset(seed=0)
    env.close()
