"""The gateway: one stable URL in front of the deployments of a `local` or `docker` endpoint.

    python -m mlport_serving gateway --dir DIR [--host 127.0.0.1] [--port 0] [--auth bearer|none]
                                     [--token-file FILE] [--allow-host NAME:PORT] [--detach]

    python -m mlport_serving gateway pipe unix:/DIR/control.sock | tcp:HOST:PORT

The second form joins its standard input and output to a socket, for those who can run a command beside a gateway but
not reach it: a client of a container engine speaks the control protocol through it.

The first runs until SIGTERM or `POST /stop`. Exit codes: 0 ended in order, 2 cannot start (one line on stderr says
why and what to do), 3 another gateway already runs in DIR.

The folder
----------
DIR belongs to one endpoint and must be of mode 0700:

- `gateway.lock`: locked as long as the gateway lives, and thereby its identity
- `token`: the bearer token clients must send, mode 0600, written by whoever makes DIR
- `address.json`: the public address, chosen at the first start and used again at every later one
- `table.json`: the last acknowledged table, served again after a restart
- `control.sock`: the control protocol below
- `b-<replica>.lock`: locked as long as a process of that replica lives; a gateway that starts kills what one that
  died has left
- with `--detach`, or MLPORT_GATEWAY_KEEPER=1, a small parent starts the gateway again when it is killed, crashes or
  stands still; `status` counts `restarts`
- `NAME.damaged-XXXX`: what could not be read and was set aside
- `records/<name>.json`: what its managers have written down, see the control protocol
- `logs/<replica>.log`, `logs/<replica>.log.1`: what replicas print, capped; `logs/gateway.log`: the gateway's own

The public side
---------------
Every path goes to a deployment chosen by weight, or to the one named by the request header `x-mlport-deployment`
(also at weight 0; an unknown one is a 404 that lists the known). The share of a deployment without a ready replica
goes to the others. A client that ends its side of the connection is taken to have left, and its request is cancelled.
`GET /healthz` alone is answered here, without
token: 200 when a request would find a ready replica (`ready`, or `ready in part` if others are not), else 503.
Answers carry `x-mlport-deployment` and
`x-request-id`. Errors of the gateway are `{"error": {"code", "message", "request_id"}}`:

- 400 malformed or ambiguous request, 401 token, 403 foreign web page, 404 deployment, 405 method, 408 too slow,
  413 body, 414 URL, 415 content type, 417 expectation, 421 Host, 431 headers
- 502 `connect_failed`, `replica_lost`, `bad_response`; 503 `not_ready`, `overloaded` with Retry-After;
  504 `response_timeout`

A request with the header `x-mlport-probe` is a smoke test: it is answered and not counted.

A request is sent again only if no replica has read it: it could not connect, or it had closed an idle connection
meanwhile. So a request that ends its replica ends one only. At most one request in ten is sent again.

The control protocol
--------------------
HTTP/1.1 with JSON bodies on `control.sock`; whoever may open the socket may call it. Errors are
`{"error": {"code", "message", ...}}`.

- `GET /status`: generation, address, deployments with their replicas' state (`starting`, `ready`, `unready`,
  `backoff`, `crash-loop`), pid, restarts, last exit, memory and CPU, requests in flight, counts by status, latency
  histogram; `since` says from when, `last_request_at` how idle it is (in minutes), `applying` which generation is
  being put in force, and `failure` why the last one was not (generation, deployment, replica, message, last_exit,
  log), for callers that did not wait
- `GET /metrics?window=SECONDS`: the same counts over a window of up to a day, in whole minutes, for every
  deployment seen in it
- `GET /table`: `{"table": TABLE or null}`
- `PUT /table?timeout_s=S&wait_drained=0|1`: put a table in force. Answered 200 when every new replica was ready and
  the table decides; removed replicas then finish their requests before they are ended (`wait_drained=1` waits for
  that). 409 if the generation is not newer (`stale_generation`, `other_content`; the table in force again is a
  200), was `overtaken`, or gives a known replica other content; 424 `replica_failed` with `replica`, `last_exit` and
  `log` if a new replica ended or was late, with the table before still in force; 507 if it cannot be stored
  With `wait_s=W` the answer comes after W seconds at most, as a 202 if the table is still being put in force.
  With `next=1` the generation in the body does not count: the table is given the next one, unless one with the same
  content is in force or being put in force
- `GET /records`: `{"records": {NAME: {"etag", "created_at", "value"}}, "damaged": {NAME: FILE}}`; a damaged record is
  set aside as FILE and named here until it is written again
- `PUT /records/NAME?expected=ETAG`: write the JSON object in the body under a name if the present record has this
  etag (without `expected`: if there is none); 409 `record_changed` with `present` otherwise
- `DELETE /records/NAME?expected=ETAG`: remove it on the same condition
- `POST /drain?timeout_s=S`: wait until every removed replica has ended; 504 if some have not
- `GET /logs?deployment=ID&replica=ID&tail=N&cursor=C`: `{"lines": [{"replica", "text"}], "cursor"}`; give the cursor
  back for the lines after
- `POST /stop`: 202, then finish the requests in flight, end the replicas, remove the sockets

A table, with every optional field at its default (`table.Limits` documents `limits`):

    {"schema": 1, "generation": 7,
     "deployments": {"d1": {"weight": 100, "health": "/v2/health/ready", "replicas": [
        {"id": "d1-0", "address": "unix:/DIR/b-d1-0.sock",
         "spawn": {"argv": ["python", "-m", "mlport_serving", "serve"], "env": {}, "cwd": null,
                   "limits": {"memory_bytes": null, "open_files": null, "file_bytes": null, "cpus": null},
                   "locks": []}}]}},
     "limits": {"max_body": 26214400, ...}}

Weights are whole percents that sum to 100, or are all 0. A replica without `spawn` is a server someone else runs.
"""

from __future__ import annotations


def main(argv: list[str]) -> int:
    """Run the gateway, or join standard input and output to a socket, and return the exit code."""
    if argv[:1] == ["pipe"]:
        from .pipe import main as pipe

        return pipe(argv[1:])
    from .start import run  # the other form needs none of its libraries

    return run(argv)
