"""Watches on the wire: the options that clients send, and what they are told of a watch."""

from typing import Any

from pydantic import TypeAdapter

from onlooker.core.protocol.watches import (
    AlertObject,
    WatchChanges,
    WatchCountsObject,
    WatchObject,
    WebhookConfig,
)
from onlooker.server.rights import Action, Grant
from onlooker.streams.config import StreamsSection
from onlooker.streams.stream import Stream
from onlooker.watches.alert import Alert
from onlooker.watches.events import AlertRaised
from onlooker.watches.options import WatchOptions, Webhook
from onlooker.watches.watch import Watch
from onlooker.watches.wire import alert_object

_MAY_BE_NULL = {
    "condition", "instruction", "question", "min_confidence", "max_alerts_per_minute",
    "answer_prompt", "json_schema", "expires_after_s", "supersede", "webhook", "silence_threshold",
    "heads", "heads_threshold", "pause_threshold", "pause_step",
}  # fmt: skip


_OPTIONS = TypeAdapter(WatchOptions)


def option_changes(config: WatchChanges, grant: Grant) -> dict[str, Any]:
    """The fields of `WatchOptions` that a client named, with their new values. Null takes an option
    back.

    Raises:
        Forbidden: a webhook, of a caller who may not have the server call other hosts.
    """
    named = {name: getattr(config, name) for name in config.model_fields_set if name != "id"}
    changes = {n: value for n, value in named.items() if value is not None or n in _MAY_BE_NULL}
    if changes.get("trigger") is not None:
        changes["trigger"] = tuple(changes["trigger"])
    hook = changes.get("webhook")
    if isinstance(hook, WebhookConfig):
        grant.require(Action.HAVE_WEBHOOK)
        changes["webhook"] = Webhook(hook.url, hook.secret)
    return changes


def watch_options(config: WatchChanges, grant: Grant) -> WatchOptions:
    """The options of a new watch. Raises as `option_changes`."""
    return WatchOptions(**option_changes(config, grant))


def watch_wire_options(options: WatchOptions) -> dict[str, Any]:
    """All options of a watch as a client would send them, those that are not set as null."""
    sent: dict[str, Any] = _OPTIONS.dump_python(options, mode="json")
    return sent


def check_hook(watch: Watch, grant: Grant) -> None:
    """Return if the caller may change or delete `watch`. What a watch with a webhook asks and
    whether it is there decides what another host is sent, on behalf of who set it.

    Raises:
        Forbidden: the watch has a webhook, and the caller may not have one.
    """
    if watch.options.webhook is not None:
        grant.require(Action.HAVE_WEBHOOK)


def watch_object(watch: Watch) -> WatchObject:
    """A watch as it is now. A webhook's secret is never told."""
    options, counts = watch.options, watch.counts
    return WatchObject(
        id=watch.watch_id,
        kind=options.kind,
        condition=options.condition,
        instruction=options.instruction,
        question=options.question,
        asks=watch.prompts.check.text,
        trigger=list(watch.trigger_names),
        state=watch.state,
        why_ended=watch.why_ended,
        while_true=options.while_true,
        repeat=options.repeat,
        cooldown_s=options.cooldown_s,
        min_confidence=options.min_confidence,
        max_alerts_per_minute=watch.max_per_minute,
        answer_prompt=options.answer_prompt,
        json_schema=None if options.json_schema is None else dict(options.json_schema),
        expires_after_s=options.expires_after_s,
        include_frame=options.include_frame,
        webhook_url=None if options.webhook is None else options.webhook.url,
        metadata=dict(options.metadata),
        created_at=watch.created_wall_s,
        created_s=watch.created_s,
        last_confidence=watch.last_confidence,
        counts=WatchCountsObject(
            clips=counts.clips,
            deferred=counts.deferred,
            passed_over=counts.passed_over,
            alerts=counts.alerts,
            held_back=counts.held_back,
        ),
    )


def told_alert(alert: Alert, stream: Stream) -> AlertObject:
    """An alert of `stream` for the wire, with a link to its picture where there is an album."""
    return alert_object(alert, stream=None if stream.album is None else stream.name)


def retained_alerts(
    stream: Stream, settings: StreamsSection, *, after: int = 0
) -> list[AlertObject]:
    """The alerts of a stream that are still retained, oldest first; those after an event number."""
    most = settings.events_retained + settings.alerts_retained
    subscription = stream.subscribe(max_events=most, after=after)
    alerts = []
    while (numbered := subscription.take()) is not None:
        if isinstance(numbered[1], AlertRaised):
            alerts.append(told_alert(numbered[1].alert, stream))
    subscription.close()
    return alerts
