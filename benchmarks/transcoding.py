"""Writes stored segments in another codec."""

from pathlib import Path

from onlooker.cache_store.codecs.table import CODECS
from onlooker.cache_store.config import DiskSection, KvCodecName
from onlooker.cache_store.envelope import decode, encode
from onlooker.cache_store.opening import open_disk

BATCH = 64


def transcode_folder(source: Path, target: Path, codec: KvCodecName) -> int:
    """Write all records of one disk tier into another, coded with `codec`; returns how many."""
    reading = open_disk(DiskSection(path=source, sync=False))
    writing = open_disk(DiskSection(path=target, sync=False))
    keys = reading.keys() or []
    for start in range(0, len(keys), BATCH):
        found = [fetch.record for fetch in reading.get_many(keys[start : start + BATCH])]
        assert all(record is not None for record in found), "the folder just written has damage"
        writing.put_many([encode(decode(r), CODECS[codec]) for r in found if r is not None])
    reading.close()
    writing.close()
    return len(keys)
