"""The ``onlooker`` command: serve, show the settings, and the client's own commands."""

import json
import shlex
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from onlooker.core.clock import SystemClock
from onlooker.core.errors import ConfigError, OnlookerError
from onlooker.core.log import configure_logging, configure_logging_as_parent
from onlooker.core.metrics import Metrics
from onlooker.core.settings import load_settings
from onlooker.engine.sizing.chip import CHIPS
from onlooker.engine.sizing.report import figures, lines
from onlooker.engine.sizing.request import make_plan
from onlooker.server.certificates import open_certificates
from onlooker.server.config import ServerSection, Settings
from onlooker.server.gateways.gatehouse import serve_gateways
from onlooker.server.gateways.messages import BecameReady
from onlooker.server.release import package_version
from onlooker.server.serving import address, bind, make_server, quiet_uvicorn, run
from onlooker.server.wiring import make_engine, make_gateway

# Processes that vLLM spawns import the server's main module before anything else; what they have to
# say from then on is written as the server writes. In the server itself this does nothing.
configure_logging_as_parent()

OWN_PROCESS = object()
"""Context of a command that has the process to itself and may end it; given by `main`."""

DEFAULT_BASE = "http://127.0.0.1:8000"
"""Where the clients' commands look for a server that nobody names."""

EXIT_CONFIG = 2
"""Exit status for everything that the person who starts the server must change."""

app = typer.Typer(
    name="onlooker",
    help="Watch live video with a video language model, and answer while watching.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="A TOML file with settings.", show_default=False)
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="NAME=VALUE", help="Any setting, such as streams.max_streams=8."
    ),
]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"onlooker {package_version()}")
        raise typer.Exit


@app.command()
def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes any free one. [8000]")] = None,
    model: Annotated[
        str | None, typer.Option(help="'demo', a folder with weights, or a hub name. [demo]")
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="'segments' (remembers what left the window), 'resend' (does not, and serves "
            "any model), or 'fake' to try the server without a model. [segments]"
        ),
    ] = None,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            help="A key that clients must show (others can see it in the process list; "
            "prefer ONLOOKER_SERVER__API_KEYS)."
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Serve https and wss with this certificate (PEM).")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key (PEM).")] = None,
    tls_self_signed: Annotated[
        bool,
        typer.Option("--tls-self-signed", help="Serve https with a certificate of our own making."),
    ] = False,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error. [info]")
    ] = None,
    gateways: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that take frames, on one port in front of one engine; more than one "
            "need a Redis. [1]",
        ),
    ] = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Serve: WebSocket, HTTP and the page, until Ctrl-C."""
    overrides = {
        "server.host": host,
        "server.port": port,
        "server.api_keys": tuple(api_key) if api_key else None,
        "server.tls.cert": tls_cert,
        "server.tls.key": tls_key,
        "server.tls.self_signed": tls_self_signed or None,
        "server.log_level": log_level,
        "server.gateways": gateways,
        "engine.model": model,
        "engine.mode": mode,
        **_assigned(assignments),
    }
    try:
        settings = load_settings(Settings, config_file=config, overrides=overrides)
        _start_logs(settings.server)
        sys.exit(_serve(settings, may_end_process=context.obj is OWN_PROCESS))
    except ConfigError as error:
        _refuse(error)


@app.command("config")
def show_config(config: ConfigFile = None, assignments: Assignments = None) -> None:
    """Print the effective settings, secrets masked, as JSON."""
    try:
        settings = load_settings(Settings, config_file=config, overrides=_assigned(assignments))
    except ConfigError as error:
        _refuse(error)
    typer.echo(json.dumps(settings.model_dump(mode="json"), indent=2))


@app.command()
def plan(
    model: Annotated[str, typer.Option(help="'demo', a folder, or a hub name.")],
    gpu: Annotated[str, typer.Option(help=f"One of {', '.join(CHIPS)}.")] = "h100",
    streams: Annotated[int, typer.Option(min=1, help="Streams at once.")] = 100,
    hours: Annotated[float, typer.Option(min=0, help="Hours that each remembers.")] = 24,
    clips_per_s: Annotated[
        float, typer.Option(min=0, help="Clips (of two frames) a second of each stream.")
    ] = 0.5,
    questions_per_min: Annotated[
        float, typer.Option(min=0, help="Questions a minute about each stream.")
    ] = 1,
    frame: Annotated[
        str | None, typer.Option(help="Size of frames, such as 512x384. None: the model's own.")
    ] = None,
    efficiency: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of the GPU's data sheet that is reached.")
    ] = 0.4,
    host_gib: Annotated[
        float,
        typer.Option(min=0.1, help="Memory of the GPU's host that the server may use, in GiB."),
    ] = 128,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures for programs.")] = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Reckon what a model, a GPU and so many streams need, without loading anything.

    Ends with status 1 where it would not work."""
    try:
        settings = load_settings(Settings, config_file=config, overrides=_assigned(assignments))
        made = make_plan(
            model,
            gpu=gpu,
            streams=streams,
            hours=hours,
            clips_per_s=clips_per_s,
            questions_per_min=questions_per_min,
            frame=frame,
            efficiency=efficiency,
            host_gib=host_gib,
            settings=settings.engine,
        )
    except ConfigError as error:
        _refuse(error)
    if as_json:
        typer.echo(json.dumps(figures(made, model), indent=2))
    else:
        for line in lines(made, model):
            _say(line)
    for fault in made.faults():
        typer.echo(f"onlooker: this does not work: {fault}", err=True)
    raise typer.Exit(1 if made.faults() else 0)


