"""Shared fixtures: no hub, no network, the real slice where it is at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SHELFQA_CACHE", "off")

ROOT = Path(__file__).resolve().parent.parent
ABO_SLICE = ROOT.parent / "shared" / "abo"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="also run the tests marked slow")
    parser.addoption("--rungpu", action="store_true", help="also run the tests marked gpu")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for mark, flag in (("slow", "--runslow"), ("gpu", "--rungpu")):
        if not config.getoption(flag):
            skip = pytest.mark.skip(reason=f"needs {flag}")
            for item in items:
                if mark in item.keywords:
                    item.add_marker(skip)


@pytest.fixture(scope="session")
def abo_slice() -> Path:
    """The folder of real photographs, questions and answers; the test is skipped where it is missing."""
    if not ABO_SLICE.exists():
        pytest.skip(f"needs the Amazon Berkeley Objects slice at {ABO_SLICE}")
    return ABO_SLICE


@pytest.fixture
def no_gradients() -> Iterator[None]:
    """Compute without gradients: `pytestmark = pytest.mark.usefixtures("no_gradients")`."""
    import torch

    with torch.no_grad():
        yield


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random `mini`."""
    import torch

    from tiny_models import mini_checkpoint

    torch.set_num_threads(1)
    return mini_checkpoint(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="session")
def model(checkpoint_folder: Path) -> str:
    """The same as `--model` takes it; tests of other models have a `model` of their own."""
    return str(checkpoint_folder)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Four pictures, each of one colour that the tiny `mini` can learn."""
    from tiny_models import COLOURS, picture

    paths = [tmp_path / f"{name}.png" for name in COLOURS]
    for seed, (path, rgb) in enumerate(zip(paths, COLOURS.values(), strict=True)):
        picture(rgb, seed).save(path)
    return paths
