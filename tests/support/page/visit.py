"""What a first visit of the page costs: bytes, requests, and how long until one can use it."""

from dataclasses import dataclass
from typing import Any, Final

# What Lighthouse takes for a phone on a slow net: 1.6 Mbit/s, 150 ms a round trip, a fourth of the speed.
PHONE: Final = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1_600_000 / 8,
    "uploadThroughput": 750_000 / 8,
}
PHONE_SLOWER: Final = 4

# One can use it when its frame is drawn and no task of 50 ms or more holds the browser up any longer.
_WATCH: Final = """
window.__busy = [];
const watch = (list) => list.getEntries().forEach((each) => __busy.push(each.startTime + each.duration));
new PerformanceObserver(watch).observe({ type: "longtask", buffered: true });
"""
_TIMES: Final = """() => {
  const painted = performance.getEntriesByName("first-contentful-paint")[0].startTime;
  const parsed = performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd;
  return { painted, usable: Math.max(painted, parsed, ...window.__busy), shown: performance.now() };
}"""


@dataclass(frozen=True)
class Visit:
    """One visit with an empty cache."""

    requests: int
    sent_bytes: int
    """Of all answers, as they came over the net, with their headers."""
    page_bytes: int
    """Of those, the page itself: HTML, script and style."""
    painted_ms: float
    """When the first words were seen."""
    usable_ms: float
    """When one could type (time to interactive)."""
    shown_ms: float
    """When both charts were there."""


async def visit(browser: Any, base: str, *, phone: bool = False) -> Visit:
    """Opens the page as somebody does who was never here."""
    context = await browser.new_context()
    try:
        page = await context.new_page()
        cdp = await context.new_cdp_session(page)
        await cdp.send("Network.enable")
        if phone:
            await cdp.send("Network.emulateNetworkConditions", PHONE)
            await cdp.send("Emulation.setCPUThrottlingRate", {"rate": PHONE_SLOWER})
        kinds: dict[str, str] = {}
        sizes: dict[str, int] = {}
        cdp.on("Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["type"]}))
        cdp.on(
            "Network.loadingFinished",
            lambda event: sizes.update({event["requestId"]: int(event["encodedDataLength"])}),
        )
        await page.add_init_script(_WATCH)
        await page.goto(base)
        await page.locator(".columns section:nth-of-type(2) .chart li").first.wait_for()
        await page.wait_for_load_state("networkidle")
        times = await page.evaluate(_TIMES)
    finally:
        await context.close()
    own = sum(size for key, size in sizes.items() if kinds.get(key) in ("Document", "Script", "Stylesheet"))
    named = {key: size for key, size in sizes.items() if size}
    return Visit(len(named), sum(named.values()), own, times["painted"], times["usable"], times["shown"])
