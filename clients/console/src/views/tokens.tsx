import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

import { data, json, send } from "../api.js";
import { BudgetBar, type Budget } from "../budget.js";
import { dateText, exactMoney, numberText, relative } from "../format.js";
import { Confirm, Copy, Dialog, Failure, Field, Show, moneyText, useLoaded, useWork } from "../parts.js";
import { address } from "../router.js";
import { EMPTY, ScopeFields, bodyOf, type Scope } from "../scope.js";
import { base, current } from "../session.js";
import { PROGRAMS } from "../setup.js";
import { texts } from "../texts.js";

const t = texts.tokens;
export const TOKENS = "/api/v1/tokens";

export interface Token {
  readonly id: string;
  readonly label: string;
  readonly name: string;
  readonly state: string;
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly last_used_at: string | null;
  readonly models: readonly string[] | null;
  readonly budgets: readonly Budget[];
  readonly requests: string;
  readonly cost: string;
}

/** Makes a token; its text is told this once. */
export async function makeToken(scope: Scope): Promise<{ token: string; description: Token }> {
  const answer = await json<{ data: Token; token: string }>(await send("POST", TOKENS, bodyOf(scope)));
  return { token: answer.token, description: answer.data };
}

type Open =
  | { readonly what: "create" }
  | { readonly what: "secret"; readonly secret: string }
  | { readonly what: "edit" | "rotate" | "revoke"; readonly token: Token };

export function TokensView(): JSX.Element {
  const all = useSignal(false);
  const open = useSignal<Open | undefined>(undefined);
  const { loaded, reload } = useLoaded(
    () => data<Token[]>("GET", `${TOKENS}${all.value ? "?all=true" : ""}`),
    [all.value, current.value?.did],
  );
  const close = () => {
    open.value = undefined;
  };
  const made = (secret: string) => {
    open.value = { what: "secret", secret };
    reload();
  };
  return (
    <>
      <div class="title-row">
        <h1>{t.heading}</h1>
        <button type="button" class="primary" onClick={() => (open.value = { what: "create" })}>
          {t.create}
        </button>
      </div>
      <p class="lead">{t.lead}</p>
      <label class="switch">
        <input type="checkbox" checked={all.value} onChange={(event) => (all.value = event.currentTarget.checked)} />{" "}
        {t.showEnded}
      </label>
      <Show of={loaded.value} retry={reload}>
        {(tokens) =>
          tokens.length === 0 ? (
            <p>{t.empty}</p>
          ) : (
            <ul class="plain cards">
              {tokens.map((it) => (
                <Card key={it.id} token={it} reload={reload} onOpen={(value) => (open.value = value)} />
              ))}
            </ul>
          )
        }
      </Show>
      <Opened open={open.value} close={close} made={made} reload={reload} />
    </>
  );
}

function Opened({
  open,
  close,
  made,
  reload,
}: {
  open: Open | undefined;
  close: () => void;
  made: (secret: string) => void;
  reload: () => void;
}): JSX.Element | null {
  switch (open?.what) {
    case undefined:
      return null;
    case "create":
      return (
        <Dialog heading={t.createHeading} onClose={close} key="create">
          <ScopeForm
            scope={EMPTY}
            action={t.submit}
            onSubmit={async (scope) => made((await makeToken(scope)).token)}
          />
        </Dialog>
      );
    case "secret":
      return (
        <Dialog heading={t.secretHeading} onClose={close} key="secret">
          <Secret secret={open.secret} />
          <div class="actions">
            <button type="button" class="primary" onClick={close}>
              {t.done}
            </button>
          </div>
        </Dialog>
      );
    case "edit":
      return (
        <Dialog heading={t.editHeading} onClose={close} key="edit">
          <ScopeForm
            scope={scopeOf(open.token)}
            action={t.save}
            onSubmit={async (scope) => {
              await data("PATCH", `${TOKENS}/${open.token.id}`, changesOf(open.token, scope));
              close();
              reload();
            }}
          />
        </Dialog>
      );
    case "rotate":
      return (
        <Dialog heading={t.rotateHeading} onClose={close} key="rotate">
          <Rotate token={open.token} made={made} />
        </Dialog>
      );
    case "revoke":
      return (
        <Confirm
          heading={t.revokeHeading}
          lead={t.revokeLead}
          action={t.revoke}
          onConfirm={async () => {
            await data("DELETE", `${TOKENS}/${open.token.id}`);
            reload();
          }}
          onClose={close}
        />
      );
  }
}

const scopeOf = (token: Token): Scope => ({
  name: token.name,
  amount: token.budgets[0]?.amount ?? "",
  period: token.budgets[0]?.period ?? "day",
  models: (token.models ?? []).join("\n"),
  expires: token.expires_at ?? "never",
});

