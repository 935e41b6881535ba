"""Shuts a decoder process out of the network, by order of the kernel.

FFmpeg is told to open nothing, but a decoder that foreign bytes took over is not told anything. A
process that needs no connection can make no socket at all afterwards. One that reads from a relay
on loopback can make TCP connections over IPv4, and, where the kernel knows Landlock's rules for the
network (Linux 6.7), to the relay's port only.
"""

import ctypes
import errno
import platform
import socket
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 38, 22
_SECCOMP_MODE_FILTER = 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000 | errno.EACCES

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
"""Instructions of the kernel's packet filter, in which a filter of system calls is written."""

_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
"""Where a filter finds a system call's number, architecture and first argument."""

_ARCHS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""By machine: its audit number, and the number of the system call ``socket``."""

_IO_URING_SETUP = 425
"""Opens sockets, too, by another way; the same on all machines."""

_FOREIGN_ABI = 0x4000_0000
"""System calls from here on are those of another binary interface of x86."""

_TYPE_MASK = 0xF

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_CONNECT_TCP, _RULE_NET_PORT = 2, 2


def lock_network(relay_port: int | None) -> bool:
    """Let this process, for good, connect to nothing but a relay, if it needs one. Returns whether
    the kernel sees to that; elsewhere than on Linux, or where seccomp is missing, nothing does."""
    arch = _ARCHS.get(platform.machine())
    if sys.platform != "linux" or arch is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    if relay_port is not None:
        _allow_port(libc, relay_port)
    program = _program(*arch, allows_tcp=relay_port is not None)
    code = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    locked: int = libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filter_, 0, 0)
    return locked == 0


def _program(audit: int, socket_call: int, *, allows_tcp: bool) -> bytes:
    """The filter; at its end stand ``allow`` and ``refuse``, to which jumps lead."""
    head = [
        (_LOAD, "", "", _ARCH_AT),
        (_JUMP_EQUAL, "", "refuse", audit),
        (_LOAD, "", "", _NUMBER_AT),
        (_JUMP_AT_LEAST, "refuse", "", _FOREIGN_ABI),
        (_JUMP_EQUAL, "refuse", "", _IO_URING_SETUP),
        (_JUMP_EQUAL, "", "allow", socket_call),
    ]
    tcp = [
        (_LOAD, "", "", _ARGUMENTS_AT),
        (_JUMP_EQUAL, "", "refuse", socket.AF_INET),
        (_LOAD, "", "", _ARGUMENTS_AT + 8),
        (_AND, "", "", _TYPE_MASK),
        (_JUMP_EQUAL, "allow", "refuse", socket.SOCK_STREAM),
    ]
    lines = head + (tcp if allows_tcp else [])
    if not allows_tcp:
        lines[-1] = (_JUMP_EQUAL, "refuse", "allow", socket_call)
    ends = {"allow": len(lines), "refuse": len(lines) + 1}
    code = b""
    for at, (instruction, when_true, when_false, value) in enumerate(lines):
        to = [ends[name] - at - 1 if name else 0 for name in (when_true, when_false)]
        code += struct.pack("@HBBI", instruction, *to, value)
    return code + b"".join(struct.pack("@HBBI", _RETURN, 0, 0, end) for end in (_ALLOW, _ERRNO))


def _allow_port(libc: ctypes.CDLL, port: int) -> None:
    """Let TCP connect to one port only, where the kernel can see to that."""
    rules = struct.pack("@QQ", 0, _CONNECT_TCP)
    ruleset = libc.syscall(_LANDLOCK_CREATE, rules, len(rules), 0)
    if ruleset < 0:
        return
    rule = struct.pack("@QQ", _CONNECT_TCP, port)
    if libc.syscall(_LANDLOCK_ADD, ruleset, _RULE_NET_PORT, rule, 0) == 0:
        libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0)
