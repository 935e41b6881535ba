"""`AnswerReader`: what vLLM writes for one answer, as text and as calls of functions."""

from collections.abc import Callable
from typing import Any, Protocol

from onlooker.engine.functions import FunctionCall, Toolbox, kept_calls
from onlooker.engine.interface import AnswerDelta, MisreadTime, Question
from onlooker.engine.memory.said_times import TimeMender, TimesInView, UnsettledTime
from onlooker.engine.sampling import TokenChance
from onlooker.engine.vllm_adapter.seams import ExtractedCalls


class Finder(Protocol):
    """Finds calls in what a model writes; see `seams.CallFinder`."""

    start: str | None

    def find(self, text: str, functions: list[dict[str, Any]]) -> ExtractedCalls: ...


class AnswerReader:
    """Reads the outputs of one request, in order. Text that may be a call is held back until the
    end, where it is known."""

    def __init__(self, question: Question, make_finder: Callable[[], Finder]) -> None:
        """`make_finder` is called where the model may call functions as it likes."""
        self._tools = question.tools
        self._is_plain = question.json_schema is None
        self._num_alternatives = question.sampling.num_alternatives
        is_free = question.tools and not question.tools.is_forced
        self._finder = make_finder() if is_free else None
        self._mender: TimeMender | None = None
        self._text = ""
        self._num_sent = 0
        self._chances: list[TokenChance] = []
        self.num_tokens = 0
        self.calls: tuple[FunctionCall, ...] = ()
        """The functions that the answer calls, once `end` was called."""

    def hold_to(self, view: TimesInView) -> None:
        """Have times that are not in `view` mended, where the answer is plain text: JSON and calls
        are for programs, and say what the model says. After each `take`, `settle` is to be called
        as long as there is an `unsettled` time."""
        if not self._tools and self._is_plain:
            self._mender = TimeMender(view)

    @property
    def unsettled(self) -> UnsettledTime | None:
        """The misread time at which the text is held back."""
        return None if self._mender is None else self._mender.unsettled

    def settle(self, told_s: float | None) -> AnswerDelta | None:
        """Tell this in place of the unsettled time, None: what the model wrote; returns the text
        that was held back for it."""
        assert self._mender is not None
        self._text += self._mender.settle(told_s)
        return self._up_to(len(self._text))

    @property
    def misread_times(self) -> tuple[MisreadTime, ...]:
        """The times that the answer named and that were not in view."""
        return () if self._mender is None else tuple(self._mender.misread)

    @property
    def num_seen_times(self) -> int:
        """How many times the answer named that were."""
        return 0 if self._mender is None else self._mender.num_seen

    @property
    def has_sent(self) -> bool:
        """Whether any text of the answer has been given out."""
        return self._num_sent > 0

    @property
    def text(self) -> str:
        """The text that has been given out."""
        return self._text[: self._num_sent]

    def take(self, output: Any) -> AnswerDelta | None:
        """Read the next ``vllm.RequestOutput``; returns the text that it brings, if any."""
        completion = output.outputs[0]
        self.num_tokens += len(completion.token_ids)
        text = completion.text
        self._text += text if self._mender is None else self._mender.take(text)
        if self._num_alternatives is not None:
            self._chances += _chances(completion, self._num_alternatives)
        return self._up_to(self._num_safe())

    def end(self) -> AnswerDelta | None:
        """Call when all outputs were read; returns what was held back and is no call."""
        if self._mender is not None:
            self._text += self._mender.end()
        if not self._tools:
            return self._up_to(len(self._text))
        if self._finder is None:
            self.calls = self._tools.read_forced(self._text)
            return None if self.calls else self._up_to(len(self._text))
        found = self._finder.find(self._text, _told(self._tools))
        calls = [FunctionCall(name, arguments) for name, arguments in found.calls]
        self.calls = kept_calls(calls, self._tools)
        if not self.calls:
            return self._up_to(len(self._text))
        self._text = found.content.rstrip()
        return self._up_to(max(self._num_sent, len(self._text)))

    def _num_safe(self) -> int:
        """How much of the text so far can be no call."""
        if not self._tools:
            return len(self._text)
        if self._finder is None or self._finder.start is None:
            return 0
        start = self._finder.start
        begun = self._text.find(start)
        if begun >= 0:
            return len(self._text[:begun].rstrip())
        held = max((n for n in range(1, len(start)) if self._text.endswith(start[:n])), default=0)
        return len(self._text[: len(self._text) - held].rstrip())

    def _up_to(self, length: int) -> AnswerDelta | None:
        """The text up to `length` that has not been given out."""
        piece = self._text[self._num_sent : length]
        if not piece:
            return None
        self._num_sent = length
        chances, self._chances = tuple(self._chances), []
        return AnswerDelta(piece, chances)


def _chances(completion: Any, num_alternatives: int) -> list[TokenChance]:
    """The tokens of an output with their probabilities."""
    found = []
    for token_id, by_id in zip(completion.token_ids, completion.logprobs or (), strict=False):
        ranked = sorted(by_id.values(), key=lambda chance: -chance.logprob)
        chosen = by_id[token_id]
        alternatives = tuple((c.decoded_token or "", c.logprob) for c in ranked)
        found.append(
            TokenChance(chosen.decoded_token or "", chosen.logprob, alternatives[:num_alternatives])
        )
    return found


def _told(tools: Toolbox) -> list[dict[str, Any]]:
    return [
        {"name": f.name, "description": f.description, "parameters": dict(f.parameters)}
        for f in tools.functions
    ]
