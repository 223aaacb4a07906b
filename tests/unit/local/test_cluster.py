"""What the stores of a cluster are told, and the ports that they keep."""

import json
import socket
from pathlib import Path

import pytest

from local.cluster import etcd, patroni, proxy
from local.servers import kafka_server, services
from local.stack.layout import HOST, Home, Shape, Stack, StackError, choose_ports, keep_ports
from local.supervision.processes import port_names, select, usual_instances
from local.supervision.stores import PROXY


def stack_of(folder: Path, shape: Shape) -> Stack:
    home = Home(folder)
    home.make()
    instances = usual_instances(shape)
    ports = choose_ports(port_names(select([], shape), instances), {}, {})
    return Stack(home, ports, instances, shape)


def test_every_kind_of_process_of_a_cluster_but_the_edge_is_there_twice_or_more(tmp_path: Path) -> None:
    stack = stack_of(tmp_path, Shape.CLUSTER)
    alone = {process.name for process in select([], Shape.CLUSTER) if len(stack.names(process.name)) == 1}
    assert alone == {"omdb", "envoy", "edge-controller"}


def test_no_port_is_one_that_the_kernel_may_lend(tmp_path: Path) -> None:
    assert max(stack_of(tmp_path, Shape.CLUSTER).ports.values()) < 32_768


def test_a_plain_stack_is_as_light_as_before(tmp_path: Path) -> None:
    assert usual_instances(Shape.PLAIN) == {}
    assert not {process.name for process in select([])} & {"etcd", "sentinel", "postgres-proxy"}


@pytest.mark.parametrize(("shape", "copies", "in_sync"), [(Shape.PLAIN, "1", "1"), (Shape.CLUSTER, "3", "2")])
def test_kafka_keeps_as_many_copies_as_it_has_brokers(
    tmp_path: Path, shape: Shape, copies: str, in_sync: str
) -> None:
    stack = stack_of(tmp_path, shape)
    settings = [kafka_server._settings(stack, name) for name in stack.names("kafka")]
    for each in settings:
        assert each["default.replication.factor"] == each["offsets.topic.replication.factor"] == copies
        assert each["min.insync.replicas"] == in_sync
        assert each["controller.quorum.voters"] == settings[0]["controller.quorum.voters"]
    assert len({each["node.id"] for each in settings}) == len(settings)


def test_a_broker_that_goes_is_struck_off_within_the_time_of_a_write(tmp_path: Path) -> None:
    """Also if it is the active controller, which the others must miss and replace before that."""
    stack = stack_of(tmp_path, Shape.CLUSTER)
    settings = kafka_server._settings(stack, "kafka")
    # By Kafka's own value: less deposes controllers on a starved machine.
    assert "controller.quorum.fetch.timeout.ms" not in settings
    missed, struck_off = 2.0, int(settings["broker.session.timeout.ms"]) / 1000
    patience_s = float(services.stores(stack, "rating_svc")["MARQUEE_KAFKA_TIMEOUT_S"])
    assert missed + struck_off < patience_s
    # Less than half, and a heartbeat that comes late would cost a broker its place.
    assert int(settings["broker.heartbeat.interval.ms"]) / 1000 < struck_off / 4


@pytest.mark.parametrize("leader", ["postgres", "postgres.2", "postgres.3"])
async def test_whoever_leads_both_replicas_are_read(tmp_path: Path, leader: str) -> None:
    stack = stack_of(tmp_path, Shape.CLUSTER)
    read = set()
    for name in stack.names(PROXY):
        with stack.home.log(name).open("wb") as log:
            await proxy.prepare(stack, name, log)
        text = (stack.data / f"{name}.json").read_text()
        replicas = proxy_order(stack, text)
        read.add(next(each for each in replicas if each != leader))
    assert read == set(stack.names("postgres")) - {leader}


def proxy_order(stack: Stack, text: str) -> list[str]:
    """The servers that a proxy's replica port leads to, the one that it prefers first."""
    _, replica = json.loads(text)["static_resources"]["clusters"]
    found = sorted(replica["load_assignment"]["endpoints"], key=lambda each: each["priority"])
    ports = [each["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["port_value"] for each in found]
    by_port = {stack.port(name, "sql"): name for name in stack.names("postgres")}
    return [by_port[port] for port in ports]


def test_a_standby_counts_only_if_it_has_all_that_was_committed() -> None:
    rules = patroni._rules()
    assert rules["synchronous_mode"]
    assert rules["postgresql"]["use_pg_rewind"]
    # As Patroni asks for it: else it takes other values silently.
    assert rules["loop_wait"] + 2 * rules["retry_timeout"] <= rules["ttl"]


def test_etcd_keeps_its_ports_or_says_so(tmp_path: Path) -> None:
    stack = stack_of(tmp_path, Shape.CLUSTER)
    assert etcd.kept_ports(stack.home) == {}, "nothing is kept yet"
    keep_ports(stack.home, stack.ports)
    for name in stack.names("etcd"):
        (stack.data / name).mkdir()
    kept = etcd.kept_ports(stack.home)
    assert set(kept) == {f"{name}/{port}" for name in stack.names("etcd") for port in ("client", "peer")}
    with socket.socket() as other:
        other.bind((HOST, kept["etcd.2/peer"]))
        other.listen()
        with pytest.raises(StackError, match=r"etcd\.2/peer needs it"):
            choose_ports(kept, kept, kept)
