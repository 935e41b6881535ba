"""How KV is written in a payload: raw, or quantised to 8 or 4 bits."""
