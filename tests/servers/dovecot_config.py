"""dovecot.conf for a private instance of Dovecot 2.3 or 2.4, which renamed many settings."""

import grp
import os
from dataclasses import dataclass
from pathlib import Path

from tests.servers.process import Account
from tests.servers.tls import Certificates

PASSWORD = "correct horse"

_COMMON = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/server.log
protocols = imap
listen = 127.0.0.1
ssl = yes
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
first_valid_uid = 1
first_valid_gid = 1
mail_fsync = never
mail_max_userip_connections = 100
mailbox_idle_check_interval = 1 secs
maildir_very_dirty_syncs = no
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  {no_chroot}
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  {no_chroot}
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""

_VERSION_2_3 = """
ssl_cert = <{cert}
ssl_key = <{key}
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
service imap-login {{
  service_count = 0
}}
{passdb}
userdb {{
  driver = passwd-file
  args = {users}/%u
}}
"""

_VERSION_2_4 = """
ssl_server_cert_file = {cert}
ssl_server_key_file = {key}
auth_allow_cleartext = yes
mail_driver = maildir
service imap-login {{
  restart_request_count = unlimited
}}
mail_path = ~/Maildir
{passdb}
userdb passwd-file {{
  passwd_file_path = {users}/%{{user}}
}}
"""

# Tokens replace the password; another server validates them. The users still come from {users}.
_TOKENS_2_3 = """
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2.conf
}}
"""
_TOKENS_2_4 = """
passdb oauth2 {{
  mechanisms_filter = xoauth2 oauthbearer
}}
oauth2 {{
  introspection_mode = post
  introspection_url = {introspection_url}
  username_attribute = username
  active_attribute = active
  active_value = true
}}
"""
OAUTH2_CONF = """
introspection_mode = post
introspection_url = {introspection_url}
force_introspection = yes
username_attribute = username
active_attribute = active
active_value = true
"""
_PASSWORD_2_3 = "passdb {{\n  driver = passwd-file\n  args = {users}/%u\n}}\n"
_PASSWORD_2_4 = "passdb passwd-file {{\n  passwd_file_path = {users}/%{{user}}\n}}\n"

# Without root no process can change its user or root folder, so all run as the account that starts the tests.
_ROOTLESS = """
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
"""


@dataclass(frozen=True)
class Layout:
    """Folders, ports and account of the instance; `users` is a folder with a passwd-file for each user."""

    folder: Path
    users: Path
    certificates: Certificates
    port: int
    tls_port: int
    account: Account
    introspection_url: str | None = None


def render_configuration(layout: Layout, version: tuple[int, ...]) -> str:
    """Return dovecot.conf for this version of Dovecot."""
    new = version >= (2, 4)
    rootless = os.geteuid() != 0
    head = "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n" if new else ""
    passdb = _passdb(layout, new)
    template = _COMMON + (_VERSION_2_4 if new else _VERSION_2_3) + (_ROOTLESS if rootless else "")
    return head + template.format(
        folder=layout.folder,
        users=layout.users,
        port=layout.port,
        tls_port=layout.tls_port,
        cert=layout.certificates.cert_file,
        key=layout.certificates.key_file,
        user=layout.account.name,
        group=_group_name(layout.account),
        no_chroot="chroot =" if rootless else "",
        mechanisms="xoauth2 oauthbearer" if layout.introspection_url else "plain login",
        passdb=passdb,
    )


def _passdb(layout: Layout, new: bool) -> str:
    tokens = layout.introspection_url is not None
    choices = (_PASSWORD_2_4, _TOKENS_2_4) if new else (_PASSWORD_2_3, _TOKENS_2_3)
    return choices[tokens].format(folder=layout.folder, users=layout.users, introspection_url=layout.introspection_url)


def _group_name(account: Account) -> str:
    return grp.getgrgid(account.gid).gr_name
