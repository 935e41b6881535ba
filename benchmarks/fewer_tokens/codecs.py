"""What each codec saves of stored clips, what it takes, and what is still answered."""

import math
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onlooker.benchmarks.fewer_tokens.answers import AnswerMarks, Worlds, ask, watch
from onlooker.benchmarks.fewer_tokens.engines import Rows, flush, running, sized
from onlooker.benchmarks.fewer_tokens.savings import SCENES, clips_of, count
from onlooker.benchmarks.transcoding import transcode_folder
from onlooker.cache_store.codecs.base import KvCodec
from onlooker.cache_store.codecs.table import CODECS
from onlooker.cache_store.config import DiskSection, KvCodecName
from onlooker.cache_store.envelope import EncodedRecord, decode, encode
from onlooker.cache_store.opening import open_disk
from onlooker.cache_store.record import SegmentRecord
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics

LOSSY: tuple[KvCodecName, ...] = ("int8", "int4", "cachegen")

_SOME_CLIPS = 12
"""Clips of a scene that are packed; how many hardly matters, as each is packed by itself."""


def row_name(codec: str) -> str:
    """The row of a codec."""
    return f"codec_{codec}"


async def costs(model: str, seed: int, codecs: Sequence[KvCodecName]) -> Rows:
    """Pack clips of drawn scenes as they are stored. A clip takes the time of `off` and that of
    packing, in processor time, though it is packed beside the model."""
    found: Rows = defaultdict(dict)
    with tempfile.TemporaryDirectory(prefix="tokens") as name:
        store = Path(name) / "raw"
        (Path(name) / "model").mkdir()
        folder = sized(model, Path(name) / "model")
        metrics = Metrics()
        clip_s = {}
        async with running(str(folder), "codecs", metrics=metrics, store=store) as engine:
            for scene in SCENES:
                clips = clips_of(scene, seed, _SOME_CLIPS)
                counted = await count(engine, metrics, clips, ["off"], scene)
                clip_s[scene] = statistics.median(counted["off"].times_s)
            await flush(engine)
        for scene, records in by_scene(store).items():
            for codec in codecs:
                found[row_name(codec)][scene] = packed(records, codec, clip_s[scene])
    return dict(found)


def by_scene(folder: Path) -> dict[str, list[SegmentRecord]]:
    """The records of a disk tier by the scene that their stream begins with."""
    found: dict[str, list[SegmentRecord]] = defaultdict(list)
    for one in _stored(folder):
        found[one.key.stream.partition("-")[0]].append(decode(one))
    return found


def _stored(folder: Path) -> list[EncodedRecord]:
    """All records of a disk tier."""
    reading = open_disk(DiskSection(path=folder, sync=False))
    found = [fetch.record for fetch in reading.get_many(reading.keys() or [])]
    reading.close()
    assert all(record is not None for record in found), "the folder just written has damage"
    return [record for record in found if record is not None]


def bytes_ratio(records: Sequence[EncodedRecord]) -> float:
    """Bytes of keys and values beside the 16 bits a value that models have on a GPU; on a CPU they
    may have 32."""
    num_values = sum(math.prod(record.head.shape) for record in records)
    return round(sum(record.payload.nbytes for record in records) / (2 * num_values), 3)


def packed(
    records: Sequence[SegmentRecord], codec_name: KvCodecName, clip_s: float
) -> dict[str, float]:
    """The figures of a row: what a codec makes of records of which each was computed in
    `clip_s`."""
    codec: KvCodec = CODECS[codec_name]
    began_s = time.process_time()
    coded = [encode(record, codec) for record in records]
    packed_s = time.process_time()
    for one in coded:
        decode(one)
    read_s = time.process_time()
    encode_s = (packed_s - began_s) / len(records)
    return {
        "tokens_ratio": 1.0,
        "encoder_ratio": 1.0,
        "kv_bytes_ratio": bytes_ratio(coded),
        "time_ratio": round((clip_s + encode_s) / clip_s, 3),
        "clip_ms": round(1000 * (clip_s + encode_s), 1),
        "encode_ms": round(1000 * encode_s, 2),
        "decode_ms": round(1000 * (read_s - packed_s) / len(records), 2),
    }


async def answers(model: str, worlds: Worlds, codecs: Sequence[KvCodecName]) -> Rows:
    """Watch the worlds once, and ask about them as each codec has stored them, read back from disk.
    What is asked about now is answered from clips that are not stored yet, and counts for all."""
    made = worlds.made()
    asked = [world.questions(worlds.num_questions) for world in made]
    ids = [StreamId(f"world-{number}") for number in range(worlds.count)]
    watched, found = AnswerMarks(), {}
    with tempfile.TemporaryDirectory(prefix="tokens") as name:
        raw = Path(name) / "raw"
        async with running(model, "codecs", store=raw) as engine:
            for stream_id, world in zip(ids, made, strict=True):
                await watch(engine, stream_id, world, "off", watched)
            await flush(engine)
        for codec in codecs:
            folder = Path(name) / codec
            transcode_folder(raw, folder, codec)
            marks = replace(watched, now=list(watched.now), at_time=[], recall=[])
            async with running(model, codec, store=folder) as engine:
                for stream_id, world, questions in zip(ids, made, asked, strict=True):
                    await engine.open_stream(stream_id)
                    await ask(engine, stream_id, world, questions, marks)
            found[row_name(codec)] = {
                **marks.row(),
                "computed_ratio": 1.0,
                "demo_kv_bytes_ratio": bytes_ratio(_stored(folder)),
            }
            print(f"  {codec}: asked", flush=True)
    return found
