"""Wires a server's parts together. Nothing here decides anything.

What a fleet needs is made in `fleet_wiring`, where things of streams are kept in `store_wiring`.
"""

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from onlooker.core.address import AddressPolicy
from onlooker.core.clock import Clock, SystemClock
from onlooker.core.drawer import StreamDrawer
from onlooker.core.errors import ConfigError
from onlooker.core.metrics import Metrics
from onlooker.core.network import Lookups, WaitBudget
from onlooker.core.tracer import Tracer
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import Engine
from onlooker.engine.paired_engine import PairedEngine, as_decider
from onlooker.engine.shared_core import SharedCore
from onlooker.engine.supervisor import EngineSupervisor
from onlooker.server.auth import Authenticator, OriginGuard
from onlooker.server.config import Settings, media_addresses
from onlooker.server.drainable import Drainable
from onlooker.server.fleet_wiring import (
    make_accounts,
    make_herald,
    make_ownership,
    make_placer,
    make_reach,
    make_relay,
    server_name,
    server_url,
)
from onlooker.server.gateway import Gateway
from onlooker.server.limits import Places
from onlooker.server.lobby import Lobby
from onlooker.server.mqtt.assembly import make_mqtt
from onlooker.server.pictures import PictureReader
from onlooker.server.pulse import Pulse
from onlooker.server.pushers import HttpPushers
from onlooker.server.rota import Rota
from onlooker.server.store_wiring import make_albums, make_diaries, make_drawer, make_journal
from onlooker.server.stored_responses import StoredResponses
from onlooker.server.traces.making import make_exporter, make_tracer
from onlooker.streams.album.album_keeper import AlbumKeeper
from onlooker.streams.decoding.desk import Decoding, Workshop
from onlooker.streams.decoding.process_decoders import WorkerPool
from onlooker.streams.diary.diary_keeper import DiaryKeeper
from onlooker.streams.hub import StreamHub
from onlooker.streams.importing.fetching import check_address, fetch
from onlooker.streams.importing.importer import Importer
from onlooker.streams.journaling import JournalKeeper
from onlooker.streams.ownership import Ownership
from onlooker.streams.quality.governor import Governor
from onlooker.streams.shared import Shared
from onlooker.streams.sources.puller import Puller
from onlooker.streams.sources.way import Access
from onlooker.streams.tenancy.accounts import Accounts
from onlooker.watches.keeper import MakeKeeper, WatchKeeper
from onlooker.watches.outlets import AlertOutlet, Outlets
from onlooker.watches.push import PushSender
from onlooker.watches.service import WatchService
from onlooker.watches.webhooks import WebhookSender

if TYPE_CHECKING:  # it needs the extra `webrtc`
    from onlooker.streams.webrtc.roster import PeerRoster


def make_engine(
    settings: Settings, *, clock: Clock, metrics: Metrics, core: SharedCore | None = None
) -> Engine:
    """The engine that the settings name, or the two. vLLM is imported only where it is used.
    `core`: the engine core of several gateways; a scripted engine is each gateway's own all the
    same."""
    deciding = settings.engine.of_decider()
    if settings.engine.mode == "fake":
        engine = ScriptedEngine(clock=clock)
        max_images = settings.engine.max_question_images
        engine = ScriptedEngine(clock=clock, info=replace(engine.info, max_images=max_images))
        return engine if deciding is None else PairedEngine(engine, ScriptedEngine(clock=clock))
    from onlooker.engine.vllm_adapter.engine import make_engine as make_vllm_engine

    answerer = make_vllm_engine(
        settings.engine, clock, metrics, settings.store, settings.scheduler, core
    )
    if deciding is None:
        return answerer
    with as_decider():
        decider = make_vllm_engine(deciding, clock, metrics, scheduler=settings.scheduler)
    return PairedEngine(answerer, decider)


