"""What a model, a machine and so many streams need, reckoned without loading anything."""
