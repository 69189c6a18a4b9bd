"""People and their access to a central database on the spot; passwords cost next to nothing."""

from __future__ import annotations

from edge.central.access.access import Access
from edge.central.access.passwords import Passwords
from edge.central.access.people import People
from edge.central.access.roles import Role
from edge.central.store.editor import Editor
from edge.central.store.journal import Actor, Line, lines
from edge.central.store.read import Reader
from edge.central.store.write import Store
from tests.simulators.clock import ManualClock

PASSWORD = "a long enough one"
BOSS = Actor(who="boss")
HOME = "192.0.2.7"


class Office:
    def __init__(self, url: str) -> None:
        self.url = url
        Store.open(self.url).close()
        self.clock = ManualClock()
        self.reader = Reader.open(self.url)
        self.editor = Editor.open(self.url)
        self.people = People(self.editor, self.clock)
        self.access = Access(self.reader, self.editor, Passwords(memory_kib=8, rounds=1), self.clock)

    def close(self) -> None:
        self.reader.close()
        self.editor.close()

    def hire(self, name: str, role: Role = Role.ADMIN) -> str:
        """Somebody with a password; the secret of their log-in."""
        link = self.people.add(BOSS, name, role)
        return self.access.use_link(link, name, PASSWORD, HOME)[0]

    def journal(self) -> list[Line]:
        """Oldest first."""
        return lines(self.reader, before=(1 << 60, "", 0), limit=100)[::-1]
