"""`HeadShare`: which share of a model's heads this worker has, and what that makes of names.

Where a model runs over several GPUs, each has some heads of every layer, and so some of the keys
and values of every segment. The server's process knows nothing of it: it names whole segments. The
store is told of shares, so that no worker reads what belongs to another, nor to a server that
splits the model otherwise.
"""

from dataclasses import dataclass
from pathlib import Path

from onlooker.cache_store.config import CacheStoreSection
from onlooker.cache_store.key import SegmentKey, StreamKey, parse_key


@dataclass(frozen=True, slots=True)
class HeadShare:
    """One worker's share: the one at `rank`, from 0, of `size` equal ones."""

    rank: int = 0
    size: int = 1

    @property
    def suffix(self) -> str:
        """What the store's name of the model ends with, and the name of the share's folder; empty
        for all heads."""
        return "" if self.size == 1 else f".tp{self.size}r{self.rank}"

    def model(self, name: str) -> str:
        """The store's name of a model."""
        return name + self.suffix

    def prefix(self, text: str) -> str:
        """The store's text for the beginning of a key, ``model/...``."""
        model, slash, rest = text.partition("/")
        return self.model(model) + slash + rest

    def key(self, text: str) -> SegmentKey:
        """The store's key of the segment that the server's process names `text`."""
        return parse_key(self.prefix(text))

    def stream(self, prefix: str) -> StreamKey:
        """The store's key of the stream whose segments' names start with `prefix`."""
        model, tenant, stream, generation = self.prefix(prefix).rstrip("/").split("/")
        return StreamKey(model, tenant, stream, int(generation))

    def text(self, key: SegmentKey) -> str:
        """The server's name of a segment of the store; `key` is its inverse."""
        return key.text.replace(f"{self.suffix}/", "/", 1)

    def folder(self, root: Path) -> Path:
        """Where below `root` this worker has a folder to itself."""
        return root / self.suffix.removeprefix(".") if self.suffix else root

    def part(self, amount: int) -> int:
        """This worker's part of an amount that is for all of them together."""
        return max(1, amount // self.size)

    def store(self, section: CacheStoreSection) -> CacheStoreSection:
        """The settings of this worker's store: folders to itself, and its part of each budget."""
        if self.size == 1:
            return section
        memory = section.memory
        write_out = section.write_out
        changed: dict[str, object] = {
            "memory": memory.model_copy(update={"budget_bytes": self.part(memory.budget_bytes)}),
            "write_out": write_out.model_copy(update={"max_bytes": self.part(write_out.max_bytes)}),
        }
        if (disk := section.disk) is not None:
            changed["disk"] = disk.model_copy(
                update={
                    "path": self.folder(disk.path),
                    "budget_bytes": self.part(disk.budget_bytes),
                }
            )
        if (journal := section.journal) is not None and journal.path is not None:
            # The journal itself is the server's; beside it lie notes on what is to be deleted.
            changed["journal"] = journal.model_copy(update={"path": self.folder(journal.path)})
        if (deletion := section.deletion).path is not None:
            # What one worker has done, another would count as done on the first one's disk, too.
            path = self.folder(deletion.path)
            changed["deletion"] = deletion.model_copy(update={"path": path})
        return section.model_copy(update=changed)


ALL_HEADS = HeadShare()
"""The share of a worker that has the whole model."""
