// The Arrow C data interface for apache-arrow: schemas and arrays between its objects and C structs.
//
// Each of these structs is a row of 64-bit words. What comes in is copied out of C's memory, because JavaScript cannot
// tell when the last view of it goes; what goes out is lent, and kept until C releases it.

import { inspect } from 'node:util';
import koffi from 'koffi';
import * as arrow from 'apache-arrow';

const SCHEMA = { format: 0, name: 1, metadata: 2, flags: 3, childCount: 4, children: 5, dictionary: 6, release: 7, data: 8 };
const ARRAY = {
  length: 0, nullCount: 1, offset: 2, bufferCount: 3, childCount: 4, buffers: 5, children: 6, dictionary: 7, release: 8, data: 9,
};
const NULLABLE = 2n;

/** The types without children, by their formats, with the bytes of a value or, for texts and binaries, of an offset. */
const FLAT = {
  n: [arrow.Null, 0], b: [arrow.Bool, 0],
  c: [arrow.Int8, 1], s: [arrow.Int16, 2], i: [arrow.Int32, 4], l: [arrow.Int64, 8],
  C: [arrow.Uint8, 1], S: [arrow.Uint16, 2], I: [arrow.Uint32, 4], L: [arrow.Uint64, 8],
  e: [arrow.Float16, 2], f: [arrow.Float32, 4], g: [arrow.Float64, 8],
  u: [arrow.Utf8, 4], U: [arrow.LargeUtf8, 8], z: [arrow.Binary, 4], Z: [arrow.LargeBinary, 8],
  tdD: [arrow.DateDay, 4], tdm: [arrow.DateMillisecond, 8],
};
const UNITS = { s: arrow.TimeUnit.SECOND, m: arrow.TimeUnit.MILLISECOND, u: arrow.TimeUnit.MICROSECOND, n: arrow.TimeUnit.NANOSECOND };
const flatFormats = new Map(Object.entries(FLAT).map(([format, [Type]]) => [`${new Type()}`, format]));
const unitFormats = new Map(Object.entries(UNITS).map(([letter, unit]) => [unit, letter]));

const { DataType } = arrow;
const isText = type => DataType.isUtf8(type) || DataType.isBinary(type);
const isLargeText = type => DataType.isLargeUtf8(type) || DataType.isLargeBinary(type);
const isLarge = type => isLargeText(type) || DataType.isLargeList(type);
const isList = type => DataType.isList(type) || DataType.isLargeList(type);
const isFixed = type => DataType.isFixedSizeList(type) || DataType.isFixedSizeBinary(type);

/** A text that C can take: for C, one ends at its first NUL. */
export function checkedText(text) {
  if (typeof text !== 'string' || text.includes('\0')) throw new TypeError(`not a text without NUL: ${inspect(text)}`);
  return text;
}

export const terminated = text => Buffer.from(`${checkedText(text)}\0`);

const words = (address, count) => (count ? koffi.decode(address, 'uint64_t', Number(count)) : []);
const bytes = (address, count) => (count ? koffi.decode(address, 'uint8_t', count) : new Uint8Array(0));

// ---- in ----

/** The field that the ArrowSchema at `address` describes. The struct stays the caller's to release. */
export function importField(address) {
  const schema = words(address, 9);
  const format = koffi.decode.string(schema[SCHEMA.format]);
  const name = schema[SCHEMA.name] ? koffi.decode.string(schema[SCHEMA.name]) : '';
  const fields = () => Array.from(words(schema[SCHEMA.children], schema[SCHEMA.childCount]), importField);
  const type = importType(format, fields, schema[SCHEMA.dictionary], name);
  return new arrow.Field(name, type, (schema[SCHEMA.flags] & NULLABLE) !== 0n);
}

function importType(format, fields, dictionary, name) {
  if (dictionary) return new arrow.Dictionary(importField(dictionary).type, importType(format, fields, 0n, name));
  if (FLAT[format]) return new FLAT[format][0]();
  if (format === '+s') return new arrow.Struct(fields());
  if (format === '+l') return new arrow.List(fields()[0]);
  if (format === '+L') return new arrow.LargeList(fields()[0]);
  const size = Number(/^\+?w:(\d+)$/.exec(format)?.[1]);
  if (format.startsWith('w:')) return new arrow.FixedSizeBinary(size);
  if (format.startsWith('+w:')) return new arrow.FixedSizeList(size, fields()[0]);
  const time = /^ts([smun]):(.*)$/.exec(format);
  if (time) return new arrow.Timestamp(UNITS[time[1]], time[2] || null);
  throw new TypeError(`column ${name}: this module does not know the Arrow format "${format}"`);
}

