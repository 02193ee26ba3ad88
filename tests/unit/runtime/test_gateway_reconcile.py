"""What HAProxy shall be, and the commands that make it so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_client.directory_watch import KnownReplica
from matrix_crds.deployment import RoutingPolicy
from matrix_runtime.gateway.admin import Actual, ActualServer, escaped, parse_map, parse_servers, parse_statistics, sessions
from matrix_runtime.gateway.desired import MAPS, Desired, Server, desired
from matrix_runtime.gateway.reconcile import commands
from matrix_runtime.gateway.settings import ServedModel
from matrix_runtime.gateway.slots import Slots
from matrix_runtime.gateway.weights import FULL_WEIGHT, weights
from tests.unit.runtime.gateway_replicas import known

PATHS = {name: Path(f"/{name}.map") for name in MAPS}
EMPTY: Mapping[str, Mapping[str, str]] = {name: {} for name in MAPS}
MAINTENANCE, DRAIN = 1, 8


def wanted(*servers: tuple[str, Server], models: Mapping[str, str] | None = None) -> Desired:
    return Desired({**EMPTY, "models": models or {}}, {"least-0": dict(servers)})


def there(*servers: tuple[str, ActualServer], models: Mapping[str, str] | None = None) -> Actual:
    return Actual({**EMPTY, "models": models or {}}, {"least-0": dict(servers)} if servers else {})


def actual(port: int = 1, weight: int = 100, state: int = 0) -> ActualServer:
    return ActualServer("h", port, weight, state)


UP = ["enable health least-0/a", "set server least-0/a state ready"]
CASES = {
    "as it shall be": (wanted(("a", Server("h", 1))), there(("a", actual())), []),
    "gone": (wanted(), there(("a", actual())), ["set server least-0/a state maint", "del server least-0/a"]),
    "gone, its streams not ended yet": (wanted(), there(("a", actual(state=MAINTENANCE))), ["del server least-0/a"]),
    "drains": (wanted(("a", Server("h", 1, draining=True))), there(("a", actual())), ["set server least-0/a state drain"]),
    "drains already": (wanted(("a", Server("h", 1, draining=True))), there(("a", actual(state=DRAIN))), []),
    "drains and was never there": (wanted(("a", Server("h", 1, draining=True))), there(), []),
    "well again": (wanted(("a", Server("h", 1))), there(("a", actual(state=DRAIN))), UP),
    "added, and cut off before it was up": (wanted(("a", Server("h", 1))), there(("a", actual(state=MAINTENANCE))), UP),
    "elsewhere": (wanted(("a", Server("h", 2))), there(("a", actual())), ["set server least-0/a state maint", "del server least-0/a"]),
    "loaded by others": (wanted(("a", Server("h", 1, weight=50))), there(("a", actual())), ["set server least-0/a weight 50"]),
    "a little loaded": (wanted(("a", Server("h", 1, weight=90))), there(("a", actual())), []),
    "a model more": (wanted(models={"m": "least-0"}), there(), ["add map /models.map m least-0"]),
    "a model elsewhere": (wanted(models={"m": "least-0"}), there(models={"m": "round-1"}), ["set map /models.map m least-0"]),
    "a model less": (wanted(), there(models={"m": "least-0"}), ["del map /models.map m"]),
}


@pytest.mark.parametrize("case", CASES)
def test_commands(case: str) -> None:
    want, have, expected = CASES[case]
    assert commands(want, have, PATHS) == expected


def test_a_new_server_is_added_and_up_before_a_name_leads_to_it_and_an_old_one_goes() -> None:
    steps = commands(wanted(("a", Server("h", 1)), models={"m": "least-0"}), there(("z", actual(9))), PATHS)
    assert steps[0].startswith("add server least-0/a h:1 weight 100 check") and steps[1:3] == UP
    assert steps[3:] == ["add map /models.map m least-0", "set server least-0/z state maint", "del server least-0/z"]


def test_a_grpc_server_is_added_without_a_look_at_its_health() -> None:
    want = Desired(EMPTY, {"least-0-grpc": {"a": Server("h", 2)}})
    expected = ["add server least-0-grpc/a h:2 weight 100 proto h2", "set server least-0-grpc/a state ready"]
    assert commands(want, Actual(EMPTY, {}), PATHS) == expected


class Model:
    """A HAProxy of our own, that takes the commands."""

    def __init__(self, state: Actual) -> None:
        self.maps = {name: dict(entries) for name, entries in state.maps.items()}
        self.servers = {backend: dict(servers) for backend, servers in state.servers.items()}

    def take(self, command: str) -> None:
        match command.split(" "):
            case ["add", "server", path, address, "weight", weight, *_]:
                backend, name = path.split("/")
                host, port = address.split(":")
                self.servers.setdefault(backend, {})[name] = ActualServer(host, int(port), int(weight), MAINTENANCE)
            case ["del", "server", path]:
                backend, name = path.split("/")
                assert self.servers[backend][name].in_maintenance
                del self.servers[backend][name]
            case ["set", "server", path, "state", state]:
                backend, name = path.split("/")
                old = self.servers[backend][name]
                bits = {"ready": 0, "maint": MAINTENANCE, "drain": DRAIN}[state]
                self.servers[backend][name] = ActualServer(old.host, old.port, old.weight, bits)
            case ["set", "server", path, "weight", weight]:
                backend, name = path.split("/")
                old = self.servers[backend][name]
                self.servers[backend][name] = ActualServer(old.host, old.port, int(weight), old.admin_state)
            case [("add" | "set"), "map", file, key, value]:
                self.maps[Path(file).stem][key] = value
            case ["del", "map", file, key]:
                del self.maps[Path(file).stem][key]
            case ["enable", "health", _]:
                pass
            case _:
                raise AssertionError(command)


names = st.sampled_from(["a", "b", "c"])
server = st.builds(Server, st.just("h"), st.integers(1, 2), st.sampled_from([10, 50, 100]), st.booleans())
found = st.builds(ActualServer, st.just("h"), st.integers(1, 2), st.sampled_from([10, 50, 100]), st.sampled_from([0, 1, 8, 9]))
entries = st.dictionaries(names, names, max_size=3)
backends = st.sampled_from(["least-0", "round-0"])


@given(
    st.builds(lambda e, s: Desired({**EMPTY, "models": e}, s), entries, st.dictionaries(backends, st.dictionaries(names, server))),
    st.builds(lambda e, s: Actual({**EMPTY, "models": e}, s), entries, st.dictionaries(backends, st.dictionaries(names, found))),
    st.integers(0, 12),
)
def test_from_anywhere_it_arrives_in_two_rounds_even_when_cut_off_before(want: Desired, start: Actual, cut: int) -> None:
    haproxy = Model(start)
    rounds = [cut, None, None]
    for limit in rounds:
        for command in commands(want, Actual(haproxy.maps, haproxy.servers), PATHS)[:limit]:
            haproxy.take(command)
    assert commands(want, Actual(haproxy.maps, haproxy.servers), PATHS) == []
    live = {b: {n for n, s in servers.items() if not s.draining} for b, servers in want.servers.items()}
    assert {b: {n for n, s in servers.items() if s.admin_state == 0} for b, servers in haproxy.servers.items() if servers} == {
        b: servers for b, servers in live.items() if haproxy.servers.get(b)
    }
    assert haproxy.maps == want.maps


def test_slots_are_kept_and_used_again_last_of_all() -> None:
    slots = Slots(2)
    a, b, c = (ServedModel(name=name, application=f"mx-md-{name}") for name in "abc")
    assert slots.assign([a]) == {"a": "least-0"}
    assert slots.assign([b, a]) == {"a": "least-0", "b": "least-1"}
    assert slots.assign([b, a, c]) == {"a": "least-0", "b": "least-1"}, "there is none for c"
    assert slots.assign([b, c]) == {"b": "least-1", "c": "least-0"}
    moved = b.model_copy(update={"policy": RoutingPolicy.PREFIX})
    assert slots.assign([moved, c]) == {"b": "prefix-0", "c": "least-0"}
    alias = ServedModel(name="c-too", application="mx-md-c")
    assert slots.assign([alias, c]) == {"c-too": "least-0", "c": "least-0"}


def test_a_suspect_replica_gets_nothing_new_while_there_is_another() -> None:
    both = [known("a", "x", 1, suspect=True), known("b", "x", 11)]
    servers = desired({}, {"round-0": "x"}, both, (), "t", {}).servers["round-0"]
    assert {name: server.draining for name, server in servers.items()} == {"a-1": True, "b-11": False}
    alone = desired({}, {"round-0": "x"}, both[:1], (), "t", {}).servers["round-0"]
    assert not alone["a-1"].draining, "suspect is not gone"


def test_after_a_change_of_the_served_name_the_former_replicas_get_nothing_new() -> None:
    """They would answer that they don't know the name; what they have begun goes on."""
    both = [known("a", "x", 1, model="former"), known("b", "x", 11, model="now")]

    def draining(*replicas: KnownReplica) -> dict[str, bool]:
        servers = desired({"now": "round-0", "alias": "round-0"}, {"round-0": "x"}, replicas, (), "t", {}).servers["round-0"]
        return {name: server.draining for name, server in servers.items()}

    assert draining(*both) == {"a-1": True, "b-11": False}
    assert draining(both[0]) == {"a-1": True}
    assert draining(both[0], known("b", "x", 11, model="now", suspect=True)) == {"a-1": True, "b-11": False}, "it is the only one"


