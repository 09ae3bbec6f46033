import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

import { GatewayError, data } from "../api.js";
import type { Budget } from "../budget.js";
import { keyFor, leaveForOpenRouter } from "../connect.js";
import { dateTime } from "../format.js";
import { Confirm, Failure, Field, Money, Show, useLoaded, useWork } from "../parts.js";
import { address } from "../router.js";
import { current, notice } from "../session.js";
import { texts } from "../texts.js";

const t = texts.key;
const KEYS = "/api/v1/keys";

/** The account's key, with what the operator set for the account. */
export interface StoredKey {
  readonly key_name: string | null;
  readonly hash: string;
  readonly source: string;
  readonly disabled: boolean;
  readonly limit: string | null;
  readonly spent: string;
  readonly held: string;
  readonly budgets: readonly Budget[];
  readonly openrouter_limit: string | null;
  readonly openrouter_limit_reset: string | null;
  readonly created_at: string;
}

/** The account's key; null where there is none. */
export async function storedKey(): Promise<StoredKey | null> {
  try {
    return await data<StoredKey>("GET", KEYS);
  } catch (error) {
    if (error instanceof GatewayError && error.reason === "no_key_for_did") {
      return null;
    }
    throw error;
  }
}

export function KeyView({ code }: { code: { value: string | undefined } }): JSX.Element {
  const { loaded, reload } = useLoaded(storedKey, [current.value?.did]);
  const connecting = useWork();
  useEffect(() => {
    const returned = code.value;
    if (returned !== undefined && current.value) {
      code.value = undefined;
      void connecting.run(async () => {
        await store(await keyFor(returned));
        reload();
      });
    }
  }, []);
  return (
    <>
      <h1>{t.heading}</h1>
      <p class="lead">{t.lead}</p>
      {connecting.busy.value ? <p role="status">{t.connecting}</p> : null}
      <Failure error={connecting.error.value} />
      <Show of={loaded.value} retry={reload}>
        {(key) => (key ? <Present stored={key} reload={reload} /> : <Absent reload={reload} />)}
      </Show>
    </>
  );
}

async function store(key: string): Promise<void> {
  await data("PUT", KEYS, { api_key: key, key_name: "console" });
  notice.value = t.connected;
}

function Absent({ reload }: { reload: () => void }): JSX.Element {
  return (
    <>
      <p>{t.empty}</p>
      <Ways reload={reload} replaces={false} />
    </>
  );
}

type Fact = [name: string, value: JSX.Element | string];

function AtOpenRouter({ stored }: { stored: StoredKey }): JSX.Element {
  const reset = stored.openrouter_limit_reset ?? "never";
  return (
    <>
      <Money value={stored.openrouter_limit} /> {t.resets[reset] ?? reset}
    </>
  );
}

function Present({ stored, reload }: { stored: StoredKey; reload: () => void }): JSX.Element {
  const revoking = useSignal(false);
  const facts: Fact[] = [
    [t.source, t.sources[stored.source] ?? stored.source],
    [t.name, stored.key_name ?? texts.common.none],
    [t.hash, <code class="did">{stored.hash}</code>],
    [t.limit, stored.limit === null ? texts.common.unlimited : <Money value={stored.limit} />],
    [t.spent, <Money value={stored.spent} />],
    [t.held, <Money value={stored.held} />],
    // Only of keys that the gateway made: of others, the gateway does not know.
    ...(stored.openrouter_limit === null ? [] : [[t.atOpenRouter, <AtOpenRouter stored={stored} />] as Fact]),
    [t.stored, dateTime(stored.created_at)],
  ];
  return (
    <>
      <section class="card">
        {stored.disabled ? <p class="failure">{t.disabled}</p> : null}
        <dl class="facts">
          {facts.map(([name, value]) => (
            <>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </>
          ))}
        </dl>
        <div class="actions">
          <a class="button primary" href={address("chat")}>
            {t.nextChat}
          </a>
          <a class="button" href={address("tokens")}>
            {t.nextToken}
          </a>
          <button type="button" class="quiet" onClick={() => (revoking.value = true)}>
            {t.revoke}
          </button>
        </div>
      </section>
      <details class="card">
        <summary>{t.replace}</summary>
        <Ways reload={reload} replaces={true} />
      </details>
      {revoking.value ? (
        <Confirm
          heading={t.revokeHeading}
          lead={t.revokeLead}
          action={t.revoke}
          onConfirm={async () => {
            await data("DELETE", KEYS);
            reload();
          }}
          onClose={() => (revoking.value = false)}
        />
      ) : null}
    </>
  );
}

function Ways({ reload, replaces }: { reload: () => void; replaces: boolean }): JSX.Element {
  const pasted = useSignal("");
  const paste = useWork();
  const ask = useWork();
  return (
    <div class="columns">
      <section class="card">
        <h2>{t.connect}</h2>
        <p>{t.connectLead}</p>
        <button type="button" class="primary" onClick={() => void leaveForOpenRouter()}>
          {t.connect}
        </button>
      </section>
      <form
        class="card"
        onSubmit={(event) => {
          event.preventDefault();
          void paste.run(async () => {
            await store(pasted.value.trim());
            pasted.value = "";
            reload();
          });
        }}
      >
        <h2>{t.paste}</h2>
        <Field label={t.pasteLabel} hint={t.pasteHint}>
          {(ids) => (
            <input
              {...ids}
              type="password"
              autocomplete="off"
              value={pasted.value}
              onInput={(event) => (pasted.value = event.currentTarget.value)}
            />
          )}
        </Field>
        <Failure error={paste.error.value} />
        <button type="submit" disabled={paste.busy.value || pasted.value.trim() === ""}>
          {replaces ? t.replace : t.store}
        </button>
      </form>
      {replaces ? null : (
        <section class="card">
          <h2>{t.provision}</h2>
          <p>{t.provisionLead}</p>
          <Failure error={ask.error.value} />
          <button
            type="button"
            disabled={ask.busy.value}
            onClick={() =>
              void ask.run(async () => {
                await data("POST", KEYS, {});
                notice.value = t.connected;
                reload();
              })
            }
          >
            {t.provision}
          </button>
        </section>
      )}
    </div>
  );
}
