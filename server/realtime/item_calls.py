"""What clients say about items of their conversation: to add, to look at and to delete one."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from onlooker.core.errors import TooLarge
from onlooker.core.protocol import client_events as asked
from onlooker.core.protocol.answer_events import ItemAdded, ItemDeleted, ItemDone, ItemRetrieved
from onlooker.core.protocol.conversation_items import MessageItem
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.server.gateway import Gateway
from onlooker.server.realtime.conversation import Conversation


class ItemCalls:
    """Handles a session's calls about items. `tenant`: whose share decoding of pictures takes."""

    def __init__(
        self,
        gateway: Gateway,
        conversation: Conversation,
        *,
        tenant: str,
        emit: Callable[[ServerEvent], None],
    ) -> None:
        self._gateway, self._conversation = gateway, conversation
        self._tenant, self._emit = tenant, emit
        self.handlers: Mapping[type[asked.ClientEvent], Callable[[Any], Awaitable[None]]] = {
            asked.ItemCreate: self._create,
            asked.ItemRetrieve: self._retrieve,
            asked.ItemDelete: self._delete,
        }

    async def _create(self, event: asked.ItemCreate) -> None:
        max_images = self._gateway.settings.engine.max_question_images
        images = event.item.images if isinstance(event.item, MessageItem) else []
        if len(images) > max_images:
            raise TooLarge(f"one question may hold {max_images} pictures", param="item.content")
        urls = [image.image_url for image in images]
        # Decoded here so that a broken picture is told at once, and again when it is asked about:
        # kept as it came, it is a tenth of the size.
        await self._gateway.pictures.read(urls, tenant=self._tenant, param="item.content.image_url")
        item, before = self._conversation.add(event.item, after=event.previous_item_id)
        public = item.public()
        self._emit(ItemAdded(item=public, previous_item_id=before))
        self._emit(ItemDone(item=public, previous_item_id=before))

    async def _retrieve(self, event: asked.ItemRetrieve) -> None:
        item = self._conversation.get(event.item_id)
        self._emit(ItemRetrieved(item=item.public()))

    async def _delete(self, event: asked.ItemDelete) -> None:
        self._conversation.delete(event.item_id)
        self._emit(ItemDeleted(item_id=event.item_id))
