"""Short programs to begin with: each does one thing with a server that runs."""
