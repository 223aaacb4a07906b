"""Limits of what one client may do: read from limits.yaml, turned into Envoy's buckets."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import yaml

DEFAULT_FILE: Final = Path(__file__).with_name("limits.yaml")
CLASSES: Final = ("reads", "searches", "batches", "writes", "streams")
ANONYMOUS: Final = "anonymous"

SUBJECT_HEADER: Final = "x-marquee-subject"
TIER_HEADER: Final = "x-marquee-tier"
SCOPES_HEADER: Final = "x-marquee-scopes"


@dataclass(frozen=True)
class Bucket:
    """A token bucket."""

    burst: int
    """Calls at once, from a full bucket."""
    per_second: int
    """Calls a second after that."""


@dataclass(frozen=True)
class Limits:
    """Everything that limits.yaml says; its comments tell what each field means."""

    default_tier: str
    tiers: Mapping[str, Mapping[str, Bucket]]
    max_clients: int
    max_body_bytes: int
    max_request_headers_kb: int
    max_headers_count: int
    max_connections: int
    max_concurrent_streams: int
    calls_always_under_way: int
    max_calls_under_way: int
    max_streams_under_way: int
    max_heap_bytes: int
    max_cache_bytes: int
    max_cache_entries: int
    request_headers_timeout: str
    stream_idle_timeout: str
    max_stream_duration: str
    connection_idle_timeout: str

    @staticmethod
    def load(path: Path = DEFAULT_FILE) -> "Limits":
        """Reads a limits file.

        Raises:
            ValueError: something is wrong with it; the message says what.
        """
        given = yaml.safe_load(path.read_text())
        known = {field.name for field in fields(Limits)}
        if not isinstance(given, dict) or set(given) != known:
            differing = sorted(known ^ set(given if isinstance(given, dict) else ()))
            raise ValueError(f"{path}: missing or unknown: {', '.join(differing)}; see {DEFAULT_FILE.name}")
        tiers = {tier: _buckets(path, tier, buckets) for tier, buckets in given.pop("tiers").items()}
        for tier in (ANONYMOUS, given["default_tier"]):
            if tier not in tiers:
                raise ValueError(f"{path}: the tier {tier!r} has no buckets")
        return Limits(tiers=tiers, **given)

    @property
    def placeholders(self) -> dict[str, Any]:
        """Each field as templates name it."""
        return {f"limits.{name}": value for name, value in vars(self).items()}


def filter_config(limits: Limits) -> dict[str, Any]:
    """The configuration of Envoy's local_ratelimit filter: one bucket a tier, class and client."""
    everything = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "edge",
        "filter_enabled": everything,
        "filter_enforced": everything,
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "rate_limited_as_resource_exhausted": True,
        "max_dynamic_descriptors": limits.max_clients,
        # Calls that no descriptor is for (health, the API description) are not limited.
        "always_consume_default_token_bucket": False,
        "token_bucket": {"max_tokens": 1000000, "tokens_per_fill": 1000000, "fill_interval": "1s"},
        "rate_limits": descriptors(limits),
        "descriptors": [
            {
                # A descriptor without a value stands for each value by itself.
                "entries": [
                    {"key": "tier", "value": tier},
                    {"key": "class", "value": kind},
                    {"key": client_key(tier)},
                ],
                "token_bucket": {
                    "max_tokens": bucket.burst,
                    "tokens_per_fill": bucket.per_second,
                    "fill_interval": "1s",
                },
            }
            for tier, buckets in limits.tiers.items()
            for kind, bucket in buckets.items()
        ],
    }


def client_key(tier: str) -> str:
    """Which entry of a descriptor tells one client of a tier from another."""
    return "masked_remote_address" if tier == ANONYMOUS else "user"


def route_metadata(kind: str) -> dict[str, Any]:
    """The metadata of a route that tells the filter of which class its calls are."""
    return {"filter_metadata": {_METADATA: {"class": kind}}}


_METADATA: Final = "marquee.limits"
_CLASS: Final = {
    "metadata": {
        "descriptor_key": "class",
        "metadata_key": {"key": _METADATA, "path": [{"key": "class"}]},
        "source": "ROUTE_ENTRY",
    }
}
_BY_USER: Final = {"request_headers": {"header_name": SUBJECT_HEADER, "descriptor_key": "user"}}
# One IPv6 client has at least a whole /64.
_BY_ADDRESS: Final = {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}}


def descriptors(limits: Limits) -> list[dict[str, Any]]:
    """How a call's tier, class and client are told; of all entries, just one applies to a call."""
    named = [tier for tier in limits.tiers if tier not in (ANONYMOUS, limits.default_tier)]
    unlisted = [
        {"name": TIER_HEADER, "string_match": {"exact": tier}, "invert_match": True} for tier in named
    ]
    return [
        _actions(ANONYMOUS, [{"name": SUBJECT_HEADER, "present_match": False}], _BY_ADDRESS),
        _actions(limits.default_tier, [_HAS_SUBJECT, *unlisted], _BY_USER),
        *(
            _actions(tier, [{"name": TIER_HEADER, "string_match": {"exact": tier}}], _BY_USER)
            for tier in named
        ),
    ]


_HAS_SUBJECT: Final = {"name": SUBJECT_HEADER, "present_match": True}


def _actions(tier: str, when: list[dict[str, Any]], client: Mapping[str, Any]) -> dict[str, Any]:
    is_tier = {"header_value_match": {"descriptor_key": "tier", "descriptor_value": tier, "headers": when}}
    return {"actions": [is_tier, _CLASS, client]}


def _buckets(path: Path, tier: str, given: Any) -> dict[str, Bucket]:
    if not isinstance(given, dict) or set(given) != set(CLASSES):
        raise ValueError(f"{path}: the tier {tier!r} needs exactly these classes: {', '.join(CLASSES)}")
    buckets = {kind: Bucket(**bucket) for kind, bucket in given.items()}
    for kind, bucket in buckets.items():
        if bucket.burst < 1 or bucket.per_second < 1:
            raise ValueError(f"{path}: {tier}.{kind}: burst and per_second are 1 or more")
    return buckets
