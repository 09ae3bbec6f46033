"""anthropic-python, as any program uses it: with nothing but its variables."""

import json
import os
import sys

import anthropic

MESSAGES = [{"role": "user", "content": "Say hello"}]
WEATHER = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def refusal(ai: anthropic.Anthropic, model: str) -> str:
    try:
        ai.messages.create(model=model, messages=MESSAGES, max_tokens=64)
    except anthropic.APIStatusError as error:
        return f"{type(error).__name__} {error.status_code} {error.body['error']['message']}"
    return "none"


ai = anthropic.Anthropic()
question = {"model": "sdk/chat", "messages": MESSAGES, "max_tokens": 64}
raw = ai.messages.with_raw_response.create(**question)
chat = raw.parse()
with ai.messages.with_streaming_response.create(**question, stream=True) as response:
    stream_body = b"".join(response.iter_bytes())
with ai.messages.stream(**question) as events:
    stream = "".join(events.text_stream)
[called] = ai.messages.create(**{**question, "model": "sdk/tools"}, tools=[WEATHER]).content
model = ai.models.retrieve("sdk/chat:free")
counted = ai.messages.count_tokens(model="sdk/chat", messages=MESSAGES)
retried = ai.messages.create(**{**question, "model": "sdk/once-429"})

json.dump(
    {
        "version": anthropic.__version__,
        "message_body": raw.http_response.text,
        "message_stream_body": stream_body.decode(),
        "chat": f"{chat.content[0].text} ({chat.usage.input_tokens + chat.usage.output_tokens} tokens)",
        "stream": stream,
        "tool": f"{called.name}({json.dumps(called.input)})",
        "model": model.id,
        "counted": counted.input_tokens,
        "retried": retried.content[0].text,
        "refused_upstream": refusal(ai, "sdk/unpaid"),
        "refused_by_gateway": refusal(
            anthropic.Anthropic(base_url=os.environ["STRANGER"].removesuffix("/v1")), "sdk/chat"
        ),
        "wrong_token": refusal(anthropic.Anthropic(auth_token="sk-wrong"), "sdk/chat"),
        "gateway_down": refusal(
            anthropic.Anthropic(base_url=os.environ["DOWN"].removesuffix("/v1"), max_retries=0),
            "sdk/chat",
        ),
    },
    sys.stdout,
)