/** The rows of the ArrowArray at `address`, copied. The struct stays the caller's to release. */
export function importData(address, type, from = 0, count = undefined) {
  const array = words(address, 10);
  const length = count ?? Number(array[ARRAY.length]);
  const start = Number(array[ARRAY.offset]) + from;
  const buffer = words(array[ARRAY.buffers], array[ARRAY.bufferCount]);
  const children = words(array[ARRAY.children], array[ARRAY.childCount]);
  const bits = base => bytes(base + BigInt(start >> 3), ((start & 7) + length + 7) >> 3);
  const values = (base, width) => bytes(base + BigInt(start * width), length * width);

  const made = { type, length, offset: start & 7 };
  if (DataType.isNull(type)) return arrow.makeData(made);
  if (buffer[0] && array[ARRAY.nullCount]) made.nullBitmap = bits(buffer[0]);

  if (DataType.isStruct(type)) {
    made.children = type.children.map((field, index) => importData(children[index], field.type, start, length));
  } else if (DataType.isDictionary(type)) {
    made.data = new type.indices.ArrayType(values(buffer[1], type.indices.ArrayType.BYTES_PER_ELEMENT).buffer);
    made.dictionary = new arrow.Vector([importData(array[ARRAY.dictionary], type.dictionary)]);
  } else if (DataType.isFixedSizeList(type)) {
    made.child = importData(children[0], type.children[0].type, start * type.listSize, length * type.listSize);
  } else if (DataType.isFixedSizeBinary(type)) {
    made.data = values(buffer[1], type.byteWidth);
  } else if (DataType.isBool(type)) {
    made.data = bits(buffer[1]);
  } else if (isText(type) || isLargeText(type) || isList(type)) {
    const Offsets = isLarge(type) ? BigInt64Array : Int32Array;
    const width = Offsets.BYTES_PER_ELEMENT;
    const offsets = length ? new Offsets(bytes(buffer[1] + BigInt(start * width), (length + 1) * width).buffer) : new Offsets(1);
    const [first, last] = [Number(offsets[0]), Number(offsets[length])];
    made.valueOffsets = first ? offsets.map(offset => offset - offsets[0]) : offsets;
    if (isList(type)) made.child = importData(children[0], type.children[0].type, first, last - first);
    else made.data = bytes(buffer[2] + BigInt(first), last - first);
  } else {
    const width = DataType.isTimestamp(type) ? 8 : FLAT[flatFormats.get(`${type}`)][1];
    made.data = new type.ArrayType(values(buffer[1], width).buffer);
  }
  return arrow.makeData(made);
}

// ---- out ----

/** What C borrows, by the number in the `private_data` of the struct that it is lent with. */
const lent = new Map();
let last = 0n;

/** The callback that C releases a struct with, by the place of its `release`, before that of its `private_data`. */
const callbacks = {};
const release = word => (callbacks[word] ??= koffi.register(address => {
  giveBack(words(address + BigInt(8 * (word + 1)), 1)[0], word);
  koffi.encode(address, 8 * word, 'uint64_t', 0n);
}, koffi.pointer(koffi.proto('void', ['void *']))));

function giveBack(id, word) {
  const { children = [] } = lent.get(id) ?? {};
  lent.delete(id);
  // A child whose release is 0 was moved, and is released on its own.
  for (const child of children) if (child[word]) giveBack(child[word + 1], word);
}

/** How many structs C has not released yet. */
export const lentCount = () => lent.size;

const pointers = arrays => BigUint64Array.from(arrays, array => (array?.byteLength ? koffi.address(array) : 0n));

function lend(struct, kept) {
  lent.set(++last, { struct, ...kept });
  struct[struct.length - 1] = last;
  return struct;
}

/** What `make` exports of each; nothing if one fails. */
function exportEach(given, make) {
  const made = [];
  try {
    for (const each of given) made.push(make(each));
    return made;
  } catch (failure) {
    made.forEach(releaseExported);
    throw failure;
  }
}

