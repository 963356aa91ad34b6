// A second verifier of the evidence, written from docs/audit-format.md alone: it shares nothing with iam/evidence.
//
//   node verifier.mjs FILE --key KEY.pem [--key …] [--anchors FILE] [--manifest FILE]
//
// prints {"whole", "events", "blocks", "findings": [{"kind", "event", "block", "what"}]}, and exits 0 (whole), 1 (not), or 2 (usage).
// It holds one line, the leaves of one block, and the numbers of emptied blocks.

import { createHash } from "node:crypto";
import { closeSync, createReadStream, openSync, readFileSync, readSync } from "node:fs";
import { parseArgs } from "node:util";
import { createGunzip } from "node:zlib";

import { Findings, Keys, MANIFEST_START, isHash, isNumber, moment } from "./verifier_parts.mjs";
import { parsed, readManifest, same, sha256, startsWith } from "./verifier_parts.mjs";

const MOST_WAITING = 1024;
const LONGEST_LINE = 64 * 1024 * 1024;
const BLOCK_EVENTS = 256;
const DAY = 24 * 60 * 60 * 1_000_000;
const HEADER_FIELDS = "format,number,previous,first,count,root,sealed_at,key".split(",").sort().join();
const EVENT = /^\{"seq":([1-9][0-9]{0,15}),"event":/;
const BLOCK_START = Buffer.from('{"block":');
const BLOCK_LEAVES = Buffer.from(',"leaves":"');
const BLOCK_TAIL = /^,"leaves":"((?:[0-9a-f]{64})*)","signature":"([0-9a-f]{128})"\}$/;

class Trail {
  events = 0;
  blocks = 0;
  bytes = 0;
  hash = createHash("sha256");
  opening = null;
  manifest = null;
  waiting = []; // events whose block has not come yet
  before = null; // the block before: number, last, hash, sealed_at
  emptied = [];
  removals = []; // what sealed events audit.pruned, and the manifest, say: blocks up to `last` that were sealed until `until`
  lastSeq = 0;

  constructor(keys, findings, anchors) {
    Object.assign(this, { keys, findings, anchors });
  }

  get everything() {
    return this.opening !== null && same(this.opening.filter, {});
  }

  line(line, ended) {
    if (this.manifest) return this.findings.add("inserted", "something stands behind the manifest");
    if (!ended) this.findings.add("cut", "the last line has no end");
    if (startsWith(line, MANIFEST_START)) return this.readManifest(line);
    this.bytes += line.length + (ended ? 1 : 0);
    this.hash.update(line);
    if (ended) this.hash.update("\n");
    if (!ended) return undefined;
    if (!this.opening) return this.readOpening(line);
    if (startsWith(line, BLOCK_START)) return this.readBlock(line);
    return this.readEvent(line);
  }

  readOpening(line) {
    const opening = parsed(line);
    this.opening = opening ?? {};
    const good = opening && opening.format === "kube-iam audit export 1" && opening.kind === "jsonl" && isNumber(opening.upto, 0)
      && opening.filter && typeof opening.filter === "object" && !Number.isNaN(moment(opening.begun_at));
    if (!good) return this.findings.add("format", "the first line is not the opening of an export");
    return this.keys.name(opening.keys);
  }

  readEvent(line) {
    const start = EVENT.exec(line.subarray(0, 40).toString("latin1"));
    if (!start || line.at(-1) !== 0x7d) return this.findings.add("format", "a line is neither event nor block", this.lastSeq + 1);
    const seq = Number(start[1]);
    const text = line.subarray(start[0].length, -1);
    this.events += 1;
    if (seq <= this.lastSeq) this.findings.add("reordered", "an event stands behind a later one", seq);
    this.lastSeq = seq;
    const told = text.includes("audit.pruned") ? removal(seq, parsed(text)) : null;
    this.waiting.push({ seq, leaf: sha256(Buffer.of(0), text), told });
    if (this.waiting.length > MOST_WAITING) {
      this.findings.add("removed", "no block seals these events", this.waiting[0].seq);
      this.waiting = [];
    }
    return undefined;
  }

