"""The tiers: RAM, disk, Redis, and one that breaks on purpose."""
