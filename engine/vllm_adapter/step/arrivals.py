"""Requests in order of arrival, where no policy orders them: how many may start in a step.

vLLM starts whoever is next with whatever tokens are left of a step. A question that chooses clips
has to be whole in its step, so it waits until a step has room for it, and those behind it wait with
it: nobody overtakes it, and it is next.
"""

from collections.abc import Callable, Sequence

from onlooker.engine.vllm_adapter.seams import RequestState


def num_startable(
    running: Sequence[RequestState],
    waiting: Sequence[RequestState],
    *,
    max_tokens: int,
    num_covered: Callable[[RequestState], int],
    retrieves: Callable[[RequestState], bool],
) -> int:
    """How many of `waiting`, from the front, may start in a step of at most `max_tokens`.

    Args:
        running: requests that go on in the step, each with as many tokens as it can have.
        waiting: requests that wait, in order of arrival.
        num_covered: tokens at the start of a request's prompt that are not computed.
        retrieves: whether a request's question chooses clips.
    """
    room = max_tokens - sum(request.num_left_tokens for request in running)
    for index, request in enumerate(waiting):
        num_tokens = request.num_left_tokens - num_covered(request)
        # One that is too long for any step is let go: it fails, and says why.
        if retrieves(request) and room < num_tokens <= max_tokens:
            return index
        room -= num_tokens
    return len(waiting)
