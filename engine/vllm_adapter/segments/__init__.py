"""Stream memory inside vLLM: a clip's KV is computed once, kept, and placed again where needed."""
