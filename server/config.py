"""Settings of the gateway, and the tree of all settings."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from onlooker.cache_store.config import CacheStoreSection
from onlooker.core.errors import ConfigError
from onlooker.core.ids import DEFAULT_TENANT, is_stream_id
from onlooker.core.protocol.answer_facts import DialogueTurns
from onlooker.core.protocol.bounded_json import JsonLimits
from onlooker.core.protocol.frame_header import HEADER_BYTES
from onlooker.core.scopes import ALL_SCOPES, Scope
from onlooker.core.settings import Section
from onlooker.engine.config import EngineSection
from onlooker.scheduler.config import SchedulerSection
from onlooker.server.mqtt.config import MqttSection
from onlooker.server.traces.config import TracesSection
from onlooker.streams.config import StreamsSection
from onlooker.streams.fleet_config import FleetSection
from onlooker.streams.tenancy.limits import TenantsSection
from onlooker.watches.config import WatchesSection

KEY_PATTERN = r"^[A-Za-z0-9._~-]{8,256}$"
"""What a key may consist of: it also travels as a WebSocket subprotocol, which allows no more."""


JSON_CHAR_BYTES = 12
"""The most bytes of one character in JSON: two escapes of the form ``\\uD83D``."""

JSON_ROOM_BYTES = 8192
"""Room for the rest of a request beside its texts."""


class TlsSection(Section):
    """TLS of the server itself, where no proxy in front does it. Browsers give a page the camera
    over https or from this machine only."""

    cert: Path | None = None
    """PEM file with the server's certificate, and with those between it and its authority."""
    key: Path | None = None
    """PEM file with the certificate's key, without a passphrase. Both files turn TLS on."""
    self_signed: bool = False
    """Serve TLS with a certificate of our own making, to try it out. Browsers warn of it, and
    clients must be told to trust it."""
    self_signed_dir: Path | None = None
    """Folder in which that certificate is kept; None: ``onlooker/tls`` in the user's cache."""
    reload_s: Annotated[float, Field(gt=0)] = 10.0
    """How often the files are looked at; when they have changed, new connections get the new
    certificate, and those that are open go on."""

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("TLS needs both `cert` and `key`; give the other one too")
        if self.self_signed and self.cert is not None:
            raise ValueError("give `cert` and `key`, or `self_signed`, not both")
        return self

    @property
    def is_on(self) -> bool:
        """Whether the server speaks https and wss, and nothing else."""
        return self.self_signed or self.cert is not None


