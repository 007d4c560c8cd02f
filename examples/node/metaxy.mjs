// libmetaxy for Node.js: the C library through koffi, rows as apache-arrow tables. Copy this file and arrow_c.mjs.
//
//     const store = await Store.open('./metadata');
//     store.define({ key: 'video', id_columns: ['id'], fields: [{ key: 'frames' }] });
//     await store.write('video', table);
//     for await (const batch of await store.read('video', { columns: ['id'], filters: ['size > 1000'] })) ...
//     await store.close();
//
// The library is the file in METAXY_LIBRARY, or else the installed one. Whatever may take time runs on a thread of
// koffi's, so that JavaScript goes on meanwhile.

import koffi from 'koffi';
import { RecordBatch, Schema, Struct, Table } from 'apache-arrow';
import {
  assertSame, checkedText, exportData, exportField, importData, importField, releaseExported, terminated,
} from './arrow_c.mjs';

// koffi makes calls on stacks of its own, which are smaller than what LanceDB needs. No library may be loaded before this.
koffi.config({ async_stack_size: 8 << 20 });

function load(path) {
  try {
    return koffi.load(path);
  } catch (failure) {
    const advice = 'set METAXY_LIBRARY to the path of libmetaxy.so, or LD_LIBRARY_PATH to its folder';
    throw new Error(`libmetaxy was not loaded: ${path}: ${failure.message}; ${advice}`);
  }
}

const library = load(process.env.METAXY_LIBRARY ?? 'libmetaxy.so.0.1');
if (library.func('int32_t metaxy_abi_version()')() !== 1) throw new Error('this module is for version 1 of the ABI of libmetaxy');

const Pull = koffi.proto('int', ['void *', 'void *']);
const Release = koffi.proto('void', ['void *']);
const Progress = koffi.pointer(koffi.proto('void', ['uint64_t', 'int64_t', 'void *']));

/** A function of the library. Pointers, to handles too, are BigInts. */
const declare = (result, name, ...parameters) => library.func(`metaxy_${name}`, result, parameters);
const [P, S] = ['void *', 'str'];
const fallible = {
  context_new: [P], context_set_progress: [P, Progress, P], context_cancel: [P],
  error_from_stream: [P],
  options_new: [P], options_set: [P, S, S],
  read_request_new: [P], read_request_set_columns: [P, P, 'size_t'], read_request_add_filter: [P, S],
  read_request_set_feature_version: [P, S], read_request_set_feature_history: [P, 'int32_t'],
  read_request_set_sample_history: [P, 'int32_t'], read_request_set_deleted: [P, 'int32_t'],
  read_request_set_batch_rows: [P, 'size_t'], read_request_set_limit: [P, 'int64_t'],
  store_open: [S, P, P, P], store_close: [P], store_define: [P, S], store_read: [P, S, P, P, P],
  store_writer: [P, S, P, P, P, P], writer_push: [P, P, P], writer_commit: [P, P], writer_abort: [P],
};
const functions = Object.fromEntries(
  Object.entries(fallible).map(([name, parameters]) => [name, declare('int32_t', name, ...parameters, P)]));
const statusName = declare(S, 'status_name', 'int32_t');
const error = {
  message: declare(S, 'error_message', P), retryable: declare('int32_t', 'error_is_retryable', P),
  causes: declare('size_t', 'error_cause_count', P), cause: declare(S, 'error_cause', P, 'size_t'),
  details: declare('size_t', 'error_detail_count', P),
  key: declare(S, 'error_detail_key', P, 'size_t'), value: declare(S, 'error_detail_value', P, 'size_t'),
};
const frees = Object.fromEntries(
  ['context', 'error', 'options', 'read_request', 'store', 'writer'].map(noun => [noun, declare('void', `${noun}_free`, P)]));

/** A call failed: `code` is the status by its name, such as 'METAXY_NOT_FOUND'; `details` are the facts behind it. */
export class MetaxyError extends Error {
  name = 'MetaxyError';

  /** Takes the error in a cell over. */
  constructor(status, [handle]) {
    super(error.message(handle));
    this.status = status;
    this.code = statusName(status);
    this.retryable = error.retryable(handle) !== 0;
    this.causes = Array.from({ length: Number(error.causes(handle)) }, (_, i) => error.cause(handle, i));
    this.details = Object.fromEntries(
      Array.from({ length: Number(error.details(handle)) }, (_, i) => [error.key(handle, i), error.value(handle, i)]));
    frees.error(handle);
  }
}

/** Words of memory that the library reads or writes through their address. */
const cell = (count = 1) => new BigUint64Array(count);
const at = words => koffi.address(words);

const RANGES = {
  int32_t: [-(2 ** 31), 2 ** 31 - 1], int64_t: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  size_t: [0, Number.MAX_SAFE_INTEGER],
};

