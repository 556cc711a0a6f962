"""A program on a terminal of its own, and what stands on its screen. Of the sequences only those that haul top uses are known: any other
is an error, for then text from outside got through to the terminal."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

SEQUENCE = re.compile(rb"\033\[(\?)?([0-9;]*)([A-Za-z])")


def as_a_shell_would():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for sig in (signal.SIGINT, signal.SIGHUP):  # which these tests were perhaps started to ignore
        signal.signal(sig, signal.SIG_DFL)


class Terminal:
    def __init__(self, arguments, environment, width=80, height=24):
        self.lead, self.follow = pty.openpty()  # the other end stays open: its settings can be looked at when the program has ended
        self.resize(width, height, tell=False)
        self.before = termios.tcgetattr(self.follow)
        self.modes, self.bytes, self.rest, self.styles = set(), b"", b"", set()
        self.process = subprocess.Popen(arguments, env=environment, stdin=self.follow, stdout=self.follow, stderr=subprocess.PIPE,
                                        start_new_session=True, preexec_fn=as_a_shell_would)

    def resize(self, width, height, tell=True):
        self.width, self.height = width, height
        self.cells = [[" "] * width for _ in range(height)]
        self.row = self.column = 0
        fcntl.ioctl(self.lead, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def type(self, keys):
        os.write(self.lead, keys.encode())

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def restored(self):
        return termios.tcgetattr(self.follow) == self.before and not self.modes & {b"1049"}

    def shows(self, what, deadline=20):
        """Until a text stands on the screen, or a function of the screen's text says yes."""
        there = what if callable(what) else lambda text: what in text
        end = time.monotonic() + deadline
        while not there(self.text()):
            assert time.monotonic() < end, f"waited for {what!r}; there is\n{self.text()}"
            if not self.read(0.2) and self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.process.stderr.read()}\n{self.text()}")
        return self.text()

    def ended(self, deadline=20):
        status, end = None, time.monotonic() + deadline
        while status is None:
            assert time.monotonic() < end, self.text()
            self.read(0.05)
            status = self.process.poll()
        while self.read(0):
            pass
        return status

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        os.close(self.lead)
        os.close(self.follow)

    def read(self, wait_s):
        if not select.select([self.lead], [], [], wait_s)[0]:
            return False
        piece = os.read(self.lead, 65536)
        self.bytes += piece
        self.rest += piece
        self.take()
        return True

    def take(self):
        while self.rest:
            if self.rest[:1] == b"\033":
                found = SEQUENCE.match(self.rest)
                if not found:
                    assert len(self.rest) < 20, self.rest[:40]
                    return
                self.act(*found.groups())
                self.rest = self.rest[found.end():]
                continue
            n = 1 if self.rest[0] < 0x80 else 2 if self.rest[0] < 0xE0 else 3 if self.rest[0] < 0xF0 else 4
            if len(self.rest) < n:
                return
            self.put(self.rest[:n].decode())
            self.rest = self.rest[n:]

    def act(self, private, numbers, letter):
        if private:
            assert letter in b"hl" and numbers in (b"1049", b"25", b"7"), (numbers, letter)
            (self.modes.add if letter == b"h" else self.modes.discard)(numbers)
        elif letter == b"H":
            self.row, self.column = (int(n) - 1 for n in numbers.split(b";"))
        elif letter == b"J":
            assert numbers == b"2"
            self.cells = [[" "] * self.width for _ in range(self.height)]
        else:
            assert letter == b"m", (numbers, letter)
            self.styles.update(numbers.split(b";"))

    def put(self, character):
        assert character.isprintable() or character in "\r\n", repr(character)
        if character in "\r\n":  # of what is printed when the screen was given back
            return
        if self.row < self.height and self.column < self.width:
            self.cells[self.row][self.column] = character
        self.column += 1
