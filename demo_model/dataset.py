"""Token layout of contexts and questions: what every prompt to the demo model looks like.

<|im_start|>system WORDS<|im_end|><|im_start|>user          the sink
stamp <|vision_start|> 9 x <|video_pad|> <|vision_end|>     each clip: 15 tokens, 9 positions
QUESTION<|im_end|><|im_start|>assistant ANSWER<|im_end|>    a branch
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from onlooker.demo_model import tokenizer as words
from onlooker.demo_model.model import FRAME_SIZE, MERGE_SIZE, PATCH_SIZE
from onlooker.demo_model.phrases import SYSTEM_PROMPTS

Ids = NDArray[np.int64]
SIDE = FRAME_SIZE // PATCH_SIZE // MERGE_SIZE
VIDEO_TOKENS = SIDE * SIDE
STAMP_TOKENS = 4
CLIP_TOKENS = STAMP_TOKENS + 1 + VIDEO_TOKENS + 1
CLIP_POSITIONS = STAMP_TOKENS + 1 + SIDE + 1
ASK_SUFFIX = f"{words.IM_END}\n{words.IM_START}assistant\n"
TURN_SUFFIX = f"{words.IM_END}\n{words.IM_START}user\n"


def sink_text(system: str | None = SYSTEM_PROMPTS[0]) -> str:
    """The text that opens every context: system prompt, if there is one, and the user's turn."""
    head = "" if system is None else f"{words.IM_START}system\n{system}{words.IM_END}\n"
    return f"{head}{words.IM_START}user\n"


@dataclass(frozen=True)
class DrawnTurn:
    """A question and its answer as token ids; `answer` includes the end of the turn."""

    question: tuple[int, ...]
    answer: tuple[int, ...]


class Layout:
    """Turns texts and times into token ids and positions, for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        known = tokenizer.get_vocab()

        def token(word: str) -> int:
            return int(known[word])

        self.video = token(words.VIDEO_PAD)
        self.image = token(words.IMAGE_PAD)
        self.end = token(words.IM_END)
        self.pad = token(words.END_OF_TEXT)
        self._start, self._stop = token(words.VISION_START), token(words.VISION_END)
        self._tens = [token(f"a{n}") for n in range(10)]
        self._hundreds = [token(f"b{n:02d}") for n in range(100)]
        self._seconds = [token(f"c{n:02d}") for n in range(100)]
        self._tenths = [token(f".{n}") for n in range(10)]
        self.encode = lru_cache(maxsize=50_000)(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def stamp(self, seconds: float) -> list[int]:
        """The four tokens of `<12.5 seconds>` (a test compares them with the tokenizer's)."""
        text = f"{seconds:.1f}"
        whole = int(text[:-2]) % 100_000
        return [
            self._tens[whole // 10_000],
            self._hundreds[whole // 100 % 100],
            self._seconds[whole % 100],
            self._tenths[int(text[-1])],
        ]

    def clip(self, seconds: float) -> list[int]:
        """The 15 tokens of a clip."""
        return [*self.stamp(seconds), self._start, *[self.video] * VIDEO_TOKENS, self._stop]

    def turn(self, question: str, answer: str) -> DrawnTurn:
        """A question with what follows up to the answer, and the answer with the turn's end."""
        return DrawnTurn(self.encode(question + ASK_SUFFIX), (*self.encode(answer), self.end))


def clip_positions() -> Ids:
    """int64[3, 15]: M-RoPE positions of a clip's tokens relative to its first."""
    text = np.arange(STAMP_TOKENS + 1)
    first = STAMP_TOKENS + 1
    rows, columns = np.divmod(np.arange(VIDEO_TOKENS), SIDE)
    end = [first + SIDE]
    return np.stack(
        [
            np.concatenate([text, np.full(VIDEO_TOKENS, first), end]),
            np.concatenate([text, first + rows, end]),
            np.concatenate([text, first + columns, end]),
        ]
    ).astype(np.int64)


def context_positions(sink: int, gap: int, order: Ids) -> Ids:
    """int64[3, sink + 15 * n]: the sink from 0, then clip i at place order[i] after a gap."""
    opening = np.broadcast_to(np.arange(sink), (3, sink))
    starts = sink + gap + order * CLIP_POSITIONS
    clips = clip_positions()[:, None, :] + starts[None, :, None]
    return np.concatenate([opening, clips.reshape(3, -1)], axis=1, dtype=np.int64)
