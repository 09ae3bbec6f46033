/** The views, in the order of the navigation. */
export const VIEWS = ["home", "chat", "requests", "tokens", "key", "identity", "health"] as const;
export type View = (typeof VIEWS)[number];
