"""A HAProxy of its own, on loopback: it says to postern by the PROXY protocol who the client is."""

import contextlib

from harness import HOST, free_port, program, running, wait_until_ready

CONFIGURATION = """
defaults
  mode tcp
  timeout connect 10s
  timeout client 30s
  timeout server 30s

listen mail
  bind 127.0.0.1:{port}
  {more}
  server postern 127.0.0.1:{server} {options}
"""


@contextlib.contextmanager
def haproxy(bench, server, options, more=""):
    """HAProxy before a port, with options of its server line; yields its own port."""
    folder, port = bench.folder("haproxy"), free_port()
    config, output = folder / "haproxy.cfg", folder / "output"
    config.write_text(CONFIGURATION.format(port=port, server=server, options=options,
                                           more=more))
    with running([program("haproxy"), "-db", "-f", config], output) as process:
        wait_until_ready(process, (HOST, port), output)
        yield port
