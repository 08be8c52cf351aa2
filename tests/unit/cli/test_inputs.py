"""What commands make of their options."""

import pytest

from headgate.cli.fail import Failure
from headgate.cli.inputs import secret_options


def test_one_key_from_two_places_is_refused() -> None:
    with pytest.raises(Failure) as raised:
        secret_options(["shop/s/k=env:A", "shop/s/other=env:A", "shop/s/k=file:/b"])
    assert (str(raised.value), raised.value.code) == ("--secret shop/s/k is given twice: take one away", 2)
