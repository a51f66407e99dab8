"""A judge behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import json
import os
import queue
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cupel

_LARGEST_REPLY = 1 << 24  # bytes
_LONGEST_WAIT = 600.0  # seconds; who asks for more has a limit a day, and fails
_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}


class CostLimit(RuntimeError):
    """The replies have cost as much as `max_cost` allows; those that came are kept."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key to another host, and make a GET of the POST."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _Failed(Exception):
    """A request that will not do better when it is sent again."""


class _Again(Exception):
    """A request that may do better later; `wait` in seconds if the server said so."""

    def __init__(self, why: str, wait: float | None = None):
        super().__init__(why)
        self.wait = wait


class _Pace:
    """Lets requests start at most so many a minute, whichever thread they are of."""

    def __init__(self, per_minute: float | None):
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._gap
        stop.wait(start - now)

    def hold(self, seconds: float) -> None:
        """No request starts before then: a limit of the server is one for all threads."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def _retry_after(headers: Any) -> float | None:
    """Seconds of a Retry-After header, which may be a date."""
    text = headers.get("Retry-After") if headers else None
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class OpenAIJudge(cupel.Judge):
    """A model behind an OpenAI-compatible chat endpoint, hosted or local (vLLM, llama.cpp, ...).

    Requests that meet a limit (429), a failing server (5xx), a timeout or a dropped connection are
    sent again, at the time that Retry-After names, else after a wait that doubles. The key is sent to
    this endpoint alone and written nowhere.

    Args:
        base_url: As OpenAI's clients take it: https://host/v1; /chat/completions is added.
        model: Its name there.
        key_env: Environment variable that holds the key; none is sent where it is not set, or None.
        retries: Times that a request is sent again.
        backoff: Seconds before the first of these, doubled for each further one, at most 60.
        requests_per_minute: At most so many requests start; None = no limit.
        timeout: Seconds to wait for the server.
        concurrency: Requests under way together.
        prices: (prompt, reply), for a million tokens each; what the server counts is priced so.
        max_cost: CostLimit is raised before a request that starts beyond it; needs prices.
        extra: Further fields of each request ({"top_p": 1}); None takes a field away ({"seed": None}).

    Raises:
        ValueError: An address with a key, a query or a fragment in it; a key that would travel
            unencrypted; a key that the server refuses (401, 403).
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        key_env: str | None = "OPENAI_API_KEY",
        retries: int = 8,
        backoff: float = 1.0,
        requests_per_minute: float | None = None,
        timeout: float = 120.0,
        concurrency: int = 8,
        prices: tuple[float, float] | None = None,
        max_cost: float | None = None,
        extra: dict[str, Any] | None = None,
    ):
        super().__init__()
        url = urllib.parse.urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(
                f"[OpenAIJudge] base_url is http(s)://HOST/PATH. Got {url.scheme}://{url.hostname}."
            )
        if "@" in url.netloc or url.query or url.fragment:
            raise ValueError(
                "[OpenAIJudge] base_url holds no key, query or fragment; it is written into results."
            )
        for name, value, least in (
            ("retries", retries, 0),
            ("backoff", backoff, 0),
            ("concurrency", concurrency, 1),
        ):
            if value < least:
                raise ValueError(f"[OpenAIJudge] {name} is at least {least}. Got {value}.")
        for name, value in (("timeout", timeout), ("requests_per_minute", requests_per_minute)):
            if value is not None and value <= 0:
                raise ValueError(f"[OpenAIJudge] {name} is above 0. Got {value}.")
        if max_cost is not None and prices is None:
            raise ValueError("[OpenAIJudge] max_cost needs prices.")
        self._key_env = key_env
        if self._key() and url.scheme == "http" and not _is_loopback(url.hostname):
            raise ValueError(
                f"[OpenAIJudge] a key travels encrypted. Got http:// and a key in ${key_env}; "
                "use https://, or key_env=None for a server that takes none."
            )
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.cost = 0.0
        """What replies have cost since this object was made."""
        self.sent = 0
        """Requests sent, those sent again included."""
        self._retries = retries
        self._backoff = backoff
        self._timeout = timeout
        self._concurrency = concurrency
        self._prices = prices
        self._max_cost = max_cost
        self._extra = dict(extra or {})
        self._pace = _Pace(requests_per_minute)
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._lock = threading.Lock()

    def info(self) -> cupel.JudgeInfo:
        settings = {"base_url": self.base_url}
        if self._extra:
            settings["extra"] = json.dumps(self._extra, sort_keys=True)
        return cupel.JudgeInfo("openai", self.model, settings)

    def __repr__(self) -> str:
        return f"OpenAIJudge({self.base_url!r}, {self.model!r})"

    def reply(
        self, requests: Sequence[cupel.JudgeRequest]
    ) -> Iterator[tuple[int, cupel.JudgeReply] | None]:
        """Replies as they come; None while there is none."""
        todo: queue.Queue[int] = queue.Queue()
        for index in range(len(requests)):
            todo.put(index)
        done: queue.Queue[tuple[int, Any]] = queue.Queue()
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                try:
                    index = todo.get_nowait()
                except queue.Empty:
                    return
                try:
                    done.put((index, self._answer(requests[index], stop)))
                except BaseException as error:  # raised again where replies are taken
                    done.put((index, error))

        # Not an executor: the interpreter would wait for it after Ctrl-C.
        for _ in range(min(self._concurrency, len(requests))):
            threading.Thread(target=work, daemon=True).start()
        fatal: BaseException | None = None
        try:
            left = len(requests)
            while left:
                try:
                    index, made = done.get(timeout=0.2)
                except queue.Empty:
                    yield None
                    continue
                left -= 1
                if isinstance(made, BaseException):
                    # Replies under way are still taken: they are paid for.
                    fatal = fatal or made
                    while not todo.empty():
                        try:
                            todo.get_nowait()
                            left -= 1
                        except queue.Empty:
                            break
                else:
                    yield index, made
        finally:
            stop.set()
        if fatal is not None:
            raise fatal

    def _key(self) -> str:
        return os.environ.get(self._key_env, "") if self._key_env else ""

    def _answer(self, request: cupel.JudgeRequest, stop: threading.Event) -> cupel.JudgeReply:
        """One request, sent until it is answered."""
        if self._max_cost is not None and self.cost >= self._max_cost:
            raise CostLimit(
                f"[OpenAIJudge] replies have cost {self.cost:.4g}, and max_cost is "
                f"{self._max_cost:.4g}. Those that came are kept; the same call goes on."
            )
        body = self._body(request)
        why = ""
        for attempt in range(self._retries + 1):
            self._pace.wait(stop)
            if stop.is_set():
                return cupel.JudgeReply(pending=True)
            try:
                return self._send(body)
            except _Failed as error:
                return cupel.JudgeReply(error=str(error))
            except _Again as error:
                why = str(error)
                if error.wait is not None:
                    self._pace.hold(error.wait)
                if attempt < self._retries:
                    # Threads that failed together do not come back together.
                    pause = min(60.0, self._backoff * 2**attempt) * random.uniform(0.5, 1.0)
                    stop.wait(pause if error.wait is None else error.wait)
        return cupel.JudgeReply(error=f"{why} ({self._retries + 1} times)")

    def _body(self, request: cupel.JudgeRequest) -> bytes:
        messages = [{"role": "user", "content": request.prompt}]
        if request.system:
            messages.insert(0, {"role": "system", "content": request.system})
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            "seed": request.seed,
        }
        body.update(self._extra)
        return json.dumps(
            {name: value for name, value in body.items() if value is not None}
        ).encode()

    def _send(self, body: bytes) -> cupel.JudgeReply:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        key = self._key()
        if key:
            headers["Authorization"] = f"Bearer {key}"

        def safe(text: object) -> str:  # servers repeat what they were sent
            shown = " ".join(str(text).split())
            return (shown.replace(key, "***") if key else shown)[:300]

        with self._lock:
            self.sent += 1
        request = urllib.request.Request(f"{self.base_url}/chat/completions", body, headers)
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                data = response.read(_LARGEST_REPLY + 1)
        except urllib.error.HTTPError as error:
            with error:
                try:
                    text = safe(error.read(4096).decode("utf-8", "replace"))
                except (OSError, http.client.HTTPException):
                    text = ""
            why = f"HTTP {error.code}: {text}"
            if error.code in (401, 403):
                raise ValueError(
                    f"[OpenAIJudge] {self.base_url} refuses the key in ${self._key_env}. Got {why}."
                ) from None
            # No credit left is no limit that passes.
            if error.code in _AGAIN and "insufficient_quota" not in text:
                wait = _retry_after(error.headers)
                if wait is None or wait <= _LONGEST_WAIT:
                    raise _Again(why, wait) from None
                why += f" (it asks to wait {wait:.0f} s)"
            raise _Failed(why) from None
        except (OSError, http.client.HTTPException) as error:  # dropped, refused, too slow
            raise _Again(f"{type(error).__name__}: {safe(error)}") from None
        if len(data) > _LARGEST_REPLY:
            raise _Failed("a reply of more than 16 MiB")
        return self._read(data, safe)

    def _read(self, data: bytes, safe: Callable[[object], str]) -> cupel.JudgeReply:
        try:
            made = json.loads(data)
            choice = made["choices"][0]
            text = choice["message"].get("content") or ""
            if not isinstance(text, str):
                raise TypeError("content is no text")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _Again(f"no chat completion: {safe(error)}") from None
        usage = made.get("usage") or {}
        prompt, new = (int(usage.get(f"{of}_tokens") or 0) for of in ("prompt", "completion"))
        cost = 0.0
        if self._prices is not None:
            cost = (prompt * self._prices[0] + new * self._prices[1]) / 1e6
            with self._lock:
                self.cost += cost
        return cupel.JudgeReply(
            text.encode("utf-8", "replace").decode(),  # half a surrogate pair is no text
            finish=str(choice.get("finish_reason") or ""),
            model=str(made.get("model") or ""),
            prompt_tokens=prompt,
            tokens=new,
            cost=cost,
        )
