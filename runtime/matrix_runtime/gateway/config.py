"""haproxy.cfg: a pure function. The language: https://docs.haproxy.org/2.8/configuration.html (golden files show the whole).

The order within the front: who asks (401), what for (404, 405), how much (413, 429), then the body's beginning and its model.
What HAProxy can't decide for certain goes to the side-car, never to a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from matrix_proto.errors import MODEL_HEADER, TOKEN_HEADER
from matrix_runtime.addresses import host_port
from matrix_runtime.gateway import limits, words
from matrix_runtime.gateway.desired import UPSTREAM, Desired, Server
from matrix_runtime.gateway.paths import INFERENCE_PATHS, QUERY_PATHS
from matrix_runtime.gateway.refusals import GRPC_STATUS, Refusal
from matrix_runtime.gateway.slots import GRPC_SUFFIX, PREFIXES, slot_names

SERVICE_PATH = "/matrix.inference.v1.Inference/"
SLOT_HEADER = "x-matrix-slot"
"""From the side-car, over its own socket: the backend that it has chosen."""
SERVER_OPTIONS = (
    f"check inter {limits.CHECK_SECONDS}s fastinter 1s fall {limits.CHECK_FALL} rise 1 observe layer4 error-limit 2 on-error mark-down"
)


@dataclass(frozen=True)
class Layout:
    """Where things are. `directory` is the gateway's own, mode 0700."""

    directory: Path
    host: str
    port: int
    threads: int = 1
    connections: int = 10_000
    slots: int = limits.SLOTS

    @property
    def bind(self) -> str:
        return host_port(self.host, self.port)

    def socket(self, name: str) -> Path:
        """A unix socket: `admin`, `inside` (from the side-car) or `sidecar` (to it)."""
        return self.directory / f"{name}.sock"

    def map(self, name: str) -> Path:
        """The file that HAProxy reads a map from when it starts; over the runtime socket it is the map's name."""
        return self.directory / f"{name}.map"


def render(layout: Layout, desired: Desired) -> str:
    """The whole file. The maps are files beside it: see `map_text`."""
    blocks = [_global(layout), *_defaults(), _front(layout), _inside(layout), _fixed_backends(layout), *_slots(layout, desired.servers)]
    return "\n\n".join(blocks) + "\n"


def map_text(entries: Mapping[str, str]) -> str:
    """The file of one map."""
    return "".join(f"{key} {value}\n" for key, value in sorted(entries.items()))


def server_words(server: Server, grpc: bool) -> str:
    """A server's address and options: the same in the file and in `add server`. gRPC's are not looked at: they are the same process."""
    return f"{server.address} weight {server.weight} {'proto h2' if grpc else SERVER_OPTIONS}"


def _global(layout: Layout) -> str:
    return _block(
        "global",
        f"stats socket {layout.socket('admin')} mode 600 level admin",
        "stats timeout 1m",
        f"nbthread {layout.threads}",
        f"maxconn {layout.connections}",
        "noreuseport",
        f"tune.bufsize {limits.BUFFER}",
        "tune.maxrewrite 4096",
        "tune.h2.max-concurrent-streams 1000",
    )


def _defaults() -> Iterable[str]:
    yield _block(
        "defaults common",
        "mode http",
        f"timeout connect {limits.CONNECT_SECONDS}s",
        f"timeout client {limits.STREAM_SECONDS}s",
        f"timeout server {limits.STREAM_SECONDS}s",
        f"timeout http-request {limits.HEADER_SECONDS}s",
        f"timeout http-keep-alive {limits.KEEP_ALIVE_SECONDS}s",
        f"timeout check {limits.CHECK_TIMEOUT_SECONDS}s",
        "option abortonclose",  # who has gone takes the request along
        "option http-no-delay",
        "option redispatch 1",
        f"retries {limits.RETRIES}",
        "retry-on conn-failure empty-response 503",
        "http-reuse always",
        *(_http_error(status, refusal) for status, refusal in words.BY_STATUS.items()),
    )
    looked_at = "option httpchk GET /health"
    yield _block("defaults least from common", looked_at, "balance leastconn")
    yield _block("defaults round from common", looked_at, "balance roundrobin")
    yield _block(
        "defaults prefix from common",
        looked_at,
        "http-request set-var(txn.prefix) req.body,json_query('$.messages[0].content'),xxh64",
        "http-request set-var(txn.prefix) req.body,json_query('$.prompt'),xxh64 if !{ var(txn.prefix) -m found }",
        "http-request set-var(txn.prefix) req.body,bytes(0,1024),xxh64 if !{ var(txn.prefix) -m found }",
        "balance hash var(txn.prefix)",
        "hash-type consistent",
        "hash-balance-factor 150",
    )


