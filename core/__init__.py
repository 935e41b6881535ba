"""The words everyone shares: ids, clocks, errors, media, wire protocol, settings, metrics, logs."""
