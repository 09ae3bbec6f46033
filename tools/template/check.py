#!/usr/bin/env python3
"""Checks template.yaml offline: with both linters, with rules for its expansion, and against the permissions
of .github/deploy-role.yaml.

    pip install aws-sam-cli cfn-lint cryptography
    python tools/template/check.py [--checkov path/to/checkov]

Prints one line per check and exits with 1 if any failed. checkov, the security linter, lives in an
environment of its own (requirements.txt) and is run if it is named. Linters know CloudFormation and not
this stack: they accept a proxy that buffers its streams and a role that reads every secret. Therefore the
rules (rules.py) run on the expanded template, and each rule has to fail on a template with a fault of its
kind (mutations.py).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT / "tools")]

# Nothing here connects to AWS, but the tools require a region and credentials.
OFFLINE = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "offline",
    "AWS_SECRET_ACCESS_KEY": "offline",
    "AWS_EC2_METADATA_DISABLED": "true",
    "SAM_CLI_TELEMETRY": "0",
}
os.environ.update(OFFLINE)

from expansion import Expansion, copied, expand, packaged, read  # noqa: E402
import assembling  # noqa: E402
import operations  # noqa: E402, F401 - registers its rules
from deploy_role import misfits  # noqa: E402
from mutations import MUTATIONS, ROLE_FAULTS  # noqa: E402
from rules import RULES  # noqa: E402

import events  # noqa: E402

TEMPLATE = ROOT / "template.yaml"
DEPLOY_ROLE = ROOT / ".github" / "deploy-role.yaml"


def main() -> int:
    """Runs everything; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkov", metavar="PROGRAM")
    checkov = parser.parse_args().checkov
    failed = 0
    for name, problems in checks(checkov):
        print(f"{'FAIL' if problems else 'ok  '} {name}")
        for problem in problems:
            print(f"       {problem}")
        failed += bool(problems)
    print(f"{failed} failed" if failed else "all passed")
    return 1 if failed else 0


def checks(checkov: str | None) -> Iterator[tuple[str, list[str]]]:
    """The name of each check, and its problems."""
    with ThreadPoolExecutor() as linters:
        linting = {name: linters.submit(run, *command) for name, command in lints(checkov)}
        yield from rules()
        for name, problems in linting.items():
            yield name, problems.result()


def lints(checkov: str | None) -> Iterator[tuple[str, list[str]]]:
    """The name and the command line of each linter."""
    yield "sam validate --lint", ["sam", "validate", "--lint", "--template", str(TEMPLATE)]
    for template in (TEMPLATE, DEPLOY_ROLE):
        name = template.relative_to(ROOT)
        yield f"cfn-lint {name}", ["cfn-lint", "--non-zero-exit-code", "warning", str(template)]
    if checkov:
        yield "checkov", [checkov, "--config-file", str(HERE / "checkov.yaml"), "--file", str(TEMPLATE)]


def rules() -> Iterator[tuple[str, list[str]]]:
    """The rules' verdicts on the templates, and on templates with a fault of each kind."""
    source = read(str(TEMPLATE))
    yield "sam package changes nothing but the build's address", [] if packaged(source) == source else ["it differs"]

    stacks = expand(source)
    for name in RULES:
        yield name, broken(name, stacks)

    for name in RULES:
        faults = MUTATIONS.get(name, {})
        yield f"{name} has faults to notice", [] if faults else ["none in mutations.py"]
        for fault, change in faults.items():
            mutated = copied(source)
            change(mutated)
            yield f"{name} notices: {fault}", [] if broken(name, expand(mutated)) else ["it passed"]

    role = read(str(DEPLOY_ROLE))
    yield "the deploy role fits the template", list(misfits(role, source))
    for fault, change in ROLE_FAULTS.items():
        mutated = copied(role)
        change(mutated)
        noticed = any(misfits(mutated, source))
        yield f"of the deploy role is noticed: {fault}", [] if noticed else ["it passed"]

    yield "the deployed build is the checked template and programs", list(assembling.problems(TEMPLATE))

    yield "events/ is what tools/events.py writes", events.differences(ROOT / "events")


def broken(name: str, stacks: list[Expansion]) -> list[str]:
    """The problems that a rule finds in any of the expansions, each once."""
    found = (problem for stack in stacks for problem in RULES[name](stack))
    return list(dict.fromkeys(found))


def run(program: str, *arguments: str) -> list[str]:
    """The output of a tool that fails. The tool is looked for beside this interpreter first."""
    beside = Path(sys.executable).parent / program
    command = [str(beside) if beside.is_file() else program, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    except FileNotFoundError:
        return [f"{program} is not installed"]
    return [] if done.returncode == 0 else (done.stdout + done.stderr).strip().splitlines() or ["failed"]


if __name__ == "__main__":
    sys.exit(main())
