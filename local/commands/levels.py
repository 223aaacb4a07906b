"""`marquee log-level`: writes the file of levels that all processes of a stack look at."""

from local.stack.layout import Home, StackError, write_private
from local.supervision.processes import CONTROLLER, OWN
from mesh.log_levels import LEVELS, parse


def change(home: Home, process: str, logger: str, level: str) -> str:
    """Sets a level, or forgets it where none is given; returns what holds then, as a sentence.

    Raises:
        StackError: there is no such level or process.
    """
    known = ["*", *(each.name for each in (*OWN, CONTROLLER))]
    if level and level not in LEVELS:
        raise StackError(f"there is no level {level!r}: there are {', '.join(LEVELS)}")
    if process not in known:
        raise StackError(f"there is no process {process!r}: there are {', '.join(known)}")
    path = home.log_levels_file
    levels, _ = parse(path.read_text() if path.exists() else "")
    if level:
        levels[process, logger] = level
    elif process == "*" and not logger:
        levels.clear()
    else:
        levels.pop((process, logger), None)
    lines = [
        f"{whose}{f':{part}' if part else ''}={each}\n" for (whose, part), each in sorted(levels.items())
    ]
    write_private(path, "".join(lines))
    return "".join(lines).rstrip() or "all processes write as they were started"
