/** Numbers, money and times as people read them, by the browser's language. */

import { approximate, decimal, digits } from "./money.js";

const locale = (): string => globalThis.navigator?.language ?? "en";

export const numberText = (value: number): string => new Intl.NumberFormat(locale()).format(value);

export const percent = (value: number): string =>
  new Intl.NumberFormat(locale(), { style: "percent", maximumFractionDigits: 0 }).format(value);

/** Money, rounded to what matters at its size; `exactMoney` has all digits. */
export function money(text: string): string {
  const value = approximate(decimal(text));
  const small = value !== 0 && Math.abs(value) < 0.01;
  return new Intl.NumberFormat(locale(), {
    style: "currency",
    currency: "USD",
    ...(small ? { maximumSignificantDigits: 3 } : { maximumFractionDigits: 2 }),
  }).format(value);
}

/** Money with every digit. */
export const exactMoney = (text: string): string => `$${digits(decimal(text))}`;

export const dateTime = (value: string | number): string =>
  new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "medium" }).format(new Date(value));

export const shortDateTime = (value: string | number): string =>
  new Intl.DateTimeFormat(locale(), {
    month: "short",
    day: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
  }).format(new Date(value));

export const dateText = (value: string | number): string =>
  new Intl.DateTimeFormat(locale(), { dateStyle: "medium" }).format(new Date(value));

/** A calendar day such as `2026-01-31`, without a time zone. */
export const dayText = (day: string): string =>
  new Intl.DateTimeFormat(locale(), { month: "short", day: "numeric", timeZone: "UTC" }).format(
    new Date(`${day}T00:00:00Z`),
  );

export const milliseconds = (value: number): string =>
  value < 1000
    ? new Intl.NumberFormat(locale(), { style: "unit", unit: "millisecond" }).format(Math.round(value))
    : new Intl.NumberFormat(locale(), { style: "unit", unit: "second", maximumFractionDigits: 2 }).format(
        value / 1000,
      );

const UNITS: readonly (readonly [Intl.RelativeTimeFormatUnit, number])[] = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
];

/** "in 3 days", "2 hours ago". */
export function relative(value: string, now = Date.now()): string {
  const distance = Date.parse(value) - now;
  const [unit, size] = UNITS.find(([, it]) => Math.abs(distance) >= it) ?? (["second", 1000] as const);
  return new Intl.RelativeTimeFormat(locale(), { numeric: "auto" }).format(Math.round(distance / size), unit);
}

/** The day of a time in a zone, as `2026-01-31`. */
export function dayIn(time: Date, timeZone: string): string {
  const parts = new Intl.DateTimeFormat("en", { timeZone, year: "numeric", month: "2-digit", day: "2-digit" })
    .formatToParts(time)
    .map(({ type, value }) => [type, value] as const);
  const part = Object.fromEntries(parts) as Record<string, string>;
  return `${part["year"]}-${part["month"]}-${part["day"]}`;
}

/** A day so many days later. */
export function shifted(day: string, days: number): string {
  const date = new Date(`${day}T00:00:00Z`);
  date.setUTCDate(date.getUTCDate() + days);
  return date.toISOString().slice(0, 10);
}

/** The Monday of a day's week. */
export const mondayOf = (day: string): string =>
  shifted(day, -((new Date(`${day}T00:00:00Z`).getUTCDay() + 6) % 7));

export const localZone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