  readBlock(line) {
    const waiting = this.waiting;
    this.waiting = [];
    this.blocks += 1;
    const cut = line.indexOf(BLOCK_LEAVES);
    const tail = cut < 0 ? null : BLOCK_TAIL.exec(line.subarray(cut).toString("latin1"));
    const text = line.subarray(BLOCK_START.length, Math.max(cut, BLOCK_START.length));
    const header = parsed(text);
    const good = tail && header && Object.keys(header).sort().join() === HEADER_FIELDS && header.format === "kube-iam audit block 1"
      && isNumber(header.number, 1) && isNumber(header.first, 1) && isNumber(header.count, 1) && header.count <= BLOCK_EVENTS
      && isHash(header.previous) && isHash(header.root) && isHash(header.key) && !Number.isNaN(moment(header.sealed_at));
    if (!good) return this.findings.add("format", "a block cannot be read", waiting[0]?.seq ?? null, (this.before?.number ?? 0) + 1);
    const { number, first, count } = header;
    const add = (kind, what, event = null) => this.findings.add(kind, what, event, number);
    const leaves = Buffer.from(tail[1], "hex");
    const hash = sha256(text).toString("hex");
    const fits = leaves.length === count * 32 && sha256(leaves).toString("hex") === header.root;
    if (!fits) add("changed", "the leaves of the block are not those that its header seals");
    if (!this.keys.known.has(header.key)) add("key", "the block is signed by an unknown key");
    else if (!this.keys.signed(header.key, text, tail[2])) add("signature", "the signature of the block is not valid");
    else if (!this.keys.trusted.has(header.key)) add("key", "the block is signed by a key without trust");
    this.follow(header, add);
    this.before = { number, hash, last: first + count - 1, sealed_at: header.sealed_at };
    for (const anchored of this.anchors.get(number) ?? []) {
      if (anchored.hash !== hash) add("anchor", "the block is not the one that was anchored");
    }
    return this.place(waiting, header, leaves, add, fits);
  }

  follow({ number, previous, first, sealed_at }, add) {
    const before = this.before ?? { number: 0, last: 0, hash: "0".repeat(64), sealed_at: null };
    const next = number === before.number + 1;
    if (number <= before.number || first <= before.last) add("reordered", "the block stands behind a later one");
    else if (this.everything && !next) this.findings.add("removed", "blocks are missing", before.last + 1, before.number + 1);
    if (next && previous !== before.hash) add("changed", "the block does not follow the one before it");
    if (next && first !== before.last + 1) add("removed", "there are events missing between this block and the one before it");
    if (before.sealed_at && moment(sealed_at) < moment(before.sealed_at)) add("changed", "the block is older than the one before it");
  }

  place(waiting, { number, first, count, sealed_at }, leaves, add, fits) {
    const there = new Set();
    for (const { seq, leaf, told } of waiting) {
      const at = (seq - first) * 32;
      if (at < 0 || at >= count * 32) {
        add("inserted", "an event stands in a block that does not seal it", seq);
        continue;
      }
      if (there.has(seq)) add("inserted", "an event stands there twice", seq);
      there.add(seq);
      if (leaves.subarray(at, at + 32).equals(leaf)) {
        if (fits && told) this.removals.push(told);
        continue;
      }
      let elsewhere = false;
      for (let i = 0; i < leaves.length; i += 32) elsewhere ||= leaves.subarray(i, i + 32).equals(leaf);
      add(elsewhere ? "reordered" : "changed", elsewhere ? "the event stands at the place of another" : "the event was changed", seq);
    }
    if (!this.everything || there.size === count) return;
    if (there.size === 0) this.emptied.push({ number, first, last: first + count - 1, sealed: moment(sealed_at) });
    else for (let seq = first; seq < first + count; seq += 1) if (!there.has(seq)) add("removed", "the event is missing", seq);
  }

  readManifest(line) {
    this.manifest = readManifest(line, this.keys, this.findings, false) ?? {};
    const opening = this.opening ?? {};
    const wrong = (name) => this.findings.add("manifest", `the manifest has another "${name}" than the file`);
    if (this.manifest.bytes !== this.bytes) wrong("bytes");
    if (this.manifest.sha256 !== this.hash.digest("hex")) wrong("sha256");
    if (this.manifest.events !== this.events) wrong("events");
    const removed = this.manifest.pruned; // "sealed before": one microsecond less
    if (isNumber(removed?.last, 1)) this.removals.push({ last: removed.last, until: moment(removed.before) - 1 });
    for (const name of ["export", "kind", "filter", "upto", "begun_at"]) if (!same(this.manifest[name], opening[name])) wrong(name);
  }

