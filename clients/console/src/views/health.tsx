import type { JSX } from "preact";

import { milliseconds } from "../format.js";
import { Show, useLoaded } from "../parts.js";
import { gateway } from "../session.js";
import { texts } from "../texts.js";

const t = texts.health;

interface Check {
  readonly status: string;
  readonly latency_ms: number;
}

interface Health {
  readonly healthy: boolean;
  readonly checks: Record<string, Check>;
  /** By which this device's clock is ahead, in milliseconds; undefined: not known. */
  readonly offset: number | undefined;
  readonly version: string;
  readonly audience: string;
}

/** A smaller difference may be the way of the answer. */
const FINE = 2000;

async function load(): Promise<Health> {
  const { base, version, audience } = await gateway();
  const asked = Date.now();
  const response = await fetch(`${base}/api/v1/health?deep=true`);
  const middle = (asked + Date.now()) / 2;
  const body = (await response.json()) as Body;
  const told = Date.parse(body.data?.timestamp ?? response.headers.get("date") ?? "");
  return {
    healthy: response.ok,
    checks: checksOf(body),
    offset: Number.isNaN(told) ? undefined : middle - told,
    version,
    audience,
  };
}

/** The checks are in `data` where all is well, in the error's `metadata` where something is down. */
interface Body {
  readonly data?: { readonly timestamp?: string; readonly checks?: Record<string, Check> };
  readonly error?: { readonly metadata?: { readonly checks?: Record<string, Check> } };
}

const checksOf = ({ data, error }: Body): Record<string, Check> => data?.checks ?? error?.metadata?.checks ?? {};

function clock(offset: number | undefined): string {
  if (offset === undefined) {
    return t.clockUnknown;
  }
  return Math.abs(offset) < FINE ? t.clockFine : t.clockOff(milliseconds(Math.abs(offset)));
}

export function HealthView(): JSX.Element {
  const { loaded, reload } = useLoaded(load, []);
  const names: Record<string, string | undefined> = { storage: t.storage, openrouter: t.openrouter };
  return (
    <>
      <div class="title-row">
        <h1>{t.heading}</h1>
        <button type="button" onClick={reload}>
          {t.again}
        </button>
      </div>
      <Show of={loaded.value} retry={reload}>
        {(health) => (
          <>
            <p class="lead">
              <span class={`state ${health.healthy ? "live" : "failed"}`}>
                {health.healthy ? t.healthy : t.unhealthy}
              </span>
            </p>
            <div class="columns">
              <section class="card">
                <table>
                  <thead>
                    <tr>
                      <th scope="col">{t.part}</th>
                      <th scope="col">{t.state}</th>
                      <th scope="col" class="number">
                        {t.latency}
                      </th>
                    </tr>
                  </thead>
                  <tbody>
                    {Object.entries(health.checks).map(([name, check]) => (
                      <tr key={name}>
                        <th scope="row">{names[name] ?? name}</th>
                        <td>
                          <span class={`state ${check.status === "up" ? "live" : "failed"}`}>
                            {check.status === "up" ? t.up : t.down}
                          </span>
                        </td>
                        <td class="number">{milliseconds(check.latency_ms)}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </section>
              <section class="card">
                <dl class="facts">
                  <dt>{t.clock}</dt>
                  <dd>{clock(health.offset)}</dd>
                  <dt>{t.version}</dt>
                  <dd>{health.version}</dd>
                  <dt>{t.audience}</dt>
                  <dd>
                    <code class="did">{health.audience}</code>
                  </dd>
                </dl>
                <p class="small muted">{t.clockLead}</p>
              </section>
            </div>
          </>
        )}
      </Show>
    </>
  );
}
