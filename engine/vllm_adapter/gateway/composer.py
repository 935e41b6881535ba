"""Prompts: how clips, dialogue and a question become what vLLM takes.

The text is whatever the model's own chat template says, so any model whose template places videos
works as it was trained. Where the model's processor does not write when a clip was, the prompt does
(see `Family`). Each clip is one video item of two frames, which makes it the unit of vLLM's
hashing: a clip that was sent before is found again, whatever follows.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from onlooker.core.errors import ConfigError
from onlooker.core.media import Clip
from onlooker.engine.functions import NO_TOOLS, CallMade, Function, Toolbox
from onlooker.engine.interface import Turn
from onlooker.engine.vllm_adapter.families.family import Family

STAMP_RATE = 1000.0
"""Frame indices are given in milliseconds: the model reads a stamp as index / rate, in seconds."""

_AFTER_CLIPS = "\x00"
"""Marks the end of the clips while the template is taken apart; never in a user's text."""


class ChatTokenizer(Protocol):
    """The two things needed of a Hugging Face tokenizer."""

    @property
    def all_special_tokens(self) -> list[str]: ...

    def apply_chat_template(
        self,
        conversation: list[dict[str, Any]],
        *,
        tokenize: bool,
        add_generation_prompt: bool,
        tools: list[dict[str, Any]] | None = None,
    ) -> str: ...


