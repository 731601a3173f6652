"""A program under the restrictions of a unit file, made by hand: what systemd would do, where systemd is not running.

    python confined.py systemd/passbell.service -m passbell run

Reads the sandbox options of the unit and, as root, gives itself a root of its own (everything read-only but /tmp, only
what the program needs in it), no capabilities, an account that exists nowhere else, the unit's credentials, and the
unit's system call filters by libseccomp; then becomes the program. Which calls are in a group such as
`@system-service` is asked of `systemd-analyze`. An option that is not known here is an error, so that no unit gains one
that was never tried.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["read_unit", "why_not"]

ROOT: Final = Path(__file__).resolve().parents[2]
UID: Final = 61_500  # of the range that systemd takes dynamic accounts from

# Of mount, unshare and prctl.
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 0x1, 0x2, 0x4, 0x8, 0x20, 0x1000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER = 0x20000, 0x4000000, 0x8000000, 0x10000000
NAMESPACES: Final = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 4, 24, 38, 65
LAST_CAPABILITY: Final = 63
KEYCTL_JOIN_SESSION_KEYRING: Final = 1

# libseccomp
ALLOW: Final = 0x7FFF0000
NE, EQ, GT, MASKED = 1, 4, 6, 7
PROT_WRITE, PROT_EXEC, SHM_EXEC = 0x2, 0x4, 0o100000
FAMILIES: Final = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
LAST_FAMILY: Final = 45

NO_SANDBOX: Final = {
    "Type", "NotifyAccess", "ExecStart", "EnvironmentFile", "TimeoutStartSec", "WatchdogSec", "KillMode",
    "TimeoutStopSec", "Restart", "RestartSec", "RestartPreventExitStatus", "RemoveIPC",
}  # fmt: skip
YES: Final = frozenset({"yes"})
# Option → the values that are built here.
BUILT: Final[dict[str, frozenset[str]]] = {
    "DynamicUser": YES,
    "NoNewPrivileges": YES,
    "ProtectHome": YES,
    "ProtectClock": YES,
    "ProtectControlGroups": YES,
    "ProtectHostname": YES,
    "ProtectKernelLogs": YES,
    "ProtectKernelModules": YES,
    "ProtectKernelTunables": YES,
    "PrivateDevices": YES,
    "PrivateTmp": YES,
    "PrivateMounts": YES,
    "PrivateUsers": YES,
    "PrivateIPC": YES,
    "LockPersonality": YES,
    "MemoryDenyWriteExecute": YES,
    "RestrictNamespaces": YES,
    "RestrictRealtime": YES,
    "RestrictSUIDSGID": YES,
    "UMask": frozenset({"0077"}),
    "CapabilityBoundingSet": frozenset({""}),
    "AmbientCapabilities": frozenset({""}),
    "ProtectSystem": frozenset({"strict"}),
    "ProtectProc": frozenset({"invisible"}),
    "ProcSubset": frozenset({"pid"}),
    "RestrictAddressFamilies": frozenset({"AF_INET AF_INET6 AF_UNIX"}),
    "SystemCallArchitectures": frozenset({"native"}),
    "SystemCallErrorNumber": frozenset({"EPERM"}),
    "KeyringMode": frozenset({"private"}),
    "DevicePolicy": frozenset({"closed"}),
}


def read_unit(path: Path) -> dict[str, list[str]]:
    """Return option → values of the section [Service]."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            option, _, value = line.partition("=")
            found.setdefault(option, []).append(value)
    return found


def why_not() -> str:
    """Say what this machine lacks; empty if it can be done here."""
    if os.geteuid() != 0:
        return "only root can take rights away like this"
    if shutil.which("systemd-analyze") is None:
        return "no systemd-analyze, which knows the groups of system calls"
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return "no libseccomp"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return "no mount namespaces here"
    return ""


