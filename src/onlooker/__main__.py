"""``python -m onlooker`` is the same as ``onlooker``."""

from onlooker.server.cli import main

if __name__ == "__main__":
    main()
