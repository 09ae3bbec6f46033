import { signal, useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { json, send } from "../api.js";
import {
  changeConversation,
  conversationsOf,
  deleteConversation,
  saveConversation,
  type Conversation,
  type Turn,
} from "../database.js";
import { money, shortDateTime } from "../format.js";
import { Markdown } from "../markdown.js";
import { digits, sum } from "../money.js";
import { Confirm, Failure, Field, Money, moneyText, useLoaded } from "../parts.js";
import { current } from "../session.js";
import { complete } from "../stream.js";
import { texts } from "../texts.js";

const t = texts.chat;
/** The costs of this visit's answers, by their requests: an answer's is known while the next one streams. */
const costs = signal<Readonly<Record<string, string>>>({});

const withCosts = (conversation: Conversation): Conversation => ({
  ...conversation,
  turns: conversation.turns.map((turn) => {
    const cost = turn.cost ?? costs.peek()[turn.requestId ?? ""];
    return cost === undefined ? turn : { ...turn, cost };
  }),
});

const DEFAULT_MODEL = "openai/gpt-4o-mini";

interface Model {
  readonly id: string;
  readonly name?: string;
  readonly pricing?: { readonly prompt?: string; readonly completion?: string };
}

export function ChatView(): JSX.Element {
  const did = current.value?.did ?? "";
  const all = useSignal<readonly Conversation[]>([]);
  const open = useSignal<Conversation>(fresh(did, DEFAULT_MODEL));
  const removing = useSignal<Conversation | undefined>(undefined);
  const load = async () => {
    all.value = await conversationsOf(did);
  };
  const start = () => {
    open.value = fresh(did, open.value.model);
  };
  useEffect(() => {
    // Not at the beginning, when somebody may have asked already: effects run after the first paint.
    if (open.peek().did !== did) {
      start();
    }
    void load();
  }, [did]);
  return (
    <>
      <h1>{t.heading}</h1>
      <div class="chat">
        <section class="talk" aria-label={t.heading}>
          <Talk open={open} changed={load} />
        </section>
        <aside class="past">
          <button type="button" onClick={start}>
            {t.fresh}
          </button>
          {all.value.length > 0 ? <h2>{t.list}</h2> : null}
          <ul class="plain">
            {all.value.map((it) => (
              <li class="row" key={it.id}>
                <button
                  type="button"
                  class="quiet past-entry"
                  aria-current={it.id === open.value.id}
                  onClick={() => (open.value = it)}
                >
                  <span>{it.turns[0]?.content.slice(0, 60) ?? ""}</span>
                  <span class="small muted">{shortDateTime(it.updatedAt)}</span>
                </button>
                <button
                  type="button"
                  class="quiet"
                  aria-label={`${t.remove}: ${it.turns[0]?.content.slice(0, 60) ?? ""}`}
                  onClick={() => (removing.value = it)}
                >
                  ×
                </button>
              </li>
            ))}
          </ul>
        </aside>
      </div>
      {removing.value ? (
        <Confirm
          heading={t.removeHeading}
          lead={t.removeLead}
          action={t.remove}
          onConfirm={async () => {
            const gone = removing.value;
            if (gone) {
              await deleteConversation(gone.id);
              await load();
              if (open.value.id === gone.id) {
                start();
              }
            }
          }}
          onClose={() => (removing.value = undefined)}
        />
      ) : null}
    </>
  );
}

const fresh = (did: string, model: string): Conversation => ({
  id: crypto.randomUUID(),
  did,
  model,
  turns: [],
  updatedAt: Date.now(),
});

function Talk({ open, changed }: { open: Signal<Conversation>; changed: () => Promise<void> }): JSX.Element {
  const message = useSignal("");
  const failure = useSignal<unknown>(undefined);
  const running = useSignal<{ id: string; controller: AbortController } | undefined>(undefined);
  const end = useRef<HTMLDivElement>(null);
  const isRunning = running.value?.id === open.value.id;
  useEffect(() => {
    end.current?.scrollIntoView({ block: "end" });
  }, [open.value.turns.at(-1)?.content, open.value.id]);
  // An answer belongs to its conversation, also when another one is shown meanwhile.
  const put = (conversation: Conversation) => {
    if (open.peek().id === conversation.id) {
      open.value = conversation;
    }
  };
  const ask = async () => {
    const content = message.value.trim();
    if (content === "" || running.value) {
      return;
    }
    message.value = "";
    failure.value = undefined;
    const controller = new AbortController();
    const asked = { ...open.value, turns: [...open.value.turns, { role: "user", content } as const] };
    running.value = { id: asked.id, controller };
    let answer: Turn = { role: "assistant", content: "" };
    const now = (): Conversation =>
      withCosts({ ...asked, turns: [...asked.turns, answer], updatedAt: Date.now() });
    put(now());
    let requestId = "";
    try {
      await complete(asked.model, asked.turns, controller.signal, (it) => {
        requestId = it.requestId;
        answer = { role: "assistant", content: it.text, requestId };
        put(now());
      });
    } catch (error) {
      if (controller.signal.aborted) {
        answer = { ...answer, failure: t.stopped };
      } else {
        failure.value = error;
        answer = { ...answer, failure: t.broken };
      }
    }
    const kept = requestId === "" && answer.content === "" ? { ...asked, updatedAt: Date.now() } : now();
    put(kept);
    try {
      await saveConversation(kept);
    } finally {
      running.value = undefined;
    }
    await changed();
    if (requestId !== "") {
      await found(asked, await costOf(requestId));
    }
  };
  const found = async ({ id }: Conversation, known: Readonly<Record<string, string>>) => {
    if (Object.keys(known).length === 0) {
      return;
    }
    costs.value = { ...costs.value, ...known };
    await changeConversation(id, withCosts);
    put(withCosts(open.peek()));
    await changed();
  };
  useEffect(() => {
    const opened = open.peek();
    if (running.peek()?.id !== opened.id) {
      void lateCosts(opened).then((known) => found(opened, known));
    }
  }, [open.value.id]);
  const known = open.value.turns.flatMap((it) => (it.cost === undefined ? [] : [it.cost]));
  return (
    <>
      <div class="turns" role="log" aria-busy={isRunning} tabIndex={0} aria-label={t.heading}>
        {open.value.turns.length === 0 ? <p class="muted">{t.empty}</p> : null}
        {open.value.turns.map((turn, index) => (
          <Said
            key={index}
            turn={turn}
            model={open.value.model}
            busy={isRunning && index === open.value.turns.length - 1}
          />
        ))}
        <div ref={end} />
      </div>
      <Failure error={failure.value} />
      <form
        class="ask"
        onSubmit={(event) => {
          event.preventDefault();
          void ask();
        }}
      >
        <textarea
          aria-label={t.message}
          placeholder={t.placeholder}
          rows={3}
          value={message.value}
          onInput={(event) => (message.value = event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
              event.preventDefault();
              void ask();
            }
          }}
        />
        <div class="ask-foot">
          <ModelPicker
            value={open.value.model}
            onChange={(model) => (open.value = { ...open.value, model })}
          />
          {known.length > 0 ? (
            <span class="small muted" title={`$${digits(sum(known))}`}>
              {t.total(moneyText(digits(sum(known))))}
            </span>
          ) : null}
          {isRunning ? (
            <button type="button" onClick={() => running.value?.controller.abort()}>
              {t.stop}
            </button>
          ) : (
            <button type="submit" class="primary" disabled={message.value.trim() === "" || running.value !== undefined}>
              {t.send}
            </button>
          )}
        </div>
      </form>
    </>
  );
}