class PromptComposer:
    """Builds vLLM prompts for one model.

    Args:
        tokenizer: the served model's tokenizer.
        instructions: the system prompt where a question brings none of its own.
        family: the model's family; None where it is not known: then nothing is written before
            clips.
    """

    def __init__(
        self, tokenizer: ChatTokenizer, *, instructions: str, family: Family | None
    ) -> None:
        self._tokenizer = tokenizer
        self._writes_stamps = family is not None and not family.stamps_clips
        self._instructions = instructions
        self._reserved = sorted(set(tokenizer.all_special_tokens), key=len, reverse=True)

    def watching(self, clips: Sequence[Clip], *, salt: str) -> dict[str, Any]:
        """The prompt up to and including the newest clip: what every later prompt starts with."""
        head, _ = self.watched_parts
        return self._prompt(head, clips, "", salt)

    def clip_text(self, clip: Clip) -> str:
        """What a prompt says for `clip`, its pictures a placeholder."""
        _, text = self.watched_parts
        return stamp(clip) + text if self._writes_stamps else text

    def asking(
        self,
        clips: Sequence[Clip],
        *,
        question: str,
        dialogue: Sequence[Turn],
        instructions: str | None,
        salt: str,
        tools: Toolbox = NO_TOOLS,
        made: Sequence[CallMade] = (),
    ) -> dict[str, Any]:
        """The prompt that answers `question`."""
        head, _, tail = self.parts(question, dialogue, instructions, tools=tools, made=made)
        return self._prompt(head, clips, tail, salt)

    @cached_property
    def watched_parts(self) -> tuple[str, str]:
        """The prompt's text before the clips and the template's text for each clip, where nothing
        is asked."""
        head, clip, _ = self.parts("", (), None)
        return head, clip

    @cached_property
    def takes_functions(self) -> bool:
        """Whether the chat template tells a model of functions."""
        probe = Toolbox((Function("onlooker_probe"),))
        try:
            head, _, tail = self.parts("", (), None, tools=probe)
        except Exception:  # a template may raise whatever it likes
            return False
        return "onlooker_probe" in head + tail

    def parts(
        self,
        question: str,
        dialogue: Sequence[Turn],
        instructions: str | None,
        *,
        tools: Toolbox = NO_TOOLS,
        made: Sequence[CallMade] = (),
    ) -> tuple[str, str, str]:
        """The prompt's text before the clips, the template's text for each clip, and the text after
        the clips. `tools`: functions that the answer may call. `made`: calls made before, whose
        results stand behind the question.

        Clips stand before the dialogue, so that a new turn leaves their KV valid.

        Raises:
            ConfigError: the chat template does not write each clip the same way.
        """
        system = self._instructions if instructions is None else self.neutral(instructions)
        texts = [text for turn in dialogue for text in (turn.question, turn.answer)]
        texts = [self.neutral(text) for text in (*texts, question)]
        texts[0] = _AFTER_CLIPS + texts[0]
        more = [message for call in made for message in self._called(call)]
        told = [self._told(function) for function in tools.functions] or None
        none, one, two = (self._render(system, n, texts, more, told) for n in range(3))
        head, _, tail = none.partition(_AFTER_CLIPS)
        clip = one[len(head) : len(one) - len(tail) - len(_AFTER_CLIPS)]
        if not clip or head + clip * 2 + _AFTER_CLIPS + tail != two:
            raise ConfigError("the model's chat template does not write each clip the same way")
        return head, clip, tail

    def neutral(self, text: str) -> str:
        """Break up control tokens in text that a user wrote, so that it stays text."""
        text = text.replace("\x00", " ")
        while any(token in text for token in self._reserved):  # taking one out may leave another
            for token in self._reserved:
                text = text.replace(token, f" {token.strip('<|>')} ")
        return text

    def _called(self, made: CallMade) -> list[dict[str, Any]]:
        """A call and its result as messages."""
        try:
            arguments = json.loads(made.call.arguments)
        except ValueError:
            arguments = made.call.arguments
        function = {"name": made.call.name, "arguments": self._neutral_json(arguments)}
        call = {"id": made.call.id, "type": "function", "function": function}
        return [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {
                "role": "tool",
                "tool_call_id": made.call.id,
                "name": made.call.name,
                "content": self.neutral(made.result),
            },
        ]

    def _told(self, function: Function) -> dict[str, Any]:
        """A function as chat templates take it."""
        told = {
            "name": function.name,
            "description": function.description,
            "parameters": dict(function.parameters),
        }
        return {"type": "function", "function": self._neutral_json(told)}

    def _neutral_json(self, value: Any) -> Any:
        """A JSON value whose texts are neutral."""
        if isinstance(value, str):
            return self.neutral(value)
        if isinstance(value, Mapping):
            return {self.neutral(k): self._neutral_json(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self._neutral_json(part) for part in value]
        return value

    def _render(
        self,
        system: str,
        num_clips: int,
        texts: Sequence[str],
        more: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
    ) -> str:
        """The template's text for a dialogue. `texts`: what user and assistant said in turn; the
        clips go into the first. `more`: messages behind them."""
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
        for index, text in enumerate(texts):
            videos = [{"type": "video"}] * (num_clips if index == 0 else 0)
            role = "assistant" if index % 2 else "user"
            messages.append({"role": role, "content": [*videos, {"type": "text", "text": text}]})
        options: dict[str, Any] = {} if tools is None else {"tools": tools}
        return self._tokenizer.apply_chat_template(
            [*messages, *more], tokenize=False, add_generation_prompt=True, **options
        )

    def _prompt(self, head: str, clips: Sequence[Clip], tail: str, salt: str) -> dict[str, Any]:
        text = "".join([head, *map(self.clip_text, clips), tail])
        prompt: dict[str, Any] = {"prompt": text, "cache_salt": salt}
        if clips:
            prompt["multi_modal_data"] = {"video": [video_item(clip) for clip in clips]}
            prompt["multi_modal_uuids"] = {"video": [clip_uuid(salt, clip) for clip in clips]}
        return prompt


def stamp(clip: Clip) -> str:
    """The text that tells when `clip` was, as Qwen3-VL's processor writes it."""
    return f"<{stamp_s(clip):.1f} seconds>"


def stamp_s(clip: Clip) -> float:
    """The time that a clip is stamped with, with the processor's own roundings."""
    first, last = (round(frame.capture_s * STAMP_RATE) / STAMP_RATE for frame in clip.frames)
    return (first + last) / 2


def video_item(clip: Clip) -> tuple[np.ndarray, dict[str, Any]]:
    """A clip as vLLM's video item: uint8 [2, height, width, 3] and the metadata with its stamp.

    A family that tells time by place also reads from the metadata how far apart the patches in time
    are. A clip has only one of those, so that whatever is read changes nothing.
    """
    indices = [round(frame.capture_s * STAMP_RATE) for frame in clip.frames]
    metadata = {
        "fps": STAMP_RATE,
        "frames_indices": indices,
        "total_num_frames": len(indices),
        "duration": clip.end_s - clip.start_s,
        "video_backend": "onlooker",
        "do_sample_frames": False,
    }
    return np.stack([frame.pixels for frame in clip.frames]), metadata


def clip_uuid(salt: str, clip: Clip) -> str:
    """The identity of a clip for vLLM's caches: its stream's salt and its place in the stream.

    A clip of which only the first frame may be shown is another picture than the whole one.
    """
    is_alone = clip.frames[0] is clip.frames[1]
    return f"{salt}/{clip.clip_index}{'/alone' if is_alone else ''}"
