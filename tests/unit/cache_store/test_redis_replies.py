import pytest
from redis._parsers.base import BaseParser

from onlooker.cache_store.tiers.redis_replies import Reaction, trouble_of


@pytest.mark.parametrize(
    ("reply", "code", "reaction"),
    [
        ("READONLY You can't write against a read only replica.", "READONLY", Reaction.RECONNECT),
        ("MOVED 3999 127.0.0.1:6381", "MOVED", Reaction.RECONNECT),
        ("LOADING Redis is loading the dataset in memory", "LOADING", Reaction.BACK_OFF),
        ("MASTERDOWN Link with MASTER is down", "MASTERDOWN", Reaction.BACK_OFF),
        ("TRYAGAIN Multiple keys request", "TRYAGAIN", Reaction.BACK_OFF),
        ("CLUSTERDOWN The cluster is down", "CLUSTERDOWN", Reaction.BACK_OFF),
        ("OOM command not allowed", "OOM", Reaction.STOP_ADDING),
        ("MISCONF Redis is configured to save RDB snapshots", "MISCONF", Reaction.STOP_ADDING),
        ("NOREPLICAS Not enough good replicas to write.", "NOREPLICAS", Reaction.STOP_ADDING),
        ("NOPERM this user has no permissions", "NOPERM", Reaction.BACK_OFF_LONG),
        ("NOAUTH Authentication required.", "NOAUTH", Reaction.BACK_OFF_LONG),
        ("WRONGPASS invalid username-password pair", "WRONGPASS", Reaction.BACK_OFF_LONG),
        ("ERR invalid password", "WRONGPASS", Reaction.BACK_OFF_LONG),
    ],
)
def test_each_refusal_has_its_reaction(reply: str, code: str, reaction: Reaction) -> None:
    trouble = trouble_of(BaseParser.parse_error(reply))  # type: ignore[no-untyped-call]
    assert trouble is not None
    assert (trouble.code, trouble.reaction) == (code, reaction)


@pytest.mark.parametrize("reply", ["ERR unknown command", "WRONGTYPE Operation against a key"])
def test_an_error_about_one_command_says_nothing_about_the_server(reply: str) -> None:
    assert trouble_of(BaseParser.parse_error(reply)) is None  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("reply", [None, 1, b"READONLY", {}])
def test_a_reply_is_no_trouble(reply: object) -> None:
    assert trouble_of(reply) is None
