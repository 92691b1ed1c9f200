/*-------------------------------------------------------------------------
 *
 * numeric.c
 *		numeric's wire format -> its stored one, where it lies.
 *
 * numeric_recv() costs more than all else in a row. A numeric of usual size is
 * stored as a varlena header, one 16-bit word and the same base-10000 digits
 * that came over the wire, in native byte order. There is always room for it,
 * aligned, in what the wire has before the digits, so that nothing that computes
 * with the value has to copy it first. That format is private
 * to PostgreSQL's numeric.c, but it is on disk since 9.1; whether it still holds
 * is checked once against the server's own functions, and where not, or for a
 * value that is not of usual size, numeric_recv() does the work.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "compat.h"
#include "hallway.h"

/* The stored word of a short numeric. */
#define SHORT_FORM			0x8000
#define SHORT_NEGATIVE		0x2000
#define SHORT_DSCALE_SHIFT	7
#define SHORT_DSCALE_MAX	63
#define SHORT_WEIGHT_MASK	0x007F	/* its sign included */
#define SHORT_WEIGHT_MIN	(-64)
#define SHORT_WEIGHT_MAX	63

#define WIRE_HEADER			8		/* digits, weight, sign, dscale: int16 each */
#define WIRE_POSITIVE		0x0000
#define WIRE_NEGATIVE		0x4000

#define DIGIT_DECIMALS		4
#define DIGIT_BASE			10000

static bool stored_form_holds(const char *text);

static inline int
wire_int16(const uint8 *data)
{
	uint16		n;

	memcpy(&n, data, sizeof(n));
	return (int16) pg_ntoh16(n);
}

static inline int
decimals_of(int digit)
{
	return digit >= 1000 ? 4 : digit >= 100 ? 3 : digit >= 10 ? 2 : 1;
}

/*
 * Whether the stored form is what this file thinks it is; asked once for each
 * reader with a numeric column.
 */
bool
hallway_numeric_in_place(void)
{
	static const char *const samples[] = {"0", "0.00", "1", "-1", "12345.67", "-0.0001",
	"99999999999999999999.9999", "1200000000", "-123456789.5"};
	static int	holds = -1;

	if (holds < 0)
	{
		holds = 1;
		for (int i = 0; i < (int) lengthof(samples); i++)
			if (!stored_form_holds(samples[i]))
				holds = 0;
	}
	return holds == 1;
}

static bool
stored_form_holds(const char *text)
{
	Datum		theirs = DirectFunctionCall3(numeric_in, CStringGetDatum(text),
											 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	bytea	   *wire = DatumGetByteaP(DirectFunctionCall1(numeric_send, theirs));
	Datum		ours;

	if (!hallway_numeric_decode((uint8 *) VARDATA(wire), VARSIZE(wire) - VARHDRSZ, -1, &ours))
		return false;
	return VARSIZE_ANY_EXHDR(DatumGetPointer(ours)) == VARSIZE_ANY_EXHDR(DatumGetPointer(theirs)) &&
		memcmp(VARDATA_ANY(DatumGetPointer(ours)), VARDATA_ANY(DatumGetPointer(theirs)),
			   VARSIZE_ANY_EXHDR(DatumGetPointer(theirs))) == 0;
}

/*
 * Writes to the bytes of the value, and to the four of its length before them.
 * False for what must go through numeric_recv(), because it is unusual, wrong,
 * or to be rounded; the bytes are then as they were.
 */
bool
hallway_numeric_decode(uint8 *data, uint32 len, int32 typmod, Datum *result)
{
	int			ndigits;
	int			weight;
	int			sign;
	int			dscale;
	int			fraction;
	uint16		word;
	uint8	   *digits = data + WIRE_HEADER;
	struct varlena *value;

	if (len < WIRE_HEADER)
		return false;
	ndigits = wire_int16(data);
	weight = wire_int16(data + 2);
	sign = wire_int16(data + 4);
	dscale = wire_int16(data + 6);
	if (ndigits < 0 || len != WIRE_HEADER + 2 * (uint32) ndigits ||
		(sign != WIRE_POSITIVE && sign != WIRE_NEGATIVE) ||
		weight < SHORT_WEIGHT_MIN || weight > SHORT_WEIGHT_MAX ||
		dscale < 0 || dscale > SHORT_DSCALE_MAX)
		return false;

	if (ndigits == 0)
	{
		weight = 0;
		sign = WIRE_POSITIVE;
	}
	else
	{
		int			last = wire_int16(digits + 2 * (ndigits - 1));

		/* Zeros at the ends are not stored; digits past the scale are cut. */
		if (wire_int16(digits) == 0 || last == 0)
			return false;
		fraction = (ndigits - 1 - weight) * DIGIT_DECIMALS;
		if (fraction > dscale)
		{
			int			hidden = fraction - dscale;

			if (hidden >= DIGIT_DECIMALS ||
				last % (hidden == 1 ? 10 : hidden == 2 ? 100 : 1000) != 0)
				return false;
		}
		for (int i = 0; i < ndigits; i++)
			if ((unsigned int) wire_int16(digits + 2 * i) >= DIGIT_BASE)
				return false;
	}

	if (typmod >= (int32) VARHDRSZ)
	{
		/* As numeric.c packs them: the scale has 11 bits and a sign. */
		int			precision = ((typmod - VARHDRSZ) >> 16) & 0xffff;
		int			scale = (((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;

		if (dscale > scale || scale > SHORT_DSCALE_MAX || scale > precision)
			return false;
		if (ndigits > 0 && weight >= 0 &&
			weight * DIGIT_DECIMALS + decimals_of(wire_int16(digits)) > precision - scale)
			return false;
		dscale = scale;
	}

	/* At most three bytes down, over what has been read already. */
	value = (struct varlena *) TYPEALIGN_DOWN(ALIGNOF_INT, digits - sizeof(word) - VARHDRSZ);
	for (int i = 0; i < ndigits; i++)
	{
		int16		digit = (int16) wire_int16(digits + 2 * i);

		memcpy(VARDATA(value) + sizeof(word) + 2 * i, &digit, sizeof(digit));
	}
	word = SHORT_FORM | (dscale << SHORT_DSCALE_SHIFT) | (weight & SHORT_WEIGHT_MASK) |
		(sign == WIRE_NEGATIVE ? SHORT_NEGATIVE : 0);
	memcpy(VARDATA(value), &word, sizeof(word));
	SET_VARSIZE(value, VARHDRSZ + sizeof(word) + 2 * ndigits);
	*result = PointerGetDatum(value);
	return true;
}
