"""What the broker reads, as text: its configuration, the access list, the password file.

Promises: nothing stands in them that is not in the book or in `contract.topics`; who is not in the book may do nothing.
Leaves out: certificates (`authority`) and files (`office`).
Thread: any; pure but for reading the template.
"""

from __future__ import annotations

from importlib import resources
from string import Template

from edge.central.broker.members import CENTRAL, Book, Member, Settings
from edge.contract.topics import Access, DeviceTopics, central_access, device_access, viewer_access

__all__ = ["access_list", "configuration", "password_file"]

_MB = 1024 * 1024

_ABOUT_ACCESS = """\
# Who may say and hear what, by user name. Written by `edge central enroll`, `expel` and `broker-config`; what does not
# stand here is refused. Send the broker SIGHUP after a change.
"""

_WHERE_PASSWORDS = "password_file $at/passwords\n"
_LISTENER_FOR_PASSWORDS = """
# Devices and viewers with a password. The broker proves itself by its certificate, as above.
listener $password_port$listen
protocol mqtt
certfile $at/broker.pem
keyfile $at/broker.key
tls_version tlsv1.2
use_username_as_clientid true
"""


def configuration(settings: Settings) -> str:
    """`mosquitto.conf`."""
    values = {
        "at": settings.at,
        "listen": settings.listen and f" {settings.listen}",
        "port": str(settings.port),
        "password_port": str(settings.password_port),
        "central_listen": settings.central_listen,
        "central_port": str(settings.central_port),
        # A quarter for one client: the central service's queue alone must not throw the devices out.
        "queued_bytes": str(settings.memory_mb * _MB // 4),
        "memory_bytes": str(settings.memory_mb * _MB),
    }
    has_passwords = settings.password_port is not None
    values["password_file"] = Template(_WHERE_PASSWORDS).substitute(values) if has_passwords else ""
    values["password_listener"] = Template(_LISTENER_FOR_PASSWORDS).substitute(values) if has_passwords else ""
    text = resources.files("edge.central.broker").joinpath("mosquitto.conf").read_text(encoding="utf-8")
    return Template(text).substitute(values)


def access_list(book: Book) -> str:
    """`acl`: one paragraph for each user, and none for anybody else."""
    members = (_paragraph(member.name, _access(member)) for member in book.members)
    return "\n".join((_ABOUT_ACCESS, _paragraph(CENTRAL, central_access()), *members))


def password_file(book: Book) -> str:
    """`passwords`: a name and a hash a line."""
    found = ((member.name, member.password_hash) for member in book.members)
    return "".join(f"{name}:{password_hash}\n" for name, password_hash in found if password_hash is not None)


def _access(member: Member) -> Access:
    if member.kind == "viewer":
        return viewer_access(member.fleet)
    return device_access(DeviceTopics(fleet=member.fleet, device=member.name))


def _paragraph(user: str, access: Access) -> str:
    lines = [f"topic read {each}" for each in access.reads] + [f"topic write {each}" for each in access.writes]
    return "\n".join([f"user {user}", *lines, ""])