class SurveysSection(Section):
    """Questions to several streams at once (`POST /v1/questions`)."""

    max_streams: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Streams that one question may ask; with more it is refused with 413."""
    max_parallel: Annotated[int, Field(ge=1, le=1024)] = 8
    """Streams that one question asks at a time."""
    max_running: Annotated[int, Field(ge=1, le=1024)] = 16
    """Streams that all such questions of this server ask at a time, in turn between them; fewer
    than `streams.max_questions`, so that questions to one stream find room beside them."""
    deadline_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """How long such a question takes at most, where it does not say itself: then it is answered
    from what is there."""
    max_deadline_s: Annotated[float, Field(gt=0, le=3600)] = 300.0
    """The longest that it may ask for."""
    max_moments: Annotated[int, Field(ge=0, le=100)] = 3
    """Moments that are told of each stream."""
    servers_timeout_s: Annotated[float, Field(gt=0, le=60)] = 3.0
    """How long another server may take to say which streams it has; then its streams are left out,
    and the answer says so."""


class ServerSection(Section):
    """The gateway: where it listens, whom it lets in and what it refuses."""

    # Where it listens
    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs `api_keys`."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes any free one."""
    gateways: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that receive, decode and look at frames, on one port in front of one engine. More
    than one are servers of a fleet and need ``cache_store.redis.url``; limits of a server hold for
    each of them."""
    gateway_port: Annotated[int, Field(ge=1, le=65000)] | None = None
    """Where there are several gateways: the port of the first one's own, where the others and
    Prometheus find it; the next one has the next port. Null: the port after `port`."""
    root_path: str = ""
    """Path prefix under which a proxy serves this server."""

    tls: TlsSection = TlsSection()
    """TLS of the server itself."""

    # Whom it lets in
    api_keys: tuple[SecretStr, ...] = ()
    """Keys that clients show, separated by commas. Empty: everyone who reaches the port may in.
    ``acme:KEY`` names the tenant whose streams the key sees (clients show ``KEY`` alone); a key
    without a tenant sees those of ``default``. ``acme+read+ask:KEY`` (or ``+read+ask:KEY``) is good
    for these scopes only: ``read``, ``ask``, ``push``, ``watch``, ``admin``; a key that names none
    has all, and with ``admin`` may also drain the server and read the usage of all tenants. Limits
    of each tenant are in `tenants`."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages on other hosts that may use this server, such as ``https://app.example.org``."""
    metrics_need_key: bool = False
    """Whether `/metrics` asks for a key too; Prometheus usually scrapes without."""
    web_page: bool = True
    """Whether `/` serves the page that comes with Onlooker."""

    # How many, how large
    max_connections: Annotated[int, Field(ge=1)] = 256
    """Realtime connections at a time; more are refused with 503."""
    max_http_requests: Annotated[int, Field(ge=1)] = 512
    """HTTP requests of callers who were let in that run at a time, event readers included; more are
    refused with 503. Health, figures and the list of models are answered beside them."""
    max_guests: Annotated[int, Field(ge=1)] = 256
    """Open sockets on which nothing runs for a caller who was let in: without a key, or idle. With
    one more, the oldest of the address that has the most is closed."""
    max_guests_per_address: Annotated[int, Field(ge=1)] = 64
    """Such sockets of one address (of IPv6 its /64) that have been open for a second; with one
    more, the oldest is closed. Raise it where a proxy brings everyone."""
    max_message_bytes: Annotated[int, Field(ge=4096)] = 8 << 20
    """Bytes of one WebSocket message; a larger one ends the connection with code 1009."""
    max_messages_per_s: Annotated[float, Field(gt=0)] = 500.0
    """Messages a second that one connection is read at (bursts of one second); a faster sender is
    slowed down by not reading."""
    max_pings_per_s: Annotated[float, Field(gt=0)] = 20.0
    """WebSocket pings and pongs a second that a peer may send for long (bursts of five seconds);
    beyond, its connection is closed with code 1008."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 24 << 20
    """Bytes of the body of one HTTP request that may hold pictures (chat completions, responses); a
    larger one is refused with status 413."""
    max_json_bytes: Annotated[int, Field(ge=1024)] = 128 << 10
    """Bytes of the body of any other HTTP request with JSON; a larger one is refused with status
    413."""
    max_json_values: Annotated[int, Field(ge=256)] = 20_000
    """Numbers, texts, objects and lists in one JSON text, over HTTP or WebSocket, where a comma
    inside of a text counts as one. What is over this or one of the four limits that follow is
    refused with the code ``too_complex``."""
    max_json_fields: Annotated[int, Field(ge=32)] = 256
    """Fields of one object in a JSON text."""
    max_json_depth: Annotated[int, Field(ge=8, le=150)] = 32
    """Objects and lists inside each other in a JSON text."""
    max_json_digits: Annotated[int, Field(ge=32, le=4300)] = 256
    """Digits in a row in a JSON text, outside of its texts."""
    max_json_marks: Annotated[int, Field(ge=1024)] = 512 << 10
    """Bytes of a JSON text besides the letters of base64, which pictures consist of."""
    max_header_bytes: Annotated[int, Field(ge=1024)] = 64 << 10
    """Bytes of the head of one HTTP request; a larger one is refused with status 431."""
    max_slots: Annotated[int, Field(ge=1, le=256)] = 16
    """Streams that one connection may feed."""
    max_items: Annotated[int, Field(ge=2)] = 256
    """Items that one conversation keeps; the oldest go first."""
    max_conversation_bytes: Annotated[int, Field(ge=4096)] = 16 << 20
    """Bytes of texts and pictures that one conversation keeps; the oldest go first."""
    max_text_chars: Annotated[int, Field(ge=1)] = 8000
    """Characters of one question together with its instructions."""
    max_tool_chars: Annotated[int, Field(ge=1)] = 16_000
    """Characters of all functions that one question may call, with their descriptions and schemas;
    and as many of the calls that were made for it and what they returned."""
    max_output_tokens: Annotated[int, Field(ge=1)] = 1024
    """Tokens of the longest answer that anyone may ask for."""
    default_output_tokens: Annotated[int, Field(ge=1)] = 128
    """Tokens of the longest answer to those who do not say how long it may be."""
    max_side_answers: Annotated[int, Field(ge=0)] = 4
    """Answers beside the conversation (``conversation: none``) that one connection may have."""
    dialogue_turns: DialogueTurns | None = None
    """Earlier questions and answers that a question brings along where its client does not say how
    many. They tell what was true then, and small models take old answers for new ones. None: as
    many as the model bears (``dialogue_turns`` in its ``onlooker.json``; 1 where that says
    nothing)."""

    follow_ups: bool = True
    """Whether questions that lean on the turn before ("And the star?", "When did it appear?") are
    read as questions that stand alone, by rules for English. The diary is searched for these, and a
    model that is given no earlier turns is asked them; the answer tells it (``understood_as``). Not
    for clients that say ``dialogue_turns: 0``."""

    max_stored_responses: Annotated[int, Field(ge=0)] = 1000
    """Responses (`POST /v1/responses`) that are kept in memory so that others can go on from them;
    the oldest go first. 0: none are kept."""
    max_stored_response_bytes: Annotated[int, Field(ge=4096)] = 32 << 20
    """Bytes that they take together."""

    surveys: SurveysSection = SurveysSection()
    """Questions to several streams at once."""

    # How long it waits
    guest_patience_s: Annotated[float, Field(gt=0)] = 10.0
    """A socket that shows no valid key is closed after so long without a whole request, or with a
    reply that it does not take."""
    ping_interval_s: Annotated[float, Field(gt=0)] = 20.0
    """Time between two heartbeats (pings) of a realtime connection."""
    ping_timeout_s: Annotated[float, Field(gt=0)] = 20.0
    """A peer that does not answer a heartbeat for so long is gone."""
    idle_timeout_s: Annotated[float, Field(gt=0)] = 900.0
    """A connection that sends nothing and awaits no answer for so long is closed."""
    message_timeout_s: Annotated[float, Field(gt=0)] = 20.0
    """A request head or a message that was begun must be complete after so long."""
    body_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """A request body must be complete after so long."""
    send_timeout_s: Annotated[float, Field(gt=0)] = 20.0
    """A reader that takes nothing for so long is let go."""
    keep_alive_s: Annotated[int, Field(ge=1)] = 15
    """An HTTP connection without a request is closed after so long."""
    drain_s: Annotated[float, Field(ge=0)] = 10.0
    """Time that running answers get at shutdown before their connections are closed."""
    close_s: Annotated[float, Field(gt=0)] = 10.0
    """Time that streams and the engine get at shutdown to stop."""

    give_back_memory_s: Annotated[float, Field(ge=1, le=86_400)] = 30.0
    """So often the server gives memory that it has freed back to the system."""

    # How much waits to be sent
    max_queued_events: Annotated[int, Field(ge=16)] = 512
    """Events that wait for a slow reader; more, and it is let go with 1013."""
    max_queued_bytes: Annotated[int, Field(ge=4096)] = 4 << 20
    """Bytes that wait for a slow reader."""
    ack_interval_s: Annotated[float, Field(gt=0)] = 0.25
    """Acknowledgements are gathered for so long before they are sent."""
    max_listed_acks: Annotated[int, Field(ge=1)] = 512
    """Frames that one acknowledgement lists; the rest only count in its totals."""
    errors_per_s: Annotated[float, Field(gt=0)] = 10.0
    """Faulty messages a second that one connection may send for long (bursts of ten seconds);
    beyond, it is closed with 1008."""
    sse_keepalive_s: Annotated[float, Field(gt=0)] = 15.0
    """A comment is sent to a quiet event reader so often, so that proxies keep the line."""

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_style: Literal["auto", "json", "text"] = "auto"
    """Form of log lines. ``auto``: text on a terminal, JSON elsewhere."""
    log_repeats: Annotated[int, Field(ge=1)] = 10
    """Lines of one kind that are written a minute; more are counted, and their number is told when
    the minute is over."""

    @model_validator(mode="after")
    def _keys_can_travel(self) -> Self:
        secrets = set()
        for key in self.api_keys:
            entry = split_key(key.get_secret_value())
            if not re.fullmatch(KEY_PATTERN, entry.secret):
                raise ValueError(
                    "an API key has 8 to 256 of these characters: A-Z a-z 0-9 . _ ~ - "
                    "(it also travels as a WebSocket subprotocol)"
                )
            if not is_stream_id(entry.tenant):
                raise ValueError(
                    "the tenant before an API key (TENANT:KEY) has 1 to 64 letters, digits or . _ -"
                )
            if entry.secret in secrets:
                raise ValueError("an API key is given twice; each belongs to one tenant")
            secrets.add(entry.secret)
        if self.default_output_tokens > self.max_output_tokens:
            raise ValueError("default_output_tokens is larger than max_output_tokens")
        return self

    def reads_follow_ups(self, dialogue_turns: int | None) -> bool:
        """Whether the questions of a client are, which says so of earlier turns, or nothing."""
        return self.follow_ups and dialogue_turns != 0

    @property
    def json_limits(self) -> JsonLimits:
        """What one JSON text may make of itself."""
        return JsonLimits(
            max_values=self.max_json_values,
            max_fields=self.max_json_fields,
            max_depth=self.max_json_depth,
            max_digits=self.max_json_digits,
            max_marks=self.max_json_marks,
        )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


class Settings(Section):
    """All settings of a server."""

    server: ServerSection = ServerSection()
    streams: StreamsSection = StreamsSection()
    watches: WatchesSection = WatchesSection()
    engine: EngineSection = EngineSection()
    cache_store: CacheStoreSection = CacheStoreSection()
    scheduler: SchedulerSection = SchedulerSection()
    tenants: TenantsSection = TenantsSection()
    fleet: FleetSection | None = None
    """Where this is null, no other server may share the Redis with this one."""
    traces: TracesSection = TracesSection()
    mqtt: MqttSection = MqttSection()

    @model_validator(mode="after")
    def _a_fleet_shares_its_memory(self) -> Self:
        if not self.is_fleet:
            return self
        if self.cache_store.redis is None and self.fleet is None:
            raise ValueError(
                f"{self.server.gateways} gateways tell each other through Redis which of them has "
                "which stream: set cache_store.redis.url "
                "(ONLOOKER_CACHE_STORE__REDIS__URL=redis://127.0.0.1:6379/0), or leave "
                "server.gateways at 1"
            )
        if self.cache_store.redis is None:
            raise ValueError("a fleet shares its memory in Redis: set cache_store.redis.url")
        if self.cache_store.disk is not None:
            raise ValueError(
                "a fleet keeps segments in Redis, where every server finds them, and not on the "
                "disk of one: set cache_store.disk to null"
            )
        return self

    @property
    def is_fleet(self) -> bool:
        """Whether others share the memory of streams: other servers, or other gateways of this
        machine."""
        return self.fleet is not None or self.server.gateways > 1

    @property
    def store(self) -> CacheStoreSection:
        """`cache_store` with the place of the journal chosen, as whoever opens it needs it."""
        return self.cache_store.placed(is_fleet=self.is_fleet)

    @model_validator(mode="after")
    def _gateways_find_each_other(self) -> Self:
        server, url = self.server, None if self.fleet is None else self.fleet.url
        if server.gateways == 1:
            return self
        if self.engine.decider is not None:
            raise ValueError(
                "gateways share one engine core, and each would start a decider of its own: leave "
                "out engine.decider, or leave server.gateways at 1"
            )
        if server.tls.self_signed:
            raise ValueError(
                "gateways call each other, and believe no self-signed certificate: give "
                "server.tls.cert and server.tls.key, or leave server.gateways at 1"
            )
        if server.tls.is_on and url is None:
            raise ValueError(
                "gateways call each other by the name that the certificate is for: set fleet.url, "
                "such as https://video.example.org:8000"
            )
        last = (server.gateway_port or server.port + 1) + server.gateways - 1
        if last > 65535:
            raise ValueError(
                f"the last gateway's own port would be {last}: set server.gateway_port"
            )
        return self

    @model_validator(mode="after")
    def _the_journal_has_a_place(self) -> Self:
        journal = self.store.journal
        if journal is not None and journal.store == "file" and journal.path is None:
            raise ValueError(
                "the journal of a server that is alone needs a folder: set "
                "cache_store.journal.path, or cache_store.journal.store"
            )
        return self

    @model_validator(mode="after")
    def _a_frame_fits_a_message(self) -> Self:
        needed = HEADER_BYTES + self.streams.max_frame_bytes
        if self.server.max_message_bytes < needed:
            raise ValueError(
                f"server.max_message_bytes ({self.server.max_message_bytes}) must hold a frame of "
                f"streams.max_frame_bytes and its header: at least {needed}"
            )
        return self

    @model_validator(mode="after")
    def _the_longest_texts_fit_json(self) -> Self:
        server, watches = self.server, self.watches
        question = JSON_CHAR_BYTES * server.max_text_chars
        watch = JSON_CHAR_BYTES * 2 * watches.max_condition_chars + 2 * watches.max_schema_bytes
        tools = JSON_CHAR_BYTES * 2 * server.max_tool_chars
        # Functions come with messages only, and in bodies that may hold pictures.
        needed = {"max_json_bytes": max(question, watch)} | dict.fromkeys(
            ("max_json_marks", "max_body_bytes", "max_message_bytes"), max(question + tools, watch)
        )
        for name, least in needed.items():
            least += JSON_ROOM_BYTES
            if (taken := getattr(server, name)) < least:
                with_tools = "" if name == "max_json_bytes" else " with its tools"
                raise ValueError(
                    f"server.{name} ({taken}) must hold the longest question{with_tools} "
                    "(server.max_text_chars, server.max_tool_chars) and the longest watch "
                    "(watches.max_condition_chars, watches.max_schema_bytes) as JSON: at least "
                    f"{least}"
                )
        return self


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the settings have it: ``TENANT+SCOPE+SCOPE:SECRET``, or less of that."""

    secret: str
    """What clients show."""
    tenant: str = DEFAULT_TENANT
    """Whose streams the key sees."""
    scopes: frozenset[Scope] = ALL_SCOPES
    """What the key is good for."""


