"""What was said on one connection, and what the next question is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile
from typing import Literal

from onlooker.core.errors import Conflict, InvalidRequest, NotFound
from onlooker.core.ids import new_id
from onlooker.core.protocol.client_events import InputItem, SaidItem
from onlooker.core.protocol.conversation_items import (
    ConversationItem,
    ImagePart,
    ItemReference,
    MessageItem,
    OutputImage,
    OutputText,
)
from onlooker.core.protocol.functions import (
    AnyItem,
    CalledItem,
    CallResultItem,
    FunctionCallItem,
    FunctionResultItem,
)
from onlooker.engine.functions import CallMade, FunctionCall
from onlooker.engine.interface import Question, Turn
from onlooker.server.follow_ups import MAX_TURNS, dialogue_of, understood
from onlooker.server.pictures import Inquiry
from onlooker.server.text_limits import TextLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a conversation. Its pictures are kept as they came, until the item goes."""

    id: str
    said: SaidItem
    asked_s: float = 0.0
    """Stream time of the question that the item answers; 0 where it answers none."""
    status: Literal["completed", "incomplete"] = "completed"

    @property
    def role(self) -> Literal["user", "assistant", "system", "call", "result"]:
        """Whose message it is, or what else."""
        if isinstance(self.said, FunctionCallItem):
            return "call"
        return "result" if isinstance(self.said, FunctionResultItem) else self.said.role

    @property
    def text(self) -> str:
        """What was said; of a call its arguments, of a result what came of the call."""
        return self.said.arguments if isinstance(self.said, FunctionCallItem) else self.said.text

    @property
    def images(self) -> list[ImagePart]:
        return self.said.images if isinstance(self.said, MessageItem) else []

    @property
    def num_bytes(self) -> int:
        """About how many bytes of memory it holds; pictures weigh as much as they came with."""
        return 500 + len(self.text) + sum(len(image.image_url) for image in self.images)

    def public(self) -> AnyItem:
        """The item as clients are told of it."""
        said, status = self.said, self.status
        if isinstance(said, FunctionCallItem):
            return CalledItem(
                id=self.id,
                status=status,
                call_id=said.call_id,
                name=said.name,
                arguments=said.arguments,
            )
        if isinstance(said, FunctionResultItem):
            return CallResultItem(id=self.id, status=status, call_id=said.call_id, output=said.text)
        return ConversationItem(
            id=self.id,
            role=said.role,
            status=status,
            content=[
                OutputImage(detail=part.detail)
                if isinstance(part, ImagePart)
                else OutputText(type=part.type, text=part.text)
                for part in said.content
            ],
        )


