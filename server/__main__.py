"""``python -m onlooker.server`` is the same as ``onlooker`` and ``python -m onlooker``."""

from onlooker.server.cli import main

if __name__ == "__main__":
    main()
