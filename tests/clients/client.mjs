// What the tests run in Node: node client.mjs CLIENT dump FILE… | fuzz COUNT SEED FILE… | live URL | newest FILE…
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [client, mode, ...rest] = process.argv.slice(2);
const { DecodeError, NAMES, Newest, PARENTS, decode } = await import(pathToFileURL(client));
const print = (value) => console.log(JSON.stringify(value, (_, one) => (ArrayBuffer.isView(one) ? Array.from(one) : one)));

if (mode === "dump") print({ messages: rest.map((path) => decode(readFileSync(path))), NAMES, PARENTS });
if (mode === "fuzz") fuzz(Number(rest[0]), BigInt(rest[1]), rest.slice(2).map((path) => readFileSync(path)));
if (mode === "live") live(rest[0]);
if (mode === "newest") newest(rest.map((path) => readFileSync(path)));

function fuzz(count, seed, messages) {
  let state = Number(seed) >>> 0 || 1;
  const rng = () => {
    state ^= state << 13; // xorshift32, Marsaglia 2003
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  const below = (most) => (most ? rng() % most : 0);
  const hostile = [
    "0", "1", "-1", "1e400", "NaN", "18446744073709551615", "9007199254740993", "[", "]", "{", "}", '"', "null", "true",
    "[]", "{}", "[0]", "1.5", '"F64"', '{"toString":1,"valueOf":1}', '{"__proto__":{}}', "[".repeat(3000), "\\ud800", "\xff",
  ];
  const place = /\d+|"[^"]*"|\[[^[\]]*\]|\{[^{}]*\}|[[{]/g;
  const mutations = [
    (bytes) => {
      for (let n = 1 + below(8); n--; ) bytes[below(below(2) ? bytes.length : Math.min(bytes.length, 1500))] = rng();
      return bytes;
    },
    (bytes) => bytes.subarray(0, below(bytes.length)),
    (bytes) => {
      const lengths = [0n, 1n, 2n, BigInt(bytes.length), BigInt(Math.max(0, bytes.length - 8)), 2n ** 64n - 1n, 2n ** 62n];
      if (bytes.length >= 8) bytes.writeBigUInt64LE(lengths[below(lengths.length)]);
      return bytes;
    },
    (bytes) => Buffer.concat([bytes, Buffer.alloc(below(64), rng() & 255)]),
    header, header, header, header,
  ];
  // Puts something hostile in place of a number, a text or a bracket of the header, and mends the header's length.
  function header(bytes) {
    const length = bytes.length < 8 ? 0 : Number(bytes.readBigUInt64LE());
    if (length < 2 || length > bytes.length - 8) return bytes;
    const text = bytes.toString("latin1", 8, 8 + length);
    const places = [...text.matchAll(place)];
    if (!places.length) return bytes;
    const { 0: old, index } = places[below(places.length)];
    const made = Buffer.from(text.slice(0, index) + hostile[below(hostile.length)] + text.slice(index + old.length), "latin1");
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(made.length));
    return Buffer.concat([size, made, bytes.subarray(8 + length)]);
  }
  const counts = { accepted: 0, refused: 0, texts: {} };
  for (let n = 0; n < count; n++) {
    let bytes = Buffer.from(messages[below(messages.length)]);
    for (let k = 1 + below(2); k--; ) bytes = mutations[below(mutations.length)](bytes);
    try {
      const { people } = decode(bytes);
      if (people.joints_world.length !== people.count * 72) throw new Error("a message was read in part");
      counts.accepted++;
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      counts.refused++;
    }
  }
  print(counts);
}

function live(url) {
  const stream = new Newest(url, { retry_s: 0.05 });
  setInterval(() => {
    const message = stream.take();
    if (message?.about.status !== "ended") return;
    print(message);
    stream.close();
    process.exit();
  }, 5);
}

// A socket that hands over messages without a network.
function newest(files) {
  const sockets = [];
  class Socket {
    constructor() {
      sockets.push(this);
    }
    close() {
      this.onclose();
    }
  }
  const stream = new Newest("", { WebSocket: Socket, retry_s: 0 });
  const give = (bytes) => sockets.at(-1).onmessage({ data: Uint8Array.from(bytes).buffer });
  sockets[0].onopen();
  const before = stream.take();
  for (const bytes of files) give(bytes);
  const taken = stream.take().people.count;
  const again = stream.take();
  give(Buffer.from("nothing"));
  give(files[0].subarray(0, 50));
  const bad = stream.take();
  const { received, replaced, faults, error } = stream;
  sockets[0].onclose();
  setTimeout(() => {
    const opened = sockets.length;
    stream.close();
    setTimeout(() => print({ before, taken, again, bad, received, replaced, faults, error, opened, after: sockets.length }), 20);
  }, 20);
}
