// Checks the seal of a model file and reads its contract and metadata, as docs/model-file.md requires of a reader.

import { admit } from "./admission.js";
import { readContract } from "./contract.js";
import { Problem } from "./problem.js";
import { sha256 } from "./sha256.js";

const SEAL_LENGTH = 64;

/**
 * Checks a model file and reads its contract and metadata.
 *
 * @param {Uint8Array} bytes the whole file.
 * @param {string} digestFile the text of the .sha256 file, or "" if there is none.
 * @returns {Promise<{sha256: string, contract: object, metadata: Map<string, string>}>}
 */
export async function readModel(bytes, digestFile) {
  const digest = await sha256(bytes);
  if (digestFile && digestFile.trim().split(/\s+/)[0].toLowerCase() !== digest) {
    throw damaged("the model file is not the one that its .sha256 names");
  }
  const seal = new TextDecoder("latin1").decode(bytes.subarray(-SEAL_LENGTH));
  if (bytes.length <= SEAL_LENGTH || !/^[0-9a-f]{64}$/.test(seal)) throw damaged("the model file is cut short");
  if ((await sha256(bytes.subarray(0, -SEAL_LENGTH))) !== seal) {
    throw damaged("the model file is damaged: its bytes do not match its seal");
  }
  const metadata = admit(bytes);
  return { sha256: digest, contract: readContract(metadata.get("mlcycle.contract")), metadata };
}

function damaged(sentence) {
  return new Problem("model", sentence, "export the page again, and copy all its files to the server");
}
