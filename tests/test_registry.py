from __future__ import annotations

import pytest

from shelfqa.errors import ConfigError
from shelfqa.registry import Registry


def test_loads_by_name_only_when_asked() -> None:
    registry = Registry("metric", {"normal": "shelfqa.text:normalize_answer", "absent": "no.such.module:x"})
    assert list(registry) == ["absent", "normal"]
    assert registry.load("normal")("The Mug") == "mug"
    with pytest.raises(ConfigError, match=r"Unknown metric 'norml'. Did you mean 'normal'\?"):
        registry.load("norml")


def test_collisions_raise() -> None:
    registry = Registry("metric", {"a": "m:x"})
    registry.add("a", "m:x")
    with pytest.raises(ConfigError, match="already registered as 'm:x', not 'm:y'"):
        registry.add("a", "m:y")
