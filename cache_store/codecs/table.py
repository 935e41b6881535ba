"""All codecs by name."""

from collections.abc import Mapping

from onlooker.cache_store.codecs.base import KvCodec
from onlooker.cache_store.codecs.cachegen import CacheGenCodec
from onlooker.cache_store.codecs.quantised import QuantisedCodec
from onlooker.cache_store.codecs.raw import RawCodec

RAW: KvCodec = RawCodec()

CODECS: Mapping[str, KvCodec] = {
    codec.name: codec
    for codec in (RAW, QuantisedCodec(num_bits=8), QuantisedCodec(num_bits=4), CacheGenCodec())
}
