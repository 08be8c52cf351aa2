"""All the vendors' clients, by name: `gemini-py`, `gemini-js`, `openai-py`, ..."""

from __future__ import annotations

from contextlib import ExitStack
from importlib import import_module

from harness.clients.calls import Client
from harness.clients.node import NodeClient
from harness.clients.python import PythonClient

PACKAGES = {
    "gemini": "@google/genai",
    "openai": "openai",
    "cloudflare": "cloudflare",
    "supabase": "@supabase/supabase-js",
}


class Clients:
    """The vendors' clients by name, each made when first asked for and ended with the run."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._made: dict[str, Client] = {}

    def get(self, name: str) -> Client:
        """The client of that name: `gemini-py`."""
        if name not in self._made:
            client = make(name)
            self._stack.enter_context(client)
            self._made[name] = client
        return self._made[name]


def make(name: str) -> PythonClient | NodeClient:
    """A client, not yet entered. The SDK of a Python one is imported now: they take seconds."""
    module, language = name.rsplit("-", 1)
    if language == "js":
        return NodeClient(module, package=PACKAGES[module])
    made: PythonClient = import_module(f"harness.clients.python_{module}").client()
    return made
