"""LiteLLM's client, as any program uses it."""

import json
import os
import sys
from importlib.metadata import version

import litellm

# Otherwise it prints advice to stdout.
litellm.suppress_debug_info = True

MESSAGES = [{"role": "user", "content": "Say hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def refusal(**options: object) -> str:
    try:
        litellm.completion(**{"model": "openai/sdk/chat", "messages": MESSAGES, **options})
    except Exception as error:
        return f"{type(error).__name__} {error.status_code}"
    return "none"


chat = litellm.completion("openai/sdk/chat", MESSAGES)
stream = litellm.completion("openai/sdk/chat", MESSAGES, stream=True)
called = litellm.completion("openai/sdk/tools", MESSAGES, tools=[WEATHER])
[call] = called.choices[0].message.tool_calls

json.dump(
    {
        "version": version("litellm"),
        "chat": f"{chat.choices[0].message.content} ({chat.usage.total_tokens} tokens)",
        "stream": "".join(it.choices[0].delta.content or "" for it in stream),
        "tool": f"{call.function.name}({call.function.arguments})",
        "refused_upstream": refusal(model="openai/sdk/unpaid"),
        "refused_by_gateway": refusal(api_base=os.environ["STRANGER"]),
        "wrong_token": refusal(api_key="sk-wrong"),
        "gateway_down": refusal(api_base=os.environ["DOWN"], max_retries=0),
    },
    sys.stdout,
)
