"""Dialogues, a scorer that answers from a table, and a stub of an OpenAI-compatible server."""

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cupel


class Table(cupel.Scorer):
    """Answers a prompt as its table has it; otherwise with the prompt itself."""

    def __init__(self, answers=None, fingerprint="weights"):
        super().__init__()
        self.answers = answers or {}
        self.fingerprint = fingerprint

    def info(self):
        model = cupel.TokenModelInfo(vocabulary=10, max_length=100, fingerprint=self.fingerprint)
        return cupel.ScorerInfo(model, "letters", {})

    def generate(self, requests):
        return [
            cupel.Generation(self.answers.get(r.prompt, f"to {r.prompt}"), 3, "end")
            for r in requests
        ]


class Dialogues(cupel.Task):
    """{"question_id", "category", "turns", "reference"} a line; each turn is asked as "ID|TURN"."""

    info = cupel.TaskInfo("dialogues", data="questions.jsonl")

    def load(self, path, options):
        items = []
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            fields = {"turns": entry["turns"]}
            if "reference" in entry:
                fields["reference"] = entry["reference"]
            items.append(cupel.TaskItem(str(entry["question_id"]), entry["category"], fields))
        return items

    def requests(self, item, protocol, outputs):
        if len(outputs) == len(item.list("turns")):
            return None
        return [cupel.GenerationRequest(f"{item.id}|{len(outputs) + 1}", max_new_tokens=8)]

    def score(self, item, protocol, outputs):
        return cupel.ItemScore({}, prediction=outputs[-1].generation.text)


def write_jsonl(path, entries):
    """An object a line."""
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def questions(count=6, turns=1, categories=("writing", "math")):
    return [
        {
            "question_id": i,
            "category": categories[i % len(categories)],
            "turns": [f"question {i}.{t + 1}?" for t in range(turns)],
        }
        for i in range(count)
    ]


@contextmanager
def dialogues_task():
    """The task "dialogues", for one test."""
    cupel.task("dialogues")(Dialogues)
    yield
    cupel.remove_task("dialogues")


def record(tmp_path, entries, answers=None, name="run", fingerprint="weights"):
    """Writes dialogues and the record of their answers; the folder that `cupel judge` takes."""
    data = write_jsonl(tmp_path / "questions.jsonl", entries)
    out = tmp_path / name
    cupel.evaluate(Table(answers, fingerprint), [f"dialogues:file={data}"], record=out / "records")
    return out


def judged(folder, judge, **options):
    """cupel.judge() of what record() wrote."""
    return cupel.judge(folder, judge, data=folder.parent / "questions.jsonl", **options)


class Stub:
    """Counts what it is asked; `plan(number, body)` says what happens to request `number`."""

    def __init__(self, plan=None, reply=None):
        self.plan = plan or (lambda number, body: "ok")
        self.reply = reply or (lambda body: "fine [[7]]")
        self.lock = threading.Lock()
        self.number = 0
        self.answered = Counter()  # prompt -> replies that went out whole
        self.headers = []
        self.bodies = []
        self.times = []


@contextmanager
def serving(stub):
    """The address of `stub` on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with stub.lock:
                stub.number += 1
                number = stub.number
                stub.headers.append(dict(self.headers))
                stub.bodies.append(body)
                stub.times.append(time.monotonic())
            what = stub.plan(number, body)
            if isinstance(what, tuple):  # status, headers, text
                status, headers, text = what
                return self.answer(status, text.encode(), headers)
            if what == "drop":
                self.close_connection = True
                return None
            if what == "half":  # a body that ends early
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                self.wfile.write(b'{"choices": [')
                self.close_connection = True
                return None
            if isinstance(what, float):
                time.sleep(what)
            if what == "nonsense":
                return self.answer(200, b"<html>", {})
            prompt = body["messages"][-1]["content"]
            made = {
                "model": "stub-1",
                "choices": [{"message": {"content": stub.reply(body)}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10},
            }
            try:
                self.answer(200, json.dumps(made).encode(), {})
            except OSError:
                return None
            with stub.lock:
                stub.answered[prompt] += 1
            return None

        def answer(self, status, data, headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
