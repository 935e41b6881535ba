import pytest

from onlooker.core.trace import TraceParent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_traceparent_is_read_and_written_as_the_standard_says() -> None:
    text = f"00-{TRACE}-{SPAN}-01"
    place = TraceParent.read(text)
    assert place == TraceParent(TRACE, SPAN, is_sampled=True)
    assert str(place) == text
    assert TraceParent.read(f"00-{TRACE}-{SPAN}-00") == TraceParent(TRACE, SPAN, False)


def test_a_later_version_of_the_standard_is_read_as_far_as_it_is_known() -> None:
    assert TraceParent.read(f"01-{TRACE}-{SPAN}-03-more") == TraceParent(TRACE, SPAN)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01" + "x" * 300,
    ],
)
def test_what_is_no_traceparent_is_passed_over(text: str | None) -> None:
    assert TraceParent.read(text) is None


def test_several_of_them_count_as_none() -> None:
    header = (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())
    assert TraceParent.brought([header]) == TraceParent(TRACE, SPAN)
    assert TraceParent.brought([header, header]) is None
    assert TraceParent.brought([(b"x", b"y")]) is None


def test_a_child_belongs_to_the_same_trace_and_is_recorded_if_that_is() -> None:
    for is_sampled in (True, False):
        place = TraceParent.root(is_sampled=is_sampled)
        child = place.child()
        assert (child.trace_id, child.is_sampled) == (place.trace_id, is_sampled)
        assert child.span_id != place.span_id
