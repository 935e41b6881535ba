"""`onlooker eval`: benchmarks of the field, put to a running server.

The benchmarks stand above the server in the plan of rooms, so that it cannot know them: their
program is run by its name, with the arguments as they are.
"""

import runpy
import sys

import typer

PROGRAM = "onlooker.benchmarks.adapters"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(
        "eval",
        add_help_option=False,  # the benchmarks' program has its own
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(evaluate)


def evaluate(context: typer.Context) -> None:
    """Put a benchmark of the field to a running server: NAME --data FOLDER. Without arguments: list
    all."""
    sys.argv = [PROGRAM, *context.args]
    runpy.run_module(PROGRAM, run_name="__main__", alter_sys=True)
