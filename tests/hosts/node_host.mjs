// examples/node used in every wrong way, and ended in every way; and what crosses the Arrow C data interface.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

const here = name => import(pathToFileURL(join(process.cwd(), name)));
const { MetaxyError, Store } = await here('metaxy.mjs');
const { exportData, exportField, importData, importField, lentCount, releaseExported } = await here('arrow_c.mjs');
const arrow = await here('node_modules/apache-arrow/Arrow.node.mjs');
const { default: koffi } = await here('node_modules/koffi/index.js');

const liveHandles = koffi.load(process.env.METAXY_LIBRARY).func('uint64_t metaxy_live_handles(int32_t)');
const STREAM = 7; // METAXY_KIND_STREAM
const video = { key: 'video', id_columns: ['id'], fields: [{ key: 'frames' }] };
const videos = (count, first = 0) => arrow.tableFromJSON(
  Array.from({ length: count }, (_, i) => ({ id: `video-${first + i}`, metaxy_provenance_by_field: { frames: 'f' } })));
const fails = code => error => error instanceof MetaxyError && error.code === code;

let directory;
before(() => { directory = mkdtempSync(join(tmpdir(), 'metaxy-')); });
after(() => rmSync(directory, { recursive: true }));

let stores = 0;
async function openStore() {
  const store = await Store.open(join(directory, String(stores++)));
  store.define(video);
  return store;
}

test('rows go in and come out in every shape', async () => {
  const store = await openStore();
  await store.write('video', videos(3));
  await store.write('video', videos(3, 3).batches[0]);
  await store.write('video', (async function* () { yield* videos(3, 6).batches; yield* videos(3, 9).batches; })());
  assert.equal((await (await store.read('video')).table()).numRows, 12);
  const one = await (await store.read('video', { columns: ['id'], filters: "id = 'video-4'" })).table();
  assert.deepEqual(one.toArray().map(row => row.toJSON()), [{ id: 'video-4' }]);
  let batches = 0;
  for await (const batch of await store.read('video', { batchRows: 5, limit: 11 })) batches += batch.numRows > 0;
  assert.ok(batches >= 3);
  for await (const batch of await store.read('video', { batchRows: 1 })) break;
  assert.equal(String((await (await store.read('video')).table()).getChild('metaxy_updated_at').type), 'Timestamp<MICROSECOND, UTC>');
  await store.close();
});

test('an error says what is wrong', async () => {
  await assert.rejects(Store.open('memory://', { options: { mod: 'read' } }), error => {
    assert.ok(fails('METAXY_INVALID_ARGUMENT')(error));
    assert.equal(error.details.option, 'mod');
    assert.match(error.message, /nearest/);
    assert.equal(error.retryable, false);
    return true;
  });
  const store = await openStore();
  await assert.rejects(store.read('video', { columnz: ['id'] }), TypeError);
  await assert.rejects(store.write('video', arrow.tableFromJSON([{ id: 'x' }])), fails('METAXY_SCHEMA_MISMATCH'));
  await assert.rejects(store.write('video', 7), TypeError);
  await store.close();
});

test('a closed store says so, and its rows go on', async () => {
  const store = await openStore();
  await store.write('video', videos(3));
  const rows = await store.read('video');
  await store.close();
  await store.close();
  await assert.rejects(store.read('video'), fails('METAXY_INVALID_STATE'));
  assert.throws(() => store.define(video), fails('METAXY_INVALID_STATE'));
  assert.equal((await rows.table()).numRows, 3);
});

test('a store may be closed while others read', async () => {
  const store = await openStore();
  await store.write('video', videos(1000));
  const readers = Array.from({ length: 4 }, async () => {
    for (;;) assert.equal((await (await store.read('video', { batchRows: 10 })).table()).numRows, 1000);
  });
  await sleep(100);
  await store.close();
  for (const end of await Promise.allSettled(readers)) assert.ok(fails('METAXY_INVALID_STATE')(end.reason), end.reason);
});

