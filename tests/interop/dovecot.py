"""A Dovecot of its own, on loopback, with LMTP only."""

import contextlib
import pwd
import shutil

from harness import HOST, free_port, program, running, wait_until_ready

CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = lmtp
listen = 127.0.0.1
{ssl}
hostname = dovecot.example.com
mail_location = maildir:{folder}/mail/%n
first_valid_uid = 1
auth_username_format = %n
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
  {tls_listener}
  unix_listener lmtp {{
    mode = 0666
  }}
}}
"""

TLS_LISTENER = """inet_listener lmtps {{
    address = 127.0.0.1
    port = {port}
    ssl = yes
  }}"""


class Dovecot:
    """An instance at work."""

    def __init__(self, folder, port, tls_port):
        self.folder, self.port, self.tls_port = folder, port, tls_port
        self.socket = folder / "run/lmtp"

    def mailbox(self, name):
        return self.folder / "mail" / name / "new"


@contextlib.contextmanager
def dovecot(bench, users, certificate=None):
    """Dovecot with these mailboxes; with a certificate it offers STARTTLS, and TLS from the first
    octet on a port of its own."""
    folder = bench.folder("dovecot")
    instance = Dovecot(folder, free_port(), free_port())
    mail = pwd.getpwnam("mail")
    (folder / "mail").mkdir()
    shutil.chown(folder / "mail", mail.pw_uid, mail.pw_gid)
    line = "{}:{{PLAIN}}x:" + f"{mail.pw_uid}:{mail.pw_gid}::{folder}/mail/" + "{}::\n"
    (folder / "users").write_text("".join(line.format(user, user) for user in users))
    ssl, listener = "ssl = no", ""
    if certificate:
        ssl = f"ssl = yes\nssl_cert = <{certificate.chain}\nssl_key = <{certificate.key}"
        listener = TLS_LISTENER.format(port=instance.tls_port)
    config, output = folder / "dovecot.conf", folder / "output"
    config.write_text(CONFIGURATION.format(
        folder=folder, port=instance.port, ssl=ssl, tls_listener=listener))
    with running([program("dovecot"), "-c", config, "-F"], output) as process:
        wait_until_ready(process, (HOST, instance.port), output)
        yield instance
