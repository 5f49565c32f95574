from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest

from shelfqa.artifacts import Manifest, StageRun, build, fingerprint, read_manifest, read_table
from shelfqa.config import Config
from shelfqa.errors import InputError, StorageError


class Settings(Config, frozen=True):
    rows: int = 3
    seed: int = 7


def make(out: Path, config: Settings, source: Path, calls: list[str]) -> Manifest:
    def body(run: StageRun) -> None:
        calls.append("ran")
        run.write_table("numbers", pa.table({"n": list(range(config.rows))}))
        run.counts.read, run.counts.kept = config.rows + 1, config.rows
        run.drop("odd")

    return build("demo", out, config, {"source": source}, body)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("one")
    return path


def test_writes_table_and_manifest(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    manifest = make(out, Settings(), source, [])
    assert read_manifest(out) == manifest
    assert (manifest.stage, manifest.seed, manifest.counts.dropped) == ("demo", 7, {"odd": 1})
    assert read_table(out, "numbers").column("n").to_pylist() == [0, 1, 2]
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "numbers.parquet"]


def test_done_is_not_done_again(tmp_path: Path, source: Path) -> None:
    calls: list[str] = []
    for _ in range(3):
        make(tmp_path / "out", Settings(), source, calls)
    assert calls == ["ran"]


@pytest.mark.parametrize("change", ["config", "input", "output gone", "output cut", "manifest gone"])
def test_runs_again_when_something_changed(tmp_path: Path, source: Path, change: str) -> None:
    calls: list[str] = []
    out = tmp_path / "out"
    make(out, Settings(), source, calls)
    config = Settings(rows=5) if change == "config" else Settings()
    if change == "input":
        source.write_text("two")
    elif change == "output gone":
        (out / "numbers.parquet").unlink()
    elif change == "output cut":
        (out / "numbers.parquet").write_bytes(b"PAR1")
    elif change == "manifest gone":
        (out / "manifest.json").unlink()
    make(out, config, source, calls)
    assert len(calls) == 2
    assert read_table(out, "numbers").num_rows == config.rows


def test_a_broken_off_body_finds_its_work(tmp_path: Path, source: Path) -> None:
    seen: list[bool] = []

    def body(run: StageRun) -> None:
        part = run.work / "part"
        seen.append(part.exists())
        part.write_text("half")
        if len(seen) == 1:
            raise KeyboardInterrupt
        run.write_text("done.txt", "whole")

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build("demo", out, Settings(), {"source": source}, body)
    assert not (out / "manifest.json").exists()
    build("demo", out, Settings(), {"source": source}, body)
    assert seen == [False, True]
    assert not (out / ".work").exists()


def test_work_of_other_settings_is_thrown_away(tmp_path: Path, source: Path) -> None:
    def stop(run: StageRun) -> None:
        (run.work / "part").write_text("half")
        raise KeyboardInterrupt

    def look(run: StageRun) -> None:
        assert not (run.work / "part").exists()
        run.write_text("done.txt", "whole")

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build("demo", out, Settings(rows=1), {"source": source}, stop)
    build("demo", out, Settings(rows=2), {"source": source}, look)


def test_outputs_of_an_earlier_kind_of_run_go(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    make(out, Settings(), source, [])
    build("demo", out, Settings(rows=9), {"source": source}, lambda run: run.write_text("other.txt", "x"))
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "other.txt"]


def test_they_go_too_where_a_run_was_broken_off_since(tmp_path: Path, source: Path) -> None:
    def stop(run: StageRun) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    make(out, Settings(), source, [])
    for rows in (9, 9, 8):
        with pytest.raises(KeyboardInterrupt):
            build("demo", out, Settings(rows=rows), {"source": source}, stop)
    build("demo", out, Settings(rows=8), {"source": source}, lambda run: run.write_text("other.txt", "x"))
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "other.txt"]


def test_a_fingerprint_sees_an_edited_output(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    build("demo", out, Settings(), {"source": source}, lambda run: run.write_text("a.txt", "abc"))
    before = fingerprint(out)
    assert fingerprint(out) == before
    (out / "a.txt").write_text("abd")
    os.utime(out / "a.txt", ns=(2**62, 2**62))
    assert fingerprint(out) != before


def test_messages_name_what_is_missing(tmp_path: Path, source: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        make(tmp_path / "out", Settings(), tmp_path / "nowhere", [])
    with pytest.raises(InputError, match="holds no manifest"):
        read_manifest(tmp_path)
    make(tmp_path / "out", Settings(), source, [])
    with pytest.raises(InputError, match=r"lacks the column 'm'; it has n"):
        read_table(tmp_path / "out", "numbers", ["n", "m"])
    with pytest.raises(InputError, match="no readable Parquet"):
        read_table(source, "numbers")


def test_a_full_disk_is_one_line(tmp_path: Path, source: Path) -> None:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)

    def body(run: StageRun) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
        try:
            run.write_text("big.txt", "x" * 100_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)

    with pytest.raises(StorageError, match="No space left while writing"):
        build("demo", tmp_path / "out", Settings(), {"source": source}, body)


def test_a_file_in_the_way_is_one_line(source: Path) -> None:
    with pytest.raises(StorageError, match="in the way"):
        make(source, Settings(), source, [])


def test_kill_at_any_moment_leaves_whole_or_nothing(tmp_path: Path, source: Path) -> None:
    program = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        import pyarrow as pa
        from shelfqa.artifacts import build
        from shelfqa.config import Config
        class C(Config):
            pass
        def body(run):
            for k in range(40):
                run.write_table(f"t{{k}}", pa.table({{"n": list(range(2000))}}))
            print("writing", flush=True)
        print("start", flush=True)
        build("demo", Path({str(tmp_path / "out")!r}), C(), {{"source": Path({str(source)!r})}}, body)
        print("done", flush=True)
    """)
    out = tmp_path / "out"
    for delay_lines in (1, 2):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(delay_lines):
            process.stdout.readline()
        process.kill()
        process.wait()
        process.stdout.close()
        assert not (out / "manifest.json").exists() or len(list(out.glob("*.parquet"))) == 40
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    assert len(list(out.glob("t*.parquet"))) == 40
    assert read_manifest(out) is not None