function Said({ turn, model, busy }: { turn: Turn; model: string; busy: boolean }): JSX.Element {
  const isUser = turn.role === "user";
  return (
    <article class={`turn ${turn.role}`}>
      <h2 class="small muted">{isUser ? t.you : t.assistant(model)}</h2>
      {isUser ? <p class="verbatim">{turn.content}</p> : <Markdown text={turn.content} />}
      {busy ? (
        <p class="small muted" role="status">
          {t.answering}
        </p>
      ) : null}
      {turn.failure === undefined ? null : <p class="small muted">{turn.failure}</p>}
      {isUser || busy || turn.requestId === undefined ? null : (
        <p class="small muted cost">
          {turn.cost === undefined ? (
            t.costOpen
          ) : (
            <>
              {t.cost} <Money value={turn.cost} />
            </>
          )}
        </p>
      )}
    </article>
  );
}

function ModelPicker({ value, onChange }: { value: string; onChange: (model: string) => void }): JSX.Element {
  const { loaded } = useLoaded(
    async () => (await json<{ data: Model[] }>(await send("GET", "/api/v1/openrouter/models"))).data,
    [current.value?.did],
  );
  const models = loaded.value.state === "failed" ? [] : (loaded.value.value ?? []);
  const chosen = models.find((it) => it.id === value);
  return (
    <Field label={t.model} hint={chosen ? priceOf(chosen) : t.modelHint}>
      {(ids) => (
        <>
          <input
            {...ids}
            list="models"
            value={value}
            spellcheck={false}
            onChange={(event) => onChange(event.currentTarget.value.trim())}
          />
          <datalist id="models">
            {models.map((it) => (
              <option key={it.id} value={it.id} label={`${it.name ?? it.id} · ${priceOf(it)}`} />
            ))}
          </datalist>
        </>
      )}
    </Field>
  );
}

/** For a million tokens. */
function priceOf({ pricing }: Model): string {
  const million = (price: string | undefined) => {
    const value = Number(price) * 1e6;
    return Number.isFinite(value) && value >= 0 ? money(String(value)) : "?";
  };
  return t.price(million(pricing?.prompt), million(pricing?.completion));
}

/** The costs of those requests that the books know, of one page of them. */
async function costsOf(ids: ReadonlySet<string>, query: Record<string, string>): Promise<Record<string, string>> {
  try {
    const answer = await send("GET", `/api/v1/usage/requests?${new URLSearchParams(query)}`);
    const { data } = await json<{ data: { requests: { id: string; total_cost: string | null }[] } }>(answer);
    return Object.fromEntries(
      data.requests.flatMap(({ id, total_cost: cost }) => (cost !== null && ids.has(id) ? [[id, cost]] : [])),
    );
  } catch {
    // The chat goes on without them; Requests shows them later.
    return {};
  }
}

/** The cost of a request from the books, once it is there. */
async function costOf(requestId: string): Promise<Record<string, string>> {
  for (const pause of [100, 300, 800, 2000, 4000]) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    const known = await costsOf(new Set([requestId]), { limit: "20" });
    if (requestId in known) {
      return known;
    }
  }
  return {};
}

/** The costs that were not known when their answers ended, such as those of stopped ones. */
async function lateCosts({ turns, updatedAt }: Conversation): Promise<Record<string, string>> {
  const missing = new Set(
    turns.flatMap(({ requestId, cost }) => (requestId === undefined || cost !== undefined ? [] : [requestId])),
  );
  // The newest requests before the conversation's end.
  const end = new Date(updatedAt + 3_600_000).toISOString();
  return missing.size === 0 ? {} : costsOf(missing, { limit: "1000", end_date: end });
}
