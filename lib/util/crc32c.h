/*
 * CRC32C (Castagnoli), by ISA-L. crc32c(0, ...) starts; the result of one call may seed the next.
 */
#ifndef UTIL_CRC32C_H
#define UTIL_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t seed, const void *data, size_t len);

/*
 * crc32c_object - over `len` bytes of an object whose own 4-byte crc field, at `crc_off`, counts as zero.
 */
uint32_t crc32c_object(uint32_t seed, const void *object, size_t len, size_t crc_off);

#endif
