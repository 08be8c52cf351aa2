"""Amounts as an API server would write them."""

import pytest

from headgate.infra.quantity import cpu, memory


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (512 << 20, "512Mi"),
        (1 << 30, "1Gi"),
        (1536 << 20, "1536Mi"),
        (2 << 40, "2Ti"),
        (2 << 50, "2048Ti"),
        (1_500_000_000, "1500M"),
        (2_000_000_000, "2G"),
        (3 << 10, "3072"),
        (123_456_789, "123456789"),
    ],
)
def test_memory(size: int, text: str) -> None:
    assert memory(size) == text


@pytest.mark.parametrize(("millis", "text"), [(250, "250m"), (1000, "1"), (1500, "1500m"), (2000, "2")])
def test_cpu(millis: int, text: str) -> None:
    assert cpu(millis) == text
