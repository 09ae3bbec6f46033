/**
 * Identity files.
 *
 * @packageDocumentation
 */

import { open } from "node:fs/promises";

import { SigningError } from "./error.js";
import { Identity } from "./identity.js";

/** Far more than an identity needs, and small enough to read from any file. */
const MAX_FILE = 4096;
const GROUP_AND_OTHERS = 0o077;

/** Reads the identity file that `llmgw identity new` writes, unless others may read it too. */
export async function readIdentity(path: string): Promise<Identity> {
  const text = await readPrivate(path);
  try {
    return await Identity.fromStored(parse(text));
  } catch (error) {
    throw error instanceof SigningError ? new SigningError(`${path}: ${error.message}`) : error;
  }
}

/** Reads a file after checking the permissions of the open file, which no renaming can change. */
async function readPrivate(path: string): Promise<string> {
  const file = await open(path).catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      throw new SigningError(`there is no identity at ${path}; create one with \`llmgw identity new\``);
    }
    throw error;
  });
  try {
    const mode = (await file.stat()).mode & 0o7777;
    // On Windows the bits mean nothing.
    if (process.platform !== "win32" && (mode & GROUP_AND_OTHERS) !== 0) {
      throw new SigningError(
        `others may read the identity ${path} (mode ${mode.toString(8).padStart(4, "0")}); if nobody has, ` +
          `run \`chmod 600 ${path}\`, otherwise create a new one`,
      );
    }
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_FILE), 0, MAX_FILE);
    return buffer.toString("utf8", 0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Parses JSON without its error, which quotes the text. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
