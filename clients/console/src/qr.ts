/** A QR code as one path of an SVG. */

import { encode } from "uqr";

export function qrPath(text: string): { size: number; path: string } {
  const { size, data } = encode(text, { border: 0 });
  const path = data.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : [])));
  return { size, path: path.join("") };
}