def test_a_replica_that_starts_or_has_failed_is_no_server() -> None:
    replicas = [known("a", "x", 1, state="Starting"), known("b", "x", 11, state="Failed")]
    assert desired({}, {"least-0": "x"}, replicas, (), "t", {}).servers == {"least-0": {}, "least-0-grpc": {}}


WEIGHTS = [
    ({}, {}),
    ({"a": (5, 5), "b": (0, 0)}, {"a": FULL_WEIGHT, "b": FULL_WEIGHT}),
    ({"a": (0, 10), "b": (0, 0)}, {"a": 1, "b": FULL_WEIGHT}),
    ({"a": (0, 5), "b": (5, 5)}, {"a": 17, "b": FULL_WEIGHT}),
    ({"a": (10, 15), "b": (15, 15)}, {"a": 69, "b": FULL_WEIGHT}),
    ({"a": (3, 0)}, {"a": FULL_WEIGHT}),
]


@pytest.mark.parametrize(("loads", "expected"), WEIGHTS)
def test_weights(loads: dict[str, tuple[int, int]], expected: dict[str, int]) -> None:
    assert weights(loads) == expected


def test_only_the_fewest_connections_policy_is_weighted() -> None:
    replicas = [known("a", "x", 1, ongoing=10), known("b", "x", 11)]
    for slot, expected in (("least-0", {"a-1": 1, "b-11": 100}), ("prefix-0", {"a-1": 100, "b-11": 100})):
        servers = desired({}, {slot: "x"}, replicas, (), "t", {}).servers[slot]
        assert {name: server.weight for name, server in servers.items()} == expected


SERVERS = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port
7 least-0 1 a-60137 127.0.0.1 2 8 100 100 2 1 0 1 6 0 0 0 - 60137 - 0 0 - - 0
"""  # noqa: E501


def test_answers_of_the_runtime_socket_are_read() -> None:
    assert parse_servers(SERVERS) == {"least-0": {"a-60137": ActualServer("127.0.0.1", 60137, 100, 8)}}
    assert parse_servers("1\n" + SERVERS.splitlines()[1]) == {} and parse_servers("") == {}
    assert parse_map("0x2a8763f0 org/m:1 least-0\n0x2a876400 k Bearer x") == {"org/m:1": "least-0", "k": "Bearer x"}
    rows = parse_statistics("# pxname,svname,scur,type,\nleast-0,a,3,2,\nleast-0-grpc,a,2,2,\nleast-0,b,,2,")
    assert sessions(rows) == {"a": 5, "b": 0}


def test_a_value_is_one_word_of_a_command() -> None:
    assert escaped("a b;c\\d") == r"a\ b\;c\\d"
