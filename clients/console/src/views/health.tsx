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
  readonly offset: number;
  readonly version: string;
  readonly audience: string;
}

/** The gateway's `Date` has whole seconds, so a smaller difference is none. */
const FINE = 2000;

async function load(): Promise<Health> {
  const { base, version, audience } = await gateway();
  const asked = Date.now();
  const response = await fetch(`${base}/api/v1/health?deep=true`);
  const middle = (asked + Date.now()) / 2;
  const told = Date.parse(response.headers.get("date") ?? "");
  const body: unknown = await response.json();
  return {
    healthy: response.ok,
    checks: checksOf(body),
    offset: Number.isNaN(told) ? 0 : middle - told,
    version,
    audience,
  };
}

/** In `data` where all is well, in the error's `metadata` where something is down. */
function checksOf(body: unknown): Record<string, Check> {
  const { data, error } = body as {
    data?: { checks?: Record<string, Check> };
    error?: { metadata?: { checks?: Record<string, Check> } };
  };
  return data?.checks ?? error?.metadata?.checks ?? {};
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
                  <dd>
                    {Math.abs(health.offset) < FINE ? t.clockFine : t.clockOff(milliseconds(Math.abs(health.offset)))}
                  </dd>
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
