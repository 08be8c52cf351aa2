"""Rows of the conformance table: what tests declare, what they record, and the new table if one is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import conformance as table
from harness.clients.all import Clients
from harness.clients.calls import Client
from harness.conformance import Key, Recording, Row

HERE = Path(__file__).parent
DECLARED = pytest.StashKey[dict[Key, str]]()
RECORDED = pytest.StashKey[dict[Key, Row]]()
CLIENTS = pytest.StashKey[dict[str, tuple[str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "scenario(provider, name, shows): a row of the conformance table for each client"
    )
    config.stash[DECLARED], config.stash[RECORDED], config.stash[CLIENTS] = {}, {}, {}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Before anything is deselected."""
    for item in items:
        found = declared(item)
        if found is not None:
            key, shows = found
            assert key not in config.stash[DECLARED], f"two tests declare {key}"
            config.stash[DECLARED][key] = shows
    place = config.getoption("--conformance-rows")
    if place:
        rows = [[key.provider, key.scenario, key.client, shows] for key, shows in config.stash[DECLARED].items()]
        Path(place).write_text(json.dumps(rows), "utf-8")


def declared(item: pytest.Item) -> tuple[Key, str] | None:
    """The row that a test declares, and what its scenario shows."""
    marker = item.get_closest_marker("scenario")
    if marker is None:
        return None
    provider, scenario, shows = marker.args
    assert isinstance(item, pytest.Function)
    return Key(provider, scenario, str(item.callspec.params["client"])), shows


@pytest.fixture
def conformance(request: pytest.FixtureRequest, client: Client) -> Iterator[Recording]:
    """Call it with the outcome and how often the provider was called."""
    found = declared(request.node)
    assert found is not None, "the test has no marker `scenario`"
    recording = Recording(found[0], update=request.config.getoption("--update-conformance"))
    yield recording
    assert recording.row is not None or request.node.stash.get(FAILED, False), "the test recorded nothing"
    if recording.row is not None:
        request.config.stash[RECORDED][recording.key] = recording.row
        request.config.stash[CLIENTS][client.name] = (client.title, client.version)


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if call.excinfo is not None:
        item.stash[FAILED] = True
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    if not config.getoption("--update-conformance") or not config.stash[RECORDED]:
        return
    assert not hasattr(config, "workerinput"), "--update-conformance is for a run in one process"
    rows, clients = config.stash[RECORDED], config.stash[CLIENTS]
    whole = config.stash[DECLARED].keys() == rows.keys() and covers(config)
    shows = {(key.provider, key.scenario): text for key, text in config.stash[DECLARED].items()}
    table.write(table.merged(table.committed(), rows, shows, clients, whole=whole and exitstatus == 0))


def covers(config: pytest.Config) -> bool:
    """Whether this run collects all tests of this directory."""
    given = [Path(argument.split("::")[0]) for argument in config.args]
    places = [(config.invocation_params.dir / place).resolve() for place in given]
    return any(
        "::" not in argument and HERE.is_relative_to(place) for argument, place in zip(config.args, places, strict=True)
    )


@pytest.fixture(scope="session")
def clients() -> Iterator[Clients]:
    with ExitStack() as stack:
        yield Clients(stack)


@pytest.fixture
def client(clients: Clients, request: pytest.FixtureRequest) -> Client:
    """The client that the test is parametrized with: `@pytest.mark.parametrize("client", [...], indirect=True)`."""
    return clients.get(request.param)
