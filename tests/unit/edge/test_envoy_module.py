"""The edge's filters in C: no memory error, no race, and never another answer than the right one."""

import hashlib
import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge import envoy_module

HOST = Path(__file__).parents[3] / "tests" / "support" / "edge" / "module_host"

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler on PATH")

Host = Callable[..., str]


@pytest.fixture(scope="module", params=["address,undefined", "thread"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """The module in a stand-in for Envoy, which ends at the first thing that a sanitizer finds."""
    program = tmp_path_factory.mktemp("module") / "module_host"
    build = ["cc", "-std=gnu11", "-O1", "-g", "-pthread", "-Wall", "-Wextra", "-Werror"]
    build += [f"-I{envoy_module.SOURCES}", f"-fsanitize={request.param}", "-fno-sanitize-recover=all"]
    sources = [path for folder in (HOST, envoy_module.SOURCES) for path in folder.glob("*.c")]
    build += ["-o", str(program), *map(str, sources)]
    subprocess.run(build, check=True, timeout=280)

    def run(*arguments: str, given: str = "") -> str:
        ran = subprocess.run(
            [str(program), *arguments],
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=280,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-4000:]
        return ran.stdout

    return run


def test_the_cache_under_random_requests_of_four_threads(host: Host) -> None:
    ran = host("cache", "7", "20000")
    counts = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", ran)}
    assert counts["hits"] + counts["misses"] == 4 * 20000
    assert min(counts.values()) > 1000, f"too little happened to mean anything: {counts}"


@pytest.mark.parametrize("subject", ["user-1", "x" * 55, "é" * 60, "a" * 300])
def test_the_access_log_gets_half_a_keyed_hash(host: Host, tmp_path: Path, subject: str) -> None:
    key = bytes(range(32))
    (tmp_path / "key").write_bytes(key)
    expected = hashlib.sha256(key + subject.encode()).hexdigest()[:32]
    assert host("who", str(tmp_path / "key"), subject) == f"who.user={expected}\n"


FIELDS = "score,request_id/requestId,rating{name,score,movie{title,tags}},ratings{name,score}"
SPELLINGS = {
    "": {"score": "", "request_id": "", "requestId": "", "rating": "rating", "ratings": "ratings"},
    "rating": {"name": "", "score": "", "movie": "movie"},
    "movie": {"title": "", "tags": ""},
    "ratings": {"name": "", "score": ""},
}


def refused(body: str) -> bool:
    """Whether a body that is JSON has an unknown field, or one twice, in an object that is a message."""
    found = False

    def is_wrong(value: Any, message: str) -> None:
        nonlocal found
        if isinstance(value, Pairs):
            had = set()
            for name, inside in value.pairs:
                if name not in SPELLINGS[message]:
                    found = True
                    continue
                canonical = "request_id" if name == "requestId" else name
                found |= canonical in had
                had.add(canonical)
                if SPELLINGS[message][name]:
                    is_wrong(inside, SPELLINGS[message][name])
        elif isinstance(value, list):
            for each in value:
                is_wrong(each, message)

    is_wrong(json.loads(body, object_pairs_hook=Pairs), "")
    return found


class Pairs:
    """An object as it is written, with the names that it has twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def random_value(rng: random.Random, names: list[str], depth: int) -> str:
    kind = rng.randrange(6) if depth else rng.randrange(3)
    space = rng.choice(["", "", " ", "\n\t"])
    if kind == 0:
        return rng.choice(["1", "-1.5e3", "true", "false", "null"])
    if kind in (1, 2):
        return json.dumps(rng.choice(["", "text", '"', "\\", '{"a":1}', "é{", "it's", "\n:"]))
    if kind == 3:
        return "[" + ",".join(random_value(rng, names, depth - 1) for _ in range(rng.randrange(3))) + "]"
    pairs = []
    for _ in range(rng.randrange(4)):
        name = json.dumps(rng.choice(names))
        if rng.random() < 0.1:
            name = name.replace("e", "\\u0065")
        pairs.append(f"{name}{space}:{space}{random_value(rng, names, depth - 1)}")
    return "{" + ",".join(pairs) + "}"


def test_bodies_are_refused_for_what_the_request_does_not_have(host: Host) -> None:
    rng = random.Random(7)
    names = [
        "score",
        "request_id",
        "requestId",
        "rating",
        "ratings",
        "name",
        "movie",
        "title",
        "tags",
        "nope",
    ]
    bodies = [
        "{" + ",".join(f'"{n}":1' for n in rng.sample(names[:5], rng.randrange(5))) + "}" for _ in range(100)
    ]
    while len(bodies) < 1500:
        body = random_value(rng, rng.sample(names, 6), 4)
        if isinstance(json.loads(body), dict):
            bodies.append(body)
    given = "".join(body.encode().hex() + "\n" for body in bodies)
    answers = host("fields", FIELDS, given=given).split("\n")[:-1]
    assert [bool(answer) for answer in answers] == [refused(body) for body in bodies]
    assert 300 < sum(map(bool, answers)) < 1400, "the bodies were all alike"
    broken = []
    for body in bodies:
        raw = bytearray(body.encode())
        for _ in range(rng.randrange(1, 4)):
            raw[rng.randrange(len(raw))] = rng.choice(b'{}[]":,\\u\x00\xff e1')
        broken.append(bytes(raw[: rng.randrange(1, len(raw) + 1)]))
    host("fields", FIELDS, given="".join(body.hex() + "\n" for body in broken))


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ('{"score":7,"requestId":"a"}', ""),
        ('{"scor":7}', 'the request has no field "scor"'),
        ('{"rating":{"scor":7}}', 'the request has no field "scor"'),
        ('{"ratings":[{"name":"a"},{"nam\\u0065":"b"},{"x":1}]}', 'the request has no field "x"'),
        ('{"requestId":"a","request_id":"b"}', 'the body has the field "request_id" twice'),
        ('{"sc\\u006fre":1,"score":2}', 'the body has the field "score" twice'),
        (
            "{'score':7}",
            "the body is not JSON, which has names and texts in double quotes; look at 'score':7}",
        ),
        ("{score:7}", "the body is not JSON, which has names and texts in double quotes; look at core:7}"),
        ("\xa0{}", "the body is not JSON, which has names and texts in double quotes; look at ??{}"),
        ("[" * 100 + "{'", ""),
        ("", ""),
    ],
)
def test_a_refusal_says_what_is_wrong(host: Host, body: str, answer: str) -> None:
    assert host("fields", FIELDS, given=body.encode().hex() + "\n") == answer + "\n"


def test_it_is_found_only_if_it_was_compiled_from_these_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert envoy_module.library().exists()
    changed = tmp_path / "module"
    shutil.copytree(envoy_module.SOURCES, changed)
    (changed / "store.c").write_text("// another release\n")
    monkeypatch.setattr(envoy_module, "SOURCES", changed)
    with pytest.raises(FileNotFoundError, match="make install"):
        envoy_module.library()


def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    assert envoy_module.build(["cc"], "-Werror", out=tmp_path / "module.so").exists()
