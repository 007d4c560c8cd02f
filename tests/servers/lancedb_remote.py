"""A server that speaks what LanceDB's remote client speaks, as LanceDB Cloud or a self-hosted endpoint does.

    python -m servers.lancedb_remote [--prefix /databases/{database}] [--key KEY] [--read-only-key KEY] [--tls]
                                     [--phalanx-version 0.4.0]

Prints one line of JSON once it answers, and ends, with its files, when its standard input ends:
    {"port", "endpoint", "url", "prefix", "key", "read_only_key", "directory", "root", "ca", "cert", "cert_key"}

`root` holds one directory of Lance tables per database, `root/<database>/<table>.lance`; the header
x-lancedb-database names the database, "default" without it. A prefix that says {database} has to name the same
one, and `url` is the endpoint with the prefix. An empty --key asks for none. The last three fields are the files
of a certificate made for 127.0.0.1 and localhost with --tls, else null.

Behind the address works Lance itself, in two shapes. pylance's RestAdapter, one per database, serves every request
that is small JSON; this program only rewrites what the client's dialect and the adapter's differ on. What carries
Arrow data in (create, insert, merge_insert, add_columns with a schema) is done right here with pylance on the same
directory: the adapter refuses bodies above 2 MiB, and cutting one insert into several would not be atomic. So are
the two reads it answers otherwise than the client expects: describe, whose type names the client cannot parse, and
queries with order_by, which it ignores.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import ssl
import tempfile
import threading
import traceback
import urllib.request
import uuid
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

import lance
import lance.namespace
import pyarrow as pa
from lance.dataset import ColumnOrdering

from . import certificate, lifetime

STREAM, FILE = "application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file"
IN_MEMORY = 8 << 20
PIECE = 1 << 20
# The namespace specification's k and offset are 32 bits wide; the client sends isize::MAX for "all".
ALL = 2**31 - 1

READS = re.compile(
    r"describe|exists|query|count_rows|stats|explain_plan|analyze_plan|index/list|index/[^/]+/stats"
    r"|version/list|version/describe|tags/list|tags/version|branches/list"
)


# Whatever the adapter does not read would make it close the connection.
BODILESS = re.compile(r"drop|version/list|tags/list|branches/list|index/[^/]+/drop")
# The specification's names of the types to alter a column to, where lance::arrow::json says otherwise.
SPECIFIED = {
    "string": "utf8",
    "large_string": "large_utf8",
    "halffloat": "float16",
    "float": "float32",
    "double": "float64",
    "date32:day": "date32",
    "date64:ms": "date64",
}


class Refusal(Exception):
    def __init__(self, status, message):
        self.status, self.message = status, message


def refusal(error):
    """Sorts what Lance raised into the statuses that a server answers with."""
    text = str(error)
    if isinstance(error, Refusal):
        return error
    if isinstance(error, FileNotFoundError) or re.match(r"Dataset at path .* was not found", text):
        return Refusal(404, text)
    if "conflict" in text.lower():
        return Refusal(409, text)
    if isinstance(error, (ValueError, TypeError, KeyError, pa.ArrowException)) or "schema" in text.lower():
        return Refusal(400, text)
    return Refusal(500, text)


# --- Arrow schemas as the client reads them: lance::arrow::json -------------------------------------------------

PLAIN = {"date32[day]": "date32:day", "date64[ms]": "date64:ms"}  # all others are spelled as pyarrow does


def json_type(t):
    if isinstance(t, pa.BaseExtensionType):
        t = t.storage_type
    if pa.types.is_struct(t):
        return {"type": "struct", "fields": [json_field(t.field(i)) for i in range(t.num_fields)]}
    if pa.types.is_list(t):
        return {"type": "list", "fields": [json_field(t.value_field)]}
    if pa.types.is_large_list(t):
        return {"type": "large_list", "fields": [json_field(t.value_field)]}
    if pa.types.is_fixed_size_list(t):
        return {"type": "fixed_size_list", "fields": [json_field(t.value_field)], "length": t.list_size}
    if pa.types.is_fixed_size_binary(t):
        return {"type": "fixed_size_binary", "length": t.byte_width}
    if pa.types.is_timestamp(t):
        return {"type": f"timestamp:{t.unit}:{t.tz or '-'}"}
    if pa.types.is_decimal(t):
        return {"type": f"decimal:{t.bit_width}:{t.precision}:{t.scale}"}
    if pa.types.is_dictionary(t):
        return {"type": f"dict:{json_type(t.value_type)['type']}:{json_type(t.index_type)['type']}:false"}
    if pa.types.is_map(t):
        return {"type": "map"}  # the client knows no name for it and says so
    unit = re.fullmatch(r"(time32|time64|duration)\[(\w+)\]", str(t))
    return {"type": f"{unit[1]}:{unit[2]}" if unit else PLAIN.get(str(t), str(t))}


def json_field(field):
    described = {"name": field.name, "type": json_type(field.type), "nullable": field.nullable}
    return described | metadata(field.metadata)


def metadata(pairs):
    return {"metadata": {k.decode(): v.decode() for k, v in pairs.items()}} if pairs else {}


def json_schema(schema):
    return {"fields": [json_field(field) for field in schema]} | metadata(schema.metadata)


# --- databases and their tables ---------------------------------------------------------------------------------


class Database:
    """A directory of tables, and the adapter that serves it."""

    def __init__(self, root):
        self.root = root
        os.makedirs(root)
        # Without the manifest a table is where its name says, for the adapter and for this program alike.
        properties = {"root": root, "manifest_enabled": "false", "dir_listing_enabled": "true"}
        self.adapter = lance.namespace.RestAdapter("dir", properties, host="127.0.0.1", port=0)
        self.adapter.start()
        self.creating = threading.Lock()
        self.uploads = {}

    def uri(self, table):
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", table):
            raise Refusal(400, f"{table!r} is no name of a table in the root namespace")
        return os.path.join(self.root, table + ".lance")

    def open(self, table, version=None):
        if not os.path.isdir(self.uri(table)):
            raise Refusal(404, f"Table {table} was not found")
        return lance.dataset(self.uri(table), version=version)

    def create(self, table, query, body):
        mode = query.get("mode", ["create"])[0]
        # Lance alone would let two creates at once both succeed.
        with self.creating:
            exists = os.path.isdir(self.uri(table))
            if exists and mode == "create":
                raise Refusal(400, f"Table {table} already exists")
            if exists and mode != "overwrite":
                return {"version": self.open(table).version}
            data = pa.ipc.open_stream(body)
            made = lance.write_dataset(data, self.uri(table), mode="overwrite" if exists else "create")
            return {"version": made.version}

    def insert(self, table, query, body):
        target = self.open(table)
        mode = query.get("mode", ["append"])[0]
        data = pa.ipc.open_stream(body)
        if "upload_id" in query:
            upload = self.upload(query)
            parts = lance.fragment.write_fragments(data, target, mode=mode)
            # The same part sent again replaces itself.
            upload["parts"][query["upload_part_id"][0]] = parts
            upload["schema"] = data.schema if mode == "overwrite" else None
            return {}
        return {"version": lance.write_dataset(data, target, mode=mode).version}

    def upload(self, query):
        try:
            return self.uploads[query["upload_id"][0]]
        except KeyError:
            raise Refusal(404, "no such multipart write") from None

    def multipart(self, table, step, query):
        target = self.open(table)
        if step == "create":
            name = uuid.uuid4().hex
            self.uploads[name] = {"parts": {}, "schema": None}
            return {"upload_id": name}
        upload = self.upload(query)
        del self.uploads[query["upload_id"][0]]
        if step == "abort":
            return {}
        fragments = [fragment for part in upload["parts"].values() for fragment in part]
        if upload["schema"] is None:
            operation = lance.LanceOperation.Append(fragments)
        else:
            operation = lance.LanceOperation.Overwrite(upload["schema"], fragments)
        return {"version": lance.LanceDataset.commit(target, operation, read_version=target.version).version}

    def merge_insert(self, table, query, body):
        target = self.open(table)
        one = {name: values[0] for name, values in query.items()}
        merge = target.merge_insert(query["on"])
        if one.get("when_matched_update_all") == "true":
            merge = merge.when_matched_update_all(one.get("when_matched_update_all_filt"))
        if one.get("when_not_matched_insert_all") == "true":
            merge = merge.when_not_matched_insert_all()
        if one.get("when_not_matched_by_source_delete") == "true":
            merge = merge.when_not_matched_by_source_delete(one.get("when_not_matched_by_source_delete_filt"))
        done = merge.execute(pa.ipc.open_stream(body))
        return {"version": target.version} | {name: done[name] for name in done if name.startswith("num_")}

    def add_null_columns(self, table, body):
        target = self.open(table)
        target.add_columns(pa.ipc.open_stream(body).schema)
        return {"version": target.version}

    def describe(self, table, body):
        dataset = self.open(table, body.get("version"))
        return {"table": table, "namespace": [], "version": dataset.version, "schema": json_schema(dataset.schema)}

    def ordered_query(self, table, body):
        order = [ColumnOrdering(by["column_name"], by["ascending"], by["nulls_first"]) for by in body["order_by"]]
        k = body.get("k", ALL)
        return (
            self.open(table, body.get("version"))
            .scanner(
                columns=body.get("columns"),
                filter=body.get("filter"),
                limit=k if k < ALL else None,
                offset=body.get("offset"),
                with_row_id=body.get("with_row_id", False),
                order_by=order,
            )
            .to_reader()
        )


class Databases:
    def __init__(self, root):
        self.root, self.known, self.lock = root, {}, threading.Lock()

    def __getitem__(self, name):
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name):
            raise Refusal(400, f"{name!r} is no name of a database")
        with self.lock:
            if name not in self.known:
                self.known[name] = Database(os.path.join(self.root, name))
            return self.known[name]


# --- HTTP -------------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # a head and a short body leave in one packet
    server_version = "lancedb-remote"

    def log_message(self, *_):
        pass

    def finish(self):
        with suppress(OSError):
            super().finish()

    def serve(self):
        # The body is read before anything is answered or written: a refused request keeps its connection
        # usable, and one that breaks off in the middle changes nothing.
        try:
            body = self.read_body()
        except (OSError, ValueError):
            self.close_connection = True
            return
        with body:
            try:
                self.answer(body)
            except ConnectionError:
                self.close_connection = True
            except Exception as error:
                refused = refusal(error)
                self.reply(refused.status, json.dumps({"error": refused.message, "code": refused.status}).encode())

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = serve

    def read_body(self):
        body = tempfile.SpooledTemporaryFile(IN_MEMORY)
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            while size := int(self.rfile.readline().split(b";")[0], 16):
                self.copy(size, body)
                self.rfile.readline()
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
        else:
            self.copy(int(self.headers.get("content-length") or 0), body)
        body.seek(0)
        return body

    def copy(self, size, into):
        while size:
            piece = self.rfile.read(min(size, PIECE))
            if not piece:
                raise ConnectionError("the body broke off")
            into.write(piece)
            size -= len(piece)

    def answer(self, body):
        options = self.server.options
        path, _, query = self.path.partition("?")
        name = self.headers.get("x-lancedb-database") or "default"
        prefix = options.prefix.replace("{database}", name)
        if not path.startswith(prefix + "/v1/"):
            raise Refusal(404, f"there is nothing at {path}")
        path = path[len(prefix) :].rstrip("/")
        operation = re.fullmatch(r"/v1/table/([^/]+)/(.+)", path)
        table, operation = (unquote(operation[1]), operation[2]) if operation else (None, None)
        self.authorize(path, operation)
        self.route(self.server.databases[name], path, parse_qs(query), query, table, operation, body)

    def authorize(self, path, operation):
        options = self.server.options
        key = self.headers.get("x-api-key")
        if not options.key or key == options.key:
            return
        if key is None or key != options.read_only_key:
            raise Refusal(401, "the API key is missing or unknown")
        if self.command == "POST" and not (operation and READS.fullmatch(operation)):
            raise Refusal(403, "this API key may read only")

    def route(self, database, path, query, raw_query, table, operation, body):
        arrow = self.headers.get("content-type", "").startswith(STREAM)
        match operation:
            case "create":
                return self.json(database.create(table, query, body))
            case "insert":
                return self.json(database.insert(table, query, body))
            case "merge_insert":
                return self.json(database.merge_insert(table, query, body))
            case "add_columns" if arrow:
                return self.json(database.add_null_columns(table, body))
            case "multipart_write/create" | "multipart_write/complete" | "multipart_write/abort":
                return self.json(database.multipart(table, operation.partition("/")[2], query))

        request = self.parse(body) if self.command == "POST" else None
        match operation:
            case "describe":
                return self.json(database.describe(table, request))
            case "query":
                if request.get("order_by") and request.get("k") != 0:  # no rows in an order make Lance panic
                    return self.arrow(database.ordered_query(table, request))
                spell_query(request)
            case "alter_columns":
                for alteration in request.get("alterations", []):
                    if isinstance(alteration.get("data_type"), dict):
                        name = alteration["data_type"]["type"]
                        alteration["data_type"] = SPECIFIED.get(name, name)
        self.forward(database, path, raw_query, operation, request)

    def parse(self, body):
        try:
            request = json.loads(body.read() or b"{}")
        except ValueError as error:
            raise Refusal(400, f"the body is no JSON: {error}") from None
        if not isinstance(request, dict):
            raise Refusal(400, "the body is no JSON object")
        # The adapter takes an absent field for unset, not a null one.
        return {name: value for name, value in request.items() if value is not None}

    def forward(self, database, path, query, operation, request):
        sent = None if request is None or BODILESS.fullmatch(operation or "") else json.dumps(request).encode()
        headers = {"content-type": "application/json"} if sent else {}
        backend = http.client.HTTPConnection("127.0.0.1", database.adapter.port, timeout=300)
        with closing(backend):
            try:
                backend.request(self.command, path + ("?" + query if query else ""), sent, headers)
                came = backend.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise Refusal(502, f"the adapter broke off: {error}") from error
            kind = came.getheader("content-type") or "application/json"
            if kind == FILE:
                return self.reply(200, came, kind, int(came.getheader("content-length")))
            status, answer = came.status, came.read()
        if status != 200:
            return self.reply(true_status(status, answer), answer, kind)
        match operation:
            case "tags/list":
                answer = json.dumps(json.loads(answer).get("tags", {})).encode()
            case "update":
                told = json.loads(answer)
                answer = json.dumps(told | {"rows_updated": told.get("updated_rows", 0)}).encode()
        self.reply(200, answer)

    def json(self, answer):
        self.reply(200, json.dumps(answer).encode())

    def arrow(self, reader):
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            with pa.ipc.new_file(file, reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch)
            size = file.tell()
            file.seek(0)
            self.reply(200, file, FILE, size)

    def reply(self, status, body, kind="application/json", size=None):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body) if size is None else size))
        self.send_header("x-request-id", self.headers.get("x-request-id", ""))
        if self.server.options.phalanx_version:
            self.send_header("phalanx-version", self.server.options.phalanx_version)
        self.end_headers()
        if self.command != "HEAD":
            if isinstance(body, bytes):
                self.wfile.write(body)
            else:
                shutil.copyfileobj(body, self.wfile, PIECE)
        self.wfile.flush()


def spell_query(request):
    """The client's query in the words of the namespace specification."""
    columns = request.get("columns")
    if isinstance(columns, list):
        request["columns"] = {"column_names": columns}
    elif isinstance(columns, dict):
        request["columns"] = {"column_aliases": columns}
    if isinstance(request.get("vector"), list):
        request["vector"] = {"single_vector": request["vector"]}
    request["k"] = min(request.get("k", ALL), ALL)
    if request["k"] == 0:
        request["filter"] = "false"  # to the adapter 0 means all


