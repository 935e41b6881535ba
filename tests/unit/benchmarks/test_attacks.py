"""The pieces of the attack benchmark: payloads, mutators, delays, tallies, and its figures."""

import argparse
import io
import json
import os
import random
from typing import Any

import pytest
from PIL import Image

from onlooker.benchmarks.attacks import bombs
from onlooker.benchmarks.attacks.delays import Delays, Usual
from onlooker.benchmarks.attacks.fuzzers import EVENTS
from onlooker.benchmarks.attacks.leaks import leaks_of, verdict
from onlooker.benchmarks.attacks.mutation import mutated_bytes, mutated_event
from onlooker.benchmarks.attacks.samples import messages_of
from onlooker.benchmarks.attacks.sources import HOSTILE_URLS, STRANGE_URLS
from onlooker.benchmarks.attacks.table import ATTACKS
from onlooker.benchmarks.attacks.tally import AttackTally
from onlooker.benchmarks.attacks.target import AttackTarget
from onlooker.benchmarks.processes import Holdings, family_of, holdings_of
from onlooker.benchmarks.scenarios import attack
from onlooker.benchmarks.server_log import failures, num_failures
from onlooker.core.errors import ConfigError
from onlooker.core.media import Codec
from onlooker.core.protocol.client_events import CLIENT_EVENT_TYPES, BadEvent, parse_client_event


# ---- bombs
def test_a_repeated_scan_is_there_as_often_as_it_was_asked_for() -> None:
    once, often = bombs.repeated_scans(1, side=64), bombs.repeated_scans(7, side=64)
    assert often.count(bombs.START_OF_SCAN) == once.count(bombs.START_OF_SCAN) + 6
    Image.open(io.BytesIO(often)).load()


@pytest.mark.parametrize("codec", [Codec.JPEG, Codec.PNG])
def test_a_huge_picture_says_so_in_its_header(codec: Codec) -> None:
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(bombs.huge_still(codec)))


def test_an_interlaced_png_can_be_decoded() -> None:
    picture = Image.open(io.BytesIO(bombs.interlaced_png(24)))
    picture.load()
    assert picture.size == (24, 24)
    assert picture.info["interlace"] == 1


def test_an_animation_has_as_many_pictures_as_it_was_asked_for() -> None:
    picture = Image.open(io.BytesIO(bombs.long_animation(50, side=16)))
    assert getattr(picture, "n_frames", 1) == 50


def test_unknown_fields_are_json_of_about_the_size() -> None:
    text = bombs.unknown_fields(10_000, type="session.update")
    assert 9_000 < len(text) < 11_000
    assert json.loads(text)["type"] == "session.update"


# ---- samples and mutators
@pytest.mark.parametrize("codec", list(Codec))
def test_every_codec_has_sound_messages(codec: Codec) -> None:
    messages = messages_of(codec)
    assert len(messages) > 1
    assert all(messages)


def test_mutations_are_the_same_for_the_same_seed() -> None:
    def made(seed: int) -> list[str | bytes]:
        rng = random.Random(seed)
        broken = [mutated_bytes(bytes(range(200)), rng) for _ in range(20)]
        return [*broken, *(mutated_event(event, rng) for event in EVENTS)]

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_what_a_mutated_event_was_given_is_not_in_those_made_later() -> None:
    def made(seed: int) -> list[str | bytes]:
        rng = random.Random(seed)
        return [mutated_event(EVENTS[number % len(EVENTS)], rng) for number in range(3_000)]

    before = made(4)
    made(7)
    assert made(4) == before


def test_mutated_bytes_are_never_empty() -> None:
    rng = random.Random(3)
    assert all(mutated_bytes(b"ab", rng) for _ in range(500))


def test_the_fuzzer_begins_with_a_sound_event_of_every_type() -> None:
    assert {parse_client_event(json.dumps(event)).type for event in EVENTS} == set(
        CLIENT_EVENT_TYPES
    )


def test_some_mutated_events_are_refused_and_some_are_sound() -> None:
    rng, refused, num = random.Random(5), 0, 300
    for _ in range(num):
        text = mutated_event(rng.choice(EVENTS), rng)
        assert isinstance(text, str)
        try:
            parse_client_event(text)
        except BadEvent:
            refused += 1
    assert 0.3 * num < refused < num


def test_nothing_that_is_sent_names_an_address_of_another_machine() -> None:
    assert "://" not in json.dumps(EVENTS)
    hosts = [url.split("://", 1)[-1] for url in HOSTILE_URLS + STRANGE_URLS]
    assert not [host for host in hosts if host.split("/")[0].endswith((".com", ".org", ".net"))]


# ---- what the honest tenant feels
def test_a_delay_is_what_went_beyond_the_usual_of_its_kind() -> None:
    delays = Delays()
    delays.sent("frame", 1, at_s=0.0)
    delays.sent("question", 2, at_s=0.0)
    delays.answered("frame", 1, at_s=0.3)
    delays.answered("question", 2, at_s=0.5)
    assert delays.worst_beyond_s(Usual(frame=0.1, question=0.45), at_s=1.0) == pytest.approx(0.2)


def test_a_frame_without_an_answer_counts_for_as_long_as_it_waits() -> None:
    delays = Delays()
    delays.sent("frame", 1, at_s=1.0)
    delays.restart()
    assert delays.worst_beyond_s(Usual(frame=0.5, question=0.0), at_s=9.0) == pytest.approx(7.5)


def test_what_is_given_up_is_lost_and_was_waited_for_until_then() -> None:
    delays = Delays()
    delays.sent("frame", 1, at_s=1.0)
    delays.give_up(at_s=4.0)
    assert delays.lost == {"no_answer": 1}
    assert delays.open == {}
    assert delays.worst_beyond_s(Usual(frame=0.0, question=0.0), at_s=99.0) == pytest.approx(3.0)


