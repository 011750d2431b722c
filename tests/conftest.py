"""Settings and fixtures of the whole test suite; docs/testing.md says how it is run."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
SEED = int(os.environ.get("PEMU_TEST_SEED", "1"))
"""The first seed of tests with random programs, which count on from it."""

# Examples are the same in every run unless a seed asks for others, as random programs are. No limit
# of time for one, nor for making it up: compilation is slow, and so is a machine that is busy.
settings.register_profile(
    "pemu",
    deadline=None,
    derandomize="PEMU_TEST_SEED" not in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("pemu")

TARGETS = ("mips", "mipsel", "mips64", "mips64el", "mipsn32", "mipsn32el")

LIMITS = (
    (resource.RLIMIT_NOFILE, 1024, 1 << 30),
    (resource.RLIMIT_STACK, 8 << 20, 8 << 20),
)
"""What tests count on, which is the usual: least and most. Descriptors; bytes of a stack."""

_KEPT = ("PEMU_TEST_CACHE", "PEMU_TEST_SEED", "PEMU_DEBUG", "PEMU_SYSROOTS")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--jit",
        choices=("auto", "tier0", "tier1"),
        default="auto",
        help="how guest programs are run: PEMU_JIT's mode for the whole suite",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Keep the user's options, limits, code cache and ignored signals out of the tests.

    xdist's workers share one cache.
    """
    # A shell's background jobs ignore these, and programs behave otherwise then.
    for number, default in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)
    for limit, least, most in LIMITS:
        soft, hard = resource.getrlimit(limit)
        room = hard if hard != resource.RLIM_INFINITY else most
        if soft == resource.RLIM_INFINITY or not least <= soft <= most:
            resource.setrlimit(limit, (min(least, room), hard))
    for name in list(os.environ):
        if name.startswith(("QEMU_", "PEMU_")) and name not in _KEPT:
            del os.environ[name]
    if not hasattr(config, "workerinput"):
        cache = tempfile.mkdtemp(prefix="pemu-test-cache-")
        os.environ["PEMU_TEST_CACHE"] = cache
        config.add_cleanup(lambda: shutil.rmtree(cache, ignore_errors=True))
    cache = os.environ["PEMU_TEST_CACHE"]
    os.environ["PEMU_JIT"] = f"mode={config.getoption('--jit')},cache-dir={cache}"


@pytest.fixture(scope="session")
def jit(request: pytest.FixtureRequest) -> str:
    """The mode of -jit in which this run of the suite runs guests: auto, tier0 or tier1."""
    return str(request.config.getoption("--jit"))


def command(target: str) -> list[str]:
    """The words that start `pemu-<target>` from this source tree, without it being installed."""
    places = [str(ROOT / "src"), *(place for place in sys.path if "-packages" in place)]
    code = (
        f"import sys; sys.path[:0]={places!r}; from pemu.cli.user import entry; entry({target!r})"
    )
    return [sys.executable, "-I", "-S", "-c", code]


@pytest.fixture(scope="session")
def pemu() -> Run:
    """Run a program under Pemu: `pemu("mips", "-strace", path, input="...", env={...})`.

    Returns the completed process with its output as text. Keyword arguments are those of
    `subprocess.run`; a run of more than 300 s fails: compiling all code takes its time.
    """

    def run(target: str, *words: str | Path, **how: object) -> subprocess.CompletedProcess[str]:
        return _run([*command(target), *map(str, words)], how)

    return run


@pytest.fixture(scope="session")
def qemu() -> Run:
    """Run a program under qemu-user, as `pemu` does; skips the test where it is not installed."""

    def run(target: str, *words: str | Path, **how: object) -> subprocess.CompletedProcess[str]:
        return _run([need(f"qemu-{target}", "qemu-user"), *map(str, words)], how)

    return run


def need(tool: str, package: str = "") -> str:
    """The path of an external program; skips the test where it is not installed."""
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed" + (f" (package {package})" if package else ""))
    return path


@pytest.fixture(scope="session")
def guests() -> Path:
    """The directory of ready-made guest programs; skips the test where there is none."""
    place = os.environ.get("GUESTS")
    if place and Path(place).is_dir():
        return Path(place)
    pytest.skip("no guest programs: $GUESTS is no directory")


def _run(words: Sequence[str], how: dict[str, object]) -> subprocess.CompletedProcess[str]:
    settings: dict[str, object] = {
        "capture_output": True,
        "text": True,
        "errors": "surrogateescape",
        "timeout": 300,
        **how,
    }
    if "input" not in settings:
        settings.setdefault("stdin", subprocess.DEVNULL)
    done: subprocess.CompletedProcess[str] = subprocess.run(list(words), **settings)  # type: ignore[call-overload]
    return done
