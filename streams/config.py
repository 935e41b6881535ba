"""Settings of streams: how frames come in, become clips and are asked about."""

from typing import Literal

from pydantic import Field, field_validator

from onlooker.core.cores import num_cores
from onlooker.core.settings import Section
from onlooker.streams.masks import Mask
from onlooker.streams.moments.config import MomentsSection
from onlooker.streams.source_config import ImportsSection, SourcesSection, WebRtcSection


class HealthSection(Section):
    """Camera health: views that are black, blocked, frozen, blurred or moved, found without the
    model by comparing thumbnails with what the view usually looks like."""

    enabled: bool = True
    """Whether views are looked after at all."""

    sample_s: float = Field(default=1.0, ge=0.1, le=60)
    """Stream time between two pictures that are compared."""

    warm_up_s: float = Field(default=30.0, ge=1, le=3600)
    """A view must have been seen for so long before it can be blocked, frozen, blurred or moved;
    black it can be at once."""

    hold_s: float = Field(default=5.0, ge=0, le=3600)
    """ViewTrouble is told once it has lasted so long, and so is its end."""

    frozen_s: float = Field(default=20.0, ge=1, le=3600)
    """So many seconds of pictures must have been the same for a view to be frozen. Of sources
    without noise, such as a shared screen, it never is."""

    relearn_s: float = Field(default=600.0, ge=10, le=86_400)
    """A view that was moved for so long is the usual one from then on, and well again."""

    black_level: float = Field(default=16.0, ge=0, le=128)
    """Mean brightness (0-255) up to which a picture without contrast is black."""

    blocked_ratio: float = Field(default=0.25, ge=0, le=1)
    """A part of a view with less than this share of its usual edges is flat; a view most of whose
    parts are is blocked."""

    blurred_ratio: float = Field(default=0.25, ge=0, le=1)
    """A view with less than this share of its usual fine detail is blurred."""

    moved_ratio: float = Field(default=0.5, ge=0, le=1)
    """A view in which this share of the parts shows edges elsewhere than usual, and hardly any part
    shows them where they were, has moved."""


class PerceptionSection(Section):
    """How frames become clips."""

    clip_interval_s: float = Field(default=1.0, gt=0, le=60)
    """One clip for every so many seconds of stream time: two frames are picked per interval, the
    others are skipped. Larger means less work and coarser memory."""

    max_pair_gap_s: float = Field(default=0.75, gt=0, le=60)
    """How long (stream time) a frame may wait for its partner; then it becomes a clip by itself,
    repeated. Sources slower than this get one clip per frame at once."""

    gate_threshold: float = Field(default=0.04, ge=0, le=1)
    """A frame is skipped as a near-duplicate when no part of it differs from the last kept frame
    by more than this share of the full brightness range. 0 keeps everything."""

    cut_threshold: float = Field(default=0.25, ge=0, le=1)
    """Mean difference from the previous frame above which a frame starts a new scene; a clip never
    spans two scenes."""

    refresh_s: float = Field(default=5.0, gt=0, le=3600)
    """A scene that does not change is shown to the model again after so many seconds."""

    hold_s: float = Field(default=2.0, gt=0, le=3600)
    """How long (stream time) a picture stands for what was there while no other is looked at. A
    question about a time that was seen is answered from the clip that was kept last before it;
    longer gaps count as not seen, and the first picture after one is always kept. A stream that
    looks at fewer frames by its own choice holds each for two intervals at least."""

    health: HealthSection = HealthSection()
    """Whether and how cameras are looked after."""

    decode_threads: int = Field(default=2, ge=1, le=64)
    """Threads that compare pictures, for all streams together; those that wait for decoder
    processes come on top."""


