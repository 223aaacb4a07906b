"""The contract is the one source of what requests take, and no rule is built that makes no sense."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import grpc_tools
import pytest

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos"
PACKAGES = Path(sysconfig.get_paths()["purelib"])

# What a service and the edge make of the stubs that are first on the path.
_ASK = """
import asyncio, json, sys
import grpc
from edge import contract, openapi, policies
from edge.limits import Limits
from marquee.movies.v1 import movies_pb2 as pb, movies_pb2_grpc
from mesh import rpc

class Servicer(movies_pb2_grpc.MovieServiceServicer):
    async def LookupMovie(self, request, context):
        return pb.Movie(title=request.title)

async def said(stub, year):
    try:
        await stub.LookupMovie(pb.LookupMovieRequest(title="x", year=year), timeout=30)
    except grpc.aio.AioRpcError as error:
        return error.details()
    return "taken"

async def main():
    server = grpc.aio.server()
    service = pb.DESCRIPTOR.services_by_name["MovieService"]
    server.add_generic_rpc_handlers([rpc.handlers(service, Servicer())])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = movies_pb2_grpc.MovieServiceStub(channel)
        answers = [await said(stub, year) for year in (2100, 2101, 2200, 2201)]
    await server.stop(0)
    document = openapi.describe(contract.load(), policies.load_table(), Limits.load())
    parameters = document["paths"]["/v1/movies:lookup"]["get"]["parameters"]
    (year,) = (each for each in parameters if each["name"] == "year")
    takes = year["description"].rpartition("Takes ")[2]
    print(json.dumps({"answers": answers, "schema": year["schema"], "takes": takes}))

