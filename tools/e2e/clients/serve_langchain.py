"""LangChain's ChatOpenAI, as any program uses it."""

import json
import os
import sys
from importlib.metadata import version

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def weather(city: str) -> str:
    """Tells the weather."""
    return city


def refusal(**options: object) -> str:
    try:
        ChatOpenAI(**options).invoke("Say hello")
    except Exception as error:
        return f"{type(error).__name__} {error.status_code}"
    return "none"


ai = ChatOpenAI(model="sdk/chat")
chat = ai.invoke("Say hello")
[called] = ChatOpenAI(model="sdk/tools").bind_tools([weather]).invoke("Say hello").tool_calls

json.dump(
    {
        "version": version("langchain-openai"),
        "chat": f"{chat.content} ({chat.usage_metadata['total_tokens']} tokens)",
        "stream": "".join(chunk.content for chunk in ai.stream("Say hello")),
        "tool": f"{called['name']}({json.dumps(called['args'])})",
        "retried": ChatOpenAI(model="sdk/once-429").invoke("Say hello").content,
        "refused_upstream": refusal(model="sdk/unpaid"),
        "refused_by_gateway": refusal(model="sdk/chat", base_url=os.environ["STRANGER"]),
        "wrong_token": refusal(model="sdk/chat", api_key="sk-wrong"),
        "gateway_down": refusal(model="sdk/chat", base_url=os.environ["DOWN"], max_retries=0),
    },
    sys.stdout,
)
