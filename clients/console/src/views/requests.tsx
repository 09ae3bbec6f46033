import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { data, json, send } from "../api.js";
import { joined } from "../csv.js";
import { exactMoney, localZone, milliseconds, numberText, shortDateTime } from "../format.js";
import { Dialog, Failure, Field, Money, saveFile, useLoaded, useWork } from "../parts.js";
import { place, replaceQuery } from "../router.js";
import { current } from "../session.js";
import { texts } from "../texts.js";
import type { Token } from "./tokens.js";

const t = texts.requests;
const PAGE = 50;
const PAGE_OF_FILE = 1000;
const FILTERS = ["start_date", "end_date", "model", "endpoint", "status", "token", "app", "tag"] as const;

interface Entry {
  readonly id: string;
  readonly request_time: string;
  readonly model: string;
  readonly endpoint: string | null;
  readonly status: string;
  readonly http_status: number | null;
  readonly error_reason: string | null;
  readonly input_tokens: number | null;
  readonly output_tokens: number | null;
  readonly duration_ms: number | null;
  readonly cost_state: string;
  readonly total_cost: string | null;
  readonly token_id: string | null;
  readonly app: string | null;
  readonly tag: string | null;
}

interface Page {
  readonly requests: readonly Entry[];
  readonly next_cursor: string | null;
}

/** The parameters of the request for a page, from those of the view. */
function asked(limit: number, cursor?: string): URLSearchParams {
  const query = new URLSearchParams({ limit: String(limit), time_zone: localZone() });
  for (const name of FILTERS) {
    const value = place.value.query.get(name);
    if (value) {
      query.set(name, value);
    }
  }
  if (cursor !== undefined) {
    query.set("cursor", cursor);
  }
  return query;
}

export function RequestsView(): JSX.Element {
  const entries = useSignal<readonly Entry[]>([]);
  const cursor = useSignal<string | null | undefined>(undefined);
  const detail = useSignal<Entry | undefined>(undefined);
  const work = useWork();
  const file = useWork();
  const names = useLoaded(() => data<Token[]>("GET", "/api/v1/tokens?all=true"), [current.value?.did]).loaded.value;
  const tokens = names.state === "failed" ? [] : (names.value ?? []);
  const filters = place.value.query.toString();
  const round = useRef(0);
  const load = (from: string | undefined) => {
    round.current += 1;
    const own = round.current;
    return work.run(async () => {
      const answer = await send("GET", `/api/v1/usage/requests?${asked(PAGE, from)}`);
      const page = (await json<{ data: Page }>(answer)).data;
      if (own === round.current) {
        entries.value = from === undefined ? page.requests : [...entries.value, ...page.requests];
        cursor.value = page.next_cursor;
      }
    });
  };
  useEffect(() => {
    cursor.value = undefined;
    void load(undefined);
  }, [filters, current.value?.did]);
  const tail = useRef<HTMLDivElement>(null);
  const next = cursor.value;
  useEffect(() => {
    if (!tail.current || typeof next !== "string") {
      return undefined;
    }
    const observer = new IntersectionObserver(([seen]) => {
      if (seen?.isIntersecting && !work.busy.peek()) {
        void load(next);
      }
    });
    observer.observe(tail.current);
    return () => observer.disconnect();
  }, [next]);
  return (
    <>
      <div class="title-row">
        <h1>{t.heading}</h1>
        <button type="button" disabled={file.busy.value} onClick={() => void file.run(saveCsv)}>
          {t.csv}
        </button>
      </div>
      <Failure error={file.error.value} />
      <Filters tokens={tokens} />
      {entries.value.length > 0 ? (
        <Table entries={entries.value} tokens={tokens} onOpen={(it) => (detail.value = it)} />
      ) : null}
      <Failure error={work.error.value} />
      <div ref={tail} class="small muted" role="status">
        {work.busy.value ? (
          texts.common.loading
        ) : typeof next === "string" ? (
          <button type="button" onClick={() => void load(next)}>
            {t.more}
          </button>
        ) : next === null ? (
          entries.value.length === 0 ? (
            t.empty
          ) : (
            t.end
          )
        ) : null}
      </div>
      {detail.value ? (
        <Dialog heading={t.detail} drawer onClose={() => (detail.value = undefined)}>
          <Detail entry={detail.value} tokens={tokens} />
        </Dialog>
      ) : null}
    </>
  );
}