class Conversation:
    """A conversation's items in order, bounded: the oldest go when there are too many."""

    def __init__(
        self,
        *,
        max_items: int,
        max_bytes: int,
        dialogue_turns: int,
        texts: TextLimits,
        follow_ups: bool = True,
    ) -> None:
        self.dialogue_turns = dialogue_turns
        """How many answered questions the next one brings along."""
        self.follow_ups = follow_ups
        """Whether the next one is read by them where it leans on them."""
        self.id = new_id("conv")
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._texts = texts
        self._items: dict[str, Item] = {}

    def __len__(self) -> int:
        return len(self._items)

    def add(self, said: SaidItem, *, after: str | None = None) -> tuple[Item, str | None]:
        """Take an item in; return it and the id of the one before it.

        `after` is an item's id, ``root``, or None for the end.

        Raises:
            Conflict: the id is taken.
            NotFound: there is no item `after`, or no call of which this is the result.
            TooLarge: its text is too long.
        """
        if said.id is not None and said.id in self._items:
            raise Conflict(f"there is an item '{said.id}' already", param="item.id")
        item = Item(id=said.id or new_id("item"), said=said)
        self._texts.check_item(
            item.text,
            is_of_tools=item.role in ("call", "result"),
            param=_TEXT_FIELD.get(item.role, "item.content"),
        )
        if isinstance(said, FunctionResultItem):
            _check_called([*self._items.values(), item], param="item.call_id")
        before = self._place(item, after)
        self._num_bytes += item.num_bytes
        self._shrink()
        return item, before

    def add_answer(
        self, said: MessageItem | FunctionCallItem, *, asked_s: float, is_whole: bool
    ) -> None:
        """Take in what was answered or called here; its id is fresh."""
        assert said.id is not None
        status: Literal["completed", "incomplete"] = "completed" if is_whole else "incomplete"
        item = Item(id=said.id, said=said, asked_s=asked_s, status=status)
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

    def newest(self, at_most: int) -> list[SaidItem]:
        """The newest items as a client would send them, `at_most` of them. A result whose call is
        not among them is left out, since nobody would know what it is of."""
        said = [item.said for item in self._items.values()][-at_most:]
        return list(dropwhile(lambda one: isinstance(one, FunctionResultItem), said))

    def delete(self, item_id: str) -> None:
        """Forget an item. Raises `NotFound`."""
        self._forget(self.get(item_id).id)

    def inquiry(
        self,
        *,
        instructions: str | None,
        override: Sequence[InputItem] | None,
        brings_turns: bool = True,
    ) -> Inquiry:
        """Put the next question together: what the user said since the last answer.

        With nothing new, the last question is asked again. `override` replaces the conversation.
        `brings_turns`: False where it is asked beside the conversation; it is read by that all the
        same.

        Raises:
            InvalidRequest: there is nothing to ask.
            NotFound: `override` refers to an unknown item, or holds the result of an unknown call.
            TooLarge: question and instructions are too long together.
        """
        items = list(self._items.values()) if override is None else self._resolve(override)
        system = [item.text for item in items if item.role == "system"]
        turns, pending, made = _turns(item for item in items if item.role != "system")
        if not _text_of(pending) and turns:
            last_asked = turns.pop()
            pending, made = [*last_asked.asked, *pending], [*last_asked.made, *made]
        text = _text_of(pending)
        if not text:
            raise InvalidRequest(
                "there is nothing to ask: send conversation.item.create with an input_text first, "
                "or response.create with response.input",
                param="response.input",
            )
        joined = "\n".join([part for part in (instructions, *system) if part]) or None
        self._texts.check_question(text, joined, made)
        said = [
            Turn(question=_text_of(turn.asked), answer=turn.answer, asked_s=turn.asked_s)
            for turn in turns[-max(self.dialogue_turns, MAX_TURNS) :]
        ]
        images = tuple(image.image_url for item in pending for image in item.images)
        question = Question(
            text=text,
            dialogue=dialogue_of(said, self.dialogue_turns if brings_turns else 0),
            instructions=joined,
            made=tuple(made),
        )
        reads = self.follow_ups and not images  # with a picture it leans on that
        return Inquiry(understood(question, said) if reads else question, images)

    def _resolve(self, override: Sequence[InputItem]) -> list[Item]:
        items = [
            self.get(entry.id)
            if isinstance(entry, ItemReference)
            else Item(id=entry.id or new_id("item"), said=entry)
            for entry in override
        ]
        _check_called(items, param="response.input")
        return items

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


_TEXT_FIELD = {"call": "item.arguments", "result": "item.output"}


@dataclass(frozen=True, slots=True)
class _Answered:
    asked: list[Item]
    made: list[CallMade]
    answer: str
    asked_s: float


def _check_called(items: Iterable[Item], *, param: str) -> None:
    """Raise `NotFound` where the result of a call comes before the call, or without one."""
    called: set[str] = set()
    for item in items:
        if isinstance(item.said, FunctionCallItem):
            called.add(item.said.call_id)
        elif isinstance(item.said, FunctionResultItem) and item.said.call_id not in called:
            call_id = item.said.call_id[:80]
            raise NotFound(f"there is no call '{call_id}' before its result", param=param)


def _turns(items: Iterable[Item]) -> tuple[list[_Answered], list[Item], list[CallMade]]:
    """Split items into answered questions, what waits for an answer, and the calls that were made
    for that. A result whose call has gone is passed over."""
    turns: list[_Answered] = []
    pending: list[Item] = []
    made: list[CallMade] = []
    called: dict[str, FunctionCall] = {}
    for item in items:
        said = item.said
        if isinstance(said, FunctionCallItem):
            called[said.call_id] = FunctionCall(said.name, said.arguments, said.call_id)
        elif isinstance(said, FunctionResultItem):
            if said.call_id in called:
                made.append(CallMade(called.pop(said.call_id), said.text))
        elif said.role == "user":
            pending.append(item)
        elif pending:
            turns.append(_Answered(pending, made, said.text, item.asked_s))
            pending, made = [], []
        elif turns:  # an answer in two items
            last = turns[-1]
            answer = "\n".join(filter(None, (last.answer, said.text)))
            turns[-1], made = replace(last, made=[*last.made, *made], answer=answer), []
    return turns, pending, made


def _text_of(items: list[Item]) -> str:
    return "\n".join(item.text for item in items if item.text).strip()
