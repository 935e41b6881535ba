"""Settings of traces."""

from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from onlooker.core.settings import Section

Share = Annotated[float, Field(ge=0, le=1)]


class TracesSection(Section):
    """Traces: where the time of frames, questions and alerts went, for a collector that speaks
    OpenTelemetry's protocol. Off until `endpoint` is set; takes the extra ``traces``, which the
    extras ``cpu`` and ``gpu`` bring along."""

    endpoint: str | None = None
    """Where spans are posted to (OTLP over HTTP), such as ``http://collector:4318/v1/traces``;
    None: there are no traces."""
    headers: tuple[SecretStr, ...] = ()
    """Headers of each post, such as ``Authorization: Bearer SECRET``, separated by commas."""
    service: Annotated[str, Field(min_length=1, max_length=128)] = "onlooker"
    """The ``service.name`` of this server's spans; the server's own name is their
    ``service.instance.id``."""
    ratio: Share = 1.0
    """The share of questions, alerts and relayed calls that is traced. A caller that brings a
    ``traceparent`` decides itself."""
    frame_ratio: Share = 0.01
    """The share of the clips that were seen whose frames are traced."""
    slow_frame_s: Annotated[float, Field(gt=0)] | None = 2.0
    """Frames that are seen so long after they came in are traced whatever `frame_ratio` says; None:
    only by the share."""
    slow_frames_per_s: Annotated[float, Field(gt=0)] = 1.0
    """Slow frames a second that are traced for that alone, of all streams together."""
    with_texts: bool = False
    """Whether spans may hold what was asked, answered and alerted. Pictures they never hold."""
    max_queued: Annotated[int, Field(ge=64)] = 4096
    """Spans that wait to be posted; of more, new ones are left out and counted."""
    max_batch: Annotated[int, Field(ge=1, le=4096)] = 512
    """Spans of one post."""
    interval_s: Annotated[float, Field(gt=0)] = 2.0
    """How often spans are posted."""
    timeout_s: Annotated[float, Field(gt=0)] = 5.0
    """How long the collector gets to take a post."""

    @model_validator(mode="after")
    def _is_reachable(self) -> Self:
        if self.endpoint is not None and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(
                "traces.endpoint is the address of an OTLP/HTTP collector, such as "
                "http://collector:4318/v1/traces"
            )
        if any(":" not in header.get_secret_value() for header in self.headers):
            raise ValueError("a header of traces.headers is NAME: VALUE")
        return self
