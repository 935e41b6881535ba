"""`TextLimits`: how long the texts of one question may be."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from onlooker.core.errors import TooLarge
from onlooker.core.protocol.functions import FunctionConfig
from onlooker.engine.functions import CallMade
from onlooker.server.config import ServerSection


@dataclass(frozen=True, slots=True)
class TextLimits:
    """How many characters whoever asks may use, by what for. Each check raises `TooLarge`."""

    max_chars: int
    """Of a question and its instructions together (``server.max_text_chars``)."""
    max_tool_chars: int
    """Of the functions that it may call; and of the calls and results that it brings along
    (``server.max_tool_chars``)."""

    @classmethod
    def of(cls, server: ServerSection) -> "TextLimits":
        """The limits that the settings say."""
        return cls(server.max_text_chars, server.max_tool_chars)

    def check_question(
        self,
        text: str,
        instructions: str | None,
        made: Sequence[CallMade] = (),
        *,
        param: str | None = None,
    ) -> None:
        """Check what one question says, and the calls that were made for it."""
        num_chars = len(text) + len(instructions or "")
        if num_chars > self.max_chars:
            raise TooLarge(
                f"question and instructions have {num_chars} characters; {self.max_chars} are "
                "allowed (setting server.max_text_chars)",
                param=param,
            )
        num_chars = sum(len(one.result) + len(one.call.arguments) for one in made)
        if num_chars > self.max_tool_chars:
            raise TooLarge(
                f"the {len(made)} calls of functions and what they returned have {num_chars} "
                f"characters; {self.max_tool_chars} are allowed (setting server.max_tool_chars): "
                "let the functions return less",
                param=param,
            )

    def check_functions(self, functions: Sequence[FunctionConfig], *, param: str) -> None:
        """Check the functions that a question may call."""
        num_chars = sum(
            len(f.name) + len(f.description or "") + len(json.dumps(f.parameters or {}))
            for f in functions
        )
        if num_chars > self.max_tool_chars:
            raise TooLarge(
                f"the {len(functions)} tools have {num_chars} characters; {self.max_tool_chars} "
                "are allowed (setting server.max_tool_chars)",
                param=param,
            )

    def check_item(self, text: str, *, is_of_tools: bool, param: str) -> None:
        """Check one item of a conversation: words, or a call or its result (`is_of_tools`)."""
        most = self.max_tool_chars if is_of_tools else self.max_chars
        if len(text) > most:
            name = "max_tool_chars" if is_of_tools else "max_text_chars"
            raise TooLarge(
                f"the text has {len(text)} characters; at most {most} are taken (setting "
                f"server.{name})",
                param=param,
            )
