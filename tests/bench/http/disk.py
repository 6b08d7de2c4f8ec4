"""The bare disk: one writer, O_DIRECT, each write durable when it returns (RWF_DSYNC)."""
import mmap
import os
import time


def percentile(values, fraction):
    ordered = sorted(values)
    return ordered[min(int(fraction * len(ordered)), len(ordered) - 1)]


def measure(folder, size, seconds, growing=False):
    """Overwrites zeros written before, round and round, or lets the file grow."""
    path = os.path.join(folder, f"bare.{size}")
    span = max(64 << 20, 16 * size)
    buffer = mmap.mmap(-1, size)
    buffer.write(os.urandom(size))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_DIRECT)
    try:
        if not growing:
            zeros = mmap.mmap(-1, 1 << 20)
            for at in range(0, span, 1 << 20):
                os.pwrite(descriptor, zeros, at)
            os.fsync(descriptor)
        took, at, begin = [], 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            before = time.perf_counter()
            os.pwritev(descriptor, [buffer], at, os.RWF_DSYNC)
            took.append(time.perf_counter() - before)
            at = at + size if growing or at + 2 * size <= span else 0
        elapsed = time.perf_counter() - begin
    finally:
        os.close(descriptor)
        os.unlink(path)
    return {"rate": len(took) / elapsed, "p50_us": percentile(took, 0.5) * 1e6,
            "p99_us": percentile(took, 0.99) * 1e6, "errors": 0}
