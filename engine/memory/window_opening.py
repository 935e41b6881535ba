"""`WindowOpening`: what the prompts of one window begin with, laid out once.

A window grows clip by clip (see `RecentWindow`), and each prompt begins as the one before it. So
its tokens, places and loads are kept, and only the newest clip is added to them.
"""

from collections.abc import Sequence

from onlooker.engine.memory.clip_tokens import ClipTokens
from onlooker.engine.memory.prompt import PromptBuilder

Sink = tuple[str, list[int]]
"""The key of a stored system prompt, and its tokens."""


class WindowOpening:
    """The stored beginning of one stream's newest prompt: its sink and the clips of its window.
    Takes as much memory as that prompt, but for KV."""

    def __init__(self) -> None:
        self._builder = PromptBuilder()
        self._sink_key = ""
        self._clips: list[ClipTokens] = []

    def prompt(self, sink: Sink, clips: Sequence[ClipTokens], salt: str | None) -> PromptBuilder:
        """A prompt that begins with `sink` and `clips`, all of which are stored. `salt`: see
        `PromptBuilder`."""
        if not self._begins(sink[0], clips):
            self._builder, self._sink_key, self._clips = PromptBuilder(), sink[0], []
            self._builder.load_text(*sink)
        for clip in clips[len(self._clips) :]:
            self._builder.load_clip(clip)
            self._clips.append(clip)
        return self._builder.copy(salt)

    def _begins(self, sink_key: str, clips: Sequence[ClipTokens]) -> bool:
        """Whether a prompt of this sink and these clips begins with what is known."""
        return (
            sink_key == self._sink_key
            and len(self._clips) <= len(clips)
            and all(mine is theirs for mine, theirs in zip(self._clips, clips, strict=False))
        )
