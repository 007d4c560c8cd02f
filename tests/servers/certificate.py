"""A certificate for loopback, of an authority made just now."""

import pathlib
import ssl

import trustme


def make(directory):
    """The context of a server that shows the certificate, and the files with it: `ca`, `cert` and `cert_key`."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    files = {name: str(pathlib.Path(directory) / f"{name}.pem") for name in ("ca", "cert", "cert_key")}
    authority.cert_pem.write_to_path(files["ca"])
    issued.cert_chain_pems[0].write_to_path(files["cert"])
    issued.private_key_pem.write_to_path(files["cert_key"])
    return context, files
