"""What kinds of work share the engine, most urgent first."""

from enum import IntEnum


class RequestClass(IntEnum):
    """The class of a request; a smaller number goes first."""

    DECODE = 0
    """P0: the next token of a running answer (target: TPOT)."""
    QUESTION = 1
    """P1: prefill and retrieval of a question (target: TTFT)."""
    INGEST = 2
    """P2: prefill of a clip (target: frame lag; may be shed)."""
    CHECK = 3
    """P3: a trigger's check of a standing question (may be skipped)."""
    BACKGROUND = 4
    """P4: compaction, notes, warm-up: whatever nobody waits for."""

    @property
    def label(self) -> str:
        """The class's name in metrics and logs."""
        return self.name.lower()
