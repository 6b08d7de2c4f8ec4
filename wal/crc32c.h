/* CRC32C (Castagnoli, RFC 3720 appendix B.4), by libisal. Pure; any thread. */
#ifndef WAL_CRC32C_H
#define WAL_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 to begin) over size bytes: crc32c(crc32c(0, a), b) is the checksum of a then b. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

#endif
