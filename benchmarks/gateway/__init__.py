"""What the gateway itself costs: a server whose engine costs nothing, a crowd that feeds it, and
the plain work beside which it is measured."""
