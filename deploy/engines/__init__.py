"""Ways for engines that others wrote to place servers (`onlooker.deploy`). Today: Ray Serve."""