def test_who_was_never_late_has_no_delay() -> None:
    assert Delays().worst_beyond_s(Usual(frame=0.0, question=0.0), at_s=5.0) == 0.0


# ---- what the server answered
def test_an_attack_is_refused_when_the_server_held_and_never_gave_way() -> None:
    tally = AttackTally()
    assert not tally.is_refused
    tally.refusal(413)
    assert tally.is_refused
    tally.refusal(200)
    assert not tally.is_refused


def test_a_500_is_a_fault_and_a_503_is_a_refusal() -> None:
    tally = AttackTally()
    tally.refusal(503)
    assert (tally.is_refused, dict(tally.faults)) == (True, {})
    tally.refusal(500)
    assert (tally.is_refused, dict(tally.faults)) == (False, {"status 500": 1})


def test_an_internal_error_event_is_a_fault() -> None:
    tally = AttackTally()
    tally.error({"type": "error", "error": {"type": "server_error", "code": "internal_error"}})
    tally.error({"type": "error", "error": {"type": "permission_error", "code": "forbidden"}})
    assert dict(tally.faults) == {"error internal_error": 1}


def test_a_tally_travels_as_json() -> None:
    tally = AttackTally()
    tally.refusal(400)
    tally.close(1011)
    assert AttackTally.of(json.loads(json.dumps(tally.as_dict()))) == tally


def test_a_failure_that_two_loggers_tell_is_one() -> None:
    lines = [
        '{"level": "error", "exception": "Traceback (most recent call last):\\n ..."}',
        "Exception in ASGI application",
        "Traceback (most recent call last):",
        "The above exception was the direct cause of the following exception:",
        "Traceback (most recent call last):",
    ]
    assert num_failures(lines) == 1
    assert num_failures(["all is well"]) == 0
    assert failures(lines) == lines[:1]
    assert failures(lines, expected="most recent") == []


# ---- what is left behind
def test_what_is_back_at_what_it_was_is_no_leak() -> None:
    assert verdict(10, 25, 12, margin=4) == "none"
    assert verdict(10, 12, None, margin=4) == "none"


def test_what_a_second_round_does_not_add_to_is_bounded() -> None:
    assert verdict(10, 25, 27, margin=4) == "bounded"


def test_what_a_second_round_adds_to_grows() -> None:
    assert verdict(10, 25, 40, margin=4) == "grows"
    assert verdict(10, 25, None, margin=4) == "grows"


def test_memory_is_judged_by_its_share_and_processes_by_their_number() -> None:
    before, after = Holdings(5, 100 << 20, 40, 10), Holdings(6, 109 << 20, 40, 10)
    found = leaks_of(before, after, after)
    assert found["rss_bytes"]["verdict"] == "none"
    assert found["processes"] == {
        "before": 5, "after": 6, "after_second_round": 6, "verdict": "bounded",
    }  # fmt: skip


def test_this_process_holds_descriptors_threads_and_memory() -> None:
    holdings = holdings_of(os.getpid())
    assert os.getpid() in family_of(os.getpid())
    assert min(holdings.rss_bytes, holdings.descriptors, holdings.threads) > 0


# ---- the list of attacks, and the figures
def test_every_attack_has_a_deadline_and_says_what_it_does() -> None:
    target = AttackTarget(port=1, key="k", messages=1000, payloads=10)
    for attack_ in ATTACKS.values():
        assert 0 < attack_.deadline_s(target) < 120
        assert (attack_.run.__doc__ or "").strip()


def test_only_takes_names_and_refuses_what_is_none() -> None:
    assert attack.chosen("") == list(ATTACKS)
    assert attack.chosen("ping_flood, deep_json") == ["ping_flood", "deep_json"]
    with pytest.raises(ConfigError, match="no attack 'nonsense'"):
        attack.chosen("ping_flood,nonsense")


def a_row(**values: Any) -> attack.AttackRow:
    nothing = AttackTally().as_dict()
    defaults: dict[str, Any] = {
        "victim_worst_ms": 0.0, "refused": True, "victim_lost": {}, "answers": nothing,
        "died": False, "stuck": False,
    }  # fmt: skip
    return attack.AttackRow(**(defaults | values))


def test_the_figures_have_the_shape_that_is_promised() -> None:
    faulty = AttackTally()
    faulty.refusal(500)
    rows = {
        "one": a_row(victim_worst_ms=12.5),
        "two": a_row(answers=faulty.as_dict(), refused=False),
    }
    figures = attack.summary(
        rows, {"calm_worst_ms": 3.0},
        {"streams": 0, "threads": {"before": 1, "after": 2, "second": 2, "verdict": "none"}},
        again={"one": a_row(victim_worst_ms=99.0)},
        deaths=2, stuck=0, killed=0, stack_traces=1,
    )  # fmt: skip
    figures = json.loads(json.dumps(figures))
    assert figures["attacks"]["one"]["victim_worst_ms"] == 12.5
    assert [figures["attacks"][name]["refused"] for name in ("one", "two")] == [True, False]
    assert figures["victim_worst_ms"] == 12.5
    assert figures["second_round_worst_ms"] == 99.0
    assert figures["crashes"] == 3, "two deaths, and one error that also left a stack trace"
    assert figures["leaks"]["streams"] == 0
    assert "two" in attack.table(figures)


def test_the_options_of_the_scenario() -> None:
    parser = argparse.ArgumentParser()
    attack.add_options(parser)
    options = parser.parse_args(["--quick", "--only", "ping_flood"])
    assert (options.quick, options.only) == (True, "ping_flood")