test('one stream may be read by many', async () => {
  const store = await openStore();
  await store.write('video', videos(1000));
  const rows = await store.read('video', { batchRows: 10 });
  let count = 0;
  await Promise.all(Array.from({ length: 4 }, async () => { for await (const batch of rows) count += batch.numRows; }));
  assert.equal(count, 1000);
  await store.close();
});

test('rows may be left during a pull', async () => {
  const store = await openStore();
  await store.write('video', videos(100));
  const rows = await store.read('video', { batchRows: 10 });
  const iterator = rows[Symbol.asyncIterator]();
  const ends = await Promise.all([iterator.next(), iterator.return('left'), iterator.next()]);
  assert.equal(ends[0].value.numRows, 10);
  assert.deepEqual(ends.slice(1), [{ value: 'left', done: true }, { value: undefined, done: true }]);
  assert.equal((await rows.table()).numRows, 0);
  // It is released on a thread.
  for (let i = 0; i < 200 && liveHandles(STREAM); i++) await sleep(10);
  assert.equal(Number(liveHandles(STREAM)), 0);
  await store.close();
});

test('a pull that failed is never the end of the rows', async () => {
  const store = await openStore();
  await store.write('video', videos(3));
  const rows = await store.read('video');
  // The first pull looks its function up, and gets one that fails without the knowledge of the library.
  const { decode } = koffi;
  koffi.decode = () => {
    koffi.decode = decode;
    return { async: (...given) => given.at(-1)(null, constants.errno.EBUSY) };
  };
  await assert.rejects(rows.table(), /^Error: the stream failed with the code 16$/);
  await store.close();
});

test('a library that is not found says what to set', () => {
  const { METAXY_LIBRARY, LD_LIBRARY_PATH, ...env } = process.env;
  for (const [given, name] of [[{}, 'libmetaxy.so.0.1'], [{ METAXY_LIBRARY: '/nowhere/libmetaxy.so' }, '/nowhere/libmetaxy.so']]) {
    const ended = spawnSync(process.execPath, ['metaxy.mjs'], { env: { ...env, ...given }, encoding: 'utf8', timeout: 60_000 });
    assert.equal(ended.status, 1);
    assert.match(ended.stderr, new RegExp(`Error: .*${name}.*set METAXY_LIBRARY to .* or LD_LIBRARY_PATH to `));
  }
});

test('what is no text or number for C is a TypeError', async () => {
  const store = await openStore();
  await store.write('video', videos(2));
  const bad = [7, {}, ['video'], true, 'video\0x'];
  for (const text of bad) {
    for (const use of [
      () => Store.open(text), () => Store.open('memory://', { options: { mode: 'read', [String(text)]: 'x\0' } }),
      () => store.read(text), () => store.write(text, videos(1)), () => store.read('video', { filters: [text] }),
      () => store.read('video', { columns: [text] }), () => store.read('video', { featureVersion: text }),
    ]) await assert.rejects(use(), TypeError);
  }
  for (const number of [1.5, NaN, 2 ** 60, 'x']) await assert.rejects(store.read('video', { limit: number }), TypeError);
  await assert.rejects(store.read('video', { batchRows: -5 }), TypeError);
  await assert.rejects(store.read('video', { featureHistory: 2 ** 32 }), TypeError);
  await assert.rejects(store.read('video', { progress: 7 }), TypeError);
  await assert.rejects(store.read('video', { signal: 7 }), TypeError);
  for (const none of [null, undefined]) await assert.rejects(store.read(none), fails('METAXY_INVALID_ARGUMENT'));
  assert.equal((await (await store.read('video', { featureVersion: null, deleted: true })).table()).numRows, 2);
  await store.close();
});

