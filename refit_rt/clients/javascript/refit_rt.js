// Reads the messages of a refit_rt stream. An ES module for browsers and Node 18 or newer, this file alone.
//
//   const stream = new Newest("ws://127.0.0.1:8765");
//   requestAnimationFrame(function draw() {
//     const message = stream.take();            // null: nothing new
//     if (message) show(message.people.joints_world);
//     requestAnimationFrame(draw);
//   });

export const JOINTS = 24;
export const NAMES = [
  "pelvis", "l_hip", "r_hip", "spine1", "l_knee", "r_knee", "spine2", "l_ankle", "r_ankle", "spine3", "l_foot", "r_foot",
  "neck", "l_collar", "r_collar", "head", "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist", "r_wrist",
  "l_hand", "r_hand",
];
export const PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21];

const SCHEMA = "refit_rt.people/1";
const TEXTS = ["status", "camera", "body", "bundle"];
const NUMBERS = [
  "frame", "captured_unix_s", "captured_s", "time_s", "age_s", "dropped", "width_px", "height_px", "focal_px",
  "centre_x_px", "centre_y_px",
];
// Array: dtype, shape of one person's row. Metres, radians, image pixels; docs/stream.md has every field.
const ARRAYS = {
  ids: ["I64", []],
  poses: ["F32", [24, 3]], // axis-angle; joint 0: the body in the camera's frame
  betas: ["F32", [10]],
  trans: ["F32", [3]],
  joints_camera: ["F32", [24, 3]], // x right, y down, z forward
  joints_px: ["F32", [24, 2]],
  joints_world: ["F32", [24, 3]], // y up, right-handed, as in three.js, glTF and Godot
  box: ["F32", [4]],
  confidence: ["F32", []],
  iterations: ["I32", []],
  views: ["I32", []], // bit i: camera i of about.cameras showed the person
  contacts: ["F32", [4]], // 0 to 1: l_ankle, r_ankle, l_foot, r_foot on the floor
};
const ADDED = ["views", "contacts"]; // null in `people` where the sender does not know them
const TYPES = { I64: BigInt64Array, I32: Int32Array, F32: Float32Array };

// Bytes that are no message of this schema. No other error leaves `decode`.
export class DecodeError extends Error {
  name = "DecodeError";
}

// bytes: ArrayBuffer, Uint8Array or Node's Buffer → {about, people}. Throws DecodeError.
//
// about: the metadata; what is a number is one. Also cameras (names), world_from_cameras (12 numbers each: the upper
// three rows of its matrix) and floor (unit normal x y z and metres); null: not sent, or not known. people: count, and
// one flat array per quantity, row after row; `ids` is an array of numbers. Joint j of person i in joints_world starts
// at (i * 24 + j) * 3. The arrays are copies.
export function decode(bytes) {
  const all = ArrayBuffer.isView(bytes) ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) : viewOf(bytes);
  const length = all.length < 8 ? 0 : Number(new DataView(all.buffer, all.byteOffset).getBigUint64(0, true));
  check(length >= 2 && length <= all.length - 8, "not a refit_rt message. Check the address");
  const { __metadata__: texts, ...entries } = headerOf(all.subarray(8, 8 + length));
  check(isObject(texts), "not a refit_rt message: it has no metadata");
  const about = Object.fromEntries(Object.entries(texts).filter(([, text]) => typeof text === "string"));
  check(
    about.schema === SCHEMA,
    `schema '${about.schema}', but this file reads '${SCHEMA}'. Copy the client again from the sender's version`,
  );
  for (const key of TEXTS) check(key in about, `incomplete message: no '${key}'`);
  for (const key of NUMBERS) about[key] = numberOf(about, key);
  about.cameras = about.cameras ? about.cameras.split(",") : null;
  about.world_from_cameras = about.cameras ? placesOf(about) : null;
  about.floor = "floor" in about ? numbersOf(about.floor, 4, "floor") : null;
  const data = all.subarray(8 + length);
  const people = { count: countOf(entries) };
  for (const name of Object.keys(ARRAYS)) {
    const absent = ADDED.includes(name) && !(name in entries);
    people[name] = absent ? null : arrayOf(entries, name, people.count, data);
  }
  people.ids = Array.from(people.ids, Number);
  return { about, people };
}