/** The parameters of a call. koffi would take a number for the address of a text, and cut a number to what fits. */
function checked(name, parameters) {
  return parameters.map((value, i) => {
    const type = fallible[name][i];
    if (type === S) return value == null ? null : checkedText(value);
    const [least, most] = RANGES[type] ?? [];
    if (!RANGES[type] || (Number.isInteger(value) && least <= value && value <= most)) return value;
    throw new TypeError(`${name}: not a number that this can be: ${value}`);
  });
}

/** A short call, made here and now. */
function now(name, ...parameters) {
  const failure = cell();
  const status = functions[name](...checked(name, parameters), at(failure));
  if (status) throw new MetaxyError(status, failure);
}

/** A call on another thread. */
function later(name, ...parameters) {
  const failure = cell();
  return new Promise((resolve, reject) => {
    functions[name].async(...checked(name, parameters), at(failure), (problem, status) => {
      if (problem) reject(problem);
      else if (status) reject(new MetaxyError(status, failure));
      else resolve();
    });
  });
}

// Handles and streams that nothing refers to any more are freed by and by, on a thread: that may take time, too.
const forgotten = new FinalizationRegistry(free => free());
const free = (noun, handle) => frees[noun].async(handle, () => {});

/** Makes a handle, uses it and frees it. */
async function using(noun, make, use) {
  const handle = cell();
  now(make, at(handle));
  try {
    return await use(handle[0]);
  } finally {
    free(noun, handle[0]);
  }
}

/** What bounds calls: an AbortSignal, and a function that is told of progress. */
class Context {
  constructor({ signal, progress }) {
    const handle = cell();
    now('context_new', at(handle));
    this.handle = handle[0];
    this.cancel = () => now('context_cancel', this.handle);
    try {
      if (progress) this.#tell(progress);
      signal?.addEventListener('abort', this.cancel);
      this.signal = signal;
      if (signal?.aborted) this.cancel();
    } catch (failure) {
      this.end();
      throw failure;
    }
  }

  #tell(progress) {
    if (typeof progress !== 'function') throw new TypeError('progress is a function');
    this.callback = koffi.register((rows, total) => {
      try {
        progress(Number(rows), total < 0 ? undefined : Number(total));
      } catch (raised) {
        this.raised ??= { raised };
        this.cancel();
      }
    }, Progress);
    now('context_set_progress', this.handle, this.callback, null);
  }

  /** The call's outcome, or what the caller's own code has ended it with, be it too late: then it is marked `completed`. */
  async run(call) {
    try {
      const outcome = await call();
      if (!this.raised) return outcome;
      if (this.raised.raised instanceof Error) this.raised.raised.completed = true;
    } catch (failure) {
      if (this.raised) throw this.raised.raised;
      if (this.signal?.aborted && failure.code === 'METAXY_CANCELLED') throw this.signal.reason;
      throw failure;
    }
    throw this.raised.raised;
  }

  /** Doing so again does nothing. */
  end() {
    if (this.ended) return;
    this.ended = true;
    this.signal?.removeEventListener('abort', this.cancel);
    free('context', this.handle);
    if (this.callback) koffi.unregister(this.callback);
  }
}

async function bounded(bounds, use) {
  const context = new Context(bounds);
  try {
    return await context.run(() => use(context.handle));
  } finally {
    context.end();
  }
}

const withOptions = (given, use) => using('options', 'options_new', options => {
  for (const [key, value] of Object.entries(given)) now('options_set', options, key, value == null ? null : String(value));
  return use(options);
});

const SETTINGS = {
  featureVersion: ['feature_version', version => version], featureHistory: ['feature_history', Number],
  sampleHistory: ['sample_history', Number], deleted: ['deleted', Number], batchRows: ['batch_rows', Number], limit: ['limit', Number],
};

const withRequest = (columns, filters, settings, use) => using('read_request', 'read_request_new', request => {
  if (columns) {
    const texts = columns.map(terminated);
    const addresses = BigUint64Array.from(texts, at);
    now('read_request_set_columns', request, at(addresses), texts.length);
  }
  for (const filter of [filters].flat()) now('read_request_add_filter', request, filter);
  for (const [name, value] of Object.entries(settings)) {
    if (!SETTINGS[name]) throw new TypeError(`a read has no setting "${name}"`);
    const [setting, convert] = SETTINGS[name];
    now(`read_request_set_${setting}`, request, convert(value));
  }
  return use(request);
});

/** Releases a stream, and ends its context when that is done. */
function endStream(stream, context) {
  if (!stream[3]) return context.end();
  // The stream is named at the end, too, so that it is there until then.
  koffi.decode(stream[3], Release).async(at(stream), () => context.end(stream));
}