class DecodingSection(Section):
    """The processes that decode foreign pictures and video, and what each message may cost there.
    Budgets are in seconds of processor time, whatever else the machine does."""

    workers: int | None = Field(default=None, ge=1, le=256)
    """Messages that are decoded at the same time. Where there are two or more, no tenant gets the
    last of them. None: one more than there are cores."""

    patience_s: float = Field(default=0.05, ge=0.001, le=60)
    """A message that takes longer lets the next begin beside it; at most `workers` do so."""

    still_budget_s: float = Field(default=0.25, ge=0.01, le=60)
    """For one picture, streamed or brought by a question; one that takes more is dropped as
    `too_costly`."""

    megapixel_budget_s: float = Field(default=0.03, ge=0, le=10)
    """More of it for each million pixels that the picture has."""

    chunk_budget_s: float = Field(default=0.5, ge=0.01, le=60)
    """For one message of H.264, VP8 or VP9, and, with what its pixels add, for one packet of a
    pulled source."""

    open_budget_s: float = Field(default=2.0, ge=0.01, le=300)
    """For opening a pulled source: finding out what it is, and its first picture."""

    piece_budget_s: float = Field(default=5.0, ge=0.01, le=300)
    """For one piece of WebM or MP4, which may hold many pictures."""

    tenant_share: float | None = Field(default=None, gt=0, le=256)
    """Processor seconds a second above which a tenant waits behind those below it, and has one
    message decoded at a time. None: as many as there are cores."""

    max_offences: int = Field(default=3, ge=1, le=1000)
    """So many messages over their budget within `offence_window_s` have their stream (or the
    question pictures of their tenant) refused for `refuse_s`."""

    offence_window_s: float = Field(default=30.0, gt=0, le=86_400)
    """How long a message over its budget is held against its sender."""

    refuse_s: float = Field(default=30.0, gt=0, le=86_400)
    """How long such a sender's messages are dropped unread."""

    max_waiting: int = Field(default=256, ge=1, le=65_536)
    """Messages of one tenant that wait for their turn; question pictures beyond are refused, and
    streams, which wait with one message each, are not counted."""

    stall_s: float = Field(default=15.0, gt=0, le=3600)
    """When messages have waited so long without one of them being done, ``/readyz`` says so."""

    memory_mib: int = Field(default=2048, ge=512, le=65_536)
    """Address space of each process in MiB; it takes a fraction of it."""

    @property
    def num_workers(self) -> int:
        """`workers`, as this machine has it."""
        return min(256, num_cores() + 1) if self.workers is None else self.workers

    @property
    def share(self) -> float:
        """`tenant_share`, as this machine has it."""
        return float(num_cores()) if self.tenant_share is None else self.tenant_share


class PrivacySection(Section):
    """What of streams nobody is to see, and for how long the rest is kept."""

    masks: tuple[Mask, ...] = ()
    """Parts of the pictures of every stream that are blacked out or blurred before anything looks
    at them, such as `[{"polygon": [[0, 0], [0.5, 0], [0.5, 1]], "effect": "black"}]`: corners in
    shares of width and height. A stream's own masks come on top."""

    max_masks: int = Field(default=32, ge=0, le=1024)
    """Masks of one stream, beside those of the server."""

    max_mask_points: int = Field(default=64, ge=3, le=1024)
    """Corners of one mask."""

    keep_for_s: float | None = Field(default=None, gt=0)
    """How long anything of a stream is kept, in seconds since it was captured: clips in all tiers,
    notes, journal, retained alerts and answers. None: as long as there is room. A stream may be
    given less, not more."""

    sweep_interval_s: float = Field(default=30.0, gt=0, le=3600)
    """How often what is older than that is deleted."""

    max_clips_per_sweep: int = Field(default=512, ge=1, le=100_000)
    """Clips of one stream that are deleted at a time; more go one after another, with pauses."""

    @field_validator("masks", mode="before")
    @classmethod
    def _are_not_words(cls, masks: object) -> object:
        """A list of words is what any text is taken for that is no JSON."""
        if isinstance(masks, str) and masks.strip()[:1] not in ("[", ""):
            example = '[{"polygon": [[0, 0], [1, 0], [1, 1]]}]'
            raise ValueError(f"masks are a JSON list such as {example}")
        return masks


class NameplatesSection(Section):
    """What people may call a stream and say of it."""

    max_name_chars: int = Field(default=80, ge=1, le=1000)
    """Characters of a stream's name."""

    max_description_chars: int = Field(default=500, ge=1, le=4000)
    """Characters of its description, which stands in the prompts of questions to it."""

    max_labels: int = Field(default=16, ge=1, le=1000)
    """Labels of one stream, and those that one call may name."""

    max_label_chars: int = Field(default=40, ge=1, le=200)
    """Characters of one label."""

    max_reference_bytes: int = Field(default=64 << 10, ge=1024, le=1 << 20)
    """Bytes of a reference picture as it is kept, in the size in which the model sees pictures."""

    in_prompts: bool = True
    """Whether the model is told of the nameplate of the stream that is asked, where it can make use
    of that."""


