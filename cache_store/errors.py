"""What can go wrong with stored records. Only StoreLocked reaches a user, at start.

    CacheStoreError
      RecordCorrupt      damaged or truncated bytes
      RecordForeign      whole, but not ours: another key, model, tenant or format
      DeletionRefused    another server owns the stream of what was to be deleted
      NotEncodable       values that a lossy codec cannot hold; the raw codec is used instead
    StoreLocked          (a ConfigError) another process has the folder open

Tiers turn the first two into counted misses; an answer then says that its memory is incomplete.
"""

from onlooker.core.errors import ConfigError, ServiceError


class CacheStoreError(ServiceError):
    code = "cache_store_error"


class RecordCorrupt(CacheStoreError):
    code = "record_corrupt"


class RecordForeign(CacheStoreError):
    code = "record_foreign"


class DeletionRefused(CacheStoreError):
    code = "deletion_refused"


class NotEncodable(CacheStoreError):
    code = "not_encodable"


class StoreLocked(ConfigError):
    code = "store_locked"
