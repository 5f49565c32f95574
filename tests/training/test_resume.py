from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shelfqa.artifacts import read_table
from tiny_models import blip_checkpoint, mini_checkpoint, questions_artifact

SCRIPT = Path(__file__).with_name("killed_run.py")
STEPS = 24


def run(*arguments: object) -> list[str]:
    done = subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("make", [mini_checkpoint, blip_checkpoint])
def test_killed_and_resumed_ends_with_the_same_bytes(make: Callable[[Path], Path], tmp_path: Path) -> None:
    model = make(tmp_path / make.__name__)
    questions = questions_artifact(tmp_path, broken=(2,))
    assert run(questions, tmp_path / "whole", model) == ["0 exit 0"]

    generator = random.Random(model.name)
    kills = sorted(generator.sample(range(1, STEPS - 1), 10))
    kills = [kill if place % 2 else -kill for place, kill in enumerate(kills)]
    told = run(questions, tmp_path / "killed", model, *kills, 0)
    assert told == [*(f"{kill} killed" for kill in kills), "0 exit 0"]

    for file in sorted((tmp_path / "whole" / "adapter").iterdir()):
        assert file.read_bytes() == (tmp_path / "killed" / "adapter" / file.name).read_bytes(), file.name
    histories = [
        read_table(tmp_path / name, "history").drop_columns(["seconds"]).to_pylist() for name in ("whole", "killed")
    ]
    assert histories[0] == histories[1]
    assert histories[0][-1]["step"] == STEPS
    assert not (tmp_path / "killed" / ".work").exists()