def _front(layout: Layout) -> str:
    return _block(
        "frontend openai from common",
        f"bind {layout.bind}{' v4v6' if layout.host == '::' else ''}",
        _acl("is_health", "path -m str /health"),
        _acl("is_grpc", f"path_beg {SERVICE_PATH}"),
        _acl("is_question", f"path -m str {' '.join(sorted(QUERY_PATHS))}", "path_beg /v1/models/"),
        _acl("is_work", f"path -m str {' '.join(sorted(INFERENCE_PATHS))}"),
        'http-request return status 200 content-type application/json string \'{"status": "ok"}\' if is_health METH_GET',
        *_who(layout),
        *_what(),
        *_how_much(),
        *_which(layout),
        "http-after-response set-header content-type application/grpc if { res.hdr(grpc-status) -m found }",
    )


def _who(layout: Layout) -> Iterable[str]:
    yield f"http-request set-header authorization %[req.fhdr({TOKEN_HEADER})] if {{ req.fhdr({TOKEN_HEADER}) -m len gt 0 }}"
    yield f"http-request del-header {TOKEN_HEADER}"
    yield f"http-request set-var(txn.key) req.fhdr(authorization),sha2(256),hex,map({layout.map('keys')})"
    yield from _refuse(words.NO_KEY, "!{ var(txn.key) -m found }")
    yield "http-request set-var(txn.expires) var(txn.key),field(3,/)"
    yield from _refuse(words.KEY_EXPIRED, "!{ var(txn.expires) -m str 0 } { date,sub(txn.expires) ge 0 }")


def _what() -> Iterable[str]:
    yield _return(words.NOT_OFFERED, "!is_work !is_question !is_grpc !is_health")
    yield _return(words.ONLY_GET, "is_question !METH_GET or is_health !METH_GET")
    yield _return(words.ONLY_POST, "is_work !METH_POST or is_grpc !METH_POST")


def _how_much() -> Iterable[str]:
    yield _return(words.TOO_LARGE, f"is_work {{ req.body_size gt {limits.LARGEST_BODY} }}")
    yield "http-request set-var(txn.limit) var(txn.key),field(2,/)"
    yield _acl("is_limited", "var(txn.limit) -m int gt 0")
    yield "http-request track-sc0 var(txn.key),field(1,/) table keys if is_limited"
    yield "http-request set-var(txn.pause) int(60),div(txn.limit),add(1) if is_limited"
    yield from _refuse(words.RATE_LIMITED, "is_limited { sc0_gpc0_rate,add(1),sub(txn.limit) gt 0 }")
    yield "http-request sc-inc-gpc0(0) if is_limited"


def _which(layout: Layout) -> Iterable[str]:
    """A request goes straight to a replica if its model is certain: it has a header that names it, or all of the body is in the buffer
    and has one `model`."""
    yield f'http-request set-header authorization "Bearer %[str({UPSTREAM}),map({layout.map("upstream")})]"'
    yield f"http-request del-header {SLOT_HEADER}"
    yield f"http-request set-var(txn.model) req.fhdr({MODEL_HEADER})"
    yield _acl("is_named", f"req.fhdr({MODEL_HEADER}) -m found")
    yield f"http-request wait-for-body time {limits.BODY_SECONDS}s if is_work"
    yield "http-request set-var(txn.have) req.body_len if is_work"
    yield "http-request set-var(txn.model) req.body,json_query('$.model') if is_work !is_named"
    yield f"http-request set-var(txn.slot) var(txn.model),map({layout.map('models')})"
    yield _refuse_grpc(words.GRPC_NO_MODEL, "!{ var(txn.model) -m found }")
    yield _refuse_grpc(words.GRPC_UNKNOWN_MODEL, "!{ var(txn.slot) -m found }")
    yield _refuse_grpc(words.GRPC_NO_REPLICA, f"{{ var(txn.slot),concat({GRPC_SUFFIX}),nbsrv eq 0 }}")
    yield f"use_backend %[var(txn.slot),concat({GRPC_SUFFIX})] if is_grpc"
    yield _acl("is_up", "var(txn.slot),nbsrv gt 0")
    yield _acl("has_length", "req.fhdr(content-length) -m found")
    yield _acl("is_large", f"req.body_len gt {limits.FAST_BODY}", f"req.body_size gt {limits.FAST_BODY}")
    yield _acl("is_partial", "req.body_size,sub(txn.have) gt 0")
    yield _acl("has_large_head", f"req.hdrs,length gt {limits.FAST_HEAD}")
    yield _acl("is_twofold", r"""req.body -m reg '(?s)"model"\s*:.*"model"\s*:'""")
    yield "use_backend %[var(txn.slot)] if is_work is_up is_named has_length"
    yield "use_backend sidecar if is_large or is_partial or !has_length has_large_head or is_twofold"
    yield "use_backend %[var(txn.slot)] if is_work is_up"
    yield "default_backend sidecar"


