"""Turn a product catalogue into a visual question answering model that knows its products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shelfqa.metrics.scoring import score

__version__ = "0.1.0"

__all__ = ["__version__", "score"]


def __getattr__(name: str) -> Any:
    """Load `score` when it is first asked for, so that `import shelfqa` costs next to nothing."""
    if name == "score":
        from shelfqa.metrics.scoring import score

        return score
    raise AttributeError(f"module 'shelfqa' has no attribute {name!r}")
