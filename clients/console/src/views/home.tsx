import { useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";

import { GatewayError, data, json, send } from "../api.js";
import { BudgetBar, type Budget } from "../budget.js";
import {
  dayIn,
  dayText,
  exactMoney,
  localZone,
  milliseconds,
  mondayOf,
  money,
  numberText,
  shifted,
} from "../format.js";
import { approximate, decimal, digits, sum } from "../money.js";
import { Bar, Field, Money, Show, moneyText, useLoaded } from "../parts.js";
import { address } from "../router.js";
import { current } from "../session.js";
import { texts } from "../texts.js";
import { storedKey, type StoredKey } from "./key.js";
import type { Token } from "./tokens.js";

const t = texts.home;

interface Group {
  readonly day: string;
  /** Absent where there are too many to group by. */
  readonly model?: string | null;
  readonly requests: number;
  readonly failed_requests: number;
  readonly cost: string;
}

interface Percentiles {
  readonly p50: number | null;
  readonly p90: number | null;
}

interface Usage {
  readonly total_requests: number;
  readonly cost_pending_requests: number;
  readonly cost_unknown_requests: number;
  readonly limit: string | null;
  readonly spent: string | null;
  readonly remaining: string | null;
  readonly duration_ms: Percentiles;
  readonly first_byte_ms: Percentiles;
  readonly groups: readonly Group[];
}

interface Overview {
  readonly usage: Usage;
  readonly tokens: readonly Token[];
  readonly key: StoredKey | null;
  readonly today: string;
  /** The period's first day. */
  readonly from: string;
  /** The first day of `usage`: that of the month or the week, where it is before the period. */
  readonly start: string;
}

async function load(days: number, zone: string, signal: AbortSignal): Promise<Overview> {
  const today = dayIn(new Date(), zone);
  const from = shifted(today, 1 - days);
  // This month and this week are shown beside any period, from the same answer.
  const start = [from, mondayOf(today), `${today.slice(0, 8)}01`].sort()[0] ?? from;
  const usageBy = async (groups: string) => {
    const query = new URLSearchParams({
      group_by: groups,
      percentiles: "true",
      time_zone: zone,
      start_date: start,
    });
    return json<{ data: Usage }>(await send("GET", `/api/v1/usage?${query}`, undefined, signal));
  };
  const [usage, tokens, key] = await Promise.all([
    usageBy("day,model").catch((error: unknown) => {
      // The gateway refuses more than 2,000 groups.
      if (error instanceof GatewayError && error.reason === "invalid_parameter") {
        return usageBy("day");
      }
      throw error;
    }),
    data<Token[]>("GET", "/api/v1/tokens"),
    storedKey(),
  ]);
  return { usage: usage.data, tokens, key, today, from, start };
}

export function HomeView(): JSX.Element {
  const days = useSignal("30");
  const zone = useSignal(localZone());
  const { loaded, reload } = useLoaded(
    (signal) => load(Number(days.value), zone.value, signal),
    [days.value, zone.value, current.value?.did],
  );
  return (
    <>
      <div class="title-row">
        <h1>{t.heading}</h1>
        <div class="controls">
          <Field label={t.period}>
            {(ids) => (
              <select {...ids} value={days.value} onChange={(event) => (days.value = event.currentTarget.value)}>
                {Object.entries(t.periods).map(([value, name]) => (
                  <option value={value}>{name}</option>
                ))}
              </select>
            )}
          </Field>
          <Field label={t.zone}>
            {(ids) => (
              <select {...ids} value={zone.value} onChange={(event) => (zone.value = event.currentTarget.value)}>
                {zones(zone.value).map((it) => (
                  <option value={it}>{it}</option>
                ))}
              </select>
            )}
          </Field>
        </div>
      </div>
      <Show of={loaded.value} retry={reload}>
        {(overview) => <Overview of={overview} />}
      </Show>
    </>
  );
}

const zones = (own: string): string[] => [...new Set([own, "UTC", ...Intl.supportedValuesOf("timeZone")])];

function Overview({ of: { usage, tokens, key, today, from, start } }: { of: Overview }): JSX.Element {
  const since = (start: string) => digits(sum(usage.groups.filter((it) => it.day >= start).map((it) => it.cost)));
  const shown = usage.groups.filter((it) => it.day >= from);
  const count = (of: (group: Group) => number) => shown.reduce((sum, it) => sum + of(it), 0);
  const failed = count((it) => it.failed_requests);
  const tiles: [string, ComponentChildren][] = [
    [t.today, <Money value={since(today)} />],
    [t.week, <Money value={since(mondayOf(today))} />],
    [t.month, <Money value={since(`${today.slice(0, 8)}01`)} />],
    [
      t.requests,
      <>
        {numberText(count((it) => it.requests))}
        {failed > 0 ? (
          <span class="small muted">
            {" "}
            {numberText(failed)} {t.failed}
          </span>
        ) : null}
      </>,
    ],
  ];
  return (
    <>
      <dl class="tiles">
        {tiles.map(([name, value]) => (
          <div class="tile" key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {usage.total_requests === 0 ? (
        <p>
          {key ? <a href={address("chat")}>{t.empty}</a> : <a href={address("key")}>{t.noKey}</a>}
        </p>
      ) : (
        <Days groups={shown} from={from} today={today} />
      )}
      <div class="columns">
        <Budgets usage={usage} own={key?.budgets ?? []} tokens={tokens} />
        <TopModels groups={shown} />
        <Latency usage={usage} start={start} />
      </div>
    </>
  );
}

/** The account's limit and its budgets, which the operator set, and those of its tokens. */
function Budgets({
  usage,
  own,
  tokens,
}: {
  usage: Usage;
  own: readonly Budget[];
  tokens: readonly Token[];
}): JSX.Element {
  const capped = tokens.flatMap((token) => token.budgets.map((budget) => ({ token, budget })));
  const { limit, spent, remaining } = usage;
  return (
    <section class="card">
      <h2>{t.budgets}</h2>
      {limit === null ? null : (
        <Bar
          label={t.account}
          part={spent ?? "0"}
          whole={limit}
          note={remaining === null ? undefined : texts.common.left(moneyText(remaining))}
        />
      )}
      {own.map((budget) => (
        <BudgetBar key={budget.period} name={t.account} budget={budget} />
      ))}
      {capped.map(({ token, budget }) => (
        <BudgetBar key={token.id + budget.period} name={token.name} budget={budget} />
      ))}
      {limit !== null || own.length + capped.length > 0 ? null : (
        <p class="muted">
          <a href={address("tokens")}>{t.noBudgets}</a>
        </p>
      )}
    </section>
  );
}

/** The models that cost most, and what each cost. */
export function ranked(groups: readonly Group[]): [string, string][] {
  const costs = new Map<string, string[]>();
  for (const { model, cost } of groups) {
    const name = model ?? t.anyModel;
    costs.set(name, [...(costs.get(name) ?? []), cost]);
  }
  return [...costs]
    .map(([model, all]): [string, string] => [model, digits(sum(all))])
    .sort(([, a], [, b]) => approximate(decimal(b)) - approximate(decimal(a)));
}

/** As many models have a colour of their own; the rest is one. */
const COLOURS = 5;

function Days({ groups, from, today }: { groups: readonly Group[]; from: string; today: string }): JSX.Element {
  const models = ranked(groups)
    .slice(0, COLOURS)
    .map(([model]) => model);
  const days: string[] = [];
  for (let day = from; day <= today; day = shifted(day, 1)) {
    days.push(day);
  }
  const costs = new Map<string, number[]>(days.map((day) => [day, new Array<number>(COLOURS + 1).fill(0)]));
  for (const { day, model, cost } of groups) {
    const place = models.indexOf(model ?? t.anyModel);
    const stack = costs.get(day);
    if (stack) {
      const at = place < 0 ? COLOURS : place;
      stack[at] = (stack[at] ?? 0) + approximate(decimal(cost));
    }
  }
  const total = (day: string) => (costs.get(day) ?? []).reduce((a, b) => a + b, 0);
  const highest = Math.max(...days.map(total), Number.MIN_VALUE);
  const best = days.find((day) => total(day) === highest);
  const costOf = (day: string) => digits(sum(groups.filter((it) => it.day === day).map((it) => it.cost)));
  const width = 100 / days.length;
  const spent = days.map((day) => [day, groups.filter((it) => it.day === day)] as const).filter(([, it]) => it.length > 0);
  const names = groups.some((it) => !models.includes(it.model ?? t.anyModel)) ? [...models, t.otherModels] : models;
  return (
    <section class="card">
      <div class="row">
        <h2>{t.byDay}</h2>
        {best === undefined ? null : (
          <p class="small muted">
            {t.highest} <Money value={costOf(best)} />
          </p>
        )}
      </div>
      <svg class="days" viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label={t.byDay}>
        {days.map((day, index) => {
          let top = 30;
          return (costs.get(day) ?? []).map((cost, colour) => {
            const height = (cost / highest) * 29;
            top -= height;
            return height > 0 ? (
              <rect
                class={`series-${colour}`}
                x={index * width + width * 0.12}
                y={top}
                width={width * 0.76}
                height={height}
              >
                <title>{`${dayText(day)}: ${money(costOf(day))}`}</title>
              </rect>
            ) : null;
          });
        })}
      </svg>
      <p class="axis small muted">
        <span>{dayText(from)}</span>
        <span>{dayText(today)}</span>
      </p>
      <ul class="legend small">
        {names.map((name, index) => (
          <li key={name}>
            <svg viewBox="0 0 10 10" aria-hidden="true">
              <rect class={`series-${index}`} width="10" height="10" rx="2" />
            </svg>
            {name}
          </li>
        ))}
      </ul>
      <details>
        <summary>{texts.common.asTable}</summary>
        <div class="scroll" tabIndex={0} role="group" aria-label={t.byDay}>
          <table>
            <thead>
              <tr>
                <th scope="col">{t.day}</th>
                <th scope="col">{t.model}</th>
                <th scope="col" class="number">
                  {t.requests}
                </th>
                <th scope="col" class="number">
                  {t.cost}
                </th>
              </tr>
            </thead>
            <tbody>
              {spent.toReversed().flatMap(([day, all]) =>
                all.map((it) => (
                  <tr key={`${day} ${it.model}`}>
                    <td>{dayText(day)}</td>
                    <td>{it.model ?? t.anyModel}</td>
                    <td class="number">{numberText(it.requests)}</td>
                    <td class="number">{exactMoney(it.cost)}</td>
                  </tr>
                )),
              )}
            </tbody>
          </table>
        </div>
      </details>
    </section>
  );
}

function TopModels({ groups }: { groups: readonly Group[] }): JSX.Element {
  const top = ranked(groups).slice(0, COLOURS);
  return (
    <section class="card">
      <h2>{t.topModels}</h2>
      {top.length === 0 ? <p class="muted">{texts.common.none}</p> : null}
      <table>
        <tbody>
          {top.map(([model, cost]) => (
            <tr key={model}>
              <th scope="row">
                {model === t.anyModel ? (
                  model
                ) : (
                  <a href={address("requests", new URLSearchParams({ model }))}>{model}</a>
                )}
              </th>
              <td class="number">
                <Money value={cost} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Latency({ usage, start }: { usage: Usage; start: string }): JSX.Element {
  const time = (value: number | null) => (value === null ? "–" : milliseconds(value));
  const rows: [string, Percentiles][] = [
    [t.firstByte, usage.first_byte_ms],
    [t.whole, usage.duration_ms],
  ];
  return (
    <section class="card">
      <h2>{t.latency}</h2>
      <p class="small muted">{t.since(dayText(start))}</p>
      <table>
        <thead>
          <tr>
            <td />
            <th scope="col" class="number">
              {t.median}
            </th>
            <th scope="col" class="number">
              {t.most}
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, it]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td class="number">{time(it.p50)}</td>
              <td class="number">{time(it.p90)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <dl class="facts">
        <dt>{t.openCosts}</dt>
        <dd>
          {numberText(usage.cost_pending_requests)}
          {usage.cost_pending_requests > 0 ? <span class="small muted"> {t.openLead}</span> : null}
        </dd>
        <dt>{t.unknownCosts}</dt>
        <dd>{numberText(usage.cost_unknown_requests)}</dd>
      </dl>
    </section>
  );
}