def _inside(layout: Layout) -> str:
    return _block(
        "frontend inside from common",
        f"bind unix@{layout.socket('inside')} mode 600",
        f'http-request set-header authorization "Bearer %[str({UPSTREAM}),map({layout.map("upstream")})]"',
        f"http-request set-var(txn.slot) req.fhdr({SLOT_HEADER})",
        f"http-request set-var(txn.model) req.fhdr({MODEL_HEADER})",
        f"http-request del-header {SLOT_HEADER}",
        f"http-request wait-for-body time {limits.BODY_SECONDS}s",
        "use_backend %[var(txn.slot)]",
        "default_backend nowhere",
    )


def _fixed_backends(layout: Layout) -> str:
    return "\n\n".join(
        (
            _block("backend keys from common", "stick-table type string len 64 size 100k expire 2m store gpc0,gpc0_rate(60s)"),
            _block("backend nowhere from common"),
            _block("backend sidecar from common", f"server sidecar unix@{layout.socket('sidecar')}"),
        )
    )


def _slots(layout: Layout, servers: Mapping[str, Mapping[str, Server]]) -> Iterable[str]:
    for policy, names in slot_names(layout.slots).items():
        for name in names:
            yield _backend(name, PREFIXES[policy], servers.get(name, {}), grpc=False)
            yield _backend(name + GRPC_SUFFIX, PREFIXES[policy], servers.get(name + GRPC_SUFFIX, {}), grpc=True)


def _backend(name: str, defaults: str, servers: Mapping[str, Server], grpc: bool) -> str:
    live = {key: server for key, server in sorted(servers.items()) if not server.draining}
    lines = [f"server {key} {server_words(server, grpc)}" for key, server in live.items()]
    return _block(f"backend {name} from {defaults}", *lines)


def _refuse(refusal: Refusal, condition: str) -> Iterable[str]:
    """For callers of either protocol."""
    yield _refuse_grpc(refusal, condition)
    yield _return(refusal, condition)


def _return(refusal: Refusal, condition: str) -> str:
    return f"http-request return status {refusal.http_status} {_answer(refusal)} if {condition}"


def _refuse_grpc(refusal: Refusal, condition: str) -> str:
    """Headers without a body are what gRPC takes for a refusal ("Trailers-Only")."""
    headers = {"grpc-status": str(GRPC_STATUS[refusal.reason]), "grpc-message": refusal.message}
    told = " ".join(f"hdr {name} {_quoted(value)}" for name, value in (headers | refusal.headers()).items())
    return f"http-request return status 200 {told} if is_grpc {condition}"


def _http_error(status: int, refusal: Refusal) -> str:
    return f"http-error status {status} {_answer(refusal)}"


def _answer(refusal: Refusal) -> str:
    headers = " ".join(f"hdr {name} {_quoted(value)}" for name, value in refusal.headers().items())
    return f"content-type application/json {headers} lf-string {_quoted(refusal.body())}"


def _acl(name: str, *tests: str) -> str:
    return "\n    ".join(f"acl {name} {test}" for test in tests)


def _quoted(text: str) -> str:
    """One word of the configuration, whatever is in it."""
    return "'" + text.replace("'", "'\\''") + "'"


def _block(head: str, *lines: str) -> str:
    return "\n    ".join((head, *lines))