asyncio.run(main())
"""


def copy_with(folder: Path, old: str, new: str, file: str = "rules/v1/rules.proto") -> Path:
    """A copy of the contract and of what builds it, with one change."""
    protos = folder / "protos"
    shutil.copytree(PROTOS, protos, ignore=shutil.ignore_patterns("build", "dist", "__pycache__"))
    changed = protos / "marquee" / file
    text = changed.read_text()
    assert old in text
    changed.write_text(text.replace(old, new))
    return protos


def build(protos: Path, into: Path) -> "subprocess.CompletedProcess[str]":
    """Builds the wheel of the stubs as an installation does."""
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command = [*pip, f"--wheel-dir={into}", str(protos)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_rule_changed_in_the_contract_changes_validation_and_description(tmp_path: Path) -> None:
    protos = copy_with(tmp_path, "lte: 2100", "lte: 2200")
    done = build(protos, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    stubs = tmp_path / "stubs"
    zipfile.ZipFile(wheel).extractall(stubs)
    asked = subprocess.run(
        [sys.executable, "-c", _ASK],
        env={**os.environ, "PYTHONPATH": f"{stubs}{os.pathsep}{ROOT}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    assert found == {
        "answers": ["taken", "taken", "taken", "year: 2201 is not within 1870–2200"],
        "schema": {"type": "integer", "format": "int32", "minimum": 1870, "maximum": 2200},
        "takes": "1870 to 2200.",
    }


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("least: 1870", 'has no field named "least"'),
        ("gte: 2101", "shape year: gte is above lte"),
    ],
    ids=["unknown", "contradictory"],
)
def test_stubs_with_such_a_rule_are_not_built(tmp_path: Path, new: str, words: str) -> None:
    done = build(copy_with(tmp_path, "gte: 1870", new), tmp_path)
    assert done.returncode != 0
    assert words in done.stdout + done.stderr
    assert not list(tmp_path.glob("*.whl"))


# Each field with what is said of it; None where nothing is wrong.
_FIELDS: dict[str, tuple[str, str | None]] = {
    "good": ("int32 good = {n} [{optional}, {rule} = {{gte: 1, lte: 2}}];", None),
    "zero": ("int32 zero = {n} [{optional}, {rule} = {{gte: 0}}];", None),
    "flag": ("bool flag = {n} [{optional}];", None),
    "inner": ("Inner inner = {n} [{optional}];", None),
    "bare": ("string bare = {n} [{optional}];", "has no rule"),
    "bare_list": ("repeated Inner bare_list = {n} [{optional}];", "has no rule"),
    "bare_map": ("map<string, string> bare_map = {n} [{optional}];", "has no rule"),
    "empty": ("string empty = {n} [{optional}, {rule} = {{}}];", "says nothing"),
    "freed": ('string freed = {n} [{optional}, {rule} = {{free: "x", max_len: 3}}];', "free, and has rules"),
    "neither": ("int32 neither = {n} [{rule} = {{gte: 1}}];", "either REQUIRED or OPTIONAL"),
    "number": ("string number = {n} [{optional}, {rule} = {{gte: 1}}];", "something else"),
    "text": ("int32 text = {n} [{optional}, {rule} = {{max_len: 1}}];", "something else"),
    "kind": ("int32 kind = {n} [{optional}, {rule} = {{defined_only: true}}];", "something else"),
    "masked": ("Inner masked = {n} [{optional}, {rule} = {{shape: SHAPE_MOVIE_MASK}}];", "something else"),
    "sized": ("string sized = {n} [{optional}, {rule} = {{shape: SHAPE_PAGE_SIZE}}];", "something else"),
    "both": (
        'string both = {n} [{optional}, {rule} = {{max_len: 1, pattern: "a", says: "b"}}];',
        "a text of people and a text for programs at once",
    ),
    "single": ("string single = {n} [{optional}, {rule} = {{max_len: 1, max_items: 2}}];", "is no list"),
    "turned": ("int32 turned = {n} [{optional}, {rule} = {{gte: 3, lte: 2}}];", "gte is above lte"),
    "steps": (
        "int32 steps = {n} [{optional}, {rule} = {{gte: 11, lte: 19, multiple_of: 10}}];",
        "no multiple",
    ),
    "no_steps": ("int32 no_steps = {n} [{optional}, {rule} = {{multiple_of: 0}}];", "not positive"),
    "twice": (
        "int32 twice = {n} [{optional}, {rule} = {{shape: SHAPE_YEAR, lte: 2000}}];",
        "its shape says lte too",
    ),
    "broken": (
        'string broken = {n} [{optional}, {rule} = {{pattern: "(", says: "x"}}];',
        "pattern: missing )",
    ),
    "silent": ('string silent = {n} [{optional}, {rule} = {{pattern: "a"}}];', "needs a sentence"),
    "strange": (
        'string strange = {n} [{optional}, {rule} = {{template: "a/{{nobody}}", says: "x"}}];',
        "there is no shape nobody",
    ),
    "unsaid": (
        'int32 unsaid = {n} [{optional}, {rule} = {{gte: 1, says: "{{least}}"}}];',
        "says: KeyError('least')",
    ),
    "boundless": ('int32 boundless = {n} [{optional}, {rule} = {{gte: 1, says: "{{lte}}"}}];', "not given"),
    "page": ("int32 page = {n} [{optional}, {rule} = {{page: {{size: 5, most: 3}}}}];", "5 up to 3"),
    "of_nothing": (
        'google.protobuf.FieldMask of_nothing = {n} [{optional}, {rule} = {{mask_of: "a.B"}}];',
        "there is no message a.B",
    ),
    "apart": (
        "repeated string apart = {n} [{optional}, {rule} = {{max_len: 1, apart: true}}];",
        "are no messages",
    ),
}


def test_each_rule_that_makes_no_sense_and_each_gap_is_named(tmp_path: Path) -> None:
    """In a service of its own beside the contract, of which nothing is named."""
    optional = "(google.api.field_behavior) = OPTIONAL"
    fields = [
        declared.format(n=number, optional=optional, rule="(marquee.rules.v1.rule)")
        for number, (declared, _) in enumerate(_FIELDS.values(), 1)
    ]
    protos = copy_with(tmp_path, "", "")
    (protos / "marquee/probe/v1").mkdir(parents=True)
    (protos / "marquee/probe/v1/probe.proto").write_text(
        "\n".join(
            [
                'syntax = "proto3";',
                "package marquee.probe.v1;",
                'import "google/api/field_behavior.proto";',
                'import "google/protobuf/field_mask.proto";',
                'import "marquee/rules/v1/rules.proto";',
                "service ProbeService {",
                "  rpc Probe(ProbeRequest) returns (Inner) { option (marquee.rules.v1.apart) = true; }",
                "}",
                "message ProbeRequest {",
                *fields,
                "}",
                "message Inner { string deep = 1 [(google.api.field_behavior) = OPTIONAL]; }",
            ]
        )
    )
    out = tmp_path / "out"
    (out / "marquee").mkdir(parents=True)
    sources = [str(path.relative_to(protos)) for path in protos.glob("marquee/**/*.proto")]
    protoc = [
        *(sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", f"-I{PACKAGES}"),
        *(f"-I{Path(grpc_tools.__file__).parent / '_proto'}", f"--python_out={out}", "--include_imports"),
        *(f"--descriptor_set_out={out / 'marquee/descriptors.binpb'}", *sources),
    ]
    subprocess.run(protoc, cwd=protos, check=True)
    done = subprocess.run(
        [sys.executable, protos / "rules_check.py", out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    lines = dict(line.split(": ", 1) for line in done.stderr.splitlines())
    expected = {
        f"marquee.probe.v1.ProbeRequest.{name}": words for name, (_, words) in _FIELDS.items() if words
    }
    expected["marquee.probe.v1.Inner.deep"] = "has no rule"
    expected["ProbeService.Probe"] = "are no stream"
    assert {place: words for place, words in expected.items() if words not in lines.get(place, "")} == {}, (
        lines
    )
    assert lines.keys() == expected.keys()
