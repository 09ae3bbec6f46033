/** What a token may do, as a form; for a new token, for a change, and for what a program asks for. */

import type { Signal } from "@preact/signals";
import type { JSX } from "preact";

import { dateText, localZone } from "./format.js";
import { Field } from "./parts.js";
import { texts } from "./texts.js";

const t = texts.tokens;

export interface Scope {
  readonly name: string;
  /** US dollars; empty: no cap. */
  readonly amount: string;
  readonly period: string;
  /** One pattern a line. */
  readonly models: string;
  /** Days from now, `never`, or an RFC 3339 time that stays. */
  readonly expires: string;
}

export const EMPTY: Scope = { name: "", amount: "", period: "day", models: "", expires: "90" };

/** The body that makes a token, or changes one. */
export function bodyOf(scope: Scope, now = Date.now()): Record<string, unknown> {
  const models = scope.models.split(/[\s,]+/).filter((it) => it !== "");
  const amount = scope.amount.trim();
  if (scope.expires === "never" && amount === "") {
    throw new Error(t.unbounded);
  }
  return {
    name: scope.name.trim(),
    expires_at: expiry(scope.expires, now),
    models: models.length > 0 ? models : null,
    budgets: amount === "" ? [] : [{ period: scope.period, amount, time_zone: localZone() }],
  };
}

function expiry(expires: string, now: number): string | null {
  if (expires === "never") {
    return null;
  }
  const days = Number(expires);
  return Number.isFinite(days) ? new Date(now + days * 86_400_000).toISOString() : expires;
}

export function ScopeFields({ scope }: { scope: Signal<Scope> }): JSX.Element {
  const set = (change: Partial<Scope>) => {
    scope.value = { ...scope.value, ...change };
  };
  const value = scope.value;
  const keeps = !(value.expires in t.expiries);
  return (
    <>
      <Field label={t.name} hint={t.nameHint}>
        {(ids) => (
          <input
            {...ids}
            required
            maxLength={100}
            value={value.name}
            onInput={(event) => set({ name: event.currentTarget.value })}
          />
        )}
      </Field>
      <div class="pair">
        <Field label={t.budget} hint={t.budgetHint}>
          {(ids) => (
            <input
              {...ids}
              inputMode="decimal"
              pattern="[0-9]*[.]?[0-9]+"
              value={value.amount}
              onInput={(event) => set({ amount: event.currentTarget.value })}
            />
          )}
        </Field>
        <Field label={t.per}>
          {(ids) => (
            <select {...ids} value={value.period} onChange={(event) => set({ period: event.currentTarget.value })}>
              {Object.entries(t.periods).map(([period, name]) => (
                <option value={period}>{name}</option>
              ))}
            </select>
          )}
        </Field>
      </div>
      <Field label={t.models} hint={t.modelsHint}>
        {(ids) => (
          <textarea
            {...ids}
            rows={2}
            spellcheck={false}
            value={value.models}
            onInput={(event) => set({ models: event.currentTarget.value })}
          />
        )}
      </Field>
      <Field label={t.expires}>
        {(ids) => (
          <select {...ids} value={value.expires} onChange={(event) => set({ expires: event.currentTarget.value })}>
            {keeps ? <option value={value.expires}>{kept(value.expires)}</option> : null}
            {Object.entries(t.expiries).map(([expires, name]) => (
              <option value={expires}>{name}</option>
            ))}
          </select>
        )}
      </Field>
    </>
  );
}

function kept(expires: string): string {
  const days = Number(expires);
  const time = Number.isFinite(days) ? Date.now() + days * 86_400_000 : Date.parse(expires);
  return t.keepExpiry(dateText(time));
}
