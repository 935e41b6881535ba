"""The tiers: RAM, disk and Redis."""
