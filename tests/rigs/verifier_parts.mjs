// The parts of verifier.mjs that know keys, findings and manifests; written from docs/audit-format.md alone.

import { createHash, createPublicKey, verify } from "node:crypto";

const MOST_FINDINGS = 100;
const HEX32 = /^[0-9a-f]{64}$/;
const TEXT = "string";
const NUMBER = "number";
const MANIFEST = {
  format: TEXT, export: TEXT, kind: TEXT, filter: "object", by: TEXT, begun_at: TEXT, exported_at: TEXT, upto: NUMBER, first: NUMBER,
  last: NUMBER, events: NUMBER, bytes: NUMBER, sha256: TEXT, key: TEXT,
};
export const MANIFEST_START = Buffer.from('{"manifest":');
const MANIFEST_SIGNATURE = Buffer.from(',"signature":"');
const MANIFEST_TAIL = /^,"signature":"([0-9a-f]{128})"(?:,"keys":(\[.*\]))?\}$/;

export const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();
export const isNumber = (value, least) => Number.isSafeInteger(value) && value >= least;
export const isHash = (value) => typeof value === "string" && HEX32.test(value);
export const startsWith = (line, start) => line.subarray(0, start.length).equals(start);

/** An object or list, read in one way only: no name stands twice in an object, no number has more than 63 bits. */
export function parsed(bytes) {
  const text = bytes.toString("utf8");
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" && isUnambiguous(text) ? value : null;
  } catch {
    return null;
  }
}

/** Of a text that is JSON: a text before a colon is a name of the object that was opened last. */
function isUnambiguous(text) {
  const open = [];
  for (const [token, , colon] of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}]|-?\d[\d.eE+-]*/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "}") open.pop();
    else if (/^-?\d+$/.test(token) && BigInt.asIntN(64, BigInt(token)) !== BigInt(token)) return false;
    else if (colon) {
      const name = JSON.parse(token.slice(0, token.length - colon.length));
      if (open.at(-1).has(name)) return false;
      open.at(-1).add(name);
    }
  }
  return true;
}

/** A time as a number of microseconds: Date alone keeps only milliseconds. */
export function moment(text) {
  const parts = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?Z$/.exec(typeof text === "string" ? text : "");
  return parts ? Date.parse(`${parts[1]}Z`) * 1000 + Number((parts[2] ?? "").padEnd(6, "0")) : NaN;
}

/** One JSON text whichever way its members are ordered, to compare the filter of manifest and opening. */
export function same(one, other) {
  if (one === null || other === null || typeof one !== "object" || typeof other !== "object") return one === other;
  const names = Object.keys(one);
  return Array.isArray(one) === Array.isArray(other) && names.length === Object.keys(other).length
    && names.every((name) => Object.hasOwn(other, name) && same(one[name], other[name]));
}

export class Keys {
  constructor(findings) {
    this.findings = findings;
    this.known = new Map();
    this.trusted = new Set();
  }

  give(pem) {
    const texts = pem.match(/-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----/g) ?? [];
    if (!texts.length) throw new Error("no public key in the file of the key");
    for (const text of texts) {
      const key = createPublicKey(text);
      if (key.asymmetricKeyType !== "ed25519") throw new Error("the key is not an Ed25519 key");
      this.trusted.add(this.learn(Buffer.from(key.export({ format: "jwk" }).x, "base64url"), key));
    }
  }

  learn(raw, key) {
    const name = sha256(raw).toString("hex");
    if (!this.known.has(name)) {
      const jwk = { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") };
      this.known.set(name, key ?? createPublicKey({ key: jwk, format: "jwk" }));
    }
    return name;
  }

  /** The keys that a file names, and what their introductions say: trust spreads until nothing new is trusted. */
  name(entries) {
    if (!Array.isArray(entries)) return this.findings.add("format", "the list of keys cannot be read");
    const introductions = [];
    for (const entry of entries) {
      if (!isHash(entry?.public) || this.learn(Buffer.from(entry.public, "hex")) !== entry.key) {
        this.findings.add("key", "a key is not the one that its name says");
      } else if (entry.introduced_by !== "") {
        introductions.push(entry);
      }
    }
    for (const { key, public: raw, introduced_by: by, signature } of introductions) {
      if (!this.known.has(by)) continue;
      if (!this.signed(by, Buffer.concat([Buffer.from("kube-iam audit key 1\n"), Buffer.from(raw, "hex")]), signature)) {
        this.findings.add("key", `the introduction of the key ${key} is forged`);
      }
    }
    for (let before = -1; before !== this.trusted.size; ) {
      before = this.trusted.size;
      for (const { key, public: raw, introduced_by: by, signature } of introductions) {
        const text = Buffer.concat([Buffer.from("kube-iam audit key 1\n"), Buffer.from(raw, "hex")]);
        if (this.trusted.has(by) && this.signed(by, text, signature)) this.trusted.add(key);
      }
    }
  }

  signed(name, bytes, hex) {
    if (typeof hex !== "string" || !/^[0-9a-f]{128}$/.test(hex) || !this.known.has(name)) return false;
    return verify(null, bytes, this.known.get(name), Buffer.from(hex, "hex"));
  }
}

export class Findings {
  list = [];
  more = 0;

  add(kind, what, event = null, block = null) {
    if (this.list.length < MOST_FINDINGS) this.list.push({ kind, event, block, what });
    else this.more += 1;
  }
}

export function readManifest(line, keys, findings, own) {
  const cut = line.indexOf(MANIFEST_SIGNATURE);
  const text = line.subarray(MANIFEST_START.length, Math.max(cut, MANIFEST_START.length));
  const tail = cut < 0 || !startsWith(line, MANIFEST_START) ? null : MANIFEST_TAIL.exec(line.subarray(cut).toString("utf8"));
  const manifest = tail ? parsed(text) : null;
  const good = manifest && Object.entries(MANIFEST).every(([name, kind]) => typeof manifest[name] === kind && manifest[name] !== null)
    && isHash(manifest.key);
  if (!good || manifest.format !== "kube-iam audit manifest 1" || (own && tail[2] === undefined)) {
    findings.add("manifest", "the manifest cannot be read");
    return null;
  }
  if (tail[2] !== undefined) keys.name(parsed(Buffer.from(tail[2])));
  if (!keys.signed(manifest.key, text, tail[1])) findings.add("signature", "the signature of the manifest is not valid");
  else if (!keys.trusted.has(manifest.key)) findings.add("key", "the manifest is not signed by a trusted key");
  return manifest;
}
