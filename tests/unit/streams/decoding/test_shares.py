"""How many decoders there are follows the machine, where nobody says otherwise."""

import pytest

from onlooker.core.cores import num_cores
from onlooker.streams import config
from onlooker.streams.config import DecodingSection


@pytest.mark.parametrize(("cores", "workers", "share"), [(1, 2, 1.0), (2, 3, 2.0), (16, 17, 16.0)])
def test_decoders_follow_the_number_of_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, share: float
) -> None:
    monkeypatch.setattr(config, "num_cores", lambda: cores)
    section = DecodingSection()
    assert (section.num_workers, section.share) == (workers, share)


def test_what_is_set_is_what_counts() -> None:
    section = DecodingSection(workers=5, tenant_share=1.5)
    assert (section.num_workers, section.share) == (5, 1.5)


def test_there_is_a_core() -> None:
    assert num_cores() >= 1
