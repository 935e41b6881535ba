"""The attacks by name, and how long each may take."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from onlooker.benchmarks.attacks import fuzzers, json_bombs, rights, sockets, sources, stills
from onlooker.benchmarks.attacks.tally import AttackTally
from onlooker.benchmarks.attacks.target import AttackTarget

SLACK_S = 20.0
"""For the end of an attack whose own time is over."""
FUZZED_PER_S = 100
"""Messages a second below which a fuzzer is ended before it is through."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One way to harm others. `run` returns by itself; it is killed at its deadline if not."""

    run: Callable[[AttackTarget, AttackTally], Awaitable[None]]
    num_messages: Callable[[AttackTarget], int] = lambda target: 0
    """How many messages it has to get through, where it does not end by time."""

    def deadline_s(self, target: AttackTarget) -> float:
        """When the attack is over, whatever it does."""
        return target.seconds + SLACK_S + self.num_messages(target) / FUZZED_PER_S


ATTACKS: dict[str, Attack] = {
    "repeated_scans": Attack(stills.repeated_scans),
    "question_pictures": Attack(stills.question_pictures),
    "huge_dimensions": Attack(stills.huge_dimensions),
    "interlaced_pngs": Attack(stills.interlaced_pngs),
    "long_animations": Attack(stills.long_animations),
    "unknown_fields_http": Attack(json_bombs.unknown_fields_http),
    "unknown_fields_realtime": Attack(json_bombs.unknown_fields_realtime),
    "large_json": Attack(json_bombs.large_json),
    "deep_json": Attack(json_bombs.deep_json),
    "keyless_body": Attack(json_bombs.keyless_body),
    "idle_sockets": Attack(sockets.idle_sockets),
    "ping_flood": Attack(sockets.ping_flood),
    "long_heads": Attack(sockets.long_heads),
    "token_misuse": Attack(rights.token_misuse),
    "dripping_sources": Attack(sources.dripping_sources),
    "costly_sources": Attack(sources.costly_sources),
    "hostile_hosts": Attack(sources.hostile_hosts),
    "fuzzed_messages": Attack(fuzzers.protocol_messages, lambda target: target.messages),
    "fuzzed_payloads": Attack(fuzzers.payloads, lambda target: 8 * target.payloads),
}
