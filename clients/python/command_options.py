"""Options that several commands of a client take alike."""

from pathlib import Path
from typing import Annotated

import typer

from onlooker.clients.python.client import ENV_API_KEY

ServerOption = Annotated[str, typer.Option(envvar="ONLOOKER_URL", help="The server's address.")]

ApiKeyOption = Annotated[
    str | None, typer.Option(envvar=ENV_API_KEY, help="API key, if the server wants one.")
]

CaOption = Annotated[
    Path | None,
    typer.Option("--ca", help="PEM file with the authority of an https server's certificate."),
]