class Libc:
    """System calls that Python does not offer; an error is an OSError."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._library, name)

        def call(*arguments: Any) -> int:
            encoded = [os.fsencode(a) if isinstance(a, str | Path) else a for a in arguments]
            result = int(function(*encoded))
            if result < 0:
                number = ctypes.get_errno()
                raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")
            return result

        return call


libc = Libc()


# ── a root of its own ────────────────────────────────────────────


def make_root(unit: dict[str, list[str]], credentials: dict[str, str]) -> Path:
    """Mount what the program may see, everything read-only but /tmp and /var/tmp."""
    libc.unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS)
    libc.mount("none", "/", None, MS_REC | MS_PRIVATE, None)
    root = Path("/run/passbell-test-root")  # not visible elsewhere: the mount is private
    root.mkdir(exist_ok=True)
    libc.mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    # First, so that a checkout that lies in /tmp is shown there all the same.
    temporary = {"tmp": "1777", "var/tmp": "1777"}
    empty_folders(root, temporary)
    show_files(root, {Path("/etc"), Path("/sys"), Path(sys.prefix), ROOT}, writable=set(temporary))
    show_devices(root, "hidepid=2,subset=pid" if unit.get("ProcSubset") == ["pid"] else "hidepid=2")
    folder = root / "run/credentials"
    folder.mkdir(parents=True)
    libc.mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755")
    for name, secret in credentials.items():
        (folder / name).write_text(secret, "utf-8")
        (folder / name).chmod(0o400)
        os.chown(folder / name, UID, UID)
    for place in (folder, root):
        libc.mount("none", place, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, None)
    return root


def empty_folders(root: Path, modes: dict[str, str]) -> None:
    """Mount an empty, writable folder at each place."""
    for folder, mode in modes.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        libc.mount("tmpfs", root / folder, "tmpfs", MS_NOSUID, f"mode={mode}")


def show_devices(root: Path, proc_options: str | None = None) -> None:
    """Mount /proc, and a /dev with the harmless devices."""
    empty_folders(root, {"dev": "755", "dev/shm": "1777"})
    for device in ("null", "zero", "full", "random", "urandom"):
        (root / "dev" / device).touch()
        libc.mount(f"/dev/{device}", root / "dev" / device, None, MS_BIND, None)
    (root / "proc").mkdir(exist_ok=True)
    libc.mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, proc_options)


def show_files(root: Path, more: set[Path], *, writable: Collection[str] = ()) -> None:
    """Bind the system, this interpreter and `more` under the new root, read-only; `writable` mounts are left alone."""
    shown = {Path("/usr"), Path(sys.base_prefix), *more}
    for path in map(Path, ("/bin", "/sbin", "/lib", "/lib64")):
        if path.is_symlink():
            if not (root / path.name).is_symlink():
                (root / path.name).symlink_to(path.readlink())
        elif path.exists():
            shown.add(path)
    done: list[Path] = []
    for path in sorted(shown):
        if not any(path.is_relative_to(above) for above in done):
            place = root / path.relative_to("/")
            place.mkdir(parents=True, exist_ok=True)
            libc.mount(path, place, None, MS_BIND | MS_REC, None)
            done.append(path)
    for line in reversed(Path("/proc/self/mountinfo").read_text("utf-8").splitlines()):
        point = line.split()[4]
        if point.startswith(f"{root}/") and str(Path(point).relative_to(root)) not in writable:
            libc.mount("none", point, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID, None)


def enter_root(root: Path, library: ctypes.CDLL) -> None:
    """Make it this process's root: pivot_root(2), `pivot_root(".", ".")`; a chroot could have no user namespace."""
    os.chdir(root)
    libc.syscall(library.seccomp_syscall_resolve_name(b"pivot_root"), ".", ".")
    libc.umount2(".", MNT_DETACH)
    os.chdir("/")


# ── system calls ────────────────────────────────────────────


def calls_of(group: str, seen: set[str] | None = None) -> set[str]:
    """Return the calls in a group such as @system-service, groups inside it included."""
    seen = set() if seen is None else seen
    if group in seen:
        return set()
    seen.add(group)
    text = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", group], capture_output=True, text=True, check=True
    ).stdout
    found = set()
    for line in text.splitlines()[1:]:
        name = line.strip()
        if name.startswith("@"):
            found |= calls_of(name, seen)
        elif name and not name.startswith("#"):
            found.add(name)
    return found


def allowed_calls(filters: list[str]) -> set[str]:
    """Return what is left of a unit's SystemCallFilter= lines, in their order."""
    left = calls_of("@default")
    for line in filters:
        for group in line.removeprefix("~").split():
            calls = calls_of(group) if group.startswith("@") else {group}
            left = left - calls if line.startswith("~") else left | calls
    return left


