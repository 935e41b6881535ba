"""The policy against its rivals, in virtual time: discrete events, one seed, costs as a table."""