class SecondLookSection(Section):
    """Answers that are given again with pictures out of the album."""

    max_pictures: int = Field(default=0, ge=0, le=16)
    """Pictures that are shown again for one answer, as far as the engine takes them; 0: no answer
    is given again. Where it is on, no word of an answer is told before the first try is over."""

    min_confidence: float = Field(default=0.5, ge=0, le=1)
    """An answer is given again whose words were less likely to the model, in the geometric mean."""

    after_s: float = Field(default=600.0, ge=0, le=1e9)
    """And one that rests only on memory older than this, beside what was seen last."""


class StreamsSection(Section):
    """Streams: what they take in, how long they stay and what may be asked of them."""

    clock: Literal["live", "virtual"] = "live"
    """Clock of streams that do not choose one."""

    max_streams: int = Field(default=64, ge=1)
    """Streams open at the same time."""

    move_every_s: float = Field(default=0.05, ge=0, le=10)
    """When this server is drained, a stream is let go every so many seconds, for another server to
    go on with; more often where half of `server.drain_s` is too short for that."""

    stream_idle_s: float = Field(default=600.0, gt=0)
    """A stream that nobody feeds, watches or asks for so long is closed."""

    max_fps: float = Field(default=60.0, gt=0, le=1000)
    """Frame messages a second that one stream takes in, with bursts of one second; more are dropped
    unread."""

    max_frame_bytes: int = Field(default=4 << 20, ge=1024)
    """Bytes of one encoded frame or container piece."""

    max_frame_pixels: int = Field(default=4096 * 4096, ge=1024)
    """Pixels of one frame, checked in its header before anything is decoded."""

    mailbox_frames: int = Field(default=4, ge=1, le=1024)
    """Pictures that wait to be decoded; in live mode the newest win."""

    mailbox_chunks: int = Field(default=120, ge=2, le=4096)
    """Messages of coded video that wait to be decoded; beyond, they drop to the next key frame."""

    mailbox_bytes: int = Field(default=16 << 20, ge=1 << 16)
    """Bytes that wait to be decoded, per stream."""

    max_gap_s: float = Field(default=1800.0, ge=10, le=1e9)
    """The longest time without a picture that is kept in a recording. One whose next picture is
    further ahead has a wrong time there, and goes on as if nothing had been between. It holds for
    frames that are pushed on the live clock, too; those on the virtual clock are believed."""

    max_lag_s: float = Field(default=5.0, gt=0)
    """A picture that waited longer is dropped; at half of it the source is asked to slow down."""

    fresh_wait_s: float = Field(default=0.25, ge=0, le=10)
    """How long a question about now waits for frames that have arrived but were not yet seen."""

    first_clip_wait_s: float = Field(default=10.0, ge=0, le=300)
    """How long a question waits when the model has seen nothing of the stream yet."""

    max_ask_wait_s: float = Field(default=60.0, gt=0)
    """How long a live question that names its time may wait for that time."""

    max_questions_per_stream: int = Field(default=4, ge=1)
    """Answers under way for one stream."""

    max_questions: int = Field(default=32, ge=1)
    """Answers under way in all."""

    events_retained: int = Field(default=1024, ge=16)
    """Events kept per stream for subscribers that come back; acknowledgements are not kept."""

    max_kept_streams: int = Field(default=100_000, ge=1, le=10_000_000)
    """Streams whose masks, watches, alerts, `starts_at` and numbers are kept for when they are
    found again. On disk the one that was not written for longest makes room, which is logged; in a
    fleet, where they lie in Redis, a further stream is not opened until one is deleted."""

    max_orders: int = Field(default=64, ge=1, le=10_000)
    """Standing orders of one tenant: watches over labels (`POST /v1/watches`)."""

    alerts_retained: int = Field(default=256, ge=1, le=100_000)
    """Alerts kept per stream for subscribers that come back."""

    perception: PerceptionSection = PerceptionSection()

    decoding: DecodingSection = DecodingSection()
    privacy: PrivacySection = PrivacySection()
    nameplates: NameplatesSection = NameplatesSection()
    second_look: SecondLookSection = SecondLookSection()
    sources: SourcesSection = SourcesSection()
    webrtc: WebRtcSection = WebRtcSection()
    imports: ImportsSection = ImportsSection()
    moments: MomentsSection = MomentsSection()
