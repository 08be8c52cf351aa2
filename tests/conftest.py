"""What all tests share: the option that rewrites golden files, Hypothesis's profiles, the network guard, and which tests
stay together when several workers run them (`--dist loadfile`)."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from harness import loopback

loopback.install()

# A shell that runs the tests in the background has it ignored, by all that they start too, and some of that is ended so.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: The files whose tests use the fixture `cluster`.
ON_A_CLUSTER = {
    *("test_anywhere", "test_apply_to_traffic", "test_check", "test_cluster"),
    *("test_healing", "test_helm", "test_pods", "test_ready_means_served", "test_scaling"),
}
#: Seconds for a test that may have to start an API server first, and for one that tries many examples.
_WITH_A_CLUSTER, _OF_MANY = 400, 600

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time for a cluster's start, or for many examples. And none uses the whole cluster that would go to another worker."""
    for item in items:
        on_kubernetes = item.get_closest_marker("cluster") is not None
        many = is_hypothesis_test(getattr(item, "obj", None))
        if (on_kubernetes or many) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_OF_MANY if many else _WITH_A_CLUSTER))
        shares = on_kubernetes and "cluster" in getattr(item, "fixturenames", ())
        assert not shares or item.path.stem in ON_A_CLUSTER, f"{item.path.name} belongs into conftest.ON_A_CLUSTER"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Which tests go to which worker (`--dist loadfile`)."""
    return Together(config, log) if config.getvalue("dist") == "loadfile" else None


class Together(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
    """Tests of a file stay together, and so do the files that share a cluster, which takes long to start. (The marks of
    `--dist loadgroup` do nothing in the newest pytest.)"""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "cluster" if Path(file).stem in ON_A_CLUSTER else file
