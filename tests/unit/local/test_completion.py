"""What the shell offers after Tab."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MARQUEE = Path(sys.executable).with_name("marquee")


def offered(shell: str, words: str, home: Path) -> list[str]:
    """What a shell's script of `marquee --install-completion` gets from the program."""
    environment = {**os.environ, "MARQUEE_HOME": str(home), "_MARQUEE_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        environment |= {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    else:
        environment |= {"_TYPER_COMPLETE_ARGS": words}
    done = subprocess.run([MARQUEE], env=environment, capture_output=True, text=True, check=False, timeout=60)
    return [line.split('"')[1] if '"' in line else line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("marquee do", ["down", "doctor"]),
        ("marquee token --li", ["--link"]),
        ("marquee env ran", ["ranking_svc"]),
        ("marquee canary start mov", ["movie_svc"]),
        ("marquee restart mov", []),
    ],
)
def test_bash_is_offered_commands_options_and_names(words: str, expected: list[str], tmp_path: Path) -> None:
    assert offered("bash", words, tmp_path) == expected


def test_zsh_is_offered_the_same(tmp_path: Path) -> None:
    assert any("doctor" in line for line in offered("zsh", "marquee doc", tmp_path))
    assert any("ranking_svc" in line for line in offered("zsh", "marquee env ran", tmp_path))


def test_the_script_for_bash_completes(tmp_path: Path) -> None:
    install = [MARQUEE, "--install-completion", "bash"]
    environment = {**os.environ, "HOME": str(tmp_path), "SHELL": "/bin/bash"}
    subprocess.run(install, env=environment, check=True, capture_output=True, timeout=60)
    tab = "COMP_WORDS=(marquee doc); COMP_CWORD=1; _marquee_completion $0; echo ${COMPREPLY[@]}"
    script = f"source ~/.bashrc; {tab}"
    done = subprocess.run(
        ["bash", "-c", script, MARQUEE], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "doctor\n"
