"""Download: the public archives of Amazon Berkeley Objects, unpacked into the folder that `curate` reads."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from shelfqa.artifacts import write_atomically
from shelfqa.catalogue import archives, download
from shelfqa.catalogue.download import Remote, in_units
from shelfqa.config import Config
from shelfqa.errors import ConfigError, InputError, StorageError
from shelfqa.progress import progress, say

__all__ = ["ABO_URL", "CREDIT", "Archive", "DownloadConfig", "Downloaded", "download_abo"]

ABO_URL = "https://amazon-berkeley-objects.s3.amazonaws.com/archives/"
CREDIT = "Images and listings (c) Amazon.com, CC BY 4.0."
RECORD = ".download.json"


class DownloadConfig(Config, frozen=True):
    """Settings of `download abo`."""

    images: Annotated[
        Literal["small", "original", "none"],
        Meta(description="Pictures to fetch: small (256 px, about 3 GB), original (about 110 GB) or none."),
    ] = "small"
    base_url: Annotated[str, Meta(description="Address of the folder of archives, for a mirror.")] = ABO_URL
    keep_archives: Annotated[bool, Meta(description="Keep each archive after it is unpacked.")] = False


class Archive(msgspec.Struct, kw_only=True):
    """What became of one archive."""

    name: str
    state: Literal["unpacking", "unpacked"]
    size: int
    """Bytes."""
    etag: str | None = None
    files: int = 0
    refused: dict[str, int] = {}
    """Members that were not written, by reason."""


class Downloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did."""

    out: str
    archives: list[Archive]
    unpacked: list[str]
    """Names of the archives that this run unpacked; the others were there."""
    seconds: float
    credit: str = CREDIT


class _Source(NamedTuple):
    name: str
    holds: str
    """A folder that is there once the archive is unpacked."""
    files: int
    """About how many files it holds, for the estimate of space."""


_LISTINGS = _Source("abo-listings.tar", "listings/metadata", 20)
_PICTURES = {
    "small": _Source("abo-images-small.tar", "images/small", 398_212),
    "original": _Source("abo-images-original.tar", "images/original", 398_212),
}


def download_abo(out: Path, config: DownloadConfig) -> Downloaded:
    """Fetch and unpack the archives that `out` lacks; a run that was broken off goes on where it stopped.

    An archive that lies in `out` under its own name is unpacked without asking the network.

    Raises:
        ConfigError: if `base_url` is no address.
        InputError: if an archive is broken, or is not what its name says.
        StorageError: if there is not enough space, or the disk does not let us write.
        UserError: if the network or the server says no.

    """
    if not config.base_url.startswith(("http://", "https://")):
        raise ConfigError(f"--base-url {config.base_url!r}: expected an address that begins with https:// or http://.")
    started = time.monotonic()
    with archives.writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
    record = _read_record(out)
    wanted = [_LISTINGS, *([_PICTURES[config.images]] if config.images != "none" else [])]
    lacking = [source for source in wanted if not _is_done(record, out, source)]
    base = config.base_url.rstrip("/")
    remotes = {
        source.name: download.probe(f"{base}/{source.name}", out / source.name)
        for source in lacking
        if not (out / source.name).is_file()
    }
    _require_space(out, config, lacking, remotes, record)
    for source in lacking:
        if source.name in remotes:
            remotes[source.name] = _fetch(remotes[source.name], out / source.name)
        _unpack(out, source, remotes.get(source.name), record)
        if not config.keep_archives:
            with archives.writing_to(out):
                (out / source.name).unlink()
    return Downloaded(
        out=str(out),
        archives=[record[source.name] for source in wanted],
        unpacked=[source.name for source in lacking],
        seconds=round(time.monotonic() - started, 2),
    )