class Argument(ctypes.Structure):
    """Struct scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


class Filter:
    """One seccomp filter: a default, and rules that say otherwise."""

    def __init__(self, library: ctypes.CDLL, default: int) -> None:
        self._library = library
        library.seccomp_init.restype = ctypes.c_void_p
        library.seccomp_rule_add_array.argtypes = [
            ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p,
        ]  # fmt: skip
        library.seccomp_load.argtypes = [ctypes.c_void_p]
        self._context = library.seccomp_init(ctypes.c_uint32(default))

    def rule(self, action: int, call: str, *arguments: tuple[int, int, int, int]) -> None:
        """Add a rule; a call that this machine does not have needs none."""
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return
        array = (Argument * len(arguments))(*arguments)
        done = self._library.seccomp_rule_add_array(self._context, action, number, len(arguments), array)
        if done < 0 and done != -errno.EEXIST:
            raise OSError(-done, f"rule for {call}")

    def load(self) -> None:
        """From here on it is in force."""
        done = self._library.seccomp_load(self._context)
        if done < 0:
            raise OSError(-done, "seccomp_load")


def refuse(number: int = errno.EPERM) -> int:
    """The action that answers with an error."""
    return 0x00050000 | number


def load_filters(library: ctypes.CDLL, calls: set[str], unit: dict[str, list[str]]) -> None:
    """What the unit refuses, as systemd would: all but these calls, and some of these by their arguments."""
    by_list = Filter(library, refuse())
    for call in sorted(calls):
        by_list.rule(ALLOW, call)
    by_argument = Filter(library, ALLOW)
    allowed = {FAMILIES[name] for name in unit["RestrictAddressFamilies"][0].split()}
    for family in range(LAST_FAMILY + 1):
        if family not in allowed:
            by_argument.rule(refuse(errno.EAFNOSUPPORT), "socket", (0, EQ, family, 0))
    by_argument.rule(refuse(errno.EAFNOSUPPORT), "socket", (0, GT, LAST_FAMILY, 0))
    both = PROT_WRITE | PROT_EXEC  # MemoryDenyWriteExecute=
    by_argument.rule(refuse(), "mmap", (2, MASKED, both, both))
    by_argument.rule(refuse(), "mprotect", (2, MASKED, PROT_EXEC, PROT_EXEC))
    by_argument.rule(refuse(), "pkey_mprotect", (2, MASKED, PROT_EXEC, PROT_EXEC))
    by_argument.rule(refuse(), "shmat", (2, MASKED, SHM_EXEC, SHM_EXEC))
    for call in ("unshare", "setns"):  # RestrictNamespaces=
        by_argument.rule(refuse(), call)
    by_argument.rule(
        refuse(errno.ENOSYS), "clone3"
    )  # its flags are behind a pointer; libc falls back to clone
    for flag in NAMESPACES:
        by_argument.rule(refuse(), "clone", (0, MASKED, flag, flag))
    for bit in (stat.S_ISUID, stat.S_ISGID):  # RestrictSUIDSGID=
        by_argument.rule(refuse(), "chmod", (1, MASKED, bit, bit))
        by_argument.rule(refuse(), "fchmod", (1, MASKED, bit, bit))
        by_argument.rule(refuse(), "fchmodat", (2, MASKED, bit, bit))
    by_argument.rule(refuse(), "personality", (0, NE, 0, 0))  # LockPersonality=
    by_argument.load()
    by_list.load()


# ── becoming the program ────────────────────────────────────────────


def become_nobody() -> None:
    """Give up every right: capabilities, groups, the account, and ever getting one back."""
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    os.umask(0o077)
    # PrivateUsers=: a user namespace in which only this account is mapped.
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    libc.unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny", "utf-8")
    for kind in ("uid", "gid"):
        Path(f"/proc/self/{kind}_map").write_text(f"{UID} {UID} 1\n", "utf-8")
    for capability in range(LAST_CAPABILITY + 1):
        try:
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        except OSError:
            break  # this kernel knows no more of them
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    with contextlib.suppress(OSError):  # before Linux 6.3; the filter does the same
        libc.prctl(PR_SET_MDWE, 1, 0, 0, 0)


def main(unit_path: str, *arguments: str) -> None:
    """Confine this process, and run Python with these arguments in it."""
    unit = read_unit(Path(unit_path))
    for option, values in unit.items():
        if option in NO_SANDBOX or option in {"LoadCredential", "SystemCallFilter"}:
            continue
        if not set(values) <= BUILT.get(option, frozenset()):
            sys.exit(f"{option}={values} is not known here: build it, or say why not")
    environment = dict(os.environ)
    credentials = {}
    for value in unit["LoadCredential"]:
        name = value.partition(":")[0]
        credentials[name] = environment.pop(f"PASSBELL_{name.upper()}")
    environment |= {"CREDENTIALS_DIRECTORY": "/run/credentials", "HOME": "/", "PYTHONDONTWRITEBYTECODE": "1"}
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    calls = allowed_calls(unit["SystemCallFilter"])
    for group in ("@clock", "@module"):  # ProtectClock=, ProtectKernelModules=
        calls -= calls_of(group)
    calls -= {"syslog"}  # ProtectKernelLogs=
    keyctl = library.seccomp_syscall_resolve_name(b"keyctl")
    root = make_root(unit, credentials)
    enter_root(root, library)
    libc.syscall(keyctl, KEYCTL_JOIN_SESSION_KEYRING, None)
    become_nobody()
    load_filters(library, calls, unit)
    os.execve(sys.executable, [sys.executable, *arguments], environment)  # noqa: S606 - our own program


if __name__ == "__main__":
    main(*sys.argv[1:])
