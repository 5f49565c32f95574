"""What of shelfqa is installed: which extras are complete, and which packages the others lack."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import NamedTuple

_DISTRIBUTION = "shelfqa"


class Extra(NamedTuple):
    """An extra of the distribution and the packages that it lacks here."""

    missing: tuple[str, ...]
    """Names of packages; with the version that is there, where that is not one that the extra takes."""
    install: str
    """The command that mends it."""


def extras() -> Mapping[str, Extra]:
    """Return each extra that the installed distribution declares, by name.

    Raises:
        PackageNotFoundError: if the package runs from a folder without being installed.

    """
    from packaging.requirements import Requirement

    names = importlib.metadata.metadata(_DISTRIBUTION).get_all("Provides-Extra") or []
    needed = [Requirement(line) for line in importlib.metadata.requires(_DISTRIBUTION) or []]
    found = {}
    for name in sorted(names):
        own = [
            each
            for each in needed
            if each.name != _DISTRIBUTION
            and each.marker is not None
            and each.marker.evaluate({"extra": name})
            and not each.marker.evaluate({"extra": ""})
        ]
        missing = [lack for each in own if (lack := _lack(each.name, str(each.specifier))) is not None]
        found[name] = Extra(tuple(missing), f"pip install '{_DISTRIBUTION}[{name}]'")
    return found


def version_of(package: str) -> str | None:
    """Return the installed version of a package, without importing it; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _lack(package: str, wanted: str) -> str | None:
    from packaging.specifiers import SpecifierSet

    version = version_of(package)
    if version is None:
        return package
    return None if SpecifierSet(wanted).contains(version, prereleases=True) else f"{package}{wanted} (has {version})"
