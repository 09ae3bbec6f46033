#!/usr/bin/env python3
"""Assembles the input of `sam deploy`: this checkout's template, and executables that another job built.

    python3 tools/template/assemble.py pack FOLDER      after `cargo xtask package`: the executables alone
    python3 tools/template/assemble.py build FOLDER     before `sam deploy`: .aws-sam/build

The other job runs other people's code, so its output is not trusted: FOLDER must contain exactly one file for
each program, an executable for Lambda's arm64. The checkout alone decides what else is deployed, and under
which roles. This script needs no package, since nothing is installed beside the secrets of the job that deploys.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / ".aws-sam" / "build"
# Twice the target of `cargo xtask package`, which has the exact ones.
LARGEST = 20_000_000
# 64 bits, little-endian, and the processor at byte 18: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
ELF = b"\x7fELF\x02\x01"
AARCH64 = (183).to_bytes(2, "little")


class Refused(Exception):
    """The reason why the files are not deployed."""


def main(arguments: list[str]) -> int:
    """Runs one of the two steps; returns the exit code."""
    if len(arguments) != 2 or arguments[0] not in {"pack", "build"}:
        print(__doc__, file=sys.stderr)
        return 2
    step, folder = arguments[0], Path(arguments[1])
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")
    try:
        sums = pack(template, BUILD, folder) if step == "pack" else build(template, folder, BUILD)
    except Refused as refusal:
        print(f"assemble: {refusal}", file=sys.stderr)
        return 1
    for program, digest in sums.items():
        print(f"{digest}  {program}")
    return 0


def pack(template: str, built: Path, folder: Path) -> dict[str, str]:
    """Copies each program once, by its name, out of the output of `sam build`."""
    folder.mkdir(parents=True)
    sums = {}
    for logical_id, program in functions(template).items():
        executable = built / logical_id / "bootstrap"
        if executable.is_file() and program not in sums:
            shutil.copyfile(executable, folder / program)
            sums[program] = digest(executable.read_bytes())
    if missing := set(functions(template).values()) - sums.keys():
        raise Refused(f"not built: {', '.join(sorted(missing))}")
    return sums


def build(template: str, folder: Path, built: Path) -> dict[str, str]:
    """Creates the input folder of `sam deploy`; returns each program's SHA-256."""
    programs = sorted(set(functions(template).values()))
    found = sorted(path.name for path in folder.iterdir())
    if found != programs:
        raise Refused(f"{folder} holds {found}, expected {programs}")
    executables = {program: executable(folder / program) for program in programs}
    shutil.rmtree(built, ignore_errors=True)
    for program, content in executables.items():
        (built / program).mkdir(parents=True)
        target = built / program / "bootstrap"
        target.write_bytes(content)
        target.chmod(0o755)
    (built / "template.yaml").write_text(with_code(template), encoding="utf-8")
    return {program: digest(content) for program, content in executables.items()}


def executable(path: Path) -> bytes:
    """Reads a program, and refuses anything that is not an executable."""
    if path.is_symlink() or not path.is_file():
        raise Refused(f"{path.name} is no file")
    if (size := path.stat().st_size) > LARGEST:
        raise Refused(f"{path.name} has {size} bytes")
    content = path.read_bytes()
    if not content.startswith(ELF) or content[18:20] != AARCH64:
        raise Refused(f"{path.name} is no executable for arm64")
    return content


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


RESOURCE = re.compile(r"^  (\w+):\n    Type: AWS::Serverless::Function\n(?:(?:    .*)?\n)*", re.MULTILINE)
NAME = re.compile(r'^      FunctionName: !Sub "\$\{AWS::StackName\}-([a-z-]+)"\n', re.MULTILINE)


def functions(template: str) -> dict[str, str]:
    """Each function's program, by the function's logical id. A rule of the template holds names and programs
    together (`binaries-exist`)."""
    return {resource[1]: program(resource[0]) for resource in RESOURCE.finditer(template)}


def program(resource: str) -> str:
    names = NAME.findall(resource)
    if len(names) != 1:
        raise Refused(f"a function has the names {names}")
    return names[0].removeprefix("managed-")


def with_code(template: str) -> str:
    """The template with each function's folder in it, as `sam build` writes it, in place of the sources."""

    def add(resource: re.Match[str]) -> str:
        return NAME.sub(lambda name: f"{name[0]}      CodeUri: {program(resource[0])}\n", resource[0])

    sources = "    CodeUri: .\n"
    if template.count(sources) != 1:
        raise Refused("the template names its sources elsewhere")
    return RESOURCE.sub(add, template.replace(sources, ""))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
