/** A request that cannot be signed, or an identity that cannot be used. It contains nothing of a secret. */
export class SigningError extends Error {
  override readonly name = "SigningError";
}
