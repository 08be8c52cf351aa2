"""A real Supabase project and a gateway in front of it, for the modules that need nothing special of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import declared
from harness.headgate import Headgate
from harness.pki import Authority
from harness.supabase import Project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """PostgREST with its usual settings."""
    with Project(tmp_path_factory.mktemp("project"), Authority()) as running:
        yield running


@pytest.fixture(scope="session")
def headgate(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    """`app` has the secret key, and so has `retried` with a RetryPolicy; `public` has the publishable key."""
    upstreams = {"app": "secret", "public": "publishable", "retried": "secret"}
    policies = {"retries": declared.policy("RetryPolicy", "retried", attempts=3)}
    with project.behind(tmp_path_factory.mktemp("headgate"), upstreams, policies) as running:
        yield running
