"""anthropic-python with an access token: a base URL and a key, nothing else."""

import json
import os
import sys

import anthropic

QUESTION = {
    "model": "sdk/chat",
    "messages": [{"role": "user", "content": "Say hello"}],
    "max_tokens": 64,
}


def refusal(api_key: str) -> str:
    try:
        anthropic.Anthropic(api_key=api_key, max_retries=0).messages.create(**QUESTION)
    except anthropic.APIStatusError as error:
        return f"{type(error).__name__} {error.status_code} {error.body['error']['metadata']['reason']}"
    return "none"


ai = anthropic.Anthropic()
raw = ai.messages.with_raw_response.create(**QUESTION)
with ai.messages.with_streaming_response.create(**QUESTION, stream=True) as response:
    stream_body = b"".join(response.iter_bytes())
# The same in the other header.
bearer = anthropic.Anthropic(api_key=None, auth_token=os.environ["ANTHROPIC_API_KEY"])

json.dump(
    {
        "message_body": raw.http_response.text,
        "message_stream_body": stream_body.decode(),
        "chat": raw.parse().content[0].text,
        "bearer": bearer.messages.create(**QUESTION).content[0].text,
        "counted": ai.messages.count_tokens(
            model=QUESTION["model"], messages=QUESTION["messages"]
        ).input_tokens,
    }
    | {f"token {name}": refusal(token) for name, token in json.loads(os.environ["REFUSED"]).items()},
    sys.stdout,
)
