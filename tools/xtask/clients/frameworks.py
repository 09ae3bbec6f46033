"""One question to a model through each framework: a base URL and a key, nothing else.

The first argument names the framework; `OPENAI_BASE_URL`, `OPENAI_API_KEY` and `MODEL` say the rest.
"""

import os
import sys

BASE, KEY, MODEL = (os.environ[it] for it in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "MODEL"))
PROMPT = "Say hello"


def dspy() -> str:
    import dspy

    [answer] = dspy.LM(f"openai/{MODEL}", api_base=BASE, api_key=KEY)(PROMPT)
    return answer["text"] if isinstance(answer, dict) else answer


def langchain() -> str:
    from langchain_openai import ChatOpenAI

    # It reads the variables of OpenAI's SDK itself.
    return "".join(it.content for it in ChatOpenAI(model=MODEL).stream(PROMPT))


def llama_index() -> str:
    from llama_index.llms.openai_like import OpenAILike

    ai = OpenAILike(model=MODEL, api_base=BASE, api_key=KEY, is_chat_model=True)
    return "".join(it.delta for it in ai.stream_complete(PROMPT))


def openai_agents() -> str:
    from agents import Agent, Runner, set_tracing_disabled

    # Else it sends traces to OpenAI.
    set_tracing_disabled(True)
    return Runner.run_sync(Agent(name="Greeter", model=MODEL), PROMPT).final_output


def pydantic_ai() -> str:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=BASE, api_key=KEY))
    return Agent(model).run_sync(PROMPT).output


def smolagents() -> str:
    from smolagents import OpenAIServerModel

    model = OpenAIServerModel(MODEL, api_base=BASE, api_key=KEY)
    return model([{"role": "user", "content": PROMPT}]).content


print(globals()[sys.argv[1]]())
