"""What a mesh is for: what breaks things on purpose asks."""

from dataclasses import dataclass
from typing import Final

from mesh.config import setting

PRODUCTION: Final = "production"


@dataclass(frozen=True)
class EnvironmentConfig:
    """What this mesh is for."""

    name: str = setting(
        "MARQUEE_ENVIRONMENT",
        "development",
        "what this mesh is for: where it is production, `marquee drill` breaks nothing",
        choices=("development", "staging", PRODUCTION),
    )