test('batches of several layouts are refused, and nothing is written', async () => {
  const store = await openStore();
  const origin = { metaxy_provenance_by_field: { frames: 'f' } };
  const batch = row => arrow.tableFromJSON([{ ...row, ...origin }]).batches[0];
  const large = new arrow.Table({ id: arrow.vectorFromArray(['c'], new arrow.LargeUtf8()), x: arrow.vectorFromArray([1.5]) });
  for (const [first, second, message] of [
    [batch({ id: 'a', x: 1.5 }), batch({ id: 'b', x: 'text' }), /^column x: a batch has Utf8, but the first one had Float64$/],
    [batch({ id: 'a', x: 1n, y: 2.5 }), batch({ id: 'b', y: 2.5, x: 1n }), /^column x: a batch has y in its place/],
    [batch({ id: 'a', x: 1 }), batch({ id: 'b' }), /^column x: /],
    [batch({ id: 'a' }), batch({ id: 'b', x: 1 }), /^column /],
    [batch({ id: 'a', x: { y: 1 } }), batch({ id: 'b', x: { y: '1' } }), /^column x\.y: a batch has Utf8, .* Float64$/],
    [batch({ id: 'a', x: 1.5 }), large.batches[0], /^column id: a batch has LargeUtf8/],
  ]) await assert.rejects(store.write('video', [first, second]), { name: 'TypeError', message });
  await assert.rejects(store.read('video'), fails('METAXY_NOT_FOUND'));
  await store.write('video', [batch({ id: 'a', x: 1.5 }), batch({ id: 'b', x: 2.5 })]);
  await store.close();
});

test('a write of nothing is checked', async () => {
  const store = await openStore();
  await store.write('video', []);
  await store.write('video', new arrow.Table(videos(1).schema));
  await assert.rejects(store.write('audio', []), fails('METAXY_NOT_FOUND'));
  await assert.rejects(store.write('audio', new arrow.Table(videos(1).schema)), fails('METAXY_NOT_FOUND'));
  await store.close();
});

test('a process may end after a write that failed', () => {
  const begin = `
    import { tableFromJSON } from 'apache-arrow';
    import { Store } from './metaxy.mjs';
    const store = await Store.open('${join(directory, 'ended')}');
    store.define(${JSON.stringify(video)});
    const row = i => ({ id: 'a' + i, metaxy_provenance_by_field: { frames: 'f' } });
    const [batch] = tableFromJSON(Array.from({ length: 20000 }, (_, i) => row(i))).batches;
    const aborted = new AbortController();
    const bounds = { signal: aborted.signal, progress: () => aborted.abort() };
    const failing = function* () { yield batch; throw new RangeError('enough'); };`;
  for (const [write, name] of [["'video', failing()", 'RangeError'], ["'video', [batch, batch, batch], bounds", 'AbortError']]) {
    const program = `${begin}
      const ends = await Promise.all([1, 2, 3, 4].map(() => store.write(${write}).catch(error => error.name)));
      console.log([...new Set(ends)].join());`;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8', timeout: 60_000 });
    assert.equal(output, `${name}\n`);
  }
});

