"""A folder of segments in another codec holds the same segments, a little off."""

from pathlib import Path

import numpy as np
import pytest

from onlooker.benchmarks.transcoding import transcode_folder
from onlooker.cache_store.config import DiskSection, KvCodecName
from onlooker.cache_store.envelope import decode, encode
from onlooker.cache_store.opening import open_disk
from tests.unit.cache_store.factories import make_record


@pytest.mark.parametrize(("codec", "tolerance"), [("int8", 0.1), ("int4", 2.0)])
def test_every_record_is_there_in_the_other_codec(
    tmp_path: Path, codec: KvCodecName, tolerance: float
) -> None:
    records = [make_record(index, shape=(2, 2, 2, 16, 32)) for index in range(70)]
    source = open_disk(DiskSection(path=tmp_path / "raw", sync=False))
    source.put_many([encode(record) for record in records])
    source.close()
    assert transcode_folder(tmp_path / "raw", tmp_path / codec, codec) == len(records)
    target = open_disk(DiskSection(path=tmp_path / codec, sync=False))
    for record, fetch in zip(records, target.get_many([r.key for r in records]), strict=True):
        assert fetch.record is not None
        assert fetch.record.head.codec == codec
        coded = decode(fetch.record)
        assert coded.key == record.key
        error = np.abs(coded.kv - record.kv).max()
        assert 0 < error < tolerance
    target.close()
