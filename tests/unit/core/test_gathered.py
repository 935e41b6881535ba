from onlooker.core.gathered import MAX_GATHERED, Gatherer
from onlooker.core.metrics import Metrics

FRAMES = "onlooker_frames_total"
KEPT = {"outcome": "kept", "reason": ""}


def test_whoever_reads_the_metrics_finds_what_was_gathered() -> None:
    metrics = Metrics()
    note = metrics.note_frame("kept", "")
    note()
    note()
    assert metrics.registry.get_sample_value(FRAMES, KEPT) == 2


def test_what_is_noted_by_several_is_one_sum() -> None:
    metrics = Metrics()
    metrics.note_frame("kept", "")()
    metrics.note_frame("kept", "")()
    metrics.note_frame("dropped", "late")()
    assert metrics.registry.get_sample_value(FRAMES, KEPT) == 2


def test_a_histogram_gets_each_amount() -> None:
    metrics = Metrics()
    for amount in (0.002, 0.2, 0.2):
        metrics.note_decoded("jpeg")(amount)
    found = metrics.registry.get_sample_value
    name = "onlooker_frame_decode_seconds"
    assert found(f"{name}_bucket", {"codec": "jpeg", "le": "0.0025"}) == 1
    assert found(f"{name}_count", {"codec": "jpeg"}) == 3


def test_what_nobody_reads_is_handed_on_when_it_is_too_much() -> None:
    told: list[float] = []
    note = Gatherer().each_of("waits", lambda: told.append)
    for number in range(MAX_GATHERED):
        note(float(number))
    assert told == []
    note(7.0)
    assert told == [*range(MAX_GATHERED), 7.0]
