"""Google Cloud Storage: moto, spoken to with Google's names and Google's credentials.

The XML interface of Google's storage is that of S3 up to the names of some headers. A request must bear the token of
`options` (anything else is 401), that of `read_only` (which may not write, 403), or one that was signed with the key of
`service_account`, which is what a client takes as the file of a service account.
"""

import base64
import hashlib
import json
import time
import urllib.parse

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from . import lifetime, moto

WRITER, READER = "test-writer-token", "test-reader-token"
ACCOUNT = "writer@metaxy-tests.iam.gserviceaccount.com"

# What an S3 request shows moto, which takes any signature, but wants one.
SIGNED = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


def main():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    port = moto.serve(google(moto.application(), key.public_key()))
    endpoint = f"http://127.0.0.1:{port}"
    options = {"google_base_url": endpoint, "google_storage_token": WRITER, "allow_http": "true"}
    lifetime.until_input_ends({
        "port": port,
        "endpoint": endpoint,
        "bucket": lifetime.BUCKET,
        "uri": f"gs://{lifetime.BUCKET}",
        "options": options,
        "read_only": options | {"google_storage_token": READER},
        "service_account": service_account(key, endpoint),
    })


def google(app, account_key):
    """`app`, which speaks S3, behind Google's names."""

    def translated(environ, start_response):
        token = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
        if token not in (WRITER, READER) and not signed_by(account_key, token):
            return refuse(start_response, "401 Unauthorized", "AuthenticationRequired")
        if token == READER and environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return refuse(start_response, "403 Forbidden", "AccessDenied")
        environ["HTTP_AUTHORIZATION"] = SIGNED
        plain_path(environ)
        condition = environ.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None)
        if condition == "0":
            environ["HTTP_IF_NONE_MATCH"] = "*"
        elif condition is not None:
            # Nobody must take what this server does not know for a lost race.
            return refuse(start_response, "501 Not Implemented", "NotImplemented")
        for name in [name for name in environ if name.startswith("HTTP_X_GOOG_")]:
            environ[name.replace("_GOOG_", "_AMZ_", 1)] = environ.pop(name)

        def start(status, headers, *error):
            etags = [value for name, value in headers if name.lower() == "etag"]
            return start_response(status, headers + [("x-goog-generation", generation(etag)) for etag in etags], *error)

        return app(environ, start)

    return translated


def plain_path(environ):
    """Google's clients escape the bucket's dashes, too, which moto takes for a part of its name."""
    path = urllib.parse.quote(environ["PATH_INFO"].encode("latin-1"), safe="/")
    query = environ["QUERY_STRING"]
    environ["RAW_URI"] = f"{path}?{query}" if query else path


def refuse(start_response, status, code):
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()
    start_response(status, [("content-type", "application/xml"), ("content-length", str(len(body)))])
    return [body]


def generation(etag):
    """Google numbers the states of an object; a number per content serves as well."""
    return str(int(hashlib.sha256(etag.encode()).hexdigest()[:12], 16))


def signed_by(key, token):
    """Whether a token is one that a service account's client made and signed for itself, and still valid."""
    try:
        signed, signature = token.rsplit(".", 1)
        claims = json.loads(decoded(signed.split(".")[1]))
        key.verify(decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return claims["iss"] == ACCOUNT and claims["exp"] > time.time()
    except (ValueError, IndexError, KeyError, InvalidSignature):
        return False


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def service_account(key, endpoint):
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return {
        "type": "service_account",
        "client_email": ACCOUNT,
        "private_key_id": "test",
        "private_key": pem,
        "gcs_base_url": endpoint,
    }


if __name__ == "__main__":
    main()
