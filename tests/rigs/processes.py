"""Child processes on loopback: found, started, waited for in their own protocol, and stopped by their pid."""

from __future__ import annotations

import atexit
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.02
# Below the kernel's ephemeral ports, so that no outgoing connection takes a port while its server is stopped.
_PORTS = range(20_000, 32_000)


class RigMissing(Exception):
    """A real part is not installed. The message says what was looked for, and where."""

    def __init__(self, binary: str, looked_in: Sequence[str | Path]) -> None:
        self.binary = binary
        self.looked_in = [str(place) for place in looked_in]
        super().__init__(f"{binary} not found; looked in {', '.join(self.looked_in)}")


class StartFailed(Exception):
    """A part was started but never answered. The message carries the end of its log."""


def find_binary(name: str, *folders: str | Path) -> Path:
    """Find a program in the folders given (glob patterns allowed, last match first), then on PATH."""
    for folder in folders:
        pattern = str(folder).lstrip("/")
        for match in sorted(Path("/").glob(pattern), reverse=True):
            if os.access(match / name, os.X_OK):
                return match / name
    found = shutil.which(name)
    if found is None:
        raise RigMissing(name, [*folders, "PATH"])
    return Path(found)


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    for port in random.SystemRandom().sample(_PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise StartFailed("no free loopback port")


def accepts_connections(port: int) -> bool:
    """Tell whether somebody accepts TCP connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def wait_until(answers: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Poll until `answers` is true; raise StartFailed after `seconds`."""
    deadline = time.monotonic() + seconds
    while not answers():
        if time.monotonic() > deadline:
            raise StartFailed(f"{what}: no answer within {seconds:g} s")
        time.sleep(POLL_SECONDS)


class ChildProcess:
    """One server process. It dies with the test run, however that ends.

    The kernel sends `death_signal` when the *thread* that started the child ends: start from the main thread.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: str = "KILL",
    ) -> None:
        self.command = [str(part) for part in command]
        self.name = Path(self.command[0]).name
        self.log = log
        self._env = {**os.environ, **(env or {})}
        self._user = user
        self._stop_signal = stop_signal
        self._death_signal = death_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def log_tail(self, lines: int = 30) -> str:
        """The last lines the process wrote."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) or "(empty log)"

    def start(self, ready: Callable[[], bool], *, seconds: float = 20) -> None:
        """Start the process and return once `ready` says that it answers."""
        if self.running:
            return
        command = [*_privileges(self._user, self._death_signal), *self.command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env, cwd="/"
            )
        _alive.add(self)

        def answers() -> bool:
            if not self.running:
                raise StartFailed(f"{self.name} ended while starting; its log:\n{self.log_tail()}")
            return ready()

        try:
            wait_until(answers, seconds=seconds, what=self.name)
        except BaseException as error:
            self.stop()
            if isinstance(error, StartFailed) and "its log" not in str(error):
                raise StartFailed(f"{error}; its log:\n{self.log_tail()}") from error
            raise

    def stop(self, *, grace: float = 5) -> None:
        """Ask the process to end, and kill it after `grace` seconds. Stopping twice does nothing."""
        process, self._process = self._process, None
        _alive.discard(self)
        if process is None or process.poll() is not None:
            return
        process.send_signal(self._stop_signal)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_alive: weakref.WeakSet[ChildProcess] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for child in list(_alive):
        child.stop(grace=1)


def run_as(user: str | None, command: Sequence[str | Path], *, seconds: float = 60) -> None:
    """Run a short command to its end, as another user if one is named; raise StartFailed with its output."""
    full = [*_privileges(user, "KILL"), *(str(part) for part in command)]
    done = subprocess.run(full, capture_output=True, text=True, timeout=seconds, cwd="/", check=False)
    if done.returncode:
        raise StartFailed(f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def first_line(command: Sequence[str | Path]) -> str:
    """Run a command that names its version and return the first line with text in it."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    return lines[0] if lines else "unknown version"


def _privileges(user: str | None, death_signal: str) -> list[str]:
    """Prefix of a command: util-linux' setpriv sets uid and parent-death signal, then becomes the command."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        if user is not None:
            raise RigMissing("setpriv", ["PATH"])
        return []
    switch = [] if user is None else ["--reuid", user, "--regid", str(_group_of(user)), "--init-groups"]
    return [setpriv, *switch, "--pdeathsig", death_signal, "--"]


def _group_of(user: str) -> int:
    return pwd.getpwnam(user).pw_gid
