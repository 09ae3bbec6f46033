"""openai-python with an access token: a base URL and a key, nothing else."""

import json
import os
import sys

import openai

MESSAGES = [{"role": "user", "content": "Say hello"}]


def refusal(api_key: str) -> str:
    try:
        openai.OpenAI(api_key=api_key, max_retries=0).chat.completions.create(
            model="sdk/chat", messages=MESSAGES
        )
    except openai.APIStatusError as error:
        return f"{type(error).__name__} {error.status_code} {error.body['metadata']['reason']}"
    return "none"


ai = openai.OpenAI()
raw = ai.chat.completions.with_raw_response.create(model="sdk/chat", messages=MESSAGES)
streaming = ai.chat.completions.with_streaming_response
with streaming.create(model="sdk/chat", messages=MESSAGES, stream=True) as response:
    stream_body = b"".join(response.iter_bytes())

json.dump(
    {
        "chat_body": raw.http_response.text,
        "stream_body": stream_body.decode(),
        "chat": raw.parse().choices[0].message.content,
        "model": ai.models.retrieve("sdk/chat:free").id,
    }
    | {f"token {name}": refusal(token) for name, token in json.loads(os.environ["REFUSED"]).items()},
    sys.stdout,
)
