"""How stages meet: a folder of Parquet tables with a `manifest.json`.

`build` runs a stage's body into a hidden work folder, moves the finished files into place and writes the manifest
last. So a folder with a manifest is whole; a finished stage with the same settings and inputs is not run again; a
stage that was broken off finds in `StageRun.work` whatever its body kept there and goes on.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import shelfqa
from shelfqa.digests import content_digest, digest_of, file_digest, size_bytes
from shelfqa.errors import InputError, StorageError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from shelfqa.records import Drop

MANIFEST = "manifest.json"
_WORK, _BEGUN = ".work", "begun.json"
_POLL_S = 0.1


class Counts(msgspec.Struct, kw_only=True):
    """How many rows a stage read, kept, and dropped for which reason; read = kept + all dropped."""

    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = msgspec.field(default_factory=dict)


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """One file or folder that a stage wrote."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What made a folder: stage, settings, inputs, counts, and what the stage wants remembered."""

    stage: str
    version: str
    config: dict[str, Any]
    seed: int | None
    inputs: dict[str, str]
    images: str | None
    fingerprint: str
    seconds: float
    counts: Counts
    details: dict[str, Any]
    outputs: dict[str, Output]


class Begun(msgspec.Struct, frozen=True, array_like=True):
    """A run that was begun in a folder and has not ended."""

    stage: str
    key: str
    earlier: list[str]
    """What a run that ended has left in the folder."""


class StageRun:
    """One run of a stage: where its body writes, counts and keeps partial work."""

    def __init__(self, out: Path, work: Path, key: str = "") -> None:
        self.out = out
        self.key = key
        """Equal for runs with the same settings and inputs."""
        self.work = work
        """Survives a kill; a body may keep parts here and find them when the same stage is run again."""
        self.finished = work / "finished"
        """Everything in here moves to `out` when the body returns."""
        self.counts = Counts()
        self.details: dict[str, Any] = {}
        self.images: Path | None = None
        """The folder that image paths are relative to, for the stages that follow."""

    def drop(self, reason: str, number: int = 1) -> None:
        """Count rows that are left out, under a short reason."""
        if number:
            self.counts.dropped[reason] = self.counts.dropped.get(reason, 0) + number

    def drop_rows(self, drops: Iterable[Drop]) -> None:
        """Count rows that are left out, and list them in `dropped.parquet` in order of file and line."""
        import pyarrow as pa

        from shelfqa.records import DROPPED_COLUMNS

        ordered = sorted(drops, key=lambda drop: (drop.file, drop.line, drop.reason, drop.detail))
        for drop in ordered:
            self.drop(drop.reason)
        self.counts.dropped = dict(sorted(self.counts.dropped.items()))
        self.write_table("dropped", pa.Table.from_pylist([drop._asdict() for drop in ordered], schema=DROPPED_COLUMNS))

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write `<name>.parquet`."""
        write_parquet(self.finished / f"{name}.parquet", table)

    def write_batches(self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        """Write `<name>.parquet` batch by batch, for tables that need not fit in memory."""
        import pyarrow.parquet as pq

        path = self.finished / f"{name}.parquet"
        partial = path.with_name(path.name + ".partial")
        with storage_errors(path), pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
        partial.replace(path)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file in UTF-8."""
        with storage_errors(self.finished / name):
            (self.finished / name).write_text(text, encoding="utf-8")


