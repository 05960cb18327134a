"""Programs that send mail and end: swaks, msmtp and curl."""

from harness import HOST, expect, program, run
from messages import SENDER, address


def swaks(port, names, *options):
    """The whole transcript is in `stdout`."""
    to = ",".join(address(name) for name in names)
    return run([program("swaks"), "--server", HOST, "--port", port, "--from", SENDER, "--to", to,
                "--helo", "client.example", "--timeout", "10", *options])


def swaks_sends(port, names, *options):
    """As `swaks`, and the mail must be taken; returns the transcript."""
    done = swaks(port, names, *options)
    expect(done.returncode == 0, f"swaks ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def msmtp(port, names, content, *options):
    """Without a configuration of the user or the host; the message is read from standard input."""
    arguments = [program("msmtp"), "--host", HOST, "--port", port, "--from", SENDER,
                 "--file=/dev/null", "--timeout=10", *options, "--"]
    arguments += [address(name) for name in names]
    return run(arguments, content)


def curl(url, names, content, *options):
    """Uploads a message; `url` names what is spoken and the port."""
    arguments = [program("curl"), "--silent", "--show-error", "--max-time", "20", "--url", url,
                 "--mail-from", SENDER, "--upload-file", "-", *options]
    for name in names:
        arguments += ["--mail-rcpt", address(name)]
    return run(arguments, content)
