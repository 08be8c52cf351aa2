"""What stands for Secrets' values where they are not at hand: fit to be used, and good for nothing."""

from __future__ import annotations

from headgate.model.secret import SecretValue
from headgate.simulate import pretend


def props() -> pretend.Props:
    """For `pretend.fill`."""
    from headgate.simulate.certificates import Authority

    authority = Authority("headgate explain")
    own = authority.server("headgate.invalid")
    return pretend.Props({}, SecretValue(own.chain_pem), SecretValue(own.key_pem), SecretValue(authority.pem))
