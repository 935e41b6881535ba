"""The album: a small picture of every clip that the model has seen."""
