/** Budgets of an account or a token, as the gateway tells them. */

import type { JSX } from "preact";

import { relative } from "./format.js";
import { Bar, moneyText } from "./parts.js";
import { texts } from "./texts.js";

export interface Budget {
  readonly period: string;
  readonly time_zone: string;
  readonly amount: string;
  readonly spent: string;
  readonly held: string;
  readonly remaining: string;
  readonly resets_at: string | null;
}

/** What is left of a budget, and when it begins anew. */
export function BudgetBar({ name, budget }: { name: string; budget: Budget }): JSX.Element {
  const label = [name, texts.home.periodNames[budget.period] ?? budget.period].filter((it) => it !== "").join(", ");
  const left = texts.common.left(moneyText(budget.remaining));
  const resets = budget.resets_at === null ? [] : [texts.common.resets(relative(budget.resets_at))];
  return <Bar label={label} part={budget.spent} whole={budget.amount} note={[left, ...resets].join(", ")} />;
}
