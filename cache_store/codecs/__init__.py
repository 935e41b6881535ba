"""How KV is written in a payload: raw, quantised to 8 or 4 bits, or entropy coded."""
