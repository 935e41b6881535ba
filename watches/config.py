"""Settings of watches and of the delivery of alerts."""

from pydantic import Field

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
    """Time for one delivery."""

    max_attempts: int = Field(default=6, ge=1, le=100)
    """Deliveries tried of one alert before it is given up."""

    backoff_min_s: float = Field(default=0.5, gt=0, le=300)
    """Wait after a first failure; doubles each time."""

    backoff_max_s: float = Field(default=30.0, gt=0, le=3600)
    """Longest wait between two attempts."""

    max_queued: int = Field(default=256, ge=1, le=65536)
    """Alerts that wait for one webhook; beyond, the oldest is given up."""

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


class WatchesSection(Section):
    """Standing questions to streams."""

    max_per_stream: int = Field(default=32, ge=0, le=10_000)
    """Watches of one stream."""

    max_condition_chars: int = Field(default=500, ge=1, le=100_000)
    """Characters of a condition, instruction, question or answer prompt."""

    max_schema_bytes: int = Field(default=4096, ge=2, le=1 << 20)
    """Size of a JSON schema for structured alerts."""

    max_alerts_per_minute: float = Field(default=20.0, gt=0, le=6000)
    """Alerts a minute of stream time that one watch may raise, whatever it asks for."""

    max_tokens: int = Field(default=64, ge=1, le=4096)
    """Tokens of the text that goes with an alert."""

    max_checks: int = Field(default=32, ge=1, le=4096)
    """Checks under way in all. More wait; one that had to wait counts as skipped until it is made
    up."""

    max_check_wait_s: float = Field(default=10.0, gt=0, le=3600)
    """A live check that could not begin for so long is given up."""

    check_target_s: float = Field(default=0.5, gt=0, le=60)
    """How soon after its clip a check should be done; what the scheduler is told."""

    backlog_clips: int = Field(default=8, ge=1, le=1024)
    """Live: clips that wait to be checked by one watch; beyond, the oldest is passed over."""

    max_replies: int = Field(default=16, ge=1, le=1024)
    """Texts of alerts that are written at the same time, all streams together."""

    min_change: float = Field(default=0.006, ge=0, le=1)
    """Share of the picture that must differ from the clip before for a model to be asked."""

    min_color: float = Field(default=0.008, ge=0, le=1)
    """Share of the picture that a colour must gain or lose for a question about a thing of that
    colour to be asked, where the model's wording says so."""

    webhooks: WebhooksSection = WebhooksSection()