def true_status(status, answer):
    """The adapter says 500 of much that is the caller's mistake."""
    if status == 500:
        if re.search(rb"InvalidInput|Invalid user input|does not exist in the dataset|SchemaError", answer):
            return 400
        if re.search(rb"NotFound", answer):
            return 404
    return status


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, options, databases, identity):
        self.options, self.databases, self.identity = options, databases, identity
        super().__init__(("127.0.0.1", 0), Handler)

    def get_request(self):
        connection, address = super().get_request()
        if self.identity:
            # The handshake happens at the first read, in the connection's own thread.
            connection = self.identity.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request, client_address):
        pass  # a client that went away, or one that does not trust the certificate


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--prefix", default="", help="the path before /v1; may say {database}")
    arguments.add_argument("--key", default="sk_test", help="the API key that may do everything; empty: none is asked")
    arguments.add_argument("--read-only-key", default="sk_read", help="the API key that gets 403 for writes")
    arguments.add_argument("--tls", action="store_true", help="speak HTTPS")
    arguments.add_argument("--phalanx-version", help="the version to report; from 0.4.0 on clients insert in parts")
    options = arguments.parse_args()
    options.prefix = options.prefix.rstrip("/")

    try:
        with lifetime.directory() as home:
            serve(options, home)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # the adapters would wait for their connections


def serve(options, home):
    identity, files = certificate.make(home) if options.tls else (None, dict.fromkeys(("ca", "cert", "cert_key")))
    root = os.path.join(home, "databases")
    server = Server(options, Databases(root), identity)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    endpoint = f"{'https' if identity else 'http'}://127.0.0.1:{server.server_port}"
    probe = urllib.request.Request(
        endpoint + options.prefix.replace("{database}", "default") + "/v1/table/", headers={"x-api-key": options.key}
    )
    trust = ssl.create_default_context(cafile=files["ca"]) if identity else None
    urllib.request.urlopen(probe, timeout=30, context=trust).close()
    lifetime.until_input_ends({
        "port": server.server_port,
        "endpoint": endpoint,
        "url": endpoint + options.prefix,
        "prefix": options.prefix,
        "key": options.key,
        "read_only_key": options.read_only_key,
        "directory": home,
        "root": root,
    } | files)


if __name__ == "__main__":
    main()
