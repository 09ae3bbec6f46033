"""Checks that the deploy workflow assembles the checked template and nothing that was not checked."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from assemble import AARCH64, BUILD, ELF, ROOT, Refused, build, functions, pack
from expansion import read

PROGRAM = ELF + bytes(12) + AARCH64 + bytes(44)
WORKFLOW = ROOT / ".github" / "workflows" / "deploy.yml"
# Files that another job may have put beside or in place of the programs.
FAULTS: dict[str, Callable[[Path], object]] = {
    "a template": lambda folder: (folder / "template.yaml").write_text("Resources: {}"),
    "a program more": lambda folder: (folder / "extra").write_bytes(PROGRAM),
    "a program less": lambda folder: (folder / "proxy").unlink(),
    "a script": lambda folder: (folder / "proxy").write_text("#!/bin/sh\ncurl https://attacker.example"),
    "another processor's": lambda folder: (folder / "proxy").write_bytes(PROGRAM[:18] + b"\x3e\0" + PROGRAM[20:]),
    "a link": lambda folder: ((folder / "proxy").unlink(), (folder / "proxy").symlink_to("/etc/passwd")),
    "a folder": lambda folder: ((folder / "proxy").unlink(), (folder / "proxy").mkdir()),
}


def problems(template: Path) -> Iterator[str]:
    """The faults of the assembled build of a template, and the forged files that were accepted."""
    text, source = template.read_text(encoding="utf-8"), read(str(template))
    resources = source["Resources"]
    expected = {name for name, it in resources.items() if it["Type"] == "AWS::Serverless::Function"}
    if functions(text).keys() != expected:
        yield f"functions: {sorted(functions(text))}, expected {sorted(expected)}"
    with tempfile.TemporaryDirectory() as place:
        sam, folder, built = (Path(place) / name for name in ("sam", "folder", "built"))
        for logical_id in expected - {"ManagedProxyFunction"}:
            (sam / logical_id).mkdir(parents=True)
            (sam / logical_id / "bootstrap").write_bytes(PROGRAM)
        (sam / "template.yaml").write_text("Resources: {}")
        pack(text, sam, folder)
        build(text, folder, built)
        found, wanted = read(str(built / "template.yaml")), with_code(source)
        # Compared as JSON, in which the order of fields means nothing.
        if json.dumps(found, sort_keys=True) != json.dumps(wanted, sort_keys=True):
            yield "the template differs in more than where the code is"
        for name in expected:
            code = built / found["Resources"][name]["Properties"]["CodeUri"] / "bootstrap"
            if not code.is_file() or not code.stat().st_mode & 0o111:
                yield f"{name}: {code} cannot be started"
    for fault, change in FAULTS.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "folder"
            folder.mkdir()
            for program in set(functions(text).values()):
                (folder / program).write_bytes(PROGRAM)
            change(folder)
            try:
                build(text, folder, Path(place) / "built")
            except Refused:
                continue
            yield f"accepted: {fault}"
    yield from workflow_problems()


def with_code(source: dict[str, Any]) -> dict[str, Any]:
    """The source with each function's folder."""
    changed = copy.deepcopy(source)
    del changed["Globals"]["Function"]["CodeUri"]
    for resource in changed["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            name = resource["Properties"]["FunctionName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
            resource["Properties"]["CodeUri"] = name.removeprefix("managed-")
    return changed


def workflow_problems() -> Iterator[str]:
    """The job with the secrets takes nothing but the folder of programs from the other."""
    workflow = read(str(WORKFLOW))
    build_job, deploy_job = (workflow["jobs"][name] for name in ("build", "deploy"))
    uploads = [step["with"] for step in build_job["steps"] if "upload-artifact" in step.get("uses", "")]
    if [upload["path"] for upload in uploads] != ["executables"]:
        yield f"uploaded: {uploads}"
    if "id-token" in str(build_job.get("permissions")) or "secrets." in str(build_job):
        yield "the job that builds knows a secret"
    steps = [str(step.get("run", "")) for step in deploy_job["steps"]]
    if any("tar " in step or "unzip" in step for step in steps):
        yield "an archive of the other job is unpacked"
    if not any("assemble.py build" in step for step in steps):
        yield f"{BUILD.relative_to(ROOT)} is not made from the checkout"
