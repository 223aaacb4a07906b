"""What a process tells of itself, on the page that Prometheus reads."""

import asyncio
import time
import urllib.request
from pathlib import Path

from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from local.stack import authority
from mesh.metrics import Group
from mesh.server import Server, ServerConfig
from tests.support.ports import free_port
from tests.support.waiting import eventually


async def page(address: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample, by its name and its labels' values."""
    raw = await asyncio.to_thread(urllib.request.urlopen, f"http://{address}/metrics", None, 30)
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(raw.read().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def end_of(file: Path) -> float:
    return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp()


async def test_a_process_tells_its_release_its_loops_lag_and_its_certificates_end(tmp_path: Path) -> None:
    address, metrics = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    certificate = authority.issue(tmp_path, "movie_svc")
    config = ServerConfig(address=address, metrics_address=metrics, drain_wait_s=0)
    server = Server("movie_svc", config, certificate)
    running = asyncio.create_task(server.run())

    async def look() -> dict[str, dict[tuple[str, ...], float]]:
        try:
            return await page(metrics)
        except OSError:
            return {}

    async def told() -> dict[tuple[str, ...], float] | None:
        return (await look()).get("marquee_certificate_expiry_timestamp_seconds")

    async def told_this_one() -> dict[tuple[str, ...], float] | None:
        # Until then an earlier server of this process may have told its own.
        found = await told()
        return found if found and found.get(("own",)) == end_of(Path(certificate.certificate)) else None

    async def lates() -> float:
        buckets = (await look()).get("marquee_event_loop_lag_seconds_bucket", {})
        return buckets.get(("+Inf",), 0) - buckets.get(("0.25",), 0)

    try:
        ends = await eventually(told_this_one)
        assert ends["authority",] > ends["own",]
        found = await look()
        assert any("movie_svc" in labels for labels in found["marquee_build_info"])
        assert not [name for name in found if name.endswith("_created")]

        lates_before = await lates()
        time.sleep(1)  # noqa: ASYNC251 - the loop must stand still

        async def late() -> bool:
            return await lates() > lates_before

        await eventually(late)

        before = ends["own",]
        authority.issue(tmp_path, "movie_svc")

        async def renewed() -> bool:
            return ((await told()) or {}).get(("own",), before) != before

        await eventually(renewed)
    finally:
        server.stop()
        await running


def test_a_group_is_exported_where_it_is_asked_for() -> None:
    from prometheus_client import REGISTRY, Gauge, generate_latest

    group = Group()
    Gauge("test_of_one_role", "Nothing.", registry=group)
    assert b"test_of_one_role" not in generate_latest(REGISTRY)
    group.export()
    group.export()
    assert b"test_of_one_role 0.0" in generate_latest(REGISTRY)
    REGISTRY.unregister(group)
