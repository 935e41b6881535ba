import pytest

from onlooker.core.errors import Overloaded
from onlooker.server.limits import Places


def test_places_are_given_back_however_the_block_ends() -> None:
    places = Places(1, what="seats")
    with pytest.raises(KeyError), places.take():
        raise KeyError
    with places.take(), pytest.raises(Overloaded, match="1 seats"), places.take():
        pass
    assert places.taken == 0
