"""Which version this is."""

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """The installed version of Onlooker."""
    try:
        return version("onlooker")
    except PackageNotFoundError:  # run from a tree that was not installed
        return "0+unknown"
