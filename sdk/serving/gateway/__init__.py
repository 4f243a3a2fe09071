"""The gateway: one stable URL in front of the deployments of a `local` or `docker` endpoint.

    python -m mlport_serving gateway --dir DIR [--host 127.0.0.1] [--port 0] [--auth bearer|none]
                                     [--token-file FILE] [--allow-host NAME:PORT] [--detach]

    python -m mlport_serving gateway pipe unix:/DIR/control.sock | tcp:HOST:PORT

The second form joins its standard input and output to a socket, for clients that can run a command next to a gateway
but cannot connect to it: a client of a container engine uses the control protocol through it.

The first runs until SIGTERM or `POST /stop`. Exit codes: 0 stopped in order, 2 cannot start (one line on stderr states
the reason and the remedy), 3 another gateway already runs in DIR.

The folder
----------
DIR belongs to one endpoint and must have mode 0700:

- `gateway.lock`: locked as long as the gateway lives; the lock identifies the gateway of DIR
- `token`: the bearer token that clients must send, mode 0600, written by the creator of DIR
- `address.json`: the public address, chosen at the first start and reused at every later one
- `table.json`: the last acknowledged table, which is served again after a restart
- `control.sock`: the control protocol below
- `b-<replica>.lock`: locked as long as a process of that replica lives; a starting gateway kills processes that a
  dead one left
- `NAME.damaged-XXXX`: a file that could not be read and was set aside
- `records/<name>.json`: records that its managers have written, see the control protocol
- `logs/<replica>.log`, `logs/<replica>.log.1`: the output of replicas, limited in size; `logs/gateway.log`: the
  gateway's own log

With `--detach`, or MLPORT_GATEWAY_KEEPER=1, a small parent process restarts the gateway when it is killed, crashes or
hangs; `status` counts `restarts`.

The public side
---------------
Requests for any path are routed to a deployment chosen by weight, or to the one named by the request header
`x-mlport-deployment` (also at weight 0; an unknown name is a 404 that lists the known ones). The share of a deployment
without a ready replica is routed to the others. A client that closes its side of the connection counts as
disconnected, and its request is cancelled. Only `GET /healthz` is answered by the gateway itself, without a token: 200
if a request would find a ready replica (`ready`, or `ready in part` if some replicas are not), else 503. Responses
carry `x-mlport-deployment` and `x-request-id`. Errors of the gateway are `{"error": {"code", "message",
"request_id"}}`:

- 400 malformed or ambiguous request, 401 token, 403 foreign web page, 404 deployment, 405 method, 408 too slow,
  413 body, 414 URL, 415 content type, 417 expectation, 421 Host, 431 headers
- 502 `connect_failed`, `replica_lost`, `bad_response`; 503 `not_ready`, `overloaded` with Retry-After;
  504 `response_timeout`

A request with the header `x-mlport-probe` is a smoke test: it is answered, but not counted.

A request is sent again only if no replica has read it: the connection failed, or the replica had closed the idle
connection meanwhile. A request that crashes its replica therefore crashes only one. At most one request in ten is
sent again.

The control protocol
--------------------
HTTP/1.1 with JSON bodies on `control.sock`; the permissions of the socket control access. Errors are
`{"error": {"code", "message", ...}}`.

- `GET /status`: generation, address, deployments with their replicas' state (`starting`, `ready`, `unready`,
  `backoff`, `crash-loop`), pid, restarts, last exit, memory and CPU, requests in flight, counts by status, latency
    histogram. `since` is the start of the counts, `last_request_at` the time of the last request (to the minute),
    `applying` the generation that is being put in force, and `failure` the reason why the last one was not (generation,
    deployment, replica, message, last_exit, log), for callers that did not wait
- `GET /metrics?window=SECONDS`: the same counts over a window of up to a day, in whole minutes, for every
  deployment whose counts are kept, live or removed
- `GET /table`: `{"table": TABLE or null}`
- `PUT /table?timeout_s=S&wait_drained=0|1`: put a table in force. The response is 200 once every new replica is ready
  and the table is in force; removed replicas then finish their requests before they are stopped (`wait_drained=1`
  waits for that). 409 if the generation is not newer (`stale_generation`, `other_content`; the table already in force
  is a 200), was `overtaken`, or gives a known replica other content; 424 `replica_failed` with `replica`, `last_exit`
  and `log` if a new replica ended or was late, in which case the previous table stays in force; 507 if it cannot be
  stored.
  With `wait_s=W` the response comes after W seconds at most, as a 202 if the table is still being put in force.
  With `next=1` the generation in the body is ignored: the table gets the next one, unless one with the same content
  is in force or being put in force
- `GET /records`: `{"records": {NAME: {"etag", "created_at", "value"}}, "damaged": {NAME: FILE}}`; a damaged record is
  set aside as FILE and listed here until it is written again
- `PUT /records/NAME?expected=ETAG`: write the JSON object in the body under a name if the present record has this
  etag (without `expected`: if the record does not exist); 409 `record_changed` with `present` otherwise
- `DELETE /records/NAME?expected=ETAG`: remove it on the same condition
- `POST /drain?timeout_s=S`: wait until every removed replica has ended; 504 if some have not
- `GET /logs?deployment=ID&replica=ID&tail=N&cursor=C`: `{"lines": [{"replica", "text"}], "cursor"}`; pass the cursor
  to get the next lines
- `POST /stop`: 202, then finish the requests in flight, stop the replicas, remove the sockets

A table, with every optional field at its default (`table.Limits` documents `limits`):

    {"schema": 1, "generation": 7,
     "deployments": {"d1": {"weight": 100, "health": "/v2/health/ready", "replicas": [
        {"id": "d1-0", "address": "unix:/DIR/b-d1-0.sock",
         "spawn": {"argv": ["python", "-m", "mlport_serving", "serve"], "env": {}, "cwd": null,
                   "limits": {"memory_bytes": null, "open_files": null, "file_bytes": null, "cpus": null},
                   "locks": []}}]}},
     "limits": {"max_body": 26214400, ...}}

Weights are whole percents that sum to 100, or are all 0. A replica without `spawn` is a server not started by the
gateway.
"""

from __future__ import annotations


def main(argv: list[str]) -> int:
    """Run the gateway, or join standard input and output to a socket, and return the exit code."""
    if argv[:1] == ["pipe"]:
        from .pipe import main as pipe

        return pipe(argv[1:])
    from .start import run  # imported late: the other form needs none of its libraries

    return run(argv)
