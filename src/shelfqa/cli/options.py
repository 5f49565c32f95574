"""Flags made from a stage's `Config` class, and the few that all stages share."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from shelfqa.artifacts import Manifest
from shelfqa.config import Config, ConfigT, from_mapping, variants_in
from shelfqa.errors import UserError
from shelfqa.providers.settings import ClientConfig

F = TypeVar("F", bound=Callable[..., Any])

ARTIFACT = click.Path(path_type=Path)
"""A file or folder; stages say themselves what is wrong with it."""

out_option = click.option("--out", type=ARTIFACT, required=True, help="Folder to write.")
images_option = click.option(
    "--images", type=ARTIFACT, help="Folder that image paths are relative to. [default: the one the input names]"
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="Where to run: auto, cpu, cuda, cuda:1, mps."
)
retry_failed_option = click.option(
    "--retry-failed", is_flag=True, help="Ask a hosted or local model again what failed in a finished run."
)
CLIENT_OPTIONS = tuple(field.name for field in msgspec.structs.fields(ClientConfig))
"""The options that `config_options(ClientConfig)` makes."""
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


class SectionedCommand(click.Command):
    """A command whose help shows its options under headings; those that no section names stand under the last."""

    def __init__(self, *arguments: Any, sections: Mapping[str, Sequence[str]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section in the order of its names."""
        records = {
            str(param.name): record
            for param in self.get_params(ctx)
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None
        }
        *_, last = self._sections
        named = {name for names in self._sections.values() for name in names}
        for heading, names in self._sections.items():
            others = [name for name in records if name not in named] if heading == last else []
            with formatter.section(heading):
                formatter.write_dl([records[name] for name in (*names, *others)])


def config_options(cls: type[Config], *, leave_out: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Return a decorator that adds a flag for each field of `cls`; see `config_from`."""

    def decorate(command: F) -> F:
        for field in reversed(msgspec.structs.fields(cls)):
            if field.name not in leave_out:
                command = _option(field)(command)
        return command

    return decorate


def config_from(cls: type[ConfigT], options: dict[str, Any], **extra: Any) -> ConfigT:
    """Return the `cls` that the flags in `options` describe; flags that were not given keep the class's default."""
    fields = {field.name for field in msgspec.structs.fields(cls)}
    given = {}
    for name in fields & options.keys():
        value = options[name]
        if value is None or value == ():
            continue
        given[name] = list(value) if isinstance(value, tuple) else value
    for name, value in given.items():
        if isinstance(value, list) and _is_mapping(cls, name):
            given[name] = dict(_pair(name, item) for item in value)
        elif isinstance(value, list) and variants_in(_annotation(cls, name)):
            given[name] = [_as_yaml(name, item) for item in value]
    return from_mapping(cls, given | extra, where="command line")


def _pair(name: str, item: str) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not equals:
        raise UserError(f"--{name.replace('_', '-')} {item!r}: expected key=value.")
    return key, value


def _as_yaml(name: str, item: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(item)
    except yaml.YAMLError:
        raise UserError(f"--{name.replace('_', '-')} {item!r}: expected YAML, such as '{{key: value}}'.") from None


def _option(field: msgspec.structs.FieldInfo) -> Callable[[F], F]:
    plain, description = _unwrap(field.type)
    flag = "--" + field.name.replace("_", "-")
    if field.default not in (msgspec.NODEFAULT, None, "", (), [], {}):
        told = {True: "yes", False: "no"}[field.default] if plain is bool else field.default
        description += f" [default: {told}]"
    if plain is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", field.name, default=None, help=description)
    origin = typing.get_origin(plain)
    if origin is typing.Literal:
        return click.option(flag, field.name, type=click.Choice(typing.get_args(plain)), help=description)
    if origin in (list, tuple, dict):
        suffix = " key=value;" if origin is dict else ""
        return click.option(flag, field.name, multiple=True, help=f"{description}{suffix} Repeat for several.")
    kind = plain if plain in (int, float, str) else None
    return click.option(flag, field.name, type=kind, help=description)


def _annotation(cls: type[Config], name: str) -> Any:
    return next(field.type for field in msgspec.structs.fields(cls) if field.name == name)


def _is_mapping(cls: type[Config], name: str) -> bool:
    return typing.get_origin(_unwrap(_annotation(cls, name))[0]) is dict


def _unwrap(annotation: Any) -> tuple[Any, str]:
    """Return the type inside `Annotated` and `| None`, and the description that goes with it."""
    description = ""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation, *metadata = typing.get_args(annotation)
            for meta in metadata:
                if isinstance(meta, msgspec.Meta) and meta.description:
                    description = meta.description
        elif origin in (typing.Union, types.UnionType):
            members = [member for member in typing.get_args(annotation) if member is not type(None)]
            annotation = members[0]
        else:
            return annotation, description


def show_manifest(manifest: Manifest, out: Path, as_json: bool) -> None:
    """Print what a stage did: one line, and the drops by reason; or the whole manifest as JSON."""
    if as_json:
        click.echo(msgspec.json.encode(manifest).decode())
        return
    click.echo(manifest_line(manifest, out))


def manifest_line(manifest: Manifest, out: Path) -> str:
    """Return one line on a stage's counts and where its result lies."""
    counts = manifest.counts
    dropped = ", ".join(f"{reason} {number:,}" for reason, number in sorted(counts.dropped.items()))
    text = f"{counts.read:,} read, {counts.kept:,} kept" if counts.read else "done"
    return f"{text}{f' (dropped: {dropped})' if dropped else ''}, {manifest.seconds:.1f} s -> {out}"
