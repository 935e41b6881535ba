"""What was said on one connection, and what the next question is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onlooker.core.errors import Conflict, InvalidRequest, NotFound, TooLarge
from onlooker.core.ids import new_id
from onlooker.core.protocol.base import (
    ConversationItem,
    ImagePart,
    InputItem,
    ItemReference,
    MessageItem,
    OutputImage,
    OutputText,
)
from onlooker.engine.interface import Question, Turn
from onlooker.server.pictures import Inquiry


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a conversation. Its pictures are kept as they came, until the item goes."""

    id: str
    message: MessageItem
    asked_s: float = 0.0
    """Stream time of the question that the item answers; 0 where it answers none."""
    status: str = "completed"

    @property
    def role(self) -> str:
        return self.message.role

    @property
    def num_bytes(self) -> int:
        """About how many bytes of memory it holds; pictures weigh as much as they came with."""
        pictures = sum(len(image.image_url) for image in self.message.images)
        return 500 + len(self.message.text) + pictures

    def public(self) -> ConversationItem:
        """The item as clients are told of it."""
        return ConversationItem(
            id=self.id,
            role=self.message.role,
            status="completed" if self.status == "completed" else "incomplete",
            content=[
                OutputImage(detail=part.detail)
                if isinstance(part, ImagePart)
                else OutputText(type=part.type, text=part.text)
                for part in self.message.content
            ],
        )


class Conversation:
    """A conversation's items in order, bounded: the oldest go when there are too many."""

    def __init__(
        self, *, max_items: int, max_bytes: int, dialogue_turns: int, max_text_chars: int
    ) -> None:
        self.dialogue_turns = dialogue_turns
        """How many answered questions the next one brings along."""
        self.id = new_id("conv")
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._max_text_chars = max_text_chars
        self._items: dict[str, Item] = {}

    def __len__(self) -> int:
        return len(self._items)

    def add(self, message: MessageItem, *, after: str | None = None) -> tuple[Item, str | None]:
        """Take an item in; return it and the id of the one before it.

        `after` is an item's id, ``root``, or None for the end.

        Raises:
            Conflict: the id is taken.
            NotFound: there is no item `after`.
            TooLarge: its text is too long.
        """
        if message.id is not None and message.id in self._items:
            raise Conflict(f"there is an item '{message.id}' already", param="item.id")
        if len(message.text) > self._max_text_chars:
            raise TooLarge(
                f"the text has {len(message.text)} characters; at most {self._max_text_chars} "
                "are taken (setting server.max_text_chars)",
                param="item.content",
            )
        item = Item(id=message.id or new_id("item"), message=message)
        before = self._place(item, after)
        self._num_bytes += item.num_bytes
        self._shrink()
        return item, before

    def add_answer(self, message: MessageItem, *, asked_s: float, is_whole: bool) -> None:
        """Take in an answer that was given here; its id is fresh."""
        assert message.id is not None
        status = "completed" if is_whole else "incomplete"
        item = Item(id=message.id, message=message, asked_s=asked_s, status=status)
        self._items[item.id] = item
        self._num_bytes += item.num_bytes
        self._shrink()

    @property
    def last_id(self) -> str | None:
        """The id of the newest item; None when there is none."""
        return next(reversed(self._items), None)

    def get(self, item_id: str) -> Item:
        """Return an item.

        Raises:
            NotFound: there is none of that id.
        """
        if item_id not in self._items:
            raise NotFound(f"the conversation has no item '{item_id[:80]}'", param="item_id")
        return self._items[item_id]

    def delete(self, item_id: str) -> None:
        """Forget an item. Raises `NotFound`."""
        self._forget(self.get(item_id).id)

    def inquiry(self, *, instructions: str | None, override: Sequence[InputItem] | None) -> Inquiry:
        """Put the next question together: what the user said since the last answer.

        With nothing new, the last question is asked again. `override` replaces the conversation.

        Raises:
            InvalidRequest: there is nothing to ask.
            NotFound: `override` refers to an unknown item.
            TooLarge: question and instructions are too long together.
        """
        items = list(self._items.values()) if override is None else self._resolve(override)
        system = [item.message.text for item in items if item.role == "system"]
        turns, pending = _turns(item for item in items if item.role != "system")
        if not _text_of(pending) and turns:
            last_asked = turns.pop()
            pending = [*last_asked.asked, *pending]
        text = _text_of(pending)
        if not text:
            raise InvalidRequest(
                "there is nothing to ask: send conversation.item.create with an input_text first, "
                "or response.create with response.input",
                param="response.input",
            )
        joined = "\n".join([part for part in (instructions, *system) if part]) or None
        if len(text) + len(joined or "") > self._max_text_chars:
            raise TooLarge(
                f"question and instructions have {len(text) + len(joined or '')} characters; at "
                f"most {self._max_text_chars} are taken (setting server.max_text_chars)"
            )
        kept = turns[-self.dialogue_turns :] if self.dialogue_turns else []
        dialogue = tuple(
            Turn(question=_text_of(turn.asked), answer=turn.answer, asked_s=turn.asked_s)
            for turn in kept
        )
        images = tuple(image.image_url for item in pending for image in item.message.images)
        return Inquiry(Question(text=text, dialogue=dialogue, instructions=joined), images)

    def _resolve(self, override: Sequence[InputItem]) -> list[Item]:
        return [
            self.get(entry.id)
            if isinstance(entry, ItemReference)
            else Item(id=entry.id or new_id("item"), message=entry)
            for entry in override
        ]

    def _shrink(self) -> None:
        while len(self._items) > 1 and (
            len(self._items) > self._max_items or self._num_bytes > self._max_bytes
        ):
            self._forget(next(iter(self._items)))

    def _forget(self, item_id: str) -> None:
        self._num_bytes -= self._items.pop(item_id).num_bytes

    def _place(self, item: Item, after: str | None) -> str | None:
        ids = list(self._items)
        if after is None:
            self._items[item.id] = item
            return ids[-1] if ids else None
        index = 0 if after == "root" else ids.index(self.get(after).id) + 1
        entries = list(self._items.items())
        self._items = dict([*entries[:index], (item.id, item), *entries[index:]])
        return ids[index - 1] if index else None


@dataclass(frozen=True, slots=True)
class _Answered:
    asked: list[Item]
    answer: str
    asked_s: float


def _turns(items: Iterable[Item]) -> tuple[list[_Answered], list[Item]]:
    """Split items into answered questions and what waits for an answer."""
    turns: list[_Answered] = []
    pending: list[Item] = []
    for item in items:
        if item.role == "user":
            pending.append(item)
        elif pending:
            turns.append(_Answered(pending, item.message.text, item.asked_s))
            pending = []
        elif turns:  # an answer in two items
            last = turns[-1]
            turns[-1] = _Answered(last.asked, f"{last.answer}\n{item.message.text}", last.asked_s)
    return turns, pending


def _text_of(items: list[Item]) -> str:
    return "\n".join(item.message.text for item in items if item.message.text).strip()