def make_gateway(
    settings: Settings,
    *,
    engine: Engine,
    clock: Clock | None = None,
    metrics: Metrics | None = None,
    workshop: Workshop | None = None,
) -> Gateway:
    """Make what routes and connections share. `workshop`: None decodes in processes.

    Raises:
        ConfigError: the journal's folder cannot be used, or what the settings name is missing.
    """
    clock, metrics = clock or SystemClock(), metrics or Metrics()
    server, streams = settings.server, settings.streams
    pool = make_pool(settings)
    decoding = make_decoding(settings, pool=pool, clock=clock, metrics=metrics, workshop=workshop)
    reach = make_reach(settings, clock=clock, metrics=metrics)
    ownership = make_ownership(settings, reach, clock=clock, metrics=metrics)
    accounts = make_accounts(settings, clock=clock, metrics=metrics)
    connections: set[Drainable] = set()
    tracer = make_tracer(settings.traces, clock=clock, metrics=metrics)
    mqtt = make_mqtt(
        settings.mqtt,
        server=server_name(settings),
        url=None if settings.fleet is None else settings.fleet.url,
        model=lambda: engine.info.model,
        clock=clock,
        metrics=metrics,
    )
    hub = make_hub(
        settings,
        engine=engine,
        clock=clock,
        metrics=metrics,
        pool=pool,
        decoding=decoding,
        journal=make_journal(settings, clock, metrics),
        albums=make_albums(settings, clock=clock, metrics=metrics),
        diaries=make_diaries(settings, clock=clock, metrics=metrics),
        drawer=make_drawer(settings),
        ownership=ownership,
        tracer=tracer,
        accounts=accounts,
        outlets=[
            one
            for one in (mqtt, make_push(settings, clock=clock, metrics=metrics))
            if one is not None
        ],
    )
    keys = [key.get_secret_value() for key in server.api_keys]
    return Gateway(
        settings=settings,
        hub=hub,
        clock=clock,
        metrics=metrics,
        auth=Authenticator(keys, clock),
        origins=OriginGuard(
            allowed_origins=server.allowed_origins, host=server.host, keyless=not keys
        ),
        pictures=PictureReader(
            decoding,
            frame_size=lambda: (hub.info.frame_width, hub.info.frame_height),
            max_bytes=streams.max_frame_bytes,
            max_pixels=streams.max_frame_pixels,
        ),
        pushers=HttpPushers(clock),
        responses=StoredResponses(
            max_responses=server.max_stored_responses,
            max_bytes=server.max_stored_response_bytes,
            metrics=metrics,
        ),
        rota=Rota(server.surveys.max_running),
        importer=make_importer(settings, hub, clock=clock, metrics=metrics),
        places=Places(server.max_connections, what="realtime connections"),
        requests=Places(server.max_http_requests, what="running HTTP requests"),
        lobby=Lobby(
            max_guests=server.max_guests,
            max_per_address=server.max_guests_per_address,
            clock=clock,
            metrics=metrics,
        ),
        pulse=Pulse(server.ack_interval_s),
        started_wall_s=clock.wall_s(),
        peers=make_peers(settings, clock=clock, metrics=metrics),
        relay=make_relay(
            settings,
            ownership,
            reach,
            clock=clock,
            metrics=metrics,
            running=connections,
            tracer=tracer,
        ),
        herald=make_herald(settings, clock=clock),
        placer=make_placer(settings),
        connections=connections,
        mqtt=mqtt,
        tracer=tracer,
        exporter=make_exporter(
            settings.traces, tracer, server=server_name(settings), metrics=metrics
        ),
        name=server_name(settings),
        url=server_url(settings),
    )


def make_importer(
    settings: Settings, hub: StreamHub, *, clock: Clock, metrics: Metrics
) -> Importer:
    """What imports recordings in the background."""
    sources, section = settings.streams.sources, settings.streams.imports
    policy = AddressPolicy(sources.rules)
    lookups = Lookups(
        policy, num_threads=sources.lookup_threads, timeout_s=sources.lookup_timeout_s
    )

    async def fetched(url: str, path: Path) -> None:
        budget = WaitBudget(
            clock, min_bytes_per_s=sources.min_bytes_per_s, window_s=sources.read_timeout_s
        )
        access = Access(sources, policy, lookups, clock, budget, metrics)
        await fetch(url, path, access, max_bytes=section.max_upload_bytes)

    return Importer(
        hub,
        settings=section,
        clock=clock,
        metrics=metrics,
        fetch=fetched,
        check=partial(check_address, policy=policy, lookups=lookups),
    )