def build(
    stage: str,
    out: Path,
    config: msgspec.Struct,
    inputs: Mapping[str, Path],
    body: Callable[[StageRun], None],
    *,
    again: bool = False,
) -> Manifest:
    """Run `body` unless `out` already holds what it would make, and return the manifest.

    Args:
        stage: the stage's name, for the manifest.
        out: the folder to make; what an earlier, different run left in it is replaced.
        config: the settings; together with `inputs` they decide whether the stage has been done.
        inputs: files and folders that the stage reads, by role.
        body: does the work through the `StageRun` it is given.
        again: whether to run it also where it is done.

    Raises:
        InputError: if an input does not exist.
        StorageError: if `out` cannot be written.

    """
    settings, prints, key = identity(stage, out, config, inputs)
    done, before = read_manifest(out, missing_ok=True), begun(out)
    if not again and done is not None and done.fingerprint == key and _outputs_present(out, done):
        return done
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        work = out / _WORK
        if work.exists() and (before is None or before.key != key):
            shutil.rmtree(work)
        (work / "finished").mkdir(parents=True, exist_ok=True)
        earlier = list(done.outputs) if done is not None else before.earlier if before is not None else []
        write_atomically(work / _BEGUN, msgspec.json.encode(Begun(stage, key, earlier)))
        (out / MANIFEST).unlink(missing_ok=True)
    run = StageRun(out, work, key)
    started = time.monotonic()
    with storage_errors(out):
        body(run)
        outputs = {}
        for path in sorted(run.finished.iterdir()):
            outputs[path.name] = Output(bytes=size_bytes(path), sha256=content_digest(path))
            _replace(path, out / path.name)
        for stale in set(earlier) - set(outputs):
            _remove(out / stale)
        manifest = Manifest(
            stage=stage,
            version=shelfqa.__version__,
            config=settings,
            seed=settings.get("seed"),
            inputs=prints,
            images=str(run.images.resolve()) if run.images is not None else None,
            fingerprint=key,
            seconds=round(time.monotonic() - started, 2),
            counts=run.counts,
            details=run.details,
            outputs=outputs,
        )
        write_atomically(out / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        shutil.rmtree(work)
    return manifest


def assist(
    stage: str,
    out: Path,
    config: msgspec.Struct,
    inputs: Mapping[str, Path],
    body: Callable[[StageRun], None],
    *,
    patience_s: float = 600.0,
) -> None:
    """Run `body` beside another process that runs `build` with the same arguments, or nothing if that is done.

    What `body` leaves in `StageRun.work` is there for the other process; it may write no tables.

    Raises:
        UserError: if no such process begins within `patience_s` seconds.

    """
    _, _, key = identity(stage, out, config, inputs)
    started = time.monotonic()
    while (under_way := begun(out)) is None or under_way.key != key:
        done = read_manifest(out, missing_ok=True)
        if done is not None and done.fingerprint == key and _outputs_present(out, done):
            return
        if time.monotonic() - started > patience_s:
            raise UserError(f"The first process has not begun to write {str(out)!r} in {patience_s:.0f} seconds.")
        time.sleep(_POLL_S)
    with storage_errors(out):
        body(StageRun(out, out / _WORK, key))


def begun(out: Path) -> Begun | None:
    """Return the run that is under way in a folder, or was broken off there; None if there is none."""
    try:
        return msgspec.json.decode((out / _WORK / _BEGUN).read_bytes(), type=Begun)
    except (OSError, msgspec.DecodeError):
        return None


def identity(
    stage: str, out: Path, config: msgspec.Struct, inputs: Mapping[str, Path]
) -> tuple[dict[str, Any], dict[str, str], str]:
    """Return settings and the inputs' fingerprints, and the key that tells this run of `build` from all others."""
    settings: dict[str, Any] = msgspec.to_builtins(config)
    prints = {role: fingerprint(path, leave_out=out) for role, path in sorted(inputs.items())}
    key = digest_of([stage, shelfqa.__version__, msgspec.json.encode(settings).decode(), *map(str, prints.items())])
    return settings, prints, key


def read_manifest(folder: Path, *, missing_ok: bool = False) -> Manifest | None:
    """Return the manifest of an artifact folder.

    Raises:
        InputError: if there is none (and not `missing_ok`), or it cannot be read.

    """
    path = folder / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        if missing_ok:
            return None
        raise InputError(f"{str(folder)!r} holds no {MANIFEST}: give the folder that a shelfqa stage wrote.") from None
    except (NotADirectoryError, msgspec.DecodeError) as error:
        if missing_ok:
            return None
        raise InputError(f"Cannot read {str(path)!r}: {error}.") from None


def image_folder(questions: Path, images: Path | None) -> Path:
    """Return the folder that image paths are relative to: `images`, or else the one that the artifact names.

    Raises:
        InputError: if neither is there.

    """
    if images is None:
        manifest = read_manifest(questions, missing_ok=True) if questions.is_dir() else None
        if manifest is None or manifest.images is None:
            raise InputError(f"{str(questions)!r} does not say where its pictures are: give the folder with --images.")
        images = Path(manifest.images)
    if not images.is_dir():
        raise InputError(f"The folder of pictures {str(images)!r} does not exist: give another with --images.")
    return images


def read_table(path: Path, name: str, columns: Iterable[str] = ()) -> pa.Table:
    """Return the table `name` of an artifact folder, or the Parquet file that `path` itself is.

    Raises:
        InputError: if it is missing, unreadable, or lacks one of `columns`.

    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = path / f"{name}.parquet" if path.is_dir() else path
    try:
        table = pq.read_table(file)
    except FileNotFoundError:
        raise InputError(f"No file at {str(file)!r}: expected a folder that holds {name}.parquet.") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{str(file)!r} is no readable Parquet file: {str(error).splitlines()[0]}.") from None
    lacking = [column for column in columns if column not in table.column_names]
    if lacking:
        raise InputError(f"{str(file)!r} lacks the column {lacking[0]!r}; it has {', '.join(table.column_names)}.")
    return table


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file so that it is either whole or absent."""
    import pyarrow.parquet as pq

    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        pq.write_table(table, partial, compression="zstd")
        partial.replace(path)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is either whole or as it was."""
    with storage_errors(path):
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission into one line that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if full:
            message = f"No space left while writing {str(path)!r}: free some, then run the same command again."
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            message = f"No permission to write {str(error.filename or path)!r}: give another --out."
        elif error.errno in (errno.ENOTDIR, errno.EEXIST):
            message = f"{str(error.filename or path)!r} is in the way: give another --out."
        else:
            raise
        raise StorageError(message) from None


def fingerprint(path: Path, *, leave_out: Path | None = None) -> str:
    """Return a digest that changes when the artifact, file or folder at `path` does.

    Artifacts and files are told by their content, other folders by the names, sizes and times of their files, but for
    those in `leave_out`: what a stage writes into a folder that it reads is no other input.

    Raises:
        InputError: if there is nothing at `path`.

    """
    if not path.exists():
        raise InputError(f"There is no file or folder at {str(path)!r}.")
    if path.is_file():
        return file_digest(path)
    manifest = read_manifest(path, missing_ok=True)
    if manifest is not None:
        return digest_of(_current_outputs(path, manifest))
    entries = []
    place = leave_out.resolve() if leave_out is not None else None
    for root, folders, files in os.walk(path):
        shown = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in shown if place is None or (Path(root) / name).resolve() != place]
        for name in sorted(files):
            file = Path(root) / name
            stat = file.lstat()
            entries.append(f"{file.relative_to(path)} {stat.st_size} {stat.st_mtime_ns}")
    return digest_of(entries)


def _current_outputs(path: Path, manifest: Manifest) -> Iterator[str]:
    made = (path / MANIFEST).stat().st_mtime_ns
    for name, output in sorted(manifest.outputs.items()):
        file = path / name
        if not file.exists():
            raise InputError(f"{str(file)!r} is gone: run the stage {manifest.stage!r} again.")
        edited = file.is_file() and (file.stat().st_size != output.bytes or file.stat().st_mtime_ns > made)
        yield f"{name} {file_digest(file) if edited else output.sha256}"


def _outputs_present(out: Path, manifest: Manifest) -> bool:
    return all(
        (out / name).exists() and (not (out / name).is_file() or (out / name).stat().st_size == output.bytes)
        for name, output in manifest.outputs.items()
    )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _replace(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)
