"""What the gateway itself costs: a server whose engine costs nothing, cameras that feed it, and
the plain work beside which it is measured."""
