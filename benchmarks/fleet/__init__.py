"""Several servers behind one door, and those who use them: parts of `failover` and `fleet`."""
