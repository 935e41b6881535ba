"""Who may write a stream, where several gateways share one worker."""

from onlooker.engine.vllm_adapter.worker.claims import MAX_CLAIMS, Claims

KEY = "model/acme/door/7/clip/0000000001"


def test_what_a_former_owner_meant_to_write_has_passed() -> None:
    claims = Claims()
    claims.own("acme/door", 3)
    assert not claims.has_passed(KEY, 3)
    claims.own("acme/door", 4)
    assert claims.has_passed(KEY, 3)
    assert claims.has_passed("model/acme/door/7/", 3)
    assert not claims.has_passed(KEY, 4)


def test_a_claim_that_is_heard_of_late_does_not_bring_its_owner_back() -> None:
    claims = Claims()
    claims.own("acme/door", 4)
    claims.own("acme/door", 3)
    assert claims.has_passed(KEY, 3)


def test_other_streams_and_streams_without_owners_are_not_touched() -> None:
    claims = Claims()
    claims.own("acme/door", 4)
    assert not claims.has_passed("model/acme/yard/7/clip/0000000001", 0)
    assert not claims.has_passed("model/other/door/7/clip/0000000001", 0)


def test_the_owners_of_so_many_streams_are_remembered_and_no_more() -> None:
    claims = Claims()
    for index in range(MAX_CLAIMS + 1):
        claims.own(f"acme/{index}", 2)
    assert not claims.has_passed("model/acme/0/", 1)
    assert claims.has_passed("model/acme/1/", 1)
