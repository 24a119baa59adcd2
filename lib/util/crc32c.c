/*
 * CRC32C on top of ISA-L.
 *
 * ISA-L's crc32_iscsi() is the bare polynomial division: it neither inverts the seed nor the result. The
 * usual CRC32C (RFC 3720, the kernel's crc32c() with ~0, SSE4.2 idiom) does both, and so that partial
 * results can be chained, both are done here on every call: crc32c(crc32c(0, a), b) is the CRC of a followed
 * by b. ISA-L counts lengths as int; longer buffers are cut into pieces.
 */
#include "util/crc32c.h"

#include <assert.h>
#include <isa-l/crc.h>

#define CRC_PIECE	((size_t)1 << 30)

uint32_t crc32c(uint32_t seed, const void *data, size_t len)
{
	unsigned char *p = (unsigned char *)data;	/* ISA-L lacks const; it only reads */
	uint32_t crc = ~seed;
	size_t piece;

	while (len) {
		piece = len < CRC_PIECE ? len : CRC_PIECE;
		crc = crc32_iscsi(p, (int)piece, crc);
		p += piece;
		len -= piece;
	}
	return ~crc;
}

uint32_t crc32c_object(uint32_t seed, const void *object, size_t len, size_t crc_off)
{
	static const uint32_t zero;
	const unsigned char *p = object;
	size_t after = crc_off + sizeof(zero);
	uint32_t crc;

	assert(after <= len);
	crc = crc32c(seed, p, crc_off);
	crc = crc32c(crc, &zero, sizeof(zero));
	return crc32c(crc, p + after, len - after);
}
