"""A W&B server on the loopback for tests: takes runs and their history, and gives the history back."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class StubRun:
    name: str
    project: str
    config: str = "{}"
    finished: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    def node(self) -> dict[str, Any]:
        last_step = self.history[-1]["_step"] if self.history else -1
        return {
            "__typename": "Run",
            "id": self.name,
            "internalId": self.name,
            "name": self.name,
            "displayName": self.name,
            "state": "finished" if self.finished else "running",
            "config": self.config,
            "summaryMetrics": json.dumps(self.summary),
            "historyLineCount": len(self.history),
            "historyKeys": {"lastStep": last_step, "keys": {}, "sets": []},
            "historyTail": json.dumps([json.dumps(row) for row in self.history[-1:]]),
            "eventsLineCount": 0,
            "eventsTail": "[]",
            "logLineCount": 0,
            "wandbConfig": "{}",
            "systemMetrics": "{}",
            "tags": [],
            "readOnly": False,
            "createdAt": "2020-01-01T00:00:00Z",
            "heartbeatAt": "2020-01-01T00:00:00Z",
            "user": {"name": "tester", "username": "tester"},
            "projectId": "1",
            "project": {"id": "1", "internalId": "1", "name": self.project, "entity": {"id": "1", "name": "team"}},
            **dict.fromkeys(("sweepName", "group", "jobType", "commit", "description", "notes", "benchmarkRun")),
        }


class WandbStub:
    """`with WandbStub() as stub:` serves at `stub.url`; `stub.runs` holds what arrived."""

    def __init__(self) -> None:
        self.runs: dict[str, StubRun] = {}
        self.queries: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[tuple[float, str]] = []  # when, and for what
        self.refusals: dict[str, int] = {}  # how many more requests are answered 429, by the end of their path
        handler = type("Handler", (_Handler,), {"stub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> WandbStub:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer a GraphQL query; told apart by the fields they ask for."""
        self.queries.append((query, variables))
        if "upsertBucket" in query:
            return {"upsertBucket": {"bucket": self._upsert(variables).node(), "inserted": True}}
        if "__type" in query:
            return {alias: {"name": alias, "fields": []} for alias in re.findall(r"(\w+)\s*:\s*__type", query)}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
        answer: dict[str, Any] = {}
        if "viewer" in query:
            answer["viewer"] = {
                "id": "1",
                "entity": "team",
                "username": "tester",
                "flags": "{}",
                "teams": {"edges": []},
                "admin": False,
            }
        if "serverInfo" in query:
            versions = {"min_cli_version": "0.1", "max_cli_version": "99"}
            answer["serverInfo"] = {"cliVersionInfo": versions, "latestLocalVersionInfo": None, "features": []}
        if "project(" in query or "model(" in query:
            project = {"id": "1", "internalId": "1", "name": "aiotwin", **self._run_fields(variables)}
            answer |= {"project": project, "model": project}
        return answer

    def _upsert(self, variables: dict[str, Any]) -> StubRun:
        name = variables["name"]
        run = self.runs.setdefault(name, StubRun(name, variables.get("project") or "p"))
        run.config = variables.get("config") or run.config
        return run

    def _run_fields(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = next((variables[key] for key in ("run", "name", "runName", "runId") if variables.get(key)), None)
        run = self.runs.get(str(name))
        if run is None:
            return {"run": None, "bucket": None}
        low, high = variables.get("minStep") or 0, variables.get("maxStep") or 10**9
        rows = [row for row in run.history if low <= row["_step"] < high]
        node = {
            **run.node(),
            "history": [json.dumps(row) for row in rows],
            "parquetHistory": {"parquetUrls": [], "liveData": rows},
        }
        return {"run": node, "bucket": node}

    def take(self, name: str, stream: dict[str, Any]) -> None:
        """Take a file stream message: lines of the history, the summary, the end."""
        run = self.runs[name]
        files = stream.get("files") or {}
        if history := files.get("wandb-history.jsonl"):
            run.history[history["offset"] :] = map(json.loads, history["content"])
        if summary := files.get("wandb-summary.json"):
            run.summary = json.loads(summary["content"][-1])
        run.finished |= bool(stream.get("complete"))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: WandbStub

    def do_POST(self) -> None:
        body = json.loads(self._body() or b"{}")
        self.stub.asked.append((time.monotonic(), self.path))
        if limited := next((end for end in self.stub.refusals if self.path.endswith(end)), None):
            self.stub.refusals[limited] -= 1
            if self.stub.refusals[limited] == 0:
                del self.stub.refusals[limited]
            self._send({"error": "rate limit exceeded"}, status=429)
            return
        if self.path.startswith("/graphql"):
            self._send({"data": self.stub.answer(body["query"], body.get("variables") or {})})
        elif self.path.endswith("/file_stream"):
            self.stub.take(self.path.split("/")[-2], body)
            self._send({"limits": {}})
        else:
            self._send({}, status=404)

    def do_GET(self) -> None:
        self._send({}, status=404)

    def do_PUT(self) -> None:
        self._body()
        self._send({})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, answer: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("RateLimit-Remaining", "0")
            self.send_header("RateLimit-Reset", "2")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
