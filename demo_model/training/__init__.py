"""Training of the demo model: vision first, then language on cached clips."""
