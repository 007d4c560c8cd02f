// The main job: open a store, define a feature, write rows, read the current ones back.
//
//     node quickstart.mjs [DIRECTORY]      the directory is made when absent; ./metadata by default

import { tableFromJSON } from 'apache-arrow';
import { MetaxyError, Store } from './metaxy.mjs';

// A feature is a table: what identifies its rows, and the fields that rows carry versions of.
const video = {
  feature_spec: {
    key: 'example/video',
    id_columns: ['id'],
    fields: [{ key: 'audio', code_version: '1' }, { key: 'frames', code_version: '1' }],
  },
  project: 'quickstart',
};

// The last column says where each row came from, per field: any text that changes when the content does. A BigInt
// makes a column of 64-bit integers, where a number would make one of doubles.
const videos = tableFromJSON([
  { id: 'credits', size: 48000n, metaxy_provenance_by_field: { audio: 'a-7f', frames: 'f-11' } },
  { id: 'intro', size: 1250000n, metaxy_provenance_by_field: { audio: 'a-02', frames: 'f-3e' } },
  { id: 'interview', size: 98304000n, metaxy_provenance_by_field: { audio: 'a-c9', frames: 'f-d0' } },
]);

// A bar is for a terminal, and not for a file.
const draw = text => process.stderr.isTTY && process.stderr.write(text);
const bar = total => rows => draw(`\r[${'#'.repeat((30 * rows) / total).padEnd(30)}] ${rows} of ${total} rows`);

const store = await Store.open(process.argv[2] ?? './metadata');
try {
  store.define(video);
  await store.write('example/video', videos, { progress: bar(videos.numRows) });
  draw('\n');

  const columns = ['id', 'size', 'metaxy_provenance'];
  const rows = await store.read('example/video', { columns, filters: 'size < 10000000' });
  const table = await rows.table();
  for (const row of table.toArray().sort((a, b) => (a.id < b.id ? -1 : 1))) {
    console.log(`${row.id.padEnd(10)} ${String(row.size).padStart(8)}  ${row.metaxy_provenance}`);
  }

  await store.read('example/audio').catch(error => {
    if (!(error instanceof MetaxyError)) throw error;
    console.log(`${error.code}: ${error.details.feature}`);
  });
} finally {
  await store.close();
}