def _serve(settings: Settings, *, may_end_process: bool) -> int:
    """Serve until stopped; return the exit status."""
    if settings.server.gateways > 1:
        return _serve_gateways(settings)
    clock, metrics = SystemClock(), Metrics()
    tls = settings.server.tls
    certificates = open_certificates(tls, host=settings.server.host, clock=clock, metrics=metrics)
    with closing(bind(settings.server)) as bound:
        base = address(settings.server, bound)
        _say(f"onlooker {package_version()}: mode {settings.engine.mode}, port open at {base}")
        if tls.self_signed and certificates is not None:
            _say(
                f"self-signed certificate: browsers warn of it; clients trust {certificates.trust}"
            )
            _say(f"its fingerprint (SHA-256) is {certificates.current.fingerprint}")
        engine = make_engine(settings, clock=clock, metrics=metrics)
        gateway = make_gateway(settings, engine=engine, clock=clock, metrics=metrics)

        def on_ready() -> None:
            info = gateway.hub.info
            _say(f"ready: model '{info.model}'; it knows {info.knows}")
            _say(f"page {base}/   API docs {base}/docs   metrics {base}/metrics   (Ctrl-C stops)")
            own = certificates if tls.self_signed else None
            _say_next_steps(base, ca=None if own is None else own.trust)

        server, failures = make_server(
            gateway,
            certificates=certificates,
            progress=lambda line: _say(f"  ... {line}"),
            on_ready=on_ready,
        )
        if may_end_process:
            server.end_in_any_case(clock)
        run(server, bound)
    return _ended(failures[0] if failures else None)


def _serve_gateways(settings: Settings) -> int:
    """Serve with several gateways until stopped; return the exit status."""

    def on_ready(told: BecameReady, base: str) -> None:
        _say(f"ready: model '{told.model}'; it knows {told.knows}")
        _say(f"page {base}/   API docs {base}/docs   (Ctrl-C stops)")
        _say_next_steps(base)

    return _ended(serve_gateways(settings, clock=SystemClock(), say=_say, on_ready=on_ready))


def _ended(failure: OnlookerError | None) -> int:
    """Tell the person at the terminal how serving has ended; return the exit status."""
    if failure is None:
        _say("stopped")
        return 0
    typer.echo(f"onlooker: {failure.message}", err=True)
    return EXIT_CONFIG if isinstance(failure, ConfigError) else 1


def _say_next_steps(base: str, *, ca: Path | None = None) -> None:
    for line in next_steps(base, command_here(), ca=ca):
        _say(line)


def command_here() -> str:
    """How people start our command: a server that `make serve` has started is in an environment
    that the shell does not know."""
    if shutil.which("onlooker"):
        return "onlooker"
    if sys.argv[0].endswith(".py"):
        return shlex.join((sys.executable, "-m", "onlooker.server"))
    return shlex.quote(sys.argv[0])


def next_steps(base: str, command: str = "onlooker", *, ca: Path | None = None) -> tuple[str, ...]:
    """Three things to do with a server that has just been started, for people. `command`: how they
    start ours. `ca`: the file that clients are to trust, where the certificate is of our own
    making."""
    server = "" if base == DEFAULT_BASE else f" --server {base}"
    if ca is not None:
        server += f" --ca {shlex.quote(str(ca))}"
    return (
        "Three things to do next:",
        f"  look and ask      open {base}/ and pick the webcam, or the drawn world",
        f"  watch a camera    {command} watch rtsp://CAMERA --ask 'Who is there?'{server}",
        f"  be told           {command} watch demo:// --alert 'a red circle appears'{server}",
    )


def _assigned(assignments: list[str] | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for assignment in assignments or ():
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            _refuse(ConfigError(f"--set wants NAME=VALUE, such as server.port=9000: {assignment}"))
        values[name.strip()] = value
    return values


def _start_logs(section: ServerSection) -> None:
    style = section.log_style
    if style == "auto":
        style = "text" if sys.stderr.isatty() else "json"
    configure_logging(level=section.log_level, style=style, repeats=section.log_repeats)
    quiet_uvicorn()


def _refuse(error: OnlookerError) -> "typer.Exit":
    typer.echo(f"onlooker: {error.message}", err=True)
    raise SystemExit(EXIT_CONFIG)


def _say(line: str) -> None:
    """Tell the person at the terminal; at once, also through a pipe."""
    typer.echo(line)
    sys.stdout.flush()


def main() -> None:
    """The entry point of the ``onlooker`` command."""
    _add_client_commands()
    app(obj=OWN_PROCESS)


def _add_client_commands() -> None:
    # Imported here, and only for the command that needs it: serving must not depend on the client.
    if len(sys.argv) > 1 and sys.argv[1] in ("serve", "config", "plan", "--version"):
        return
    from onlooker.clients.python.cli import register
    from onlooker.server import eval_command
    from onlooker.server.mcp import stdio_command

    register(app)
    eval_command.register(app)
    stdio_command.register(app)