// Keeps the newest message of a WebSocket and replaces one that has not been taken. It connects again by itself.
export class Newest {
  received = 0; // messages
  replaced = 0; // messages that were never taken
  faults = 0; // messages that could not be read
  error = ""; // the text of the last of them
  connected = false;
  #bytes = null;
  #socket = null;
  #timer = null;

  // retry_s: seconds until it connects again. WebSocket: the class to use; Node before 22 has none, the package ws has.
  constructor(url, { retry_s = 1, WebSocket = globalThis.WebSocket } = {}) {
    const open = () => {
      const socket = (this.#socket = new WebSocket(url));
      socket.binaryType = "arraybuffer";
      socket.onopen = () => (this.connected = true);
      socket.onmessage = ({ data }) => {
        this.received += 1;
        if (this.#bytes !== null) this.replaced += 1;
        this.#bytes = data;
      };
      socket.onclose = socket.onerror = () => {
        if (socket !== this.#socket) return; // closed by `close`, or the second event of one failure
        this.connected = false;
        this.#socket = null;
        this.#timer = setTimeout(open, 1000 * retry_s);
      };
    };
    open();
  }

  // The newest message, decoded, or null: nothing new, or a message that cannot be read.
  take() {
    const bytes = this.#bytes;
    this.#bytes = null;
    if (bytes === null) return null;
    try {
      return decode(bytes);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.faults += 1;
      this.error = error.message;
      return null;
    }
  }

  close() {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#timer);
    socket?.close();
  }
}

function check(fine, text) {
  if (!fine) throw new DecodeError(text);
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function viewOf(bytes) {
  check(bytes instanceof ArrayBuffer, "not a refit_rt message: it is no ArrayBuffer. Set binaryType to 'arraybuffer'");
  return new Uint8Array(bytes);
}

function headerOf(bytes) {
  let header = null;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    // no JSON, or brackets deeper than the stack
  }
  check(isObject(header), "not a refit_rt message: its header cannot be read");
  return header;
}

function numberOf(about, key) {
  check(key in about, `incomplete message: no '${key}'`);
  const value = about[key].trim() === "" ? NaN : Number(about[key]);
  check(Number.isFinite(value), `'${key}' is not a number`);
  return value;
}

function numbersOf(text, count, key) {
  const numbers = text.split(" ").map((one) => (one === "" ? NaN : Number(one)));
  check(numbers.length === count && numbers.every(Number.isFinite), `'${key}' is not ${count} numbers`);
  return numbers;
}

function placesOf(about) {
  check("world_from_cameras" in about, "incomplete message: no 'world_from_cameras'");
  const places = about.world_from_cameras.split(",").map((text) => numbersOf(text, 12, "world_from_cameras"));
  check(
    places.length === about.cameras.length,
    "'world_from_cameras' has another number of places than 'cameras' of names",
  );
  return places;
}

function countOf(entries) {
  const count = entries.ids?.shape?.[0];
  check(Number.isSafeInteger(count) && count >= 0, "incomplete message: no array 'ids'");
  return count;
}

function arrayOf(entries, name, count, data) {
  const entry = entries[name];
  check(isObject(entry), `incomplete message: no array '${name}'`);
  const [dtype, row] = ARRAYS[name];
  const { shape, data_offsets: offsets } = entry;
  check(
    entry.dtype === dtype && Array.isArray(shape) && shape.length === row.length + 1 &&
      [count, ...row].every((size, axis) => size === shape[axis]),
    `the array '${name}' has another type or shape than this version reads`,
  );
  const [start, end] = Array.isArray(offsets) && offsets.length === 2 ? offsets : [];
  const size = row.reduce((product, one) => product * one, count) * TYPES[dtype].BYTES_PER_ELEMENT;
  check(
    Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && end <= data.length && end - start === size,
    `the array '${name}' does not lie within the message`,
  );
  return new TYPES[dtype](data.slice(start, end).buffer); // a copy is aligned; browsers' machines are little-endian
}
