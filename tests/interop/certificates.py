"""A certification authority for one run, and what it has signed."""

import base64
import hashlib
import ssl
from pathlib import Path

from harness import expect, program, run


class Certificate:
    """A certificate with its key, as files in PEM."""

    def __init__(self, folder, name):
        self.name = name
        self.chain, self.key = folder / f"{name}.pem", folder / f"{name}.key"

    def table(self):
        """As one of the tables of a listener's `tls`."""
        return f'{{ certificate = "{self.chain}", key = "{self.key}" }}'

    def public_key_digest(self):
        """SHA-256 of the public key (its SubjectPublicKeyInfo), as hexadecimal digits."""
        pem = run([program("openssl"), "x509", "-in", self.chain, "-noout", "-pubkey"]).stdout
        der = base64.b64decode("".join(pem.splitlines()[1:-1]))
        return hashlib.sha256(der).hexdigest()


class Authority:
    """An authority; everything lies in its folder."""

    def __init__(self, folder, name):
        self.folder, self.name = Path(folder), name
        self.certificate = self.folder / f"{name}.pem"
        self.sign(name, ["-addext", "basicConstraints=critical,CA:TRUE"], own=True)

    def issue(self, name):
        """A certificate for a host name, usable at both ends."""
        usage = "extendedKeyUsage=serverAuth,clientAuth"
        options = ["-addext", f"subjectAltName=DNS:{name}", "-addext", usage]
        return self.sign(name, [*options, "-addext", "basicConstraints=critical,CA:FALSE"])

    def sign(self, name, options, own=False):
        made = Certificate(self.folder, name)
        authority_key = self.folder / f"{self.name}.key"
        signer = [] if own else ["-CA", self.certificate, "-CAkey", authority_key]
        done = run([
            program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-noenc", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", made.key, "-out", made.chain, *signer, *options,
        ])
        expect(done.returncode == 0, f"openssl: {done.stdout}")
        # Servers read their keys as users of their own.
        made.key.chmod(0o644)
        return made

    def context(self):
        """For clients in Python that believe this authority alone."""
        return ssl.create_default_context(cafile=self.certificate)


def authority(bench):
    """The authority of this run."""
    return bench.shared("authority", lambda bench: Authority(bench.folder("ca"), "authority"))


def certificate(bench, name):
    """The certificate of a host, signed by the authority of this run."""
    return bench.shared(f"certificate of {name}", lambda bench: authority(bench).issue(name))