/** An ArrowSchema of a field, as words. */
export function exportField({ name, type, nullable }) {
  const plain = plainType(type);
  const texts = [terminated(formatOf(plain, name)), terminated(name)];
  const children = exportEach(plain.children ?? [], exportField);
  const kept = { texts, children, addresses: pointers(children) };
  const struct = new BigUint64Array(9);
  [struct[SCHEMA.format], struct[SCHEMA.name]] = pointers(kept.texts);
  struct[SCHEMA.flags] = nullable ? NULLABLE : 0n;
  struct[SCHEMA.childCount] = BigInt(children.length);
  [struct[SCHEMA.children]] = pointers([kept.addresses]);
  struct[SCHEMA.release] = release(SCHEMA.release);
  return lend(struct, kept);
}

/** An ArrowArray of rows, as words. */
export function exportData(given) {
  const data = plainData(given);
  const { type, length, offset } = data;
  const children = exportEach(data.children, exportData);
  const buffers = [];
  if (!DataType.isNull(type)) buffers.push(data.nullCount > 0 ? shifted(data.nullBitmap, offset, length) : null);
  if (DataType.isBool(type)) buffers.push(shifted(data.values, offset, length));
  else if (isList(type)) buffers.push(data.valueOffsets);
  else if (isText(type) || isLargeText(type)) buffers.push(data.valueOffsets, data.values);
  else if (data.values) buffers.push(data.values);

  const kept = { buffers, children, bufferAddresses: pointers(buffers), childAddresses: pointers(children) };
  const struct = new BigUint64Array(10);
  struct[ARRAY.length] = BigInt(length);
  struct[ARRAY.nullCount] = BigInt(data.nullCount);
  struct[ARRAY.bufferCount] = BigInt(buffers.length);
  struct[ARRAY.childCount] = BigInt(children.length);
  [struct[ARRAY.buffers], struct[ARRAY.children]] = pointers([kept.bufferAddresses, kept.childAddresses]);
  struct[ARRAY.release] = release(ARRAY.release);
  return lend(struct, kept);
}

/** Releases what was exported and not moved. */
export function releaseExported(struct) {
  const word = struct.length - 2;
  if (struct[word]) giveBack(struct[word + 1], word);
  struct[word] = 0n;
}

function formatOf(type, name) {
  if (DataType.isStruct(type)) return '+s';
  if (DataType.isList(type)) return '+l';
  if (DataType.isLargeList(type)) return '+L';
  if (isFixed(type)) return DataType.isFixedSizeList(type) ? `+w:${type.listSize}` : `w:${type.byteWidth}`;
  if (DataType.isTimestamp(type)) return `ts${unitFormats.get(type.unit)}:${type.timezone ?? ''}`;
  const format = flatFormats.get(`${type}`);
  if (!format) throw new TypeError(`column ${name}: this module does not know how to hand out ${type}`);
  return format;
}

// apache-arrow makes dictionaries of plain texts. They are written as the texts.
const plainType = type => (DataType.isDictionary(type) ? plainType(type.dictionary) : type);
const plainData = data =>
  DataType.isDictionary(data.type) ? arrow.vectorFromArray([...new arrow.Vector([data])], plainType(data.type)).data[0] : data;

/** Throws unless rows of the type `found` may follow rows of the type `first`: an array does not say how it is laid out. */
export function assertSame(first, found, name = '') {
  const [was, is] = [plainType(first), plainType(found)];
  if (formatOf(was, name) !== formatOf(is, name)) {
    throw new TypeError(`column ${name}: a batch has ${is}, but the first one had ${was}`);
  }
  const [before, now] = [was.children ?? [], is.children ?? []];
  for (let i = 0; i < Math.max(before.length, now.length); i++) {
    const path = DataType.isStruct(was) ? [name, (before[i] ?? now[i]).name].filter(Boolean).join('.') : name;
    if (!before[i]) throw new TypeError(`column ${path}: a batch has it, but the first one had not`);
    if (!now[i]) throw new TypeError(`column ${path}: a batch has none, but the first one had`);
    if (DataType.isStruct(was) && before[i].name !== now[i].name) {
      throw new TypeError(`column ${path}: a batch has ${now[i].name} in its place`);
    }
    assertSame(before[i].type, now[i].type, path);
  }
}

/** Bits that begin at bit 0. */
function shifted(bits, offset, length) {
  if (offset % 8 === 0) return bits.subarray(offset >> 3);
  const moved = new Uint8Array((length + 7) >> 3);
  for (let i = 0; i < length; i++) {
    const from = offset + i;
    moved[i >> 3] |= ((bits[from >> 3] >> (from & 7)) & 1) << (i & 7);
  }
  return moved;
}
