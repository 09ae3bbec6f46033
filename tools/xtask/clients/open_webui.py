"""Open WebUI without its page: starts it, signs up, asks one question, and ends it.

The variables of the gateway say where it asks, and `MODEL` which model.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

START = 200  # seconds; it makes a database first
LOG = Path("open-webui.log")


def call(path: str, body: object = None, token: str = "") -> dict:
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}{path}",
        None if body is None else json.dumps(body).encode(),
        {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {}),
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def wait(server: subprocess.Popen) -> None:
    for _ in range(START):
        if server.poll() is not None:
            break
        try:
            call("/health")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(1)
    sys.exit(f"Open WebUI did not start: {LOG.read_text()[-2000:]}")


with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    PORT = free.getsockname()[1]

settings = {
    "OPENAI_API_BASE_URL": os.environ["OPENAI_BASE_URL"],
    "OPENAI_API_KEY": os.environ["OPENAI_API_KEY"],
    "ENABLE_OLLAMA_API": "false",
    "DATA_DIR": os.getcwd(),
    "WEBUI_SECRET_KEY": "of-this-run-only",
    # Else it fetches a model for the search in documents.
    "OFFLINE_MODE": "true",
    "RAG_EMBEDDING_MODEL": "",
}
server = subprocess.Popen(
    [Path(sys.executable).with_name("open-webui"), "serve", "--host", "127.0.0.1", "--port", str(PORT)],
    env=os.environ | settings,
    stdout=LOG.open("w"),
    stderr=subprocess.STDOUT,
)
try:
    wait(server)
    user = {"name": "A", "email": "a@example.com", "password": "Pass-word-1!"}
    token = call("/api/v1/auths/signup", user)["token"]
    model = os.environ["MODEL"]
    assert model in [it["id"] for it in call("/api/models", token=token)["data"]]
    question = {"model": model, "messages": [{"role": "user", "content": "Say hello"}], "stream": False}
    print(call("/api/chat/completions", question, token)["choices"][0]["message"]["content"])
finally:
    server.terminate()
    server.wait()