function Filters({ tokens }: { tokens: readonly Token[] }): JSX.Element {
  const query = place.value.query;
  const open = useSignal(FILTERS.some((it) => query.has(it)));
  const set = (name: string, value: string) => {
    const changed = new URLSearchParams(query);
    if (value === "") {
      changed.delete(name);
    } else {
      changed.set(name, value);
    }
    replaceQuery(changed);
  };
  const text = (name: (typeof FILTERS)[number]) => (
    <Field label={t.fields[name]}>
      {(ids) => (
        <input {...ids} value={query.get(name) ?? ""} onChange={(event) => set(name, event.currentTarget.value.trim())} />
      )}
    </Field>
  );
  const day = (name: "start_date" | "end_date") => (
    <Field label={t.fields[name]}>
      {(ids) => (
        <input {...ids} type="date" value={query.get(name) ?? ""} onChange={(event) => set(name, event.currentTarget.value)} />
      )}
    </Field>
  );
  return (
    <details class="card" open={open.value} onToggle={(event) => (open.value = event.currentTarget.open)}>
      <summary>{t.filters}</summary>
      <div class="filters">
        {day("start_date")}
        {day("end_date")}
        {text("model")}
        {text("endpoint")}
        <Field label={t.fields.status}>
          {(ids) => (
            <select {...ids} value={query.get("status") ?? ""} onChange={(event) => set("status", event.currentTarget.value)}>
              <option value="">{t.any}</option>
              {Object.entries(t.statuses).map(([value, name]) => (
                <option value={value}>{name}</option>
              ))}
            </select>
          )}
        </Field>
        <Field label={t.fields.token}>
          {(ids) => (
            <select {...ids} value={query.get("token") ?? ""} onChange={(event) => set("token", event.currentTarget.value)}>
              <option value="">{t.any}</option>
              {tokens.map((it) => (
                <option value={it.id}>{it.name}</option>
              ))}
            </select>
          )}
        </Field>
        {text("app")}
        {text("tag")}
      </div>
      <button type="button" onClick={() => replaceQuery(new URLSearchParams())}>
        {t.clear}
      </button>
    </details>
  );
}

function Table({
  entries,
  tokens,
  onOpen,
}: {
  entries: readonly Entry[];
  tokens: readonly Token[];
  onOpen: (entry: Entry) => void;
}): JSX.Element {
  const c = t.columns;
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label={t.heading}>
      <table class="requests">
        <thead>
          <tr>
            <th scope="col">{c.time}</th>
            <th scope="col">{c.model}</th>
            <th scope="col">{c.endpoint}</th>
            <th scope="col">{c.status}</th>
            <th scope="col" class="number">
              {c.tokens}
            </th>
            <th scope="col" class="number">
              {c.cost}
            </th>
            <th scope="col">{c.from}</th>
          </tr>
        </thead>
        <tbody>
          {entries.map((it) => (
            <tr key={it.id}>
              <td>
                <button type="button" class="link" onClick={() => onOpen(it)}>
                  {shortDateTime(it.request_time)}
                </button>
              </td>
              <td>{it.model}</td>
              <td>{it.endpoint}</td>
              <td>
                <span class={`state ${it.status}`}>{t.statuses[it.status] ?? it.status}</span>
              </td>
              <td class="number">
                {it.input_tokens === null
                  ? "–"
                  : t.inOut(numberText(it.input_tokens), numberText(it.output_tokens ?? 0))}
              </td>
              <td class="number">
                <Money value={it.total_cost} />
              </td>
              <td>{origin(it, tokens)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const origin = (entry: Entry, tokens: readonly Token[]): string =>
  [tokens.find((it) => it.id === entry.token_id)?.name, entry.app, entry.tag]
    .filter((it) => it !== null && it !== undefined)
    .join(", ");

/** All that the books say. */
function Detail({ entry, tokens }: { entry: Entry; tokens: readonly Token[] }): JSX.Element {
  const shown = (name: string, value: unknown): string => {
    if (value === null || value === undefined) {
      return "–";
    }
    if (name.endsWith("cost") && typeof value === "string") {
      return exactMoney(value);
    }
    if (name.endsWith("_ms") && typeof value === "number") {
      return milliseconds(value);
    }
    if (name === "token_id") {
      return tokens.find((it) => it.id === value)?.name ?? String(value);
    }
    return typeof value === "number" ? numberText(value) : String(value);
  };
  return (
    <dl class="facts">
      {Object.entries(entry).map(([name, value]) => (
        <>
          <dt>{name.replaceAll("_", " ")}</dt>
          <dd>{shown(name, value)}</dd>
        </>
      ))}
    </dl>
  );
}

async function saveCsv(): Promise<void> {
  const text = await joined((cursor) => {
    const query = asked(PAGE_OF_FILE, cursor);
    query.set("format", "csv");
    return send("GET", `/api/v1/usage/requests?${query}`);
  });
  saveFile("requests.csv", text, "text/csv");
}
