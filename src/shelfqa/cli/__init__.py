"""The command line: `shelfqa COMMAND …`.

Commands load when they are used, so that `shelfqa --help` costs no more than click. Data goes to stdout, progress
and messages to stderr. Exit codes: 0 done, 1 a finding, 2 the user's mistake, 3 a fault of ours, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NamedTuple

import click

import shelfqa
from shelfqa.errors import ShelfqaError, did_you_mean


class _Command(NamedTuple):
    address: str
    help: str


_COMMANDS = {
    "run": _Command("shelfqa.cli.run:run", "Run a recipe: catalogue to tuned, measured model and report."),
    "demo-catalogue": _Command("shelfqa.cli.catalogue:demo_catalogue", "Draw a synthetic catalogue in ABO's layout."),
    "download": _Command("shelfqa.cli.download:download", "Fetch the public archives of a catalogue and unpack them."),
    "curate": _Command("shelfqa.cli.catalogue:curate", "Read listings, drop what cannot be used, say why."),
    "generate": _Command("shelfqa.cli.questions:generate", "Write question-answer pairs about the products."),
    "split": _Command("shelfqa.cli.questions:split", "Split into train, validation and test without leaks."),
    "train": _Command("shelfqa.cli.models:train", "Fine-tune a model with LoRA."),
    "merge": _Command("shelfqa.cli.merge:merge", "Merge an adapter into a full checkpoint that answers alike."),
    "predict": _Command("shelfqa.cli.models:predict", "Answer questions with a model."),
    "ask": _Command("shelfqa.cli.ask:ask", "Ask about one photograph, and see where the model looked."),
    "score": _Command("shelfqa.cli.scores:score", "Score predictions, with intervals."),
    "report": _Command("shelfqa.cli.scores:report", "Write one offline HTML page about a run."),
    "models": _Command("shelfqa.cli.models:models", "List the models that shelfqa knows by name."),
    "metrics": _Command("shelfqa.cli.scores:metrics", "List the metrics."),
    "providers": _Command("shelfqa.cli.providers:providers", "List hosted models' providers and what each needs."),
    "doctor": _Command("shelfqa.cli.doctor:doctor", "Say what this machine has, lacks, and can run."),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.address.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"No command {args[0]!r}.{did_you_mean(args[0], _COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in _COMMANDS.items()])


_EPILOG = "Start with:  shelfqa run recipes/demo.yaml"


@click.group(
    cls=_Lazy, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(shelfqa.__version__, prog_name="shelfqa")
def app() -> None:
    """Turn a product catalogue into a visual question answering model that knows its products."""


def main() -> None:
    """Run the command line and exit with its code; a user's mistake prints one line and no traceback."""
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        app(standalone_mode=False, prog_name="shelfqa")
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("shelfqa: stopped. Run the same command again to go on.", err=True)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ShelfqaError as error:
        click.echo(f"shelfqa: error: {error}", err=True)
        return error.exit_code
    except Exception as error:
        if os.environ.get("SHELFQA_DEBUG"):
            raise
        click.echo(
            f"shelfqa: internal error: {type(error).__name__}: {error} "
            "(a fault of shelfqa's: run again with SHELFQA_DEBUG=1 and report what it prints)",
            err=True,
        )
        return 3
    return 0
