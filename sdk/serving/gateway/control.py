"""Serves the control protocol on the gateway's unix socket; the docstring of the package describes the protocol."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from .app import Conflict, Gateway
from .heads import Refusal, read_request
from .logs import ReplicaLog
from .records import RecordChanged
from .replies import render
from .runner import ReplicaFailed
from .table import TableError, encode, parse

_MAX_TABLE = 16 * 1024 * 1024
_HEAD = 64 * 1024
_TAIL = 100  # log lines returned if a request sets no number


class Control:
    """The server of the control requests of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, EOFError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        try:
            request = read_request(head, max_url=_HEAD, max_headers=100)
        except Refusal as refusal:
            writer.write(render(refusal.status, _error(refusal.code, refusal.message), keep=False))
            return False
        if not 0 <= request.length <= _MAX_TABLE:
            message = f"Send at most {_MAX_TABLE} bytes with a Content-Length."
            writer.write(render(413, _error("body_too_large", message), keep=False))
            return False
        body = await reader.readexactly(request.length)
        status, value = await self._handle(request.method.decode(), request.fields.url.decode(), body)
        writer.write(render(status, value, keep=not request.close))
        await writer.drain()
        return not request.close

    async def _handle(self, method: str, target: str, body: bytes) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(target)
        try:
            return await self._dispatch(method, parts.path, dict(parse_qsl(parts.query)), body)
        except (TableError, ValueError, RecursionError) as error:
            return 400, _error("bad_request", str(error))
        except Conflict as conflict:
            generation = self._gateway.table.generation if self._gateway.table else 0
            return 409, _error(conflict.code, str(conflict), generation=generation)
        except RecordChanged as change:
            return 409, _error("record_changed", str(change), present=msgspec.to_builtins(change.present))
        except ReplicaFailed as failure:
            runner = failure.runner
            exit_ = runner.status()["last_exit"]
            details = {"replica": runner.replica.id, "last_exit": exit_, "log": runner.log.tail(_TAIL)}
            return 424, _error("replica_failed", str(failure), **details)
        except OSError as error:
            return 507, _error("not_stored", f"It could not be stored: {error}.")

    async def _dispatch(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        gateway, status = self._gateway, 200
        value: dict[str, Any]
        match method, path:
            case "GET", "/status":
                value = gateway.status()
            case "GET", "/metrics":
                value = gateway.metrics(_seconds(query, "window", 3600.0))
            case "GET", "/table":
                value = {"table": None if gateway.table is None else json.loads(encode(gateway.table))}
            case "PUT", "/table":
                status, value = await self._put_table(query, body)
            case "GET", "/records":
                records = msgspec.to_builtins(gateway.records.all())  # reading them detects the damaged ones
                value = {"records": records, "damaged": gateway.records.damaged()}
            case (("PUT" | "DELETE"), _) if path.startswith("/records/"):
                value = self._swap_record(method, path.removeprefix("/records/"), query.get("expected"), body)
            case "GET", "/logs":
                value = self._logs(query)
            case "POST", "/drain":
                status, value = await self._drain(query)
            case "POST", "/stop":
                gateway.stop()
                status, value = 202, {"stopping": True}
            case _:
                status, value = 404, _error("unknown_call", f"There is no {method} {path}.")
        return status, value

    def _swap_record(self, method: str, name: str, expected: str | None, body: bytes) -> dict[str, Any]:
        records = self._gateway.records
        if method == "PUT":
            value = msgspec.json.decode(body, type=dict[str, Any])
            record: dict[str, Any] = msgspec.to_builtins(records.put(name, value, expected))
            return record
        if expected is None:
            raise ValueError("expected: name the etag of the record to delete")
        records.delete(name, expected)
        return {"deleted": name}

    async def _put_table(self, query: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        table = parse(body)
        if query.get("next") == "1":
            table = self._gateway.renumber(table)
        timeout = _seconds(query, "timeout_s", table.limits.start_s)
        patience = _seconds(query, "wait_s", 2 * timeout)
        try:
            await asyncio.wait_for(self._gateway.apply(table, timeout_s=timeout), patience)
        except TimeoutError:  # applying the table continues in the background
            return 202, {"generation": table.generation, "applying": True}
        if query.get("wait_drained") == "1":
            await self._gateway.drained()
        return 200, {"generation": table.generation, "retiring": sorted(self._gateway.retiring)}

    async def _drain(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        try:
            async with asyncio.timeout(_seconds(query, "timeout_s", 60.0)):
                await self._gateway.drained()
        except TimeoutError:
            return 504, _error("still_draining", f"Still ending: {', '.join(sorted(self._gateway.retiring))}.")
        return 200, {"retiring": []}

    def _logs(self, query: dict[str, str]) -> dict[str, Any]:
        logs = self._chosen_logs(query.get("deployment"), query.get("replica"))
        tail = int(query.get("tail", _TAIL))
        before = msgspec.json.decode(query["cursor"], type=dict[str, int]) if "cursor" in query else None
        cursor: dict[str, int] = {}
        entries: list[dict[str, str]] = []
        for name, log in logs.items():
            if before is None:
                lines, cursor[name] = log.tail(tail), log.end
            else:
                lines, cursor[name] = log.after(before.get(name, 0))
            entries += [{"replica": name, "text": line} for line in lines]
        return {"lines": entries, "cursor": json.dumps(cursor)}

    def _chosen_logs(self, deployment: str | None, replica: str | None) -> dict[str, ReplicaLog]:
        gateway = self._gateway
        table = gateway.table
        if replica is not None:
            path = gateway.folder / "logs" / f"{Path(replica).name}.log"
            return {replica: gateway.runners[replica].log if replica in gateway.runners else ReplicaLog(path)}
        runners = gateway.runners
        if deployment is not None:
            if table is None or deployment not in table.deployments:
                raise ValueError(f"deployment: there is no {deployment!r}")
            names = {member.id for member in table.deployments[deployment].replicas}
            runners = {name: runner for name, runner in runners.items() if name in names}
        return {name: runner.log for name, runner in runners.items()}


def _seconds(query: dict[str, str], name: str, default: float) -> float:
    value = float(query.get(name, default))
    if not 0 < value < 1e9:
        raise ValueError(f"{name}: {value} must be a number of seconds above 0")
    return value


def _error(code: str, message: str, **details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **details}}
