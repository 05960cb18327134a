"""A connection on which octets are sent as they are, and replies are read one by one."""

import socket
import time

from harness import HOST, WAIT_SECONDS, Failed


class Wire:
    """A client that knows lines and replies, and nothing of sessions."""

    def __init__(self, port, tls=None):
        self.socket = socket.create_connection((HOST, port), WAIT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.wrap(tls)
        self.pending, self.ended = b"", False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def wrap(self, tls, name="edge.example.net", session=None):
        """Goes on under TLS."""
        self.socket = tls.wrap_socket(self.socket, server_hostname=name, session=session)

    def send(self, octets):
        """False if the peer has closed so that nothing can be sent."""
        try:
            self.socket.sendall(octets)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def shut(self):
        """Nothing will be sent any more; replies are still read."""
        self.socket.shutdown(socket.SHUT_WR)

    def read(self, until):
        """Reads once; False when there is nothing within the time, or no more for ever."""
        if self.ended:
            return False
        self.socket.settimeout(max(until - time.monotonic(), 0.001))
        try:
            octets = self.socket.recv(1 << 16)
        except TimeoutError:
            return False
        except ConnectionResetError:
            octets = b""
        self.ended = not octets
        self.pending += octets
        return not self.ended

    def one(self, until):
        """The next reply as (code, text), or None. Its lines are joined by LF."""
        lines = []
        while True:
            line, mark, rest = self.pending.partition(b"\r\n")
            if not mark:
                # A reply that is not whole is not taken away, so that the next try finds it whole.
                self.pending = b"".join(one + b"\r\n" for one in lines) + self.pending
                if not self.read(until):
                    return None
                lines = []
                continue
            self.pending = rest
            lines.append(line)
            if not line[:3].isdigit():
                raise Failed(f"not a reply: {line!r}")
            if line[3:4] != b"-":
                return int(line[:3]), b"\n".join(one[4:] for one in lines).decode(errors="replace")

    def replies(self, count, seconds=WAIT_SECONDS):
        """So many replies; fewer if the peer closes or no more come within the time."""
        until, got = time.monotonic() + seconds, []
        while len(got) < count:
            reply = self.one(until)
            if reply is None:
                break
            got.append(reply)
        return got

    def codes(self, count, seconds=WAIT_SECONDS):
        return [code for code, _ in self.replies(count, seconds)]

    def command(self, line):
        """Sends one line and returns its reply."""
        self.send(line.encode() + b"\r\n")
        replies = self.replies(1)
        if not replies:
            raise Failed(f"no reply to {line}")
        return replies[0]

    def ends(self, seconds=WAIT_SECONDS):
        """Whether the peer closes within the time, and says nothing before."""
        until = time.monotonic() + seconds
        while not self.pending and self.read(until):
            pass
        return self.ended and not self.pending

    def read_more(self, seconds=WAIT_SECONDS):
        """Reads what comes next, into `pending`; False when the peer has closed or is silent."""
        return self.read(time.monotonic() + seconds)
