/** Exact decimals: money is never a float here. */

/** `units` × 10^-`scale`. */
export interface Decimal {
  readonly units: bigint;
  readonly scale: number;
}

const DECIMAL = /^(-?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d{1,3}))?$/;

export const ZERO: Decimal = { units: 0n, scale: 0 };

/** Parses a JSON number's text. */
export function decimal(text: string): Decimal {
  const match = DECIMAL.exec(text);
  if (!match) {
    throw new RangeError("not a decimal");
  }
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = match;
  let units = BigInt(whole + fraction);
  let scale = fraction.length - Number(exponent);
  if (scale < 0) {
    units *= 10n ** BigInt(-scale);
    scale = 0;
  }
  while (scale > 0 && units % 10n === 0n) {
    units /= 10n;
    scale -= 1;
  }
  return { units: sign === "-" ? -units : units, scale };
}

export function add(a: Decimal, b: Decimal): Decimal {
  const scale = Math.max(a.scale, b.scale);
  return { units: at(a, scale) + at(b, scale), scale };
}

export function sum(texts: Iterable<string>): Decimal {
  let total = ZERO;
  for (const text of texts) {
    total = add(total, decimal(text));
  }
  return total;
}

/** Every digit, without an exponent. */
export function digits({ units, scale }: Decimal): string {
  const sign = units < 0n ? "-" : "";
  const all = (units < 0n ? -units : units).toString().padStart(scale + 1, "0");
  const whole = all.slice(0, all.length - scale);
  const fraction = scale > 0 ? all.slice(-scale).replace(/0+$/, "") : "";
  return sign + whole + (fraction === "" ? "" : `.${fraction}`);
}

/** For lengths of bars and the like, which need no digits. */
export function approximate(value: Decimal): number {
  return Number(digits(value));
}

/** How full something is, from 0 to 1. */
export function share(part: string, whole: string): number {
  const of = approximate(decimal(whole));
  return of > 0 ? Math.min(1, Math.max(0, approximate(decimal(part)) / of)) : 1;
}

function at(value: Decimal, scale: number): bigint {
  return value.units * 10n ** BigInt(scale - value.scale);
}
