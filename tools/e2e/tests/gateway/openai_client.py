"""openai-python through the gateway: prints what its user sees."""

import os

import httpx2
import openai
from llmgw_auth import DidAuth

gateway = os.environ["GATEWAY"]
seed = bytes.fromhex(os.environ["SEED_HEX"])
auth = DidAuth(seed, os.environ["AUDIENCE"], base_url=gateway)
ai = openai.OpenAI(
    base_url=f"{gateway}/api/v1/openrouter",
    api_key="unused",
    max_retries=1,
    http_client=httpx2.Client(auth=auth, timeout=60),
)
messages = [{"role": "user", "content": "hello"}]

whole = ai.chat.completions.create(model="stub/ok", messages=messages)
print("whole:", whole.model, repr(whole.choices[0].message.content), whole.usage.total_tokens)

text = ""
for chunk in ai.chat.completions.create(model="stub/ok", messages=messages, stream=True):
    if chunk.choices:
        text += chunk.choices[0].delta.content or ""
print("stream:", repr(text))

try:
    ai.chat.completions.create(model="stub/429", messages=messages)
except openai.RateLimitError as error:
    print("refused:", type(error).__name__, error.status_code, error.body)
