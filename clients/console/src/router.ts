/** Views and their parameters, in the fragment: `#/requests?model=…`. */

import { signal } from "@preact/signals";

import { VIEWS, type View } from "./views.js";


export interface Place {
  readonly view: View;
  readonly query: URLSearchParams;
}

export const place = signal<Place>(read());

function read(): Place {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { view: VIEWS.find((it) => it === path) ?? "home", query: new URLSearchParams(query) };
}

export const address = (view: View, query?: URLSearchParams): string => {
  const text = query?.toString() ?? "";
  return `#/${view}${text === "" ? "" : `?${text}`}`;
};

export function go(view: View, query?: URLSearchParams): void {
  location.hash = address(view, query);
}

/** Replaces the parameters of the view without a step in the history. */
export function replaceQuery(query: URLSearchParams): void {
  history.replaceState(null, "", address(place.value.view, query));
  place.value = read();
}

/** Shows a view in place of the address that the page was opened with. */
export function openedAt(view: View): void {
  history.replaceState(null, "", location.pathname + address(view));
  place.value = read();
}

addEventListener("hashchange", () => {
  place.value = read();
});
