"""The drawn world as a source: endless, the same for the same seed, with its truth known."""

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self

from onlooker.clients.python.sources.interface import SourcePicture

if TYPE_CHECKING:
    from onlooker.demo_model.world import Scene


class DrawnSource:
    """The source ``demo://?seed=7&size=640x480&start=0``; `start_s` is in seconds of the world."""

    def __init__(self, *, seed: int, width: int, height: int, start_s: float = 0.0) -> None:
        from onlooker.demo_model.world import World  # imported only where something is drawn

        self.name = f"the drawn world (seed {seed})"
        self.seed = seed
        self.start_s = start_s
        self.world = World(seed)
        self._size = width, height

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    async def picture(self, due_s: float) -> SourcePicture:
        """The world as it is `due_s` seconds after `start_s`."""
        from onlooker.demo_model.render import render

        scene = self.world.state_at(self.start_s + due_s)
        return SourcePicture(due_s, await asyncio.to_thread(render, scene, *self._size))

    def truth(self, at_s: float) -> str:
        """What there is to see at a source time, in words."""
        return in_words(self.world.state_at(self.start_s + at_s))


def in_words(scene: "Scene") -> str:
    """A scene as one line of text."""
    things = [
        f"{o.size} {o.color} {o.shape} {'moving' if o.moving else o.place}" for o in scene.objects
    ]
    sign = "no sign" if scene.sign is None else f"sign {scene.sign}"
    return "; ".join([*things, sign])
