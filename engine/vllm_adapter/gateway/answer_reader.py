"""`AnswerReader`: what vLLM writes for one answer, as text and as calls of functions."""

from typing import Any

from onlooker.engine.functions import FunctionCall, Toolbox, kept_calls
from onlooker.engine.interface import AnswerDelta, Question
from onlooker.engine.sampling import TokenChance
from onlooker.engine.vllm_adapter import seams


class AnswerReader:
    """Reads the outputs of one request, in order. Text that may be a call is held back until the
    end, where it is known."""

    def __init__(self, question: Question, tokenizer: Any, tool_parser: str) -> None:
        self._tools = question.tools
        self._num_alternatives = question.sampling.num_alternatives
        self._parser = None
        if question.tools and not question.tools.is_forced:
            self._parser = seams.tool_parser(tool_parser, tokenizer)
        self._text = ""
        self._num_sent = 0
        self._chances: list[TokenChance] = []
        self.num_tokens = 0
        self.calls: tuple[FunctionCall, ...] = ()
        """The functions that the answer calls, once `end` was called."""

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
        self._text += completion.text
        if self._num_alternatives is not None:
            self._chances += _chances(completion, self._num_alternatives)
        return self._up_to(self._num_safe())

    def end(self) -> AnswerDelta | None:
        """Call when all outputs were read; returns what was held back and is no call."""
        if not self._tools:
            return self._up_to(len(self._text))
        if self._tools.is_forced:
            self.calls = self._tools.read_forced(self._text)
            return None if self.calls else self._up_to(len(self._text))
        found = seams.extract_calls(self._parser, self._text, _told(self._tools))
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
        start = None if self._parser is None else seams.call_start(self._parser)
        if not start:
            return 0
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
