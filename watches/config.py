"""Settings of watches and of the delivery of alerts."""

from pydantic import Field, SecretStr

from onlooker.core.address import AddressRules
from onlooker.core.settings import Section


class WebhooksSection(Section):
    """Alerts sent to a URL. The defaults keep the server out of the network it runs in."""

    enabled: bool = True
    """Whether watches may name a webhook."""

    allow_hosts: tuple[str, ...] = ("*",)
    """Host names or networks that may be posted to; ``*`` is every public one."""

    allow_private: bool = False
    """Whether private, loopback and link-local addresses that `allow_hosts` matches may be reached.
    Off, only a network or an address written out in `allow_hosts` opens them."""

    timeout_s: float = Field(default=5.0, gt=0, le=120)
    """How long one delivery may take."""

    lookup_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """Time to look up the name of a webhook's host."""

    lookup_threads: int = Field(default=8, ge=1, le=256)
    """Names of hosts that are looked up at the same time; further ones wait for their turn."""

    max_attempts: int = Field(default=6, ge=1, le=100)
    """How often the delivery of one alert is tried before it is given up."""

    backoff_min_s: float = Field(default=0.5, gt=0, le=300)
    """How long to wait after the first failure; the wait doubles with each further one."""

    backoff_max_s: float = Field(default=30.0, gt=0, le=3600)
    """The longest wait between two attempts."""

    max_queued: int = Field(default=256, ge=1, le=65536)
    """The most alerts that wait for one webhook; when another comes, the oldest is given up."""

    @property
    def rules(self) -> AddressRules:
        """Which addresses may be posted to."""
        return AddressRules(
            what="webhook",
            used="posted to",
            param="webhook.url",
            section="watches.webhooks",
            schemes=("http", "https"),
            allow_hosts=self.allow_hosts,
            allow_private=self.allow_private,
        )


class PushSection(Section):
    """Alerts for phones and chats. Off until `urls` has any; takes the extra ``push``."""

    urls: tuple[SecretStr, ...] = ()
    """Where alerts are sent to, as apprise writes addresses: ``ntfy://TOPIC``,
    ``tgram://TOKEN/CHAT``, ``mailtos://USER:PASSWORD@HOST``, separated by commas."""

    tenants: tuple[str, ...] = ("default",)
    """Tenants whose alerts are sent; ``*`` is every one."""

    streams: tuple[str, ...] = ("*",)
    """Names of streams whose alerts are sent, where ``*`` stands for any letters."""

    pictures: bool = True
    """Whether the picture of the evidence goes along, where the address takes pictures."""

    timeout_s: float = Field(default=20.0, gt=0, le=300)
    """How long one delivery may take."""

    max_attempts: int = Field(default=4, ge=1, le=100)
    """How often the delivery of one alert to one address is tried before it is given up."""

    backoff_min_s: float = Field(default=2.0, gt=0, le=300)
    """How long to wait after the first failure; the wait doubles with each further one."""

    backoff_max_s: float = Field(default=60.0, gt=0, le=3600)
    """The longest wait between two attempts."""

    max_queued: int = Field(default=64, ge=1, le=65536)
    """The most alerts that wait for one address; when another comes, the oldest is given up."""

    max_threads: int = Field(default=4, ge=1, le=64)
    """Deliveries at the same time, of all addresses together."""


class WatchesSection(Section):
    """Standing questions to streams."""

    max_per_stream: int = Field(default=32, ge=0, le=10_000)
    """The most watches of one stream."""

    max_condition_chars: int = Field(default=500, ge=1, le=100_000)
    """The most characters of a condition, instruction, question or answer prompt."""

    max_schema_bytes: int = Field(default=4096, ge=2, le=1 << 20)
    """The most bytes of a JSON schema for the data of alerts."""

    max_alerts_per_minute: float = Field(default=20.0, gt=0, le=6000)
    """The most alerts that one watch may raise in a minute of stream time, whatever it asks for."""

    max_tokens: int = Field(default=64, ge=1, le=4096)
    """The most tokens of the text or JSON that goes with an alert."""

    max_checks: int = Field(default=32, ge=1, le=4096)
    """The most checks that are under way at the same time, all streams together. Further ones wait,
    and count as skipped until they are made up."""

    max_check_wait_s: float = Field(default=10.0, gt=0, le=3600)
    """How long a check of a live stream may wait to begin before it is given up."""

    check_target_s: float = Field(default=0.5, gt=0, le=60)
    """How soon a check should be done, which is what the scheduler is told."""

    backlog_clips: int = Field(default=8, ge=1, le=1024)
    """The most clips of a live stream that wait to be checked by one watch; when another comes, the
    oldest is passed over."""

    max_replies: int = Field(default=16, ge=1, le=1024)
    """The most texts of alerts that are written at the same time, all streams together."""

    min_change: float = Field(default=0.006, ge=0, le=1)
    """Share of the picture that must differ from the clip before, or the model is not asked."""

    min_color: float = Field(default=0.008, ge=0, le=1)
    """Share of the picture that a colour must gain or lose, or the model is not asked about a thing
    of that colour, where its wording says so."""

    webhooks: WebhooksSection = WebhooksSection()

    push: PushSection = PushSection()
