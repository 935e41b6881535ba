"""The demo model: a drawn world with exact ground truth, and a small model that watches it."""
