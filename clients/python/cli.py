"""The clients' commands: `onlooker watch`, `ask`, `timeline`, `import`, `forget`, `cameras` and
`demo`."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer
from rich.console import Console
from rich.text import Text

from onlooker.clients.python.cameras.finder import CameraFinder, SearchPlan
from onlooker.clients.python.cameras.printed import CamerasCommand
from onlooker.clients.python.cameras.soap import CameraLogin
from onlooker.clients.python.client import Client
from onlooker.clients.python.command_options import ApiKeyOption, CaOption, ServerOption
from onlooker.clients.python.demo import Demo, DemoPlan
from onlooker.clients.python.errors import ServerUnreachable
from onlooker.clients.python.importing.command import ImportCommand
from onlooker.clients.python.importing.plan import (
    ImportPlan,
    default_jobs,
    import_options,
    start_of,
    time_source,
    zone_of,
)
from onlooker.clients.python.options import DEFAULT_URL, ClientOptions
from onlooker.clients.python.privacy import MASK_HELP, TIME_HELP, read_mask, read_time, told
from onlooker.clients.python.sources import SOURCE_HELP, open_source
from onlooker.clients.python.timeline import day_of, line_of
from onlooker.clients.python.watch import WatchCommand, WatchPlan
from onlooker.core.clock import SystemClock
from onlooker.core.errors import ClientError, OnlookerError
from onlooker.core.protocol.stream_objects import MaskConfig
from onlooker.core.protocol.timeline import DiaryLevel

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_STOPPED = 130
"""Ctrl-C before all was done."""


def register(app: typer.Typer) -> None:
    """Add the clients' commands to the program."""
    app.command()(watch)
    app.command()(ask)
    app.command()(timeline)
    app.command()(forget)
    app.command()(cameras)
    app.command("import")(import_recordings)
    app.command(
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(demo)


def watch(
    source: Annotated[str, typer.Argument(help=SOURCE_HELP)],
    ask: Annotated[
        list[str] | None, typer.Option(help="A question to ask; repeat the option for more.")
    ] = None,
    alert: Annotated[
        list[str] | None,
        typer.Option(
            help='Be told when this happens: "a red circle appears". Repeat the option for more.'
        ),
    ] = None,
    comment: Annotated[
        bool, typer.Option("--comment", help="Let the model say by itself what changes.")
    ] = False,
    every: Annotated[
        float,
        typer.Option(min=0, help="Seconds between rounds of questions; 0 asks once, at the end."),
    ] = 5.0,
    server: ServerOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    ca: CaOption = None,
    fps: Annotated[float, typer.Option(min=0.1, max=60, help="Pictures a second to send.")] = 4.0,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds to watch; default: to the end.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="Stream to feed; default: a fresh one.")
    ] = None,
    mask: Annotated[list[str] | None, typer.Option(help=MASK_HELP)] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin a file again at its end.")] = False,
    truth: Annotated[
        bool, typer.Option("--truth", help="For demo://: print what there really was.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Watch a video source and ask about it, live. Ctrl-C ends it."""
    console = Console(soft_wrap=as_json)
    masks = _masks(mask)
    plan = WatchPlan(
        questions=tuple(ask or ()),
        alerts=tuple(alert or ()),
        comments=comment,
        every_s=every,
        fps=fps,
        duration_s=duration,
        stream_id=stream,
        masks=masks,
        truth=truth,
        as_json=as_json,
    )

    async def run() -> int:
        async with _started(server, api_key, ClientOptions(ca_file=ca)) as client:
            watching = WatchCommand(client, open_source(source, loop=loop), plan, console)
            await watching.run()
        return EXIT_FAILED if watching.num_failed and not watching.num_answered else 0

    raise typer.Exit(_run(run(), server))


def ask(
    stream: Annotated[str, typer.Argument(help="The stream's id.")],
    question: Annotated[str, typer.Argument(help="What to ask about it.")],
    at: Annotated[
        float | None, typer.Option(min=0, help="Seconds of stream time; default: now.")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Folder for the pictures that the answer rests on.", show_default=False),
    ] = None,
    server: ServerOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    ca: CaOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The reply as one JSON object.")] = False,
) -> None:
    """Ask about a stream that somebody feeds, now or at a time that is past."""

    async def run() -> int:
        async with _started(server, api_key, ClientOptions(ca_file=ca)) as client:
            reply = await client.ask(stream, question, at_s=at)
            typer.echo(reply.model_dump_json() if as_json else reply.answer)
            if pictures is not None:
                facts = reply.onlooker
                spans = [] if facts is None else facts.evidence
                found = await client.pictures(stream).of_evidence(spans)
                await asyncio.to_thread(_save, found, pictures)
                typer.echo(f"{len(found)} pictures in {pictures}", err=True)
        return 0

    raise typer.Exit(_run(run(), server))


def timeline(
    stream: Annotated[str, typer.Argument(help="The stream's id.")],
    from_: Annotated[
        str | None, typer.Option("--from", help=f"{TIME_HELP}; default: the beginning.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help=f"{TIME_HELP}; default: now.")] = None,
    is_today: Annotated[
        bool, typer.Option("--today", help="From midnight on, by this machine's clock.")
    ] = False,
    level: Annotated[
        str | None,
        typer.Option(help="'scene' (sentences), 'quarter', 'hour' or 'day' (summaries)."),
    ] = None,
    words: Annotated[
        str | None, typer.Option("--find", help="Only what holds these words, in any form.")
    ] = None,
    server: ServerOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    ca: CaOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print what the model wrote down while it watched a stream, oldest first."""
    if is_today and from_ is not None:
        raise typer.BadParameter("give --today or --from, not both")
    if level not in (None, *get_args(DiaryLevel)):
        raise typer.BadParameter(f"'{level}' is none of: {', '.join(get_args(DiaryLevel))}")

    async def run() -> int:
        async with _started(server, api_key, ClientOptions(ca_file=ca)) as client:
            found = client.timeline(stream).entries(
                from_s=day_of(SystemClock().wall_s()) if is_today else read_time(from_),
                to_s=read_time(to),
                level=cast(DiaryLevel | None, level),
                words=words,
            )
            num_entries = 0
            async for entry in found:
                num_entries += 1
                typer.echo(entry.model_dump_json() if as_json else line_of(entry))
        if not num_entries:
            typer.echo("nothing was written down of that", err=True)
        return 0

    raise typer.Exit(_run(run(), server))


def forget(
    stream: Annotated[str, typer.Argument(help="The stream's id.")],
    from_: Annotated[
        str | None, typer.Option("--from", help=f"{TIME_HELP}; default: the beginning.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help=f"{TIME_HELP}; default: now.")] = None,
    server: ServerOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    ca: CaOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The reply as one JSON object.")] = False,
) -> None:
    """Delete what a server remembers of a stream, or of a part of its time; the stream goes on."""

    async def run() -> int:
        async with _started(server, api_key, ClientOptions(ca_file=ca)) as client:
            reply = await client.forget(stream, from_s=read_time(from_), to_s=read_time(to))
        typer.echo(reply.model_dump_json() if as_json else told(reply))
        return 0

    raise typer.Exit(_run(run(), server))


def cameras(
    address: Annotated[
        list[str] | None,
        typer.Argument(
            help="Cameras to ask, such as 192.168.1.20 or 192.168.1.20:8080; default: search.",
            show_default=False,
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="User of the cameras'; the password is asked for.")
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            envvar="ONLOOKER_CAMERA_PASSWORD",
            help="Its password (others can see it in the process list; prefer the variable).",
        ),
    ] = None,
    interface: Annotated[
        str | None,
        typer.Option(
            help="Network to search, such as eth0, or this machine's address in it; default: all.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.5, max=300, help="Seconds to take in all.")
    ] = 10.0,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", help="Take any certificate from cameras with https, which sign their own."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, one for each camera.")
    ] = False,
) -> None:
    """Find ONVIF cameras in the network, and the addresses of their streams. Addresses hold the
    login that was given."""
    if user is not None and password is None:
        password = str(typer.prompt("Password", hide_input=True, err=True))
    plan = SearchPlan(
        addresses=tuple(address or ()),
        interface=interface,
        login=CameraLogin(user, password or "") if user is not None else None,
        timeout_s=timeout,
        trusts_all=insecure,
    )

    async def run() -> int:
        finder = CameraFinder(plan, SystemClock())
        has_found = await CamerasCommand(finder, Console(), as_json=as_json).run()
        return 0 if has_found else EXIT_FAILED

    raise typer.Exit(_run(run(), "", stopped=EXIT_STOPPED))


def demo(
    context: typer.Context,
    seconds: Annotated[
        float | None,
        typer.Option(envvar="DEMO_SECONDS", min=1, help="Seconds to show; default: until Ctrl-C."),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the server.")] = 8000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the drawn world.")] = 7,
    fps: Annotated[float, typer.Option(min=0.5, max=30, help="Pictures a second to send.")] = 4.0,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between questions.")] = 4.0,
) -> None:
    """Start a server, stream the drawn world to it, ask questions and mark the answers. All other
    options are passed on to `onlooker serve`."""
    if any(argument.startswith("--tls") for argument in context.args):
        raise typer.BadParameter(
            "the demo speaks http with the server that it starts. For TLS: "
            "`onlooker serve --tls-self-signed`, and beside it `onlooker watch demo:// --server "
            "https://127.0.0.1:8000 --ca ~/.cache/onlooker/tls/ca.pem`"
        )
    plan = DemoPlan(
        seconds=seconds,
        port=port,
        seed=seed,
        fps=fps,
        every_s=every,
        server_arguments=tuple(context.args),
    )
    raise typer.Exit(_run(Demo(plan, Console()).run(), ""))


def _masks(texts: list[str] | None) -> tuple[MaskConfig, ...] | None:
    try:
        return None if texts is None else tuple(map(read_mask, texts))
    except ClientError as error:
        raise typer.BadParameter(error.message) from None


def import_recordings(
    folder: Annotated[
        list[Path],
        typer.Argument(help="Folders with recordings (and all folders in them), or files."),
    ],
    camera: Annotated[
        str, typer.Option(help="The stream that they belong to; made where it does not exist.")
    ],
    start: Annotated[
        str | None,
        typer.Option(help="When one file began, such as '2026-11-29 13:45:00'."),
    ] = None,
    times: Annotated[
        str,
        typer.Option(
            help="What says when files began: 'auto' (the tag in the file, else its name), 'tag', "
            "'name', or 'modified' (when it was last written is its end)."
        ),
    ] = "auto",
    zone: Annotated[
        str | None,
        typer.Option(
            help="Time zone of names and of --start, such as Europe/Berlin. [this machine's]",
            show_default=False,
        ),
    ] = None,
    server: ServerOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    ca: CaOption = None,
    fps: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=60,
            help="Pictures a second of recorded time; default: as many as the server looks at.",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Decoder processes; default: all cores but one."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be imported, and when it was.")
    ] = False,
) -> None:
    """Import recordings into a stream by the wall clock, so that questions may name times and days.
    Started again, it goes on where it was."""  # fmt: skip

    async def run() -> int:
        within = zone_of(zone)
        plan = ImportPlan(
            places=tuple(folder),
            stream_id=camera,
            times=time_source(times),
            start_wall_s=start_of(start, within),
            zone=within,
            fps=fps,
            jobs=jobs or default_jobs(),
            is_dry=dry_run,
        )
        async with _started(server, api_key, import_options(ca)) as client:
            return await ImportCommand(client, plan, Console()).run()

    raise typer.Exit(_run(run(), server, stopped=EXIT_STOPPED))


def _save(files: Mapping[str, bytes], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


@asynccontextmanager
async def _started(
    server: str, api_key: str | None, options: ClientOptions
) -> AsyncGenerator[Client]:
    """A client of a server, once that is no longer starting, which is told and waited for."""
    told = Console(stderr=True)

    def tell(reason: str) -> None:
        told.print(Text(f"waiting for the server: {reason}", style="dim"))

    async with Client(server, api_key, options=options) as client:
        await client.until_started(tell)
        yield client


def _run(main: Coroutine[Any, Any, int], server: str, *, stopped: int = 0) -> int:
    """Run `main` to its end; an error becomes one clear line and an exit status. `stopped`: the
    status after Ctrl-C."""
    errors = Console(stderr=True)
    try:
        return asyncio.run(main)
    except KeyboardInterrupt:
        return stopped
    except ServerUnreachable as error:
        errors.print(
            Text(
                f"{error.message}\nStart a server with `onlooker serve`, or name one with --server "
                f"(now: {server}).",
                style="red",
            )
        )
        return EXIT_FAILED
    except ClientError as error:
        errors.print(Text(error.message, style="red"))
        return EXIT_USAGE
    except OnlookerError as error:
        errors.print(Text(error.message, style="red"))
        return EXIT_FAILED
