"""postern itself: the gateway with one route, and its sink as a next hop."""

import contextlib
import json
import urllib.parse

from harness import HOST, end, expect, free_port, greets, listens, running, tail, wait_for
from harness import wait_until_ready
from messages import GTUBE

CONFIGURATION = """
hostname = "edge.example.net"
state    = "{folder}"
log      = "file:log"

[listen.mx]
address  = "127.0.0.1:{smtp}"
protocol = "smtp"
mixed    = "split"
{mx}

[listen.filter]
address  = "127.0.0.1:{lmtp}"
protocol = "lmtp"
{filter}

[route.mail]
to = {to}
{route}

[domain."example.net"]
route      = "mail"
recipients = "any"
class      = "standard"
exceptions = {{ "lax*" = "lax", "defer*" = "defer" }}

[class.standard]
decide = [{{ tag = "spam", then = "reject", text = "message looks like spam" }}]

[class.lax]
decide = [{{ tag = "spam", then = "accept", add = "X-Spam-Flag: YES" }}]

[class.defer]
decide = [{{ tag = "spam", then = "defer" }}]

[rule.gtube]
literals = ["{gtube}"]
in       = ["raw", "text"]
tag      = "spam"
score    = 1000.0
"""


class Postern:
    """A gateway at work: the ports of its listeners and where its files are."""

    def __init__(self, folder, smtp, lmtp):
        self.folder, self.smtp, self.lmtp = folder, smtp, lmtp

    def mailbox(self, name):
        # Octets that have no place in a file name are written as % and two digits.
        folder = urllib.parse.quote(name, safe="+=")
        return self.folder / "mail/example.net" / folder / "new"

    def records(self, count=1):
        """The records of the log, once there are so many."""
        path = self.folder / "log"

        def probe():
            lines = path.read_bytes().splitlines() if path.exists() else []
            return len(lines) >= count and [json.loads(line) for line in lines]

        return wait_for(f"{count} records in the log", probe)


def postern(bench, to="maildir:mail", mx="", filter="", route="", mx_greets=True):
    """The gateway. `mx`, `filter` and `route` are more lines for these tables; a listener with
    TLS from the first octet, or one that waits for a PROXY header, does not greet."""
    return running_postern(bench, CONFIGURATION, mx_greets, to=json.dumps(to), gtube=GTUBE,
                           mx=mx, filter=filter, route=route)


@contextlib.contextmanager
def running_postern(bench, configuration, mx_greets=True, **values):
    """The gateway with a whole configuration, in which `values` and its own ports and folder are
    filled in."""
    folder = bench.folder("postern")
    gateway = Postern(folder, free_port(), free_port())
    config = folder / "postern.toml"
    config.write_text(configuration.format(
        folder=folder, smtp=gateway.smtp, lmtp=gateway.lmtp, **values))
    output = folder / "output"
    with running([bench.postern, "serve", "--config", config], output) as process:
        probe = greets if mx_greets else listens
        wait_until_ready(process, (HOST, gateway.smtp), output, probe)
        wait_until_ready(process, (HOST, gateway.lmtp), output)
        yield gateway
        expect(process.poll() is None, f"postern ended by itself:\n{tail(output)}")
        end(process)
        expect(process.returncode == 0, f"postern ended with {process.returncode}")


@contextlib.contextmanager
def sink(bench, protocol, answers=()):
    """The next hop for tests; yields its port and the folder of its messages."""
    folder = bench.folder("sink")
    kept = folder / "kept"
    kept.mkdir()
    port = free_port()
    arguments = [bench.postern, "sink", f"{HOST}:{port}", "--keep", kept]
    arguments += ["--lmtp"] if protocol == "lmtp" else []
    for answer in answers:
        arguments += ["--answer", answer]
    output = folder / "output"
    with running(arguments, output) as process:
        wait_until_ready(process, (HOST, port), output)
        yield port, kept
