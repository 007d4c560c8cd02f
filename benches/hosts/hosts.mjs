// As hosts.c, with examples/node/metaxy.mjs, beside which it is copied.
import { Store } from './metaxy.mjs';
import koffi from 'koffi';

const CALLS = 1_000_000;
const [directory, definition, reads] = process.argv.slice(2);
const seconds = started => (performance.now() - started) / 1000;

// The module exports no function of the library. This is declared as it declares them.
const abiVersion = koffi.load(process.env.METAXY_LIBRARY).func('int32_t metaxy_abi_version()');
const began = performance.now();
for (let i = 0; i < CALLS; i++) abiVersion();
const call_ns = (seconds(began) / CALLS) * 1e9;

/** The number of rows, and the sum of their sizes. */
async function read(store) {
  let [rows, sum] = [0, 0];
  for await (const batch of await store.read('r/a')) {
    for (const size of batch.getChild('size').toArray()) sum += Number(size);
    rows += batch.numRows;
  }
  return [rows, sum];
}

const store = await Store.open(directory);
store.define(JSON.parse(definition));
const reads_s = [];
let rows, sum;
for (let i = 0; i < Number(reads); i++) {
  const started = performance.now();
  [rows, sum] = await read(store);
  reads_s.push(seconds(started));
}
await store.close();
console.log(JSON.stringify({ call_ns, reads_s, rows, sum }));
