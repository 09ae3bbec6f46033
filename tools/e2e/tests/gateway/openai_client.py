"""openai-python through the gateway: prints what its user sees."""

import os

import openai
from llmgw_auth import DidAuth, client

auth = DidAuth(seed=bytes.fromhex(os.environ["SEED_HEX"]), audience=os.environ["AUDIENCE"])
ai = openai.OpenAI(
    base_url=os.environ["BASE_URL"], api_key="unused", max_retries=1, http_client=client(auth=auth)
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