/** The fields that changed. Budgets that the form does not show stay as they are. */
export function changesOf(token: Token, scope: Scope): Record<string, unknown> {
  const body = bodyOf(scope);
  const before = bodyOf({ ...scopeOf(token), amount: scopeOf(token).amount || "1" });
  const others = token.budgets.slice(1).map(({ period, amount, time_zone }) => ({ period, amount, time_zone }));
  const [first] = body["budgets"] as { period: string; amount: string; time_zone: string }[];
  const zone = token.budgets[0]?.time_zone;
  const budgets = [
    ...(first ? [zone ? { ...first, time_zone: zone } : first] : []),
    ...others.filter((it) => it.period !== first?.period),
  ];
  const changed = Object.entries(body).filter(
    ([name, value]) => name === "name" || JSON.stringify(value) !== JSON.stringify(before[name]),
  );
  return { ...Object.fromEntries(changed), budgets };
}

function Card({
  token,
  reload,
  onOpen,
}: {
  token: Token;
  reload: () => void;
  onOpen: (open: Open) => void;
}): JSX.Element {
  const work = useWork();
  const ended = token.state === "revoked" || token.state === "expired";
  return (
    <li class="card">
      <div class="title-row">
        <h2>{token.name}</h2>
        <span class={`state ${token.state}`}>{t.states[token.state] ?? token.state}</span>
      </div>
      <p class="small muted">
        <code>{token.label}</code> ·{" "}
        {token.expires_at === null ? t.neverExpires : t.expiresAt(dateText(token.expires_at))} · {t.lastUsed}{" "}
        {token.last_used_at === null ? texts.common.never : relative(token.last_used_at)}
      </p>
      <p class="small muted">{token.models === null ? texts.common.allModels : token.models.join(", ")}</p>
      {token.budgets.map((it) => (
        <BudgetBar key={it.period} name="" budget={it} />
      ))}
      <p>
        <a href={address("requests", new URLSearchParams({ token: token.id }))}>
          <span title={exactMoney(token.cost)}>{t.spent(moneyText(token.cost), numberText(Number(token.requests)))}</span>
        </a>
      </p>
      <Failure error={work.error.value} />
      {ended ? null : (
        <div class="actions">
          <button type="button" onClick={() => onOpen({ what: "edit", token })}>
            {t.edit}
          </button>
          <button
            type="button"
            disabled={work.busy.value}
            onClick={() =>
              void work.run(async () => {
                await data("PATCH", `${TOKENS}/${token.id}`, { disabled: token.state === "live" });
                reload();
              })
            }
          >
            {token.state === "live" ? t.pause : t.resume}
          </button>
          <button type="button" onClick={() => onOpen({ what: "rotate", token })}>
            {t.rotate}
          </button>
          <button type="button" class="quiet" onClick={() => onOpen({ what: "revoke", token })}>
            {t.revoke}
          </button>
        </div>
      )}
    </li>
  );
}

export function ScopeForm({
  scope: initial,
  action,
  onSubmit,
}: {
  scope: Scope;
  action: string;
  onSubmit: (scope: Scope) => Promise<void>;
}): JSX.Element {
  const scope = useSignal(initial);
  const work = useWork();
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void work.run(() => onSubmit(scope.value));
      }}
    >
      <ScopeFields scope={scope} />
      <Failure error={work.error.value} />
      <div class="actions">
        <button type="submit" class="primary" disabled={work.busy.value}>
          {action}
        </button>
      </div>
    </form>
  );
}

function Secret({ secret }: { secret: string }): JSX.Element {
  const program = useSignal(PROGRAMS[0]?.id ?? "");
  const text = PROGRAMS.find((it) => it.id === program.value)?.text(`${base}/api/v1/openrouter`, secret) ?? "";
  return (
    <>
      <p>{t.secretLead}</p>
      <p class="row">
        <code class="did">{secret}</code>
        <Copy text={secret} />
      </p>
      <h3>{t.setUp}</h3>
      <Field label={t.program}>
        {(ids) => (
          <select {...ids} value={program.value} onChange={(event) => (program.value = event.currentTarget.value)}>
            {PROGRAMS.map((it) => (
              <option value={it.id}>{it.name}</option>
            ))}
          </select>
        )}
      </Field>
      <pre tabIndex={0} aria-label={t.setUp}>
        <code>{text}</code>
      </pre>
      <Copy text={text} />
    </>
  );
}

function Rotate({ token, made }: { token: Token; made: (secret: string) => void }): JSX.Element {
  const overlap = useSignal("0");
  const work = useWork();
  return (
    <>
      <p>{t.rotateLead}</p>
      <Field label={t.overlap}>
        {(ids) => (
          <select {...ids} value={overlap.value} onChange={(event) => (overlap.value = event.currentTarget.value)}>
            {Object.entries(t.overlaps).map(([seconds, name]) => (
              <option value={seconds}>{name}</option>
            ))}
          </select>
        )}
      </Field>
      <Failure error={work.error.value} />
      <div class="actions">
        <button
          type="button"
          class="primary"
          disabled={work.busy.value}
          onClick={() =>
            void work.run(async () => {
              const body = { overlap_seconds: Number(overlap.value) };
              const answer = await send("POST", `${TOKENS}/${token.id}/rotate`, body);
              made((await json<{ token: string }>(answer)).token);
            })
          }
        >
          {t.rotate}
        </button>
      </div>
    </>
  );
}
