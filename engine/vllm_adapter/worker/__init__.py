"""vLLM's worker process: KV between vLLM's cache, the arena and the store."""
