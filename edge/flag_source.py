"""Where the edge's flags come from: see `mesh.flag_source`."""

from typing import Final, TypeAlias

from edge.flags import Environment, Flags
from mesh import flag_source
from mesh.flag_source import FlagConfig, Source

_APP_NAME: Final = "marquee-edge"

FlagSource: TypeAlias = Source[Flags]


def connect(config: FlagConfig) -> FlagSource:
    """The source that is configured.

    Raises:
        ConfigError: the URL is none.
    """
    environment = Environment(_APP_NAME, config.environment)
    return flag_source.connect(config, _APP_NAME, lambda text: Flags.parse(text, environment))