def make_peers(settings: Settings, *, clock: Clock, metrics: Metrics) -> "PeerRoster | None":
    """The WebRTC sessions of a server; None where the extra ``webrtc`` is not installed."""
    if find_spec("aiortc") is None:
        return None
    from onlooker.streams.webrtc.roster import PeerRoster

    server, section = settings.server, settings.streams.webrtc
    is_everywhere = server.host in ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound
    listen = section.addresses or (() if is_everywhere else media_addresses(server.host))
    return PeerRoster(settings.streams, listen=listen, clock=clock, metrics=metrics)


def make_pool(settings: Settings) -> Executor:
    """Threads that compare pictures, and one for each message that may be decoded at a time."""
    streams = settings.streams
    num_threads = streams.perception.decode_threads + 2 * streams.decoding.num_workers
    return ThreadPoolExecutor(num_threads, thread_name_prefix="perception")


def make_decoding(
    settings: Settings,
    *,
    pool: Executor,
    clock: Clock,
    metrics: Metrics,
    workshop: Workshop | None = None,
) -> Decoding:
    """Where what strangers send is decoded. `workshop`: None decodes in processes."""
    section = settings.streams.decoding
    return Decoding(
        section,
        workshop=workshop or WorkerPool(section, metrics),
        pool=pool,
        clock=clock,
        metrics=metrics,
    )


def make_hub(
    settings: Settings,
    *,
    engine: Engine,
    clock: Clock,
    metrics: Metrics,
    pool: Executor | None = None,
    decoding: Decoding | None = None,
    journal: JournalKeeper | None = None,
    drawer: StreamDrawer | None = None,
    ownership: Ownership | None = None,
    albums: AlbumKeeper | None = None,
    diaries: DiaryKeeper | None = None,
    tracer: Tracer | None = None,
    accounts: Accounts | None = None,
    outlets: Sequence[AlertOutlet] = (),
) -> StreamHub:
    """Make the hub of all streams of a server, with what they share. `pool`, `decoding`,
    `ownership`, `accounts`: None makes what the settings say. `outlets`: ways out for alerts beside
    webhooks."""
    pool = pool or make_pool(settings)
    decoding = decoding or make_decoding(settings, pool=pool, clock=clock, metrics=metrics)
    if ownership is None:
        reach = make_reach(settings, clock=clock, metrics=metrics)
        ownership = make_ownership(settings, reach, clock=clock, metrics=metrics)
    accounts = accounts or make_accounts(settings, clock=clock, metrics=metrics)
    supervised = EngineSupervisor(
        engine,
        clock=clock,
        settings=settings.engine.restarts,
        metrics=metrics,
        claim_of=ownership.claim_of if ownership is not None else lambda stream_id: None,
    )
    webhooks = WebhookSender(settings.watches.webhooks, clock, metrics, tracer)
    make_keeper: MakeKeeper = partial(
        WatchKeeper,
        service=WatchService(
            supervised,
            clock=clock,
            settings=settings.watches,
            metrics=metrics,
            pool=pool,
            tracer=tracer,
        ),
    )
    shared = Shared(
        engine=supervised,
        clock=clock,
        metrics=metrics,
        settings=settings.streams,
        pool=pool,
        decoding=decoding,
        ownership=ownership,
        albums=albums,
        diaries=diaries,
        accounts=accounts,
        zone=settings.engine.memory.zone,
        tracer=tracer,
    )
    return StreamHub(
        shared,
        governor=Governor(settings.scheduler, shared),
        puller=Puller(
            settings=settings.streams,
            clock=clock,
            metrics=metrics,
            info=lambda: engine.info,
            decoding=decoding,
        ),
        webhooks=webhooks,
        outlets=Outlets([webhooks, *outlets]),
        make_keeper=make_keeper,
        journal=journal,
        drawer=drawer,
    )


def make_push(settings: Settings, *, clock: Clock, metrics: Metrics) -> PushSender | None:
    """What sends alerts to phones and chats; None where the settings name none.

    Raises:
        ConfigError: the extra is not installed, or an address is none.
    """
    section = settings.watches.push
    if not section.urls:
        return None
    if find_spec("apprise") is None:
        raise ConfigError(
            "watches.push.urls is set, and the extra for it is missing: pip install "
            "'onlooker[push]'"
        )
    from onlooker.watches.apprise_notifier import AppriseNotifier

    urls = [url.get_secret_value() for url in section.urls]
    notifiers = [AppriseNotifier(url, index) for index, url in enumerate(urls)]
    return PushSender(section, notifiers, clock, metrics)