/** The rows of a read: batches, each read when it is asked for. Leaving the loop ends it. */
class Rows {
  #stream;
  #context;
  #type;
  #batches;

  /** Takes both over, also if it fails. */
  constructor(stream, context) {
    this.#stream = stream;
    this.#context = context;
    const end = () => endStream(stream, context);
    const schema = cell(9);
    try {
      if (koffi.call(stream[0], Pull, at(stream), at(schema))) throw new Error('the stream gives no schema');
      this.#type = importField(at(schema)).type;
      this.schema = new Schema(this.#type.children);
    } catch (failure) {
      end();
      throw failure;
    } finally {
      if (schema[7]) koffi.call(schema[7], Release, at(schema));
    }
    this.#batches = this.#pull(end);
    forgotten.register(this, end, this);
  }

  async *#pull(end) {
    const next = koffi.decode(this.#stream[1], Pull);
    try {
      for (;;) {
        const array = cell(10);
        let batch;
        try {
          await this.#context.run(async () => {
            const failed = await new Promise((resolve, reject) =>
              next.async(at(this.#stream), at(array), (problem, code) => (problem ? reject(problem) : resolve(code))));
            if (!failed) return;
            now('error_from_stream', at(this.#stream));
            // Whatever it says, this is not the end of the rows.
            throw new Error(`the stream failed with the code ${failed}`);
          });
          if (!array[8]) return;
          batch = new RecordBatch(this.schema, importData(at(array), this.#type));
        } finally {
          if (array[8]) koffi.call(array[8], Release, at(array));
        }
        // Nothing is held here: whoever leaves an iterator may never come back.
        yield batch;
      }
    } finally {
      forgotten.unregister(this);
      end();
    }
  }

  [Symbol.asyncIterator]() {
    return this.#batches;
  }

  /** All rows that are left, as a table. */
  async table() {
    const batches = [];
    for await (const batch of this) batches.push(batch);
    return new Table(this.schema, batches);
  }
}

/** A metadata store. Any number of calls may be under way at once; when it is closed, the rows that it gave go on. */
export class Store {
  #handle;

  /** Opens a store. `options` are the library's: { mode: 'read' }; `signal` is an AbortSignal, as everywhere below. */
  static async open(uri, { options = {}, ...bounds } = {}) {
    return bounded(bounds, context => withOptions(options, async given => {
      const opened = cell();
      await later('store_open', uri, given, context, at(opened));
      return new Store(opened[0]);
    }));
  }

  constructor(handle) {
    this.#handle = handle;
    forgotten.register(this, () => free('store', handle), this);
  }

  /** Ends the store. Doing so again does nothing; any other call then fails with METAXY_INVALID_STATE. */
  async close() {
    await later('store_close', this.#handle);
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }

  /** Defines features, given as objects. */
  define(...features) {
    now('store_define', this.#handle, JSON.stringify(features));
  }

  /** Writes rows, all or none: a table, a batch, or batches as any iterable or async iterable gives them. */
  async write(feature, rows, { options = {}, ...bounds } = {}) {
    await bounded(bounds, context => withOptions(options, async given => {
      const writer = cell();
      let type;
      const begin = async first => {
        const schema = exportField({ name: '', type: first, nullable: false });
        try {
          await later('store_writer', this.#handle, feature, at(schema), given, context, at(writer));
        } finally {
          releaseExported(schema);
        }
        type = first;
      };
      try {
        for await (const batch of rows instanceof RecordBatch ? [rows] : rows.batches ?? rows) {
          if (!type) await begin(batch.data.type);
          assertSame(type, batch.data.type);
          const array = exportData(batch.data);
          try {
            await later('writer_push', writer[0], at(array), context);
          } finally {
            releaseExported(array);
          }
        }
        // Nothing is written then, but to a feature that can be written.
        if (!type) await begin(new Struct(rows.schema?.fields ?? [])).catch(failure => {
          if (rows.schema || failure.code !== 'METAXY_SCHEMA_MISMATCH') throw failure;
        });
        if (type) await later('writer_commit', writer[0], context);
      } finally {
        // Until the writer has ended, it reads what it was lent. After a commit, this does nothing.
        if (writer[0]) await later('writer_abort', writer[0]).catch(() => {});
        free('writer', writer[0]);
      }
    }));
  }

  /** The current rows, as they come. */
  async read(feature, { columns, filters = [], signal, progress, ...settings } = {}) {
    const context = new Context({ signal, progress });
    const stream = cell(5);
    try {
      await context.run(() => withRequest(columns, filters, settings, request =>
        later('store_read', this.#handle, feature, request, context.handle, at(stream))));
    } catch (failure) {
      endStream(stream, context);
      throw failure;
    }
    return new Rows(stream, context);
  }
}