def _fetch(remote: Remote, target: Path) -> Remote:
    have = download.resumable_bytes(remote, target)
    say(f"{target.name}: {in_units(remote.size)}{f', going on at {in_units(have)}' if have else ''}")
    with _megabytes(f"fetching {target.name}", remote.size - have) as tick:
        return download.fetch(remote, target, lambda there, note: tick(max(there - have, 0), note))


def _unpack(out: Path, source: _Source, remote: Remote | None, record: dict[str, Archive]) -> None:
    archive = out / source.name
    size = archive.stat().st_size
    resume = _is_under_way(record, source, size)
    if not resume:
        etag = remote.etag if remote is not None else None
        record[source.name] = Archive(name=source.name, state="unpacking", size=size, etag=etag)
        _write_record(out, record)
    with _megabytes(f"unpacking {source.name}", size) as tick:
        done = archives.unpack(archive, out, resume=resume, tick=lambda place: tick(place, ""))
    if not (out / source.holds).is_dir():
        raise InputError(
            f"{str(archive)!r} holds no {source.holds}, so it is not the archive of that name: delete it, then run the "
            "same command again, perhaps with another --base-url."
        )
    if done.refused:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in done.refused.items())
        say(f"{source.name}: {sum(done.refused.values()):,} members were not unpacked ({reasons}).")
    entry = record[source.name]
    entry.state, entry.files, entry.refused = "unpacked", done.written + done.present, done.refused
    _write_record(out, record)


def _require_space(
    out: Path, config: DownloadConfig, lacking: list[_Source], remotes: dict[str, Remote], record: dict[str, Archive]
) -> None:
    """Raise unless the disk holds the largest heap that fetching and unpacking one archive after the other makes.

    What is still to fetch is known to the byte. What unpacking takes is estimated (`unpacked_bytes_estimate`), but
    counted member by member where an archive was partly unpacked before. An archive that is deleted after unpacking
    gives its bytes back to the next.
    """
    used = needed = 0
    for source in lacking:
        archive = out / source.name
        remote = remotes.get(source.name)
        size = remote.size if remote is not None else archive.stat().st_size
        if remote is not None:
            used += size - download.resumable_bytes(remote, archive)
        if remote is None and _is_under_way(record, source, size):
            used += archives.missing_bytes(archive, out)
        else:
            used += archives.unpacked_bytes_estimate(size, source.files)
        needed = max(needed, used)
        if not config.keep_archives:
            used -= size
    free = shutil.disk_usage(out).free
    if needed > free:
        fewer = {"original": ", take --images small", "small": ", take --images none"}.get(config.images, "")
        raise StorageError(
            f"Not enough space in {str(out)!r}: fetching and unpacking need about {in_units(needed)}, {in_units(free)} "
            f"are free. Free some{fewer} or give another --out."
        )


@contextmanager
def _megabytes(label: str, size: int) -> Iterator[download.Tick]:
    """Show progress in whole megabytes of 10^6 bytes."""
    last = (-1, "")
    with progress(f"{label}, MB", -(-size // 10**6)) as tick:

        def show(there: int, note: str) -> None:
            nonlocal last
            if (there // 10**6, note) != last:
                last = (there // 10**6, note)
                tick(*last)

        yield show


def _is_done(record: dict[str, Archive], out: Path, source: _Source) -> bool:
    entry = record.get(source.name)
    return entry is not None and entry.state == "unpacked" and (out / source.holds).is_dir()


def _is_under_way(record: dict[str, Archive], source: _Source, size: int) -> bool:
    entry = record.get(source.name)
    return entry is not None and entry.state == "unpacking" and entry.size == size


def _read_record(out: Path) -> dict[str, Archive]:
    path = out / RECORD
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=list[Archive])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"Cannot read {str(path)!r} ({error}): delete it, then run the same command again.") from None
    return {entry.name: entry for entry in entries}


def _write_record(out: Path, record: dict[str, Archive]) -> None:
    entries = sorted(record.values(), key=lambda entry: entry.name)
    write_atomically(out / RECORD, msgspec.json.format(msgspec.json.encode(entries), indent=2))
