"""Watches and alerts as they travel: created by clients, told by the server."""

from typing import Annotated, Any, Literal

from pydantic import Field

from onlooker.core.protocol.base import Inbound, Metadata, Outbound

TriggerWord = Literal[
    "change",
    "boundary",
    "yes_no",
    "silence",
    "drift",
    "sum",
    "outlier",
    "heads",
    "evidence",
    "interval",
    "health",
]
WatchId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Triggers = Annotated[list[TriggerWord], Field(max_length=4)]
HeadWeight = Annotated[float, Field(ge=-100, le=100)]
Schema = dict[str, Any]


class WebhookConfig(Inbound):
    """Where alerts are posted to."""

    url: Annotated[str, Field(max_length=2048)]
    secret: Annotated[str, Field(max_length=256)] = ""
    """Key of the HMAC-SHA256 signature in `Onlooker-Signature`; never shown again."""


class WatchChanges(Inbound):
    """What may change while a watch runs; absent fields stay as they are."""

    condition: str | None = None
    """What to be told about: "tell me when a red circle appears"."""
    instruction: str | None = None
    """How to comment on what changes; empty takes the model's own instruction."""
    question: str | None = None
    """The question to answer as soon as it can be told."""
    trigger: Triggers | None = None
    """Triggers that say when to speak, cheap first; all must agree. Default: what suits the
    kind."""
    while_true: bool | None = None
    """Whether to alert about every clip while the condition holds, not only when it begins to."""
    repeat: bool | None = None
    """Whether the watch goes on after its first alert; a question never does."""
    cooldown_s: Seconds | None = None
    """Stream time after an alert in which the watch is silent."""
    min_confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    """Probability from which a yes counts. Default: the model's own threshold."""
    max_alerts_per_minute: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    answer_prompt: str | None = None
    """What the model is asked when the condition is met; its reply is the alert's text."""
    json_schema: Schema | None = None
    """The JSON schema that the reply must fit; the reply becomes the alert's data."""
    expires_after_s: Seconds | None = None
    """Stream time after which the watch ends."""
    paused: bool | None = None
    include_frame: bool | None = None
    """Whether alerts bring the JPEG of their newest frame along."""
    supersede: bool | None = None
    """Whether a newer reply breaks off one that is being written. Default: in a commentary."""
    interval_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Stream time between two alerts of the trigger `interval`."""
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """How many times its reference perplexity an answer may have, for the trigger `drift`."""
    quantile: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of earlier changes that a change must exceed, for the trigger `change` alone."""
    deviations: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """How many standard deviations less expected than usual a picture must be, for the trigger
    `boundary`."""
    silence_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """Probability from which the model's silence counts, for the trigger `silence`. Default: the
    model's own threshold."""
    silence_step: Annotated[float, Field(ge=-1, le=1)] | None = None
    """What is added to that threshold with each clip about which the model kept silent, until it
    speaks."""
    pause_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """What the probability of the model's pause must exceed at the beginning of a reply, in a
    commentary. Default: the model's own threshold."""
    pause_step: Annotated[float, Field(ge=-1, le=1)] | None = None
    """What is added to that threshold with each token of the reply. Default: the model's own
    step."""
    heads: Annotated[dict[str, HeadWeight], Field(min_length=1, max_length=16)] | None = None
    """By how much each of the model's own heads counts, for the trigger `heads`. Default: all, by
    1."""
    heads_rule: Literal["each", "sum", "outlier"] | None = None
    """How the scores of the heads are read: each clip's by itself (default), added up, or compared
    with those before."""
    heads_threshold: Annotated[float, Field(ge=-1000, le=1000)] | None = None
    """What the score must exceed. Default: 0.5 for `each`, 1 for `sum`, 2 standard deviations for
    `outlier`."""
    webhook: WebhookConfig | None = None
    metadata: Metadata | None = None


class WatchConfig(WatchChanges):
    """A new watch: exactly one of `condition`, `instruction` and `question`."""

    id: WatchId | None = None
    """The watch's id; default: a fresh one."""


class WatchCountsObject(Outbound):
    """What became of the clips that a watch looked at."""

    clips: int = 0
    deferred: int = 0
    passed_over: int = 0
    alerts: int = 0
    held_back: int = 0


class WatchObject(Outbound):
    """A watch as the server tells it."""

    id: str
    object: Literal["stream.watch"] = "stream.watch"
    kind: Literal["alert", "commentary", "question"]
    condition: str | None = None
    instruction: str | None = None
    question: str | None = None
    asks: str
    """What the model is asked about each clip."""
    trigger: list[str]
    """The chain of triggers in force, cheap first."""
    state: Literal["active", "paused", "ended"]
    why_ended: str | None = None
    while_true: bool = False
    repeat: bool = True
    cooldown_s: float = 0.0
    min_confidence: float | None = None
    max_alerts_per_minute: float
    answer_prompt: str | None = None
    json_schema: Schema | None = None
    expires_after_s: float | None = None
    include_frame: bool = False
    webhook_url: str | None = None
    metadata: dict[str, str] = {}
    created_at: float
    """When the watch was created, in seconds since the Unix epoch."""
    created_s: float
    """Stream time at which the watch was created."""
    last_confidence: float | None = None
    """The confidence of the decision about the newest clip that was looked at."""
    counts: WatchCountsObject = WatchCountsObject()


class EvidenceObject(Outbound):
    """The clip that an alert rests on, in stream time."""

    start_s: float
    end_s: float
    until_s: float
    """Until when the picture was known to be nearly the same when the alert was raised; on the
    virtual clock, and where a newer clip had come, `end_s`."""
    picture: str | None = None
    """The path of a picture of the clip, where the server keeps an album."""


class AlertObject(Outbound):
    """What a watch says."""

    id: str
    """The alert's id, never used again: who sees it twice has seen the same alert twice."""
    object: Literal["stream.alert"] = "stream.alert"
    number: int
    """The alert's number on its stream: 1, 2, 3 …, no gaps."""
    watch: str
    kind: Literal["alert", "commentary", "question"]
    text: str
    data: Any = None
    """The reply as JSON, where the watch has a schema."""
    problem: str | None = None
    """Why there is no text or data of the model's."""
    confidence: float | None = None
    evidence: EvidenceObject
    decided_at: float
    """When the watch decided to speak, in seconds since the Unix epoch."""
    staleness_s: float
    """Seconds from the arrival of the evidence until the alert was raised."""
    frame: str | None = None
    """The newest frame of the evidence: JPEG in base64."""
    traceparent: str | None = None
    """Where the server traces the alert: its place there, so that whoever is told can go on."""


class WatchList(Outbound):
    object: Literal["list"] = "list"
    data: list[WatchObject]


class AlertList(Outbound):
    """Alerts that are still retained, oldest first."""

    object: Literal["list"] = "list"
    data: list[AlertObject]
    last_event: int
    """The number of the stream's newest event, to follow on from: `GET …/events?after=`, or
    `after=` of `/v1/realtime`."""


class WebhookBody(Outbound):
    """What is posted to a webhook."""

    type: Literal["stream.alert"] = "stream.alert"
    stream: str
    alert: AlertObject
