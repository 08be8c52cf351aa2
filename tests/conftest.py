"""What all tests share: the option that rewrites golden files, Hypothesis's profiles, the network guard, and which tests
stay together when several workers run them (`--dist loadgroup`)."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from harness import loopback

loopback.install()

#: Seconds for a test that may have to start an API server first.
_WITH_A_CLUSTER = 400

# The machine may be busy, so time is no reason to fail; under CI every run tries the same examples.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI", "").lower() == "true" else "default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files from what comes out now")
    parser.addoption("--update-conformance", action="store_true", help="write the conformance table from this run")
    parser.addoption("--conformance-rows", metavar="FILE", help="write the rows that the collected tests declare")


@pytest.fixture(scope="session")
def update_golden(pytestconfig: pytest.Config) -> bool:
    """Whether golden files are to be rewritten instead of compared."""
    return bool(pytestconfig.getoption("--update-golden"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a file stay together, and so do those that share a cluster or an API server, which takes long to start."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
        if item.get_closest_marker("cluster") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_WITH_A_CLUSTER))


def _group(item: pytest.Item) -> str:
    fixtures = getattr(item, "fixturenames", ())
    for shared in ("cluster", "api_server"):
        if shared in fixtures:
            return shared
    return str(item.path.relative_to(Path(__file__).parent).with_suffix(""))
