"""The worker as it really runs: a process that seals in a process of its own, which ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from fixtures.cli import SETTINGS
from fixtures.product import Product
from fixtures.sealed import away, opened
from rigs.processes import wait_until

KEY = Fernet.generate_key().decode()


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    with opened(f"sqlite:///{tmp_path}/test.db", tmp_path, is_empty=True, encryption_keys=[KEY], audit={}) as product:
        yield product


@pytest.fixture
def worker(product: Product, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    config = tmp_path / "kube-iam.toml"
    config.write_text(SETTINGS.format(folder=tmp_path, secret="s" * 40, key=KEY), "utf-8")
    process = subprocess.Popen([sys.executable, "-m", "iam", "--config", config, "worker"])
    yield process
    with suppress(ProcessLookupError):
        process.kill()
    process.wait(30)


def is_sealed(product: Product) -> bool:
    with product.app.app_context():
        return product.services.sealer.head() is not None and not product.services.sealer.waiting()


def children(process: subprocess.Popen[bytes]) -> list[int]:
    """Whichever thread has started them."""
    listed = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(one) for path in listed for one in path.read_text("ascii").split()]


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        return b"--seal-for" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_it_seals_and_leaves_no_process_behind(product: Product, worker: subprocess.Popen[bytes], how: signal.Signals) -> None:
    away(product)
    wait_until(lambda: is_sealed(product), seconds=60, what="the sealer")
    wait_until(lambda: bool(children(worker)), seconds=30, what="a sealer of its own")
    (sealer,) = children(worker)
    os.kill(worker.pid, how)
    worker.wait(30)
    wait_until(lambda: not is_alive(sealer), seconds=30, what="the end of the sealer")


def test_a_sealer_that_died_is_started_again(product: Product, worker: subprocess.Popen[bytes]) -> None:
    away(product)
    wait_until(lambda: is_sealed(product), seconds=60, what="the sealer")
    wait_until(lambda: bool(children(worker)), seconds=30, what="a sealer of its own")
    (sealer,) = children(worker)
    os.kill(sealer, signal.SIGKILL)
    wait_until(lambda: sealer not in children(worker) and len(children(worker)) == 1, seconds=30, what="another sealer")
    away(product)
    wait_until(lambda: is_sealed(product), seconds=60, what="the other sealer")
