"""without.py [--call NUMBER] ERRNO COMMAND...: runs it where a seccomp filter answers a system call, or
io_uring_setup, with this error."""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
arguments = sys.argv[1:]
call = 425  # io_uring_setup, on every machine
if arguments[0] == "--call":
    call = int(arguments[1])
    arguments = arguments[2:]


def statement(code, value, yes=0, no=0):
    return struct.pack("=HBBI", code, yes, no, value)


program = b"".join(
    [
        statement(0x20, 0),  # load the number of the call
        statement(0x15, call, 0, 1),  # equal?
        statement(0x06, 0x00050000 | int(arguments[0])),  # return the error
        statement(0x06, 0x7FFF0000),  # allow
    ]
)
code = ctypes.create_string_buffer(program, len(program))


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


libc = ctypes.CDLL(None, use_errno=True)
filter_ = Program(len(program) // 8, ctypes.addressof(code))
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
    PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(filter_), 0, 0
):
    sys.exit(77)
os.execv(arguments[1], arguments[1:])
