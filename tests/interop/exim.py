"""An Exim (heavy) of its own, on loopback.

Debian's package cannot be installed beside Postfix, so it is unpacked below the run's folder;
install.sh has fetched it.
"""

import contextlib
import re
import shutil
from pathlib import Path

from harness import HOST, expect, free_port, program, run, running, tail, wait_for
from harness import wait_until_ready

PACKAGES = Path(__file__).resolve().parents[2] / "target/interop"

CONFIGURATION = """
exim_path = {program}
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = {folder}/spool
log_file_path = {folder}/spool/%slog
pid_file_path = {folder}/spool/pid
primary_hostname = exim.example.com
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
{tls}
prdr_enable
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
log_selector = +received_recipients +smtp_protocol_error +smtp_syntax_error
acl_smtp_rcpt = rcpt
{main}

begin acl
rcpt:
  accept domains = example.net
         verify = recipient
  deny
{acl}

begin routers
{router}

begin transports
{transport}

begin retry
* * F,1h,1m
"""

MAIL_ROUTER = """
mail:
  driver = accept
  domains = example.net
  local_parts = lsearch;{folder}/users
  transport = mail
"""

MAIL_TRANSPORT = """
mail:
  driver = appendfile
  maildir_format
  create_directory
  directory = {folder}/spool/mail/$local_part_data
  user = Debian-exim
"""

ONWARD_ROUTER = """
onward:
  driver = accept
  domains = example.net
  transport = onward
"""

ONWARD_TRANSPORT = """
onward:
  driver = smtp
  hosts = 127.0.0.1
  port = {port}
  allow_localhost
  hosts_try_fastopen =
  {options}
"""


def unpacked(bench):
    """The program, once it has been unpacked for this run."""

    def unpack(bench):
        packages = sorted(PACKAGES.glob("exim4-*.deb"))
        expect(packages, f"no package of Exim in {PACKAGES} (tests/interop/install.sh fetches it)")
        folder = bench.folder("exim-program")
        for package in packages:
            done = run([program("dpkg"), "-x", package, folder])
            expect(done.returncode == 0, f"dpkg -x {package}: {done.stdout}")
        # The package's own folder is as closed as its maker left it.
        folder.chmod(0o755)
        return folder / "usr/sbin/exim4"

    return bench.shared("exim", unpack)


class Exim:
    """An instance at work."""

    def __init__(self, folder, port):
        self.folder, self.port, self.log = folder, port, folder / "spool/mainlog"

    def mailbox(self, name):
        return self.folder / "spool/mail" / name / "new"

    def logged(self, pattern):
        """The first match of a pattern in the log, once there is one."""

        def probe():
            text = self.log.read_text(errors="replace") if self.log.exists() else ""
            return re.search(pattern, text)

        def what():
            return f"{pattern!r} in the log of Exim, which ends with\n{tail(self.log)}\n"

        return wait_for(what, probe)

    def fate_of(self, name):
        """The line in which Exim says what became of a recipient: "=>" or "->" it was taken,
        "**" it was refused, "==" it is put off."""
        return self.logged(rf".* (=>|->|\*\*|==) {re.escape(name)}@example\.net .*").group(0)


@contextlib.contextmanager
def running_exim(bench, main, acl, router, transport, users=(), certificate=None):
    binary, folder = unpacked(bench), bench.folder("exim")
    instance = Exim(folder, free_port())
    (folder / "spool").mkdir()
    shutil.chown(folder / "spool", "Debian-exim", "Debian-exim")
    (folder / "users").write_text("".join(f"{user}: {user}\n" for user in users))
    config, output = folder / "exim.conf", folder / "output"
    tls = "tls_advertise_hosts ="
    if certificate:
        tls = f"tls_certificate = {certificate.chain}\ntls_privatekey = {certificate.key}"
    config.write_text(CONFIGURATION.format(
        program=binary, folder=folder, port=instance.port, tls=tls, main=main, acl=acl,
        router=router.format(folder=folder), transport=transport.format(folder=folder)))
    config.chmod(0o644)
    with running([binary, "-C", config, "-bdf", "-q1h"], output) as process:
        wait_until_ready(process, (HOST, instance.port), output)
        yield instance


def exim(bench, users, main="", acl="", certificate=None):
    """Exim as a next hop, with these mailboxes; with a certificate it offers STARTTLS."""
    return running_exim(bench, main, acl, MAIL_ROUTER, MAIL_TRANSPORT, users, certificate)


def exim_before(bench, port, options="", main=""):
    """Exim as a client: what it takes for example.net goes on by SMTP to a port; `options` are
    those of the transport."""
    transport = ONWARD_TRANSPORT.format(port=port, options=options.replace("\n", "\n  "))
    return running_exim(bench, main, "", ONWARD_ROUTER, transport)
