"""What is kept of pictures' regions: whole files, bounded, shared by threads and processes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from shelfqa.machine import cache_folder
from shelfqa.models.region_cache import RegionCache

SHAPE = (4, 64)


def array(number: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.full(SHAPE, number, dtype=np.float32)


def kept(cache: RegionCache, tower: str = "tower") -> set[int]:
    return {number for number in range(9) if cache.get(tower, f"{number:02d}", SHAPE) is not None}


def test_what_is_kept_is_found_under_its_tower_and_shape(tmp_path: Path) -> None:
    cache = RegionCache(tmp_path)
    cache.keep("tower", "05", array(5))
    found = RegionCache(tmp_path).get("tower", "05", SHAPE)
    assert found is not None
    assert found.tobytes() == array(5).tobytes()
    assert cache.get("tower", "05", (5, 64)) is None
    assert kept(cache, "other") == set()


def test_broken_files_are_not_believed(tmp_path: Path) -> None:
    cache = RegionCache(tmp_path)
    for number, content in enumerate((b"", b"<html>", None)):
        cache.keep("tower", f"{number:02d}", array(number))
        file = next(tmp_path.rglob(f"{number:02d}.npy"))
        file.write_bytes(file.read_bytes()[:-5] if content is None else content)
    np.save(tmp_path / "tower" / "00" / "00.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert kept(cache) == set()


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = RegionCache(tmp_path, max_bytes=5 * 1300)
    for number in range(5):
        cache.keep("tower", f"{number:02d}", array(number))
        os.utime(next(tmp_path.rglob(f"{number:02d}.npy")), (1e9 + number, 1e9 + number))
    assert cache.get("tower", "00", SHAPE) is not None
    cache.keep("tower", "05", array(5))
    cache.sweep()
    assert kept(cache) == {0, 2, 3, 4, 5}


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    cache = RegionCache(tmp_path)
    cache.keep("tower", "05", array(5))
    old, new = (tmp_path / "tower" / "05" / f"05.npy.{number}.partial" for number in (1, 2))
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    cache.sweep()
    assert (old.exists(), new.exists()) == (False, True)
    assert kept(cache) == {5}


def test_threads_may_keep_the_same_picture(tmp_path: Path) -> None:
    cache = RegionCache(tmp_path)

    def work(turn: int) -> bool:
        cache.keep("tower", f"{turn % 3:02d}", array(turn % 3))
        found = cache.get("tower", f"{turn % 3:02d}", SHAPE)
        return found is not None and bool((found == turn % 3).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))
    assert list(tmp_path.rglob("*.partial")) == []


def test_the_folder_is_the_users_and_can_be_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SHELFQA_CACHE", raising=False)
    assert cache_folder() == tmp_path / "shelfqa"
    monkeypatch.setenv("SHELFQA_CACHE", "Off")
    assert cache_folder() is None
