/** Why a request cannot be signed, or an identity not used. Nothing of a secret is in it. */
export class SigningError extends Error {
  override readonly name = "SigningError";
}
