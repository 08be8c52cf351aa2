"""What a provider's own tests are at the least."""

from headgate_parcels import PARCELS

from headgate.providers.contract import problems


def test_the_profile_is_fit_for_use() -> None:
    assert problems(PARCELS) == ()
