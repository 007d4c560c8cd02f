// examples/node used in every wrong way, and ended in every way; and what crosses the Arrow C data interface.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
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
  assert.throws(() => exportField({ name: 'x', type: new arrow.Decimal(10, 2, 128), nullable: true }), /column x: .*Decimal/);
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
