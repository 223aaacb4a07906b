"""The console that tables are printed on."""

from rich.console import Console


def make() -> Console:
    """As wide as the terminal; into a file or a pipe, nothing is cut off."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)
