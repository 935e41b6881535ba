"""Stream memory: which clips a context may show."""
