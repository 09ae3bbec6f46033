import { describe, expect, it } from "vitest";

import { quoteMoney } from "../src/money-json.js";
import { add, decimal, digits, share, sum } from "../src/money.js";

describe("decimals", () => {
  it("keep every digit", () => {
    for (const [text, written] of [
      ["0", "0"],
      ["0.0001234", "0.0001234"],
      ["7.434e-7", "0.0000007434"],
      ["1E+3", "1000"],
      ["12345678901234567890.000000000000000001", "12345678901234567890.000000000000000001"],
      ["-0.50", "-0.5"],
    ] as const) {
      expect(digits(decimal(text))).toBe(written);
    }
    expect(digits(sum(["0.1", "0.2", "7.434e-7"]))).toBe("0.3000007434");
    expect(digits(add(decimal("-1"), decimal("0.25")))).toBe("-0.75");
  });

  it("refuse what is none", () => {
    for (const text of ["", "NaN", "1e9999", "0x10", "1,5", "--1"]) {
      expect(() => decimal(text)).toThrow(RangeError);
    }
  });

  it("tell how full something is", () => {
    expect(share("1", "4")).toBe(0.25);
    expect(share("9", "4")).toBe(1);
    expect(share("0", "0")).toBe(1);
  });
});

describe("money in JSON", () => {
  it("is text after parsing, and nothing else is", () => {
    const text =
      '{"total_cost":0.00000000000000000001,"cost":7.434e-7,"limit":null,"spent":"1","model":"\\"cost\\":5","count":3}';
    expect(JSON.parse(quoteMoney(text))).toEqual({
      total_cost: "0.00000000000000000001",
      cost: "7.434e-7",
      limit: null,
      spent: "1",
      model: '"cost":5',
      count: 3,
    });
  });
});
