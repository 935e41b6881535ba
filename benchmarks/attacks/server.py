"""The server that is attacked: two tenants, the scripted engine, a journal and a disk."""

from collections.abc import Mapping
from pathlib import Path

from onlooker.benchmarks.attacks.sources import OPEN_TIMEOUT_S
from onlooker.benchmarks.lone_server import LoneServer

HONEST_KEY = "honest-tenants-key"
ATTACKER_KEY = "attackers-own-key"


def attacked_server(folder: Path) -> LoneServer:
    """Not yet started."""
    return LoneServer(
        folder,
        settings=_settings,
        arguments=("--mode", "fake"),
        keys=f"honest:{HONEST_KEY},attacker:{ATTACKER_KEY}",
    )


def _settings(folder: Path) -> Mapping[str, object]:
    return {
        "cache_store.journal.path": folder / "journal",
        "cache_store.disk.path": folder / "disk",
        "server.ack_interval_s": 0.02,  # a finer measure of the honest tenant's delays
        "server.give_back_memory_s": 5,  # no need to wait for what it does each half minute
        "streams.fresh_wait_s": 0,
        "streams.sources.allow_private": "true",
        "streams.sources.open_timeout_s": OPEN_TIMEOUT_S,
    }
