"""moto: S3 in memory. It takes every key and every secret.

    --tls                 speak TLS; the report's `ca` is the file of the authority that signed for it
    --ignore-conditions   heed no If-Match and If-None-Match, as some servers that call themselves S3 do
"""

import argparse
import contextlib
import logging
import threading

from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from moto.s3.responses import S3Response
from werkzeug.serving import make_server

from . import certificate, lifetime, s3


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--tls", action="store_true")
    arguments.add_argument("--ignore-conditions", action="store_true")
    arguments = arguments.parse_args()
    with contextlib.ExitStack() as stack:
        app, tls, more = application(), None, {}
        if arguments.ignore_conditions:
            app = without_conditions(app)
        if arguments.tls:
            directory = stack.enter_context(lifetime.directory())
            tls, files = certificate.make(directory)
            more = {"ca": files["ca"], "directory": directory}
        port = serve(app, tls)
        endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        lifetime.until_input_ends({
            "port": port,
            "endpoint": endpoint,
            "bucket": lifetime.BUCKET,
            "uri": f"s3://{lifetime.BUCKET}",
            "options": s3.options(endpoint, "test", "test"),
        } | more)


def application():
    """moto with the one bucket, as a WSGI application."""
    S3Response.put_object = one_at_a_time(S3Response.put_object)
    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].create_bucket(lifetime.BUCKET, "us-east-1")
    return DomainDispatcherApplication(create_backend_app)


def one_at_a_time(put):
    """moto looks whether an object exists, and then writes it: of two who create one object, both could win."""
    lock = threading.Lock()

    def locked(response):
        with lock:
            return put(response)

    return locked


def without_conditions(app):
    def unconditional(environ, start_response):
        environ.pop("HTTP_IF_MATCH", None)
        environ.pop("HTTP_IF_NONE_MATCH", None)
        return app(environ, start_response)

    return unconditional


def serve(app, tls=None):
    """Serves `app`, with a thread per connection, until this program ends. Returns the port."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler, ssl_context=tls)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.port


if __name__ == "__main__":
    main()
