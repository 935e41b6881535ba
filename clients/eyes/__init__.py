"""Eyes for voice agents: frames in, answers and alerts out, for frameworks that others wrote."""