test('what Python has written is read, or refused', async () => {
  const path = join(directory, 'python');
  execFileSync('python', ['-c', `
import decimal, metaxy_native as m, pyarrow as pa
store = m.Store(${JSON.stringify(path)})
fixed, money = pa.array([[1.0, 2.5], [3.0, 4.0]], pa.list_(pa.float32(), 2)), pa.array([decimal.Decimal("1.5")] * 2)
for name, values in {"fixed": fixed, "money": money}.items():
    store.define({"key": name, "id_columns": ["id"], "fields": [{"key": "frames"}]})
    store.write(name, pa.table({"id": ["a", "b"], "value": values, "metaxy_provenance_by_field": [{"frames": "f"}] * 2}))
`], { cwd: '../python', timeout: 60_000 });
  const store = await Store.open(path);
  store.define({ ...video, key: 'fixed' }, { ...video, key: 'money' });
  const table = await (await store.read('fixed', { columns: ['id', 'value', 'metaxy_provenance_by_field'] })).table();
  const embeddings = rows => rows.toArray().map(row => `${row.id} ${[...row.value]}`).sort();
  assert.deepEqual(embeddings(table), ['a 1,2.5', 'b 3,4']);
  await store.write('fixed', table);
  assert.deepEqual(embeddings(await (await store.read('fixed')).table()), ['a 1,2.5', 'b 3,4']);
  for (const progress of [undefined, () => {}]) {
    await assert.rejects(store.read('money', { progress }), { name: 'TypeError', message: /column value: .*"d:/ });
    await sleep(50);
  }
  await store.close();
});

test('an iterator that nobody goes on with holds no batch', async () => {
  const store = await openStore();
  const row = i => ({ id: `${i}`, text: 'x'.repeat(500), metaxy_provenance_by_field: { frames: 'f' } });
  await store.write('video', arrow.tableFromJSON(Array.from({ length: 20_000 }, (_, i) => row(i))));
  let before;
  for (let i = 0; i < 24; i++) {
    await (async () => { await (await store.read('video'))[Symbol.asyncIterator]().next(); })();
    globalThis.gc();
    await sleep(10);
    if (i === 7) before = process.memoryUsage().rss;
  }
  assert.ok(process.memoryUsage().rss - before < 80e6, `${(process.memoryUsage().rss - before) / 1e6} MB more`);
  await store.close();
});

test('what a callback throws after the commit comes out, too', async () => {
  const store = await openStore();
  const enough = new RangeError('enough');
  const progress = (_, total) => { if (total !== undefined) throw enough; };
  await assert.rejects(store.write('video', videos(3), { progress }), error => error === enough && error.completed === true);
  assert.equal((await (await store.read('video')).table()).numRows, 3);
  await store.close();
});

test('what a callback throws comes out of the call', async () => {
  const store = await openStore();
  const progress = () => { throw new RangeError('enough'); };
  const batches = Array.from({ length: 5 }, (_, i) => videos(1, i).batches[0]);
  await assert.rejects(store.write('video', batches, { progress }), new RangeError('enough'));
  await assert.rejects(store.read('video'), fails('METAXY_NOT_FOUND'));
  const seen = [];
  await store.write('video', batches, { progress: (rows, total) => seen.push([rows, total]) });
  assert.deepEqual(seen.at(-1), [5, 5]);
  await store.close();
});

test('a source of rows that fails ends the write, and nothing is written', async () => {
  const store = await openStore();
  async function* failing() {
    yield videos(1).batches[0];
    throw new RangeError('the camera is gone');
  }
  await assert.rejects(store.write('video', failing()), new RangeError('the camera is gone'));
  await assert.rejects(store.read('video'), fails('METAXY_NOT_FOUND'));
  await store.close();
});

test('a call ends by its signal', async () => {
  const server = net.createServer(socket => socket.on('error', () => {})).listen(0, '127.0.0.1');
  await new Promise(listening => server.once('listening', listening));
  const options = {
    mode: 'read', 'storage_options.endpoint': `http://127.0.0.1:${server.address().port}`, 'storage_options.allow_http': true,
    'storage_options.region': 'us-east-1', 'storage_options.access_key_id': 'a', 'storage_options.secret_access_key': 'b',
  };
  const begun = performance.now();
  const store = await Store.open('s3://bucket/store', { options });
  store.define(video);
  await assert.rejects(store.read('video', { signal: AbortSignal.timeout(200) }), { name: 'TimeoutError' });
  await assert.rejects(store.read('video', { signal: AbortSignal.abort() }), { name: 'AbortError' });
  assert.ok(performance.now() - begun < 5000);
  await store.close();
  server.close();
});

/** A vector that went out to C structs and came in again. */
function there(vector) {
  return new arrow.Vector(vector.data.map(data => {
    const [schema, array] = [exportField({ name: 'x', type: vector.type, nullable: true }), exportData(data)];
    const back = importData(koffi.address(array), importField(koffi.address(schema)).type);
    releaseExported(schema);
    releaseExported(array);
    return back;
  }));
}

const json = value => JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? `${inner}n` : inner));

