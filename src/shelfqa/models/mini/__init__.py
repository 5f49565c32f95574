"""`mini`: a small visual question answering model for product photographs, shipped inside the package.

Importing this package imports no torch; `modeling` and `processing` do.
"""

from __future__ import annotations

from pathlib import Path


def checkpoint_dir() -> Path:
    """Return the folder of the shipped checkpoint."""
    return Path(__file__).resolve().parent / "checkpoint"
