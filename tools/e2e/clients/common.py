"""The common part of the scripts for Python's SDKs."""

import json
import os
import sys
import time
from typing import Any

from llmgw_auth import DidAuth, Identity, Signer

BASE_URL = os.environ["GATEWAY"] + "/api/v1/openrouter"
MESSAGES = [{"role": "user", "content": "Say hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
AUDIO = ("hello.wav", b"RIFF\0\xff not really audio", "audio/wav")


def auth(identity: str, ahead: float = 0) -> DidAuth:
    """Creates the `Auth` for the identity file that the environment names, with a clock that is so
    many seconds ahead."""
    signer = Signer(
        Identity.from_file(os.environ[identity]),
        os.environ["AUDIENCE"],
        base_url=os.environ["GATEWAY"],
        clock=lambda: time.time() + ahead,
    )
    return DidAuth(signer)


def report(**seen: Any) -> None:
    """Writes the results that the SDK's user sees, for the test to check."""
    json.dump(seen, sys.stdout, ensure_ascii=False)
