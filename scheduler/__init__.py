"""Pure policy: who goes first, what is let in, what gives way. Time is an argument; no I/O."""
