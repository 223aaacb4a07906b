"""`marquee canary`: new releases of services beside the stable ones, and what share of the calls they get."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from local.commands.completion import PublicService
from local.stack import state as states
from local.stack.layout import Home, Stack, StackError, choose_ports, default_home, keep_ports, kept_ports

app = typer.Typer(no_args_is_help=True, help=__doc__)

_PATIENCE_S: Final = 60.0


@app.command()
def start(
    service: PublicService,
    code: Annotated[
        Path | None,
        typer.Option(
            "--code",
            exists=True,
            file_okay=False,
            help="Another checkout that it runs from, with the packages of its .venv if it has one.",
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME=VALUE", help="A variable for it; repeatable."),
    ] = None,
) -> None:
    """Start a new release of a service beside the stable one. It gets no calls until it is told to."""
    from edge import canary
    from local.servers.services import command, environment

    home, stack = _home_and_stack()
    if service not in stack.ports and f"{service}/grpc" not in stack.ports:
        raise StackError(f"there is no service {service!r} in this mesh: see `marquee status`")
    end(home, service)
    name = _name(service)
    ports = choose_ports([f"{name}/grpc", f"{name}/metrics"], kept_ports(home), {})
    keep_ports(home, ports)
    placed = _with_ports(stack, ports)
    variables = {**os.environ, **environment(placed, name, service), **_pairs(env or [])}
    if code is not None:
        variables["PYTHONPATH"] = str(code.resolve())
    with home.log(name).open("ab") as output:
        process = subprocess.Popen(
            [_python(code), *command(placed, name, service, "serve")[1:]],
            cwd=code or home.root,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    begun = {
        "pid": process.pid,
        "ticks": states.start_ticks(process.pid),
        "started_at": int(time.time()),
    }
    _keep(home, {**_kept(home), service: begun})
    _wait_until_ready(placed, name, process)
    canary.set_endpoints(home.envoy, service, [placed.address(name, "grpc")])
    typer.echo(f"{name} is process {process.pid} at {placed.address(name, 'grpc')}")


@app.command()
def stop(service: PublicService) -> None:
    """End a service's trial, and stop its new release."""
    home, _ = _home_and_stack()
    typer.echo("stopped" if end(home, service) else f"there is no new release of {service}")


@app.command("set")
def set_share(
    service: PublicService,
    percent: Annotated[float, typer.Argument(help="0 to 100; at 0 only marquee-release: canary reaches it.")],
) -> None:
    """Send a share of a service's calls to its new release, whatever a flag says."""
    _change(lambda canary, home: canary.set_share(home.envoy, service, percent))


@app.command()
def auto(service: PublicService) -> None:
    """Raise the share step by step as long as the new release does well, and roll it back if it does not."""
    _change(lambda canary, home: canary.deliver(home.envoy, service))


@app.command()
def clear(service: PublicService) -> None:
    """End a trial: all calls go to the stable release, unless a flag says otherwise."""
    _change(lambda canary, home: canary.clear(home.envoy, service))


@app.command()
def show() -> None:
    """Show what is on trial: new releases and experiments, who decides, and how deliveries stand."""
    _change(lambda _canary, _home: None)


def processes(home: Home) -> dict[str, states.ProcessState]:
    """The new releases that run beside the stable ones, or should: nobody starts them again."""
    found = {}
    for service, kept in _kept(home).items():
        name = _name(service)
        process = states.ProcessState(
            name, "ready", kept["pid"], kept["ticks"], started_at=kept.get("started_at", 0)
        )
        if not process.alive:
            process.condition, process.detail = "failed", f"it has ended: see `marquee logs {name}`"
        found[name] = process
    return found


def placed(home: Home, stack: Stack) -> Stack:
    """The stack with the new releases' ports."""
    names = tuple(f"{name}/" for name in processes(home))
    return _with_ports(stack, {key: port for key, port in kept_ports(home).items() if key.startswith(names)})


def _name(service: str) -> str:
    return f"{service}-canary"


def _with_ports(stack: Stack, ports: Mapping[str, int]) -> Stack:
    return dataclasses.replace(stack, ports={**stack.ports, **ports})


def stop_all(home: Home) -> None:
    """Stops what `start` has started in this home."""
    for service in _kept(home):
        end(home, service)


def _change(change: Any) -> None:
    from edge import canary, trials

    home, _ = _home_and_stack()
    try:
        change(canary, home)
    except (ValueError, FileNotFoundError) as error:
        raise StackError(str(error)) from None
    lines = canary.describe(trials.load(home.envoy))
    typer.echo("\n".join(lines) if lines else "nothing is on trial")


def end(home: Home, service: str) -> bool:
    """Ends a trial, and stops the new release; False if there is none."""
    from edge import canary
    from local.stack.child import end_orphan

    kept = _kept(home)
    found = kept.pop(service, None)
    if found is None:
        return False
    if (home.envoy / "runtime-folder").exists():
        canary.clear(home.envoy, service)
        canary.set_endpoints(home.envoy, service, [])
    if states.is_alive(found["pid"], found["ticks"]):
        end_orphan(found["pid"])
    _keep(home, kept)
    return True


def _python(code: Path | None) -> str:
    """The Python to run a checkout with: its own has the packages and stubs that its code was made for."""
    own = code.resolve() / ".venv" / "bin" / "python" if code else Path(sys.executable)
    return str(own) if own.exists() else sys.executable


def _wait_until_ready(stack: Stack, name: str, process: "subprocess.Popen[bytes]") -> None:
    import asyncio

    from local.servers import probes

    deadline = time.monotonic() + _PATIENCE_S
    while wrong := asyncio.run(probes.ask(probes.grpc, stack, name)):
        if process.poll() is not None:
            raise StackError(f"{name} ended before it was ready: see `marquee logs {name}`")
        if time.monotonic() > deadline:
            raise StackError(
                f"{name} was not ready within {_PATIENCE_S:.0f} s, see `marquee logs {name}`: {wrong}"
            )
        time.sleep(0.2)


def _home_and_stack() -> tuple[Home, Stack]:
    home = default_home()
    return home, states.running_stack(home)


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = dict(text.split("=", 1) for text in texts if "=" in text)
    if len(pairs) != len(texts):
        raise StackError("--env takes NAME=VALUE")
    return pairs


def _kept(home: Home) -> dict[str, dict[str, int]]:
    try:
        kept: dict[str, dict[str, int]] = json.loads(home.canaries_file.read_text())
    except FileNotFoundError:
        return {}
    return kept


def _keep(home: Home, kept: dict[str, dict[str, int]]) -> None:
    home.canaries_file.write_text(json.dumps(kept))