def split_key(key: str) -> ApiKey:
    """Read a key of the settings.

    Raises:
        ValueError: it names a scope that there is not. The message does not repeat the key.
    """
    owner, colon, secret = key.rpartition(":")
    if not colon:
        return ApiKey(secret)
    tenant, plus, scopes = owner.partition("+")
    if not plus:
        return ApiKey(secret, tenant)
    try:
        named = frozenset(Scope(scope) for scope in scopes.split("+"))
    except ValueError:
        raise ValueError(
            f"the scopes before an API key (TENANT+SCOPE+SCOPE:KEY) are some of {', '.join(Scope)}"
        ) from None
    return ApiKey(secret, tenant or DEFAULT_TENANT, named)


def unbounded_tenants(keys: Sequence[str]) -> list[str]:
    """Tenants with a key that names them and no scopes, so that it may administer the server too,
    where other tenants have keys as well. Raises as `split_key`."""
    split = [split_key(key) for key in keys]
    if len({key.tenant for key in split}) < 2:
        return []
    owners = [key.rpartition(":")[0] for key in keys]
    return sorted({owner for owner in owners if owner and "+" not in owner} - {DEFAULT_TENANT})


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def media_addresses(host: str) -> tuple[str, ...]:
    """Where media comes in to a server that listens at `host`; empty where a name does not say."""
    if host.lower() == "localhost":
        return ("127.0.0.1",)
    try:
        return (str(ipaddress.ip_address(host.strip("[]"))),)
    except ValueError:
        return ()


def check_exposure(section: ServerSection) -> None:
    """Refuse to serve the network without keys.

    Raises:
        ConfigError: says what to set.
    """
    if section.api_keys or section.is_loopback:
        return
    raise ConfigError(
        f"refusing to listen on {section.host} without an API key: everyone who reaches the port "
        "could watch and ask. Set ONLOOKER_SERVER__API_KEYS=some-long-secret (or --api-key), or "
        "listen on 127.0.0.1"
    )
