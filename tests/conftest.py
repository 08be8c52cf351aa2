"""What all tests share: the option that rewrites golden files, Hypothesis's profiles, the network guard."""

import os

import pytest
from hypothesis import HealthCheck, settings

from harness import loopback

loopback.install()

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