  end() {
    const { number, last } = this.before ?? { number: 0, last: 0 };
    for (const block of this.emptied) {
      const excused = this.removals.some(({ last: upto, until }) => block.last <= upto && block.sealed <= until);
      if (!excused) this.findings.add("removed", "all events of the block are missing", block.first, block.number);
    }
    if (this.waiting.length) this.findings.add("cut", "no block seals these events", this.waiting[0].seq);
    if (!this.opening) this.findings.add("cut", "there is no opening");
    if (!this.manifest) this.findings.add("cut", "there is no manifest: the end is missing", last + 1);
    if (!this.everything) return;
    if (this.opening.upto !== last) this.findings.add("cut", "the export does not reach the event that its opening names", last + 1);
    for (const [beyond, anchors] of this.anchors) {
      if (beyond > number && anchors.some((anchor) => moment(anchor.anchored_at) <= moment(this.opening.begun_at))) {
        this.findings.add("cut", "an anchored block is beyond the end", null, beyond);
      }
    }
  }
}

/** What a sealed event says that retention removed; null if it says nothing of the kind. */
function removal(seq, event) {
  const { last, keep_days: days } = event?.details ?? {};
  if (event?.action !== "audit.pruned" || event.result !== "done" || !isNumber(last, 1) || !isNumber(days, 0) || last >= seq) return null;
  return { last, until: moment(event.at) - days * DAY };
}

/** The lines of a file as bytes: a reader of text would decode them, and break them at other places too. */
async function* lines(path) {
  const head = Buffer.alloc(2);
  const file = openSync(path);
  readSync(file, head, 0, 2, 0);
  closeSync(file);
  const source = createReadStream(path);
  const stream = head.equals(Buffer.of(0x1f, 0x8b)) ? source.pipe(createGunzip()) : source;
  let parts = [];
  let waiting = 0;
  for await (const chunk of stream) {
    let from = 0;
    for (let to; (to = chunk.indexOf(10, from)) >= 0; from = to + 1) {
      yield [Buffer.concat([...parts, chunk.subarray(from, to)]), true];
      parts = [];
      waiting = 0;
    }
    parts.push(chunk.subarray(from));
    waiting += chunk.length - from;
    if (waiting > LONGEST_LINE) throw new Error("a line is too long");
  }
  if (waiting) yield [Buffer.concat(parts), false];
}

function readAnchors(path, findings) {
  const anchors = new Map();
  for (const line of path ? readFileSync(path, "latin1").split("\n").filter((text) => text.trim()) : []) {
    const anchor = parsed(Buffer.from(line, "latin1"));
    const good = anchor && isNumber(anchor.number, 1) && isHash(anchor.hash) && !Number.isNaN(moment(anchor.anchored_at));
    if (!good) findings.add("anchor", "an anchor cannot be read");
    else anchors.set(anchor.number, [...(anchors.get(anchor.number) ?? []), anchor]);
  }
  return anchors;
}

/** A file of another kind than JSON Lines: its bytes are those that were exported. */
async function verifyOther(path, manifestPath, keys, findings) {
  const line = readFileSync(manifestPath);
  const manifest = readManifest(line.at(-1) === 10 ? line.subarray(0, -1) : line, keys, findings, true);
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const [text, ended] of lines(path)) {
    hash.update(text);
    if (ended) hash.update("\n");
    bytes += text.length + (ended ? 1 : 0);
  }
  if (!manifest) return 0;
  if (manifest.kind === "jsonl") findings.add("manifest", "the manifest of a chain proves nothing beside a file");
  if (manifest.bytes !== bytes) findings.add("manifest", 'the manifest has another "bytes" than the file');
  if (manifest.sha256 !== hash.digest("hex")) findings.add("manifest", 'the manifest has another "sha256" than the file');
  return manifest.events;
}

async function main() {
  const options = { key: { type: "string", multiple: true }, anchors: { type: "string" }, manifest: { type: "string" } };
  const { values, positionals: [path] } = parseArgs({ options, allowPositionals: true });
  if (!path || !values.key) throw new Error("usage: verifier.mjs FILE --key KEY.pem [--anchors FILE] [--manifest FILE]");
  const findings = new Findings();
  const keys = new Keys(findings);
  for (const key of values.key) keys.give(readFileSync(key, "latin1"));
  const trail = new Trail(keys, findings, readAnchors(values.anchors, findings));
  try {
    if (values.manifest) trail.events = await verifyOther(path, values.manifest, keys, findings);
    else for await (const [line, ended] of lines(path)) trail.line(line, ended);
  } catch (error) {
    if (!["Z_DATA_ERROR", "Z_BUF_ERROR"].includes(error.code)) throw error;
    findings.add("cut", `the compressed bytes are broken: ${error.message}`);
  }
  if (!values.manifest) trail.end();
  const whole = findings.list.length === 0;
  console.log(JSON.stringify({ whole, events: trail.events, blocks: trail.blocks, findings: findings.list, more: findings.more }));
  process.exitCode = whole ? 0 : 1;
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 2;
});
