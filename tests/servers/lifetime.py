"""How the servers of the tests live: on loopback, and no longer than their standard input.

A server prints one line of JSON as soon as it answers, and ends, with all that it started and stored, when its standard
input ends. Whoever starts it holds that input open, so nothing is left running however the caller ends. By hand:

    cd tests && ~/.cache/libmetaxy/python/bin/python -m servers.moto
"""

import contextlib
import ctypes
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

BUCKET = "lance-bucket"
CACHE = pathlib.Path(os.environ.get("METAXY_CACHE") or pathlib.Path.home() / ".cache/libmetaxy")

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)

# Whatever a server talks to is on loopback, which no proxy reaches.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

# Leave through the exits below, not at once.
signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))


def until_input_ends(report):
    """Says where the server is, then waits for the end of the standard input."""
    print(json.dumps(report), flush=True)
    sys.stdin.buffer.read()


def directory():
    """A temporary directory, removed in the end."""
    return tempfile.TemporaryDirectory(prefix="storage-server-", ignore_cleanup_errors=True)


@contextlib.contextmanager
def child(command, **settings):
    """Runs another program, which is killed in the end, even if this program is killed first."""
    parent = os.getpid()

    def die_with_parent():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the line above.
        if os.getppid() != parent:
            os._exit(1)

    settings = {"stdin": subprocess.DEVNULL, "stdout": sys.stderr} | settings
    process = subprocess.Popen(command, preexec_fn=die_with_parent, **settings)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def free_port():
    """A port for a program that cannot choose one itself.

    It is below those that the system hands out, so nobody gets it by chance before that program does.
    """
    while True:
        port = random.randrange(10240, 32768)
        with socket.socket() as candidate, contextlib.suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port


def wait_for(process, url, seconds=60):
    """Waits until a child answers a GET with success."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return urllib.request.urlopen(url, timeout=5).close()
        except OSError as error:
            if process.poll() is not None:
                sys.exit(f"{process.args[0]} ended with {process.returncode}")
            if time.monotonic() > deadline:
                sys.exit(f"{url} does not answer within {seconds} s: {error}")
            time.sleep(0.05)


def installed(path):
    """The path of a program in the cache that the Makefile fills."""
    if not path.exists():
        sys.exit(f"{path} is missing: make test-tools installs it")
    return str(path)