test('every type crosses, whole and sliced, with nulls', () => {
  const texts = ['a', null, 'ccc', '', 'é', null, 'g', 'h', 'i', 'j', 'k'];
  const numbers = texts.map((text, i) => (text === null ? null : i));
  const bigs = numbers.map(number => (number === null ? null : BigInt(number)));
  const list = child => new arrow.List(new arrow.Field('item', child, true));
  const largeList = child => new arrow.LargeList(new arrow.Field('item', child, true));
  const fixed = child => new arrow.FixedSizeList(2, new arrow.Field('item', child, true));
  const struct = new arrow.Struct([new arrow.Field('a', new arrow.Utf8(), true), new arrow.Field('b', new arrow.Int32(), true)]);
  const columns = [
    ...[arrow.Int8, arrow.Int16, arrow.Int32, arrow.Uint8, arrow.Uint16, arrow.Uint32, arrow.Float32, arrow.Float64]
      .map(Type => [numbers, new Type()]),
    ...[arrow.Int64, arrow.Uint64].map(Type => [bigs, new Type()]),
    [texts, new arrow.Utf8()], [texts, new arrow.LargeUtf8()],
    [texts, new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32())],
    [texts.map(text => text && Buffer.from(text)), new arrow.Binary()],
    [numbers.map(number => (number === null ? null : number % 2 === 0)), new arrow.Bool()],
    [numbers.map(number => (number === null ? null : 86400000 * number)), new arrow.DateDay()],
    [numbers, new arrow.Timestamp(arrow.TimeUnit.MILLISECOND, 'UTC')],
    [texts.map(text => text && [...text]), list(new arrow.Utf8())],
    [texts.map(text => text && [...text]), largeList(new arrow.Utf8())],
    [texts.map(text => text && [[...text], []]), list(list(new arrow.Utf8()))],
    [texts.map((a, b) => (a === null ? null : { a, b })), struct],
    [texts.map((a, b) => (a === null ? null : [{ a, b }, null])), list(struct)],
    [texts.map(() => null), new arrow.Null()],
    [numbers.map(number => (number === null ? null : 86400000 * number)), new arrow.DateMillisecond()],
    [numbers.map(number => (number === null ? null : Uint8Array.of(number, 255, 0))), new arrow.FixedSizeBinary(3)],
    [numbers.map(number => (number === null ? null : [number, -number])), fixed(new arrow.Float32())],
    [numbers.map(number => (number === null ? null : [number % 2 === 0, true])), fixed(new arrow.Bool())],
    [numbers.map(number => (number === null ? null : [[number, 1], [2, 3]])), list(fixed(new arrow.Float32()))],
  ];
  for (const [values, type] of columns) {
    const vector = arrow.vectorFromArray(values, type);
    for (const [from, to] of [[0, 11], [0, 0], [1, 11], [3, 9], [8, 11]]) {
      const part = vector.slice(from, to);
      assert.equal(json(there(part).toJSON()), json(part.toJSON()), `${type} ${from} ${to}`);
      assert.equal(there(part).nullCount, values.slice(from, to).filter(value => value === null).length, `${type}`);
    }
  }
  assert.equal(lentCount(), 0);
  const decimal = new arrow.Field('x', new arrow.Decimal(10, 2, 128), true);
  assert.throws(() => exportField(decimal), /column x: .*Decimal/);
  const siblings = [new arrow.Field('a', new arrow.Utf8()), decimal];
  assert.throws(() => exportField(new arrow.Field('', new arrow.Struct(siblings))), /column x: .*Decimal/);
  assert.throws(() => exportField(new arrow.Field('a\0b', new arrow.Utf8())), TypeError);
  assert.equal(lentCount(), 0);
});

test('nothing is left', async () => {
  await (async () => {
    const store = await openStore();
    await store.write('video', videos(3));
    await store.read('video'); // never pulled
  })();
  for (let i = 0; i < 200 && (liveHandles(0) || lentCount()); i++) {
    globalThis.gc();
    await sleep(10);
  }
  assert.deepEqual(Array.from({ length: 13 }, (_, kind) => Number(liveHandles(kind))), Array(13).fill(0), 'handles by kind');
  assert.equal(lentCount(), 0);
});
