"""A judge that is elsewhere: requests and replies in files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import cupel


class QueueJudge(cupel.Judge):
    """Files for a judge that is elsewhere: another machine, a batch service, people.

    The first pass writes FOLDER/requests.jsonl, a line a request: {"id", "task", "item", "turn",
    "system", "prompt", "temperature", "seed", "max_tokens"}. Whoever judges writes
    FOLDER/replies.jsonl, {"id", "text"} a line (or {"id", "error"}), in any order. The same call then
    reads it; what has no reply is pending, and nothing is scored before all are there. One folder is
    for one pass.

    Raises:
        FormatError: A line of replies.jsonl that is no reply, or whose id is unknown or comes twice.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        super().__init__()
        self.folder = Path(folder)

    def info(self) -> cupel.JudgeInfo:
        return cupel.JudgeInfo("queue", keeps_replies=True)

    def reply(self, requests: Sequence[cupel.JudgeRequest]) -> list[cupel.JudgeReply]:
        """A reply for each request, pending where there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write({request.id: request for request in requests})
        found = self._read({request.id for request in requests})
        nothing = cupel.JudgeReply(pending=True)
        return [found.get(request.id, nothing) for request in requests]

    def _write(self, requests: dict[str, cupel.JudgeRequest]) -> None:
        lines = [
            json.dumps(
                {
                    "id": id,
                    "task": request.task,
                    "item": request.item_id,
                    "turn": request.turn,
                    "system": request.system,
                    "prompt": request.prompt,
                    "temperature": request.temperature,
                    "seed": request.seed,
                    "max_tokens": request.max_tokens,
                },
                ensure_ascii=False,
            )
            for id, request in requests.items()
        ]
        data = "".join(line + "\n" for line in lines).encode()
        path = self.folder / "requests.jsonl"
        if path.exists() and path.read_bytes() == data:
            return
        if path.exists() and (self.folder / "replies.jsonl").exists():
            raise ValueError(
                f"[QueueJudge] a folder is for one pass. Got {self.folder}, which holds replies to "
                "other requests; another folder keeps both."
            )
        half = path.with_suffix(".half")
        half.write_bytes(data)
        half.replace(path)

    def _read(self, known: set[str]) -> dict[str, cupel.JudgeReply]:
        path = self.folder / "replies.jsonl"
        found: dict[str, cupel.JudgeReply] = {}
        if not path.exists():
            return found

        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue

                def fail(rule: str, number: int = number) -> cupel.FormatError:
                    return cupel.FormatError(f"{path} (line {number}): {rule}")

                try:
                    entry = json.loads(line.decode("utf-8"))
                except ValueError:
                    raise fail("is no JSON object in UTF-8.") from None
                id = entry.get("id") if isinstance(entry, dict) else None
                text = entry.get("text") if isinstance(entry, dict) else None
                error = entry.get("error") if isinstance(entry, dict) else None
                if not isinstance(id, str) or (isinstance(text, str) == isinstance(error, str)):
                    raise fail('a reply is {"id": ..., "text": ...}, or "error" for the text.')
                if id not in known:
                    raise fail(f"replies to no request of requests.jsonl. Got id {id[:80]!r}.")
                if id in found:
                    raise fail(f"is a second reply to {id[:80]!r}.")
                found[id] = (
                    cupel.JudgeReply(text)
                    if isinstance(text, str)
                    else cupel.JudgeReply(error=error or "an error without words")
                )
        return found
