"""A provider whose replies are written down: for tests, and to replay a run without paying for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from shelfqa.errors import InputError
from shelfqa.providers.base import ProviderError, Reply, Request


class Scripted:
    """Replies from a table of prompts, or by a function, which may raise `ProviderError`."""

    name = "scripted"

    def __init__(self, replies: Mapping[str, str] | Callable[[str], str], *, model: str = "scripted") -> None:
        self._replies = replies
        self.model = model

    async def ask(self, request: Request, pictures: Sequence[bytes]) -> Reply:
        """Return what is written down for the prompt of `request`; nothing else of it is looked at.

        Raises:
            ProviderError: if the table does not hold the prompt.

        """
        prompt = request.prompt
        if callable(self._replies):
            return Reply(text=self._replies(prompt), model=self.model)
        if prompt not in self._replies:
            raise ProviderError(f"the script {self.model!r} holds no reply to this prompt", kind="request")
        return Reply(text=self._replies[prompt], model=self.model)

    async def close(self) -> None:
        """Do nothing."""


def from_file(path: str, *, base_url: str = "", timeout_s: float = 0) -> Scripted:
    """Return the provider of the replies in a JSON file: an object from prompts to replies.

    Args:
        path: the file.
        base_url: not looked at, as is `timeout_s`: what the other providers take.
        timeout_s: see `base_url`.

    Raises:
        InputError: if the file is missing or holds anything else.

    """
    try:
        replies = msgspec.json.decode(Path(path).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(
            f"Cannot read the script {path!r}: {error}; it is a JSON object of prompts to replies."
        ) from None
    return Scripted(replies, model=path)
