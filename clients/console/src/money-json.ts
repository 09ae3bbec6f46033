/** A quotation mark inside of a JSON string has a backslash, so this finds members alone. */
const MONEY =
  /"((?:[a-z_]+_)?cost|limit|spent|held|remaining|openrouter_limit)":(-?[0-9][0-9.eE+-]*)/g;

/** JSON in which money is text, so that no digit is lost. */
export const quoteMoney = (json: string): string => json.replace(MONEY, '"$1":"$2"');
