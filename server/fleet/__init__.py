"""What a server of a fleet knows of the others: who owns which streams, and how each of them is."""
