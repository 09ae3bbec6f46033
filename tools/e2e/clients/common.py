"""The common part of the scripts for Python's SDKs."""

import json
import os
import sys
from typing import Any

from llmgw_auth import DidAuth

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


def auth(identity: str) -> DidAuth:
    """Creates the `Auth` for the identity file that the environment names."""
    audience = os.environ["AUDIENCE"]
    return DidAuth.from_file(os.environ[identity], audience, base_url=os.environ["GATEWAY"])


def report(**seen: Any) -> None:
    """Writes the results that the SDK's user sees, for the test to check."""
    json.dump(seen, sys.stdout, ensure_ascii=False)
