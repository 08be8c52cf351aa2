"""`--listen HOST:PORT`."""

import pytest

from headgate.cli.fail import Failure
from headgate.cli.inputs import address


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        (":8080", ("0.0.0.0", 8080)),
        ("localhost:1", ("127.0.0.1", 1)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_addresses(text: str, place: tuple[str, int]) -> None:
    assert address(text, "--listen") == place


@pytest.mark.parametrize(
    "text",
    ["", "8080", "127.0.0.1", "example.com:80", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:\u0663"],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(Failure, match="write it as HOST:PORT") as raised:
        address(text, "--listen")
    assert raised.value.code == 2
