"""Compressed answers: with gzip, brotli or zstd, as the client likes best."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from edge import template

_LIBRARIES: Final[Sequence[tuple[str, str, Mapping[str, Any]]]] = (
    ("gzip", "gzip.compressor.v3.Gzip", {"compression_level": "COMPRESSION_LEVEL_1"}),
    ("brotli", "brotli.compressor.v3.Brotli", {"quality": 2}),
    ("zstd", "zstd.compressor.v3.Zstd", {"compression_level": 1}),
)

DISABLED: Final[Mapping[str, Any]] = {
    library: {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.compressor.v3.CompressorPerRoute",
        "disabled": True,
    }
    for library, _, _ in _LIBRARIES
}
"""For routes that are never compressed."""


BEFORE_THE_CACHE: Final[Mapping[str, Any]] = {
    **DISABLED,
    **{f"{library}_kept": template.ENABLED for library, _, _ in _LIBRARIES},
}
"""For routes whose answers are kept: they are compressed before, once."""


def filters() -> list[dict[str, Any]]:
    """Envoy's filters, one of each library."""
    return [
        template.load("compressor", {"library": library, "options": {"@type": _TYPE + kind, **options}})
        for library, kind, options in _LIBRARIES
    ]


def filters_before_the_cache() -> list[dict[str, Any]]:
    """The same under other names, for `BEFORE_THE_CACHE`; their place is behind the cache."""
    return [{**each, "name": f"{each['name']}_kept", "disabled": True} for each in filters()]


_TYPE: Final = "type.googleapis.com/envoy.extensions.compression."
