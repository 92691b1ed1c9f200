/*-------------------------------------------------------------------------
 *
 * rows.h
 *		What the files that read rows share: rows.c and values.c.
 *
 * The inline functions are here so that both can make the same values.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HALLWAY_ROWS_H
#define HALLWAY_ROWS_H

#include "postgres.h"

#include "fmgr.h"
#include "port/pg_bswap.h"

#include "compat.h"
#include "hallway.h"

/* How a value is made; the first ones need neither memory nor a call. */
typedef enum Decoder
{
	DECODE_BOOL,
	DECODE_INT2,
	DECODE_INT4,
	DECODE_INT8,
	DECODE_FLOAT4,
	DECODE_FLOAT8,
	DECODE_DATE,
	DECODE_TIME,
	DECODE_TIMESTAMP,
	DECODE_UUID,
	DECODE_NUMERIC,
	DECODE_TEXT,				/* also json, and varchar within its length */
	DECODE_BYTEA,
	DECODE_JSONB,
	DECODE_RECEIVE,				/* the type's receive function: binary types */
	DECODE_INPUT,				/* its input function: types sent as text */
	DECODE_ARRAY
} Decoder;

typedef struct ValueReader
{
	Decoder		decoder;
	int			attindex;		/* attribute number - 1; -1 for an element */
	uint32		limit;			/* DECODE_TEXT: bytes that fit in any case */
	int64		unit;			/* times: multiples of it need no rounding */
	bool		domain;			/* checks to be made on the result */
	bool		byval;
	char		align;
	int16		len;
	int32		typmod;
	Oid			type;			/* without domains */
	Oid			declared;		/* with them */
	Oid			ioparam;
	FmgrInfo	function;
	void	   *domain_cache;
	struct ValueReader *element;
} ValueReader;

struct HallwayRowReader
{
	MemoryContext cxt;			/* the reader itself, and its caches */
	MemoryContext rowcxt;		/* values of the current row */
	TupleDesc	desc;
	bool		utf8;			/* the database's encoding */
	const uint8 *pos;
	const uint8 *end;
	uint32		left;			/* rows of the batch still to come */
	int			ncolumns;
	ValueReader columns[FLEXIBLE_ARRAY_MEMBER];
};

/* values.c */
extern void hallway_value_init(ValueReader *value, Oid type, int32 typmod,
							   MemoryContext cxt, bool element);
extern Datum hallway_decode_slow(HallwayRowReader *reader, ValueReader *value,
								 const uint8 *data, uint32 len, bool isnull);
pg_noreturn extern void hallway_malformed_rows(const char *detail);

/* rows.c */
extern Datum hallway_decode_value(HallwayRowReader *reader, ValueReader *value,
								  const uint8 *data, uint32 len);

/* ---- bytes ------------------------------------------------------------- */

static inline uint16
get16(const uint8 *p)
{
	uint16		n;

	memcpy(&n, p, sizeof(n));
	return pg_ntoh16(n);
}

static inline uint32
get32(const uint8 *p)
{
	uint32		n;

	memcpy(&n, p, sizeof(n));
	return pg_ntoh32(n);
}

static inline uint64
get64(const uint8 *p)
{
	uint64		n;

	memcpy(&n, p, sizeof(n));
	return pg_ntoh64(n);
}

/*
 * Whether text is ASCII without NUL, and so valid in every server encoding.
 * Subtracting one from each byte borrows into a high bit where a byte is zero;
 * as long as no high bit was set before, that is the only way to get one.
 */
static inline bool
plain_text(const uint8 *p, uint32 len)
{
	const uint64 ones = UINT64CONST(0x0101010101010101);
	uint64		seen = 0;
	uint64		word;

	if (len >= 8)
	{
		const uint8 *last = p + len - 8;

		for (; p < last; p += 8)
		{
			memcpy(&word, p, 8);
			seen |= word | (word - ones);
		}
		memcpy(&word, last, 8);
		seen |= word | (word - ones);
	}
	else if (len >= 4)
	{
		uint32		a;
		uint32		b;

		memcpy(&a, p, 4);
		memcpy(&b, p + len - 4, 4);
		seen = a | (uint32) (a - (uint32) ones) | b | (uint32) (b - (uint32) ones);
	}
	else
		for (; len > 0; len--, p++)
			seen |= *p | (uint8) (*p - 1);
	return (seen & (ones << 7)) == 0;
}

/*
 * A varlena of bytes that have their int32 length before them. Short ones get
 * their header there.
 */
static inline Datum
varlena_datum(const uint8 *data, uint32 len)
{
	struct varlena *value;

	if (len + VARHDRSZ_SHORT <= VARATT_SHORT_MAX)
	{
		uint8	   *start = unconstify(uint8 *, data) - VARHDRSZ_SHORT;

		SET_VARSIZE_SHORT(start, len + VARHDRSZ_SHORT);
		return PointerGetDatum(start);
	}
	value = palloc(len + VARHDRSZ);
	SET_VARSIZE(value, len + VARHDRSZ);
	memcpy(VARDATA(value), data, len);
	return PointerGetDatum(value);
}

#endif							/* HALLWAY_ROWS_H */
