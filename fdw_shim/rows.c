/*-------------------------------------------------------------------------
 *
 * rows.c
 *		Batches of binary tuples -> slots.
 *
 * This is where a scan's time goes, so values of common types are built from
 * the bytes without a function call, and where they lie: a short string's
 * varlena header fits into the length word before it. Everything else goes
 * through decode_slow(). No length, count or byte is trusted.
 *
 * Text is UTF-8 whatever client_encoding says, which is why the types' receive
 * functions are not used where they would convert text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "nodes/memnodes.h"
#include "port/pg_bswap.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

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

static void value_reader_init(ValueReader *value, Oid type, int32 typmod,
							  MemoryContext cxt, bool element);
static Datum decode_slow(HallwayRowReader *reader, ValueReader *value,
						 const uint8 *data, uint32 len, bool isnull);
static Datum decode_value(HallwayRowReader *reader, ValueReader *value,
						  const uint8 *data, uint32 len);
static Datum decode_array(HallwayRowReader *reader, ValueReader *value,
						  const uint8 *data, uint32 len);
static Datum decode_input(HallwayRowReader *reader, ValueReader *value,
						  const uint8 *data, uint32 len);
static Datum decode_receive(ValueReader *value, const uint8 *data, uint32 len);
static Datum foreign_text(HallwayRowReader *reader, ValueReader *value,
						  const uint8 *data, uint32 len);
static void check_text(const uint8 *data, uint32 len);
pg_noreturn static void malformed(const char *detail);
static void value_error(void *arg);

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

/* Whether a time needs no rounding to its column's precision. */
static inline bool
is_multiple(int64 time, int64 unit)
{
	return likely(unit == 1) || time % unit == 0;
}

/* One value that is not NULL. */
static pg_attribute_always_inline Datum
decode(HallwayRowReader *reader, ValueReader *value, const uint8 *data, uint32 len)
{
	switch (value->decoder)
	{
		case DECODE_BOOL:
			if (likely(len == 1))
				return BoolGetDatum(*data != 0);
			break;
		case DECODE_INT2:
			if (likely(len == 2))
				return Int16GetDatum((int16) get16(data));
			break;
		case DECODE_INT4:
		case DECODE_FLOAT4:
			/* A float4's bits stand in a Datum as an int4's do. */
			if (likely(len == 4))
				return Int32GetDatum((int32) get32(data));
			break;
		case DECODE_INT8:
		case DECODE_FLOAT8:
			if (likely(len == 8))
				return Int64GetDatum((int64) get64(data));
			break;
		case DECODE_DATE:
			if (likely(len == 4))
			{
				DateADT		date = (int32) get32(data);

				if (likely(IS_VALID_DATE(date)) || DATE_NOT_FINITE(date))
					return DateADTGetDatum(date);
			}
			break;
		case DECODE_TIME:
			if (likely(len == 8))
			{
				TimeADT		time = (int64) get64(data);

				if (likely(time >= 0 && time <= USECS_PER_DAY && is_multiple(time, value->unit)))
					return TimeADTGetDatum(time);
			}
			break;
		case DECODE_TIMESTAMP:
			if (likely(len == 8))
			{
				Timestamp	timestamp = (int64) get64(data);

				if ((likely(IS_VALID_TIMESTAMP(timestamp)) && is_multiple(timestamp, value->unit)) ||
					TIMESTAMP_NOT_FINITE(timestamp))
					return TimestampGetDatum(timestamp);
			}
			break;
		case DECODE_UUID:
			if (likely(len == UUID_LEN))
				return PointerGetDatum(data);
			break;
		case DECODE_NUMERIC:
			{
				Datum		result;

				if (likely(hallway_numeric_decode(unconstify(uint8 *, data), len,
												  value->typmod, &result)))
					return result;
			}
			break;
		case DECODE_TEXT:
			if (likely(len <= value->limit && plain_text(data, len)))
				return varlena_datum(data, len);
			break;
		case DECODE_BYTEA:
			return varlena_datum(data, len);
		default:
			break;
	}
	return decode_slow(reader, value, data, len, false);
}

/* ---- the reader ---------------------------------------------------------- */

HallwayRowReader *
hallway_reader_create(TupleDesc desc, List *attnums)
{
	HallwayRowReader *reader;
	ListCell   *lc;

	reader = palloc0(offsetof(HallwayRowReader, columns) +
					 Max(list_length(attnums), 1) * sizeof(ValueReader));
	reader->cxt = CurrentMemoryContext;
	reader->rowcxt = AllocSetContextCreate(CurrentMemoryContext, "Hallway row",
										   ALLOCSET_DEFAULT_SIZES);
	reader->desc = desc;
	reader->utf8 = GetDatabaseEncoding() == PG_UTF8;
	foreach(lc, attnums)
	{
		int			attindex = lfirst_int(lc) - 1;
		ValueReader *value = &reader->columns[reader->ncolumns++];
		Form_pg_attribute att;

		if (attindex < 0 || attindex >= desc->natts)
			elog(ERROR, "invalid attribute number %d", attindex + 1);
		att = TupleDescAttr(desc, attindex);
		value_reader_init(value, att->atttypid, att->atttypmod, reader->cxt, false);
		value->attindex = attindex;
	}
	return reader;
}

static void
value_reader_init(ValueReader *value, Oid type, int32 typmod, MemoryContext cxt, bool element)
{
	Oid			function;

	value->declared = type;
	value->typmod = typmod;
	value->type = getBaseTypeAndTypmod(type, &value->typmod);
	value->domain = value->type != type;
	value->attindex = -1;
	value->unit = 1;
	if (value->typmod >= 0)
		for (int digits = value->typmod; digits < MAX_TIMESTAMP_PRECISION; digits++)
			value->unit *= 10;
	get_typlenbyvalalign(value->type, &value->len, &value->byval, &value->align);

	switch (hallway_type_kind(value->type))
	{
		case HALLWAY__V1__KIND__KIND_BOOL:
			value->decoder = DECODE_BOOL;
			return;
		case HALLWAY__V1__KIND__KIND_INT2:
			value->decoder = DECODE_INT2;
			return;
		case HALLWAY__V1__KIND__KIND_INT4:
			value->decoder = DECODE_INT4;
			return;
		case HALLWAY__V1__KIND__KIND_INT8:
			value->decoder = DECODE_INT8;
			return;
		case HALLWAY__V1__KIND__KIND_FLOAT4:
			value->decoder = DECODE_FLOAT4;
			return;
		case HALLWAY__V1__KIND__KIND_FLOAT8:
			value->decoder = DECODE_FLOAT8;
			return;
		case HALLWAY__V1__KIND__KIND_DATE:
			value->decoder = DECODE_DATE;
			break;
		case HALLWAY__V1__KIND__KIND_TIME:
			value->decoder = DECODE_TIME;
			break;
		case HALLWAY__V1__KIND__KIND_TIMESTAMP:
		case HALLWAY__V1__KIND__KIND_TIMESTAMPTZ:
			value->decoder = DECODE_TIMESTAMP;
			break;
		case HALLWAY__V1__KIND__KIND_UUID:
			value->decoder = DECODE_UUID;
			return;
		case HALLWAY__V1__KIND__KIND_TEXT:
		case HALLWAY__V1__KIND__KIND_JSON:
			value->decoder = DECODE_TEXT;
			value->limit = MaxAllocSize;
			return;
		case HALLWAY__V1__KIND__KIND_VARCHAR:
			/* As many bytes as characters are allowed fit in any encoding. */
			value->decoder = DECODE_TEXT;
			value->limit = value->typmod < (int32) VARHDRSZ ? MaxAllocSize
				: (Size) (value->typmod - VARHDRSZ);
			getTypeInputInfo(value->type, &function, &value->ioparam);
			fmgr_info_cxt(function, &value->function, cxt);
			return;
		case HALLWAY__V1__KIND__KIND_BPCHAR:
			if (value->typmod < (int32) VARHDRSZ)
			{
				value->decoder = DECODE_TEXT;
				value->limit = MaxAllocSize;
				return;
			}
			value->decoder = DECODE_INPUT;	/* pads */
			break;
		case HALLWAY__V1__KIND__KIND_JSONB:
			value->decoder = DECODE_JSONB;
			break;
		case HALLWAY__V1__KIND__KIND_BYTEA:
			value->decoder = DECODE_BYTEA;
			return;
		case HALLWAY__V1__KIND__KIND_NUMERIC:
			value->decoder = hallway_numeric_in_place() ? DECODE_NUMERIC : DECODE_RECEIVE;
			break;
		default:
			value->decoder = DECODE_INPUT;
			if (OidIsValid(hallway_type_element(value->type)) && !element)
			{
				Oid			inner = hallway_type_element(value->type);

				/* What hallway_describe_type() calls an array. */
				if (!OidIsValid(hallway_type_element(getBaseType(inner))))
				{
					value->decoder = DECODE_ARRAY;
					value->element = MemoryContextAllocZero(cxt, sizeof(ValueReader));
					value_reader_init(value->element, inner, value->typmod, cxt, true);
					return;
				}
			}
			break;
	}

	/* The function that decode_slow() calls; a bad value is an error there. */
	if (value->decoder == DECODE_INPUT || value->decoder == DECODE_JSONB)
		getTypeInputInfo(value->type, &function, &value->ioparam);
	else
		getTypeBinaryInputInfo(value->type, &function, &value->ioparam);
	fmgr_info_cxt(function, &value->function, cxt);
}

void
hallway_reader_batch(HallwayRowReader *reader, const uint8 *data, size_t len, uint32 rows)
{
	reader->pos = data;
	reader->end = data + len;
	reader->left = rows;
}

bool
hallway_reader_next(HallwayRowReader *reader, TupleTableSlot *slot)
{
	const uint8 *pos = reader->pos;
	const uint8 *end = reader->end;
	Datum	   *values = slot->tts_values;
	bool	   *isnull = slot->tts_isnull;
	MemoryContext old;

	if (reader->left == 0)
	{
		if (pos != end)
			malformed("There are bytes after the last row of a batch.");
		return false;
	}
	if (end - pos < 2 || get16(pos) != reader->ncolumns)
		malformed("A row has another number of columns than were asked for.");
	pos += 2;

	ExecClearTuple(slot);
	if (unlikely(!reader->rowcxt->isReset))
		MemoryContextReset(reader->rowcxt);
	old = MemoryContextSwitchTo(reader->rowcxt);
	if (reader->ncolumns < reader->desc->natts)
		memset(isnull, true, reader->desc->natts * sizeof(bool));

	for (ValueReader *value = reader->columns, *last = value + reader->ncolumns;
		 value < last; value++)
	{
		int			i = value->attindex;
		uint32		len;

		if (unlikely(end - pos < 4))
			malformed("A batch ends within a row.");
		len = get32(pos);
		pos += 4;
		if (len == PG_UINT32_MAX)
		{
			values[i] = unlikely(value->domain)
				? decode_slow(reader, value, NULL, 0, true) : (Datum) 0;
			isnull[i] = true;
			continue;
		}
		if (unlikely(len > end - pos))
			malformed("A value is longer than the batch it is in.");
		values[i] = likely(!value->domain) ? decode(reader, value, pos, len)
			: decode_slow(reader, value, pos, len, false);
		isnull[i] = false;
		pos += len;
	}
	MemoryContextSwitchTo(old);
	reader->pos = pos;
	reader->left--;
	ExecStoreVirtualTuple(slot);
	return true;
}

/* ---- what needs a call, or is wrong ----------------------------------------- */

typedef struct ValueErrorContext
{
	HallwayRowReader *reader;
	ValueReader *value;
} ValueErrorContext;

/*
 * A value for which decode() has no short way: other types, text that is not
 * ASCII, values out of range, domains. Errors tell the column.
 */
static Datum
decode_slow(HallwayRowReader *reader, ValueReader *value,
			const uint8 *data, uint32 len, bool isnull)
{
	Datum		result = (Datum) 0;
	ValueErrorContext arg = {reader, value};
	ErrorContextCallback callback = {error_context_stack, value_error, &arg};

	error_context_stack = &callback;
	if (isnull)
		 /* a domain may refuse it */ ;
	else
		switch (value->decoder)
		{
			case DECODE_TEXT:
				if (len > MaxAllocSize - VARHDRSZ)
					malformed("A value is too long.");
				if (len > value->limit)
					result = decode_input(reader, value, data, len);
				else
					result = foreign_text(reader, value, data, len);
				break;
			case DECODE_JSONB:
				if (len < 1 || *data != 1)
					malformed("A jsonb value has no version 1 before it.");
				result = decode_input(reader, value, data + 1, len - 1);
				break;
			case DECODE_INPUT:
				result = decode_input(reader, value, data, len);
				break;
			case DECODE_ARRAY:
				result = decode_array(reader, value, data, len);
				break;
			case DECODE_RECEIVE:
			case DECODE_NUMERIC:
			case DECODE_DATE:
			case DECODE_TIME:
			case DECODE_TIMESTAMP:
				result = decode_receive(value, data, len);
				break;
			case DECODE_BYTEA:
				result = varlena_datum(data, len);
				break;
			default:
				{
					uint32		wanted = value->decoder == DECODE_UUID ? UUID_LEN : value->len;

					if (len != wanted)
						malformed(psprintf("A value of type %s has %u bytes instead of %u.",
										   format_type_be(value->type), len, wanted));
					result = decode_value(reader, value, data, len);
				}
				break;
		}
	if (value->domain)
		domain_check(result, isnull, value->declared, &value->domain_cache, reader->cxt);
	error_context_stack = callback.previous;
	return result;
}

/* decode() where it need not be inlined. */
static Datum
decode_value(HallwayRowReader *reader, ValueReader *value, const uint8 *data, uint32 len)
{
	return decode(reader, value, data, len);
}

/* Text that is not plain: checked, and converted to the database's encoding. */
static Datum
foreign_text(HallwayRowReader *reader, ValueReader *value, const uint8 *data, uint32 len)
{
	char	   *text;

	if (plain_text(data, len))
		return varlena_datum(data, len);
	check_text(data, len);
	if (reader->utf8)
		return varlena_datum(data, len);
	text = pg_any_to_server((const char *) data, len, PG_UTF8);
	if (text == (const char *) data)
		return varlena_datum(data, len);
	return PointerGetDatum(cstring_to_text(text));
}

static void
check_text(const uint8 *data, uint32 len)
{
	(void) pg_verify_mbstr(PG_UTF8, (const char *) data, len, false);
}

/* By the type's input function, which also applies the typmod. */
static Datum
decode_input(HallwayRowReader *reader, ValueReader *value, const uint8 *data, uint32 len)
{
	char	   *text;

	if (len > MaxAllocSize - VARHDRSZ)
		malformed("A value is too long.");
	check_text(data, len);
	text = pnstrdup((const char *) data, len);
	if (!reader->utf8)
		text = pg_any_to_server(text, len, PG_UTF8);
	return InputFunctionCall(&value->function, text, value->ioparam, value->typmod);
}

/* By the type's receive function; only for types that hold no text. */
static Datum
decode_receive(ValueReader *value, const uint8 *data, uint32 len)
{
	StringInfoData buf;
	Datum		result;

	if (len > MaxAllocSize)
		malformed("A value is too long.");
	buf.data = (char *) unconstify(uint8 *, data);
	buf.len = buf.maxlen = len;
	buf.cursor = 0;
	result = ReceiveFunctionCall(&value->function, &buf, value->ioparam, value->typmod);
	if (buf.cursor != buf.len)
		malformed(psprintf("A value of type %s has bytes left over.", format_type_be(value->type)));
	return result;
}

/*
 * An array in the format of array_send(): dimensions, flags, element type, size
 * and lower bound of each dimension, then elements as in a row.
 */
static Datum
decode_array(HallwayRowReader *reader, ValueReader *value, const uint8 *data, uint32 len)
{
	ValueReader *element = value->element;
	const uint8 *end = data + len;
	int			ndim;
	int			dims[MAXDIM];
	int			lower[MAXDIM];
	int			nitems;
	Datum	   *items;
	bool	   *nulls;

	if (len < 12)
		malformed("An array is shorter than its header.");
	ndim = (int) get32(data);
	if (ndim < 0 || ndim > MAXDIM)
		malformed("An array has an impossible number of dimensions.");
	if (get32(data + 8) != element->declared)
		malformed(psprintf("An array's elements are of another type than %s.",
						   format_type_be(element->declared)));
	data += 12;
	if (end - data < ndim * 8)
		malformed("An array is shorter than its header.");
	for (int i = 0; i < ndim; i++, data += 8)
	{
		dims[i] = (int) get32(data);
		lower[i] = (int) get32(data + 4);
	}
	nitems = ArrayGetNItems(ndim, dims);
	ArrayCheckBounds(ndim, dims, lower);
	if (nitems > (end - data) / 4)
		malformed("An array has fewer elements than it says.");
	if (nitems == 0)
	{
		if (data != end)
			malformed("An array has bytes left over.");
		return PointerGetDatum(construct_empty_array(element->declared));
	}

	items = palloc_extended(nitems * sizeof(Datum), MCXT_ALLOC_HUGE);
	nulls = palloc_extended(nitems * sizeof(bool), MCXT_ALLOC_HUGE);
	for (int i = 0; i < nitems; i++)
	{
		uint32		itemlen;

		if (end - data < 4)
			malformed("An array ends within its elements.");
		itemlen = get32(data);
		data += 4;
		nulls[i] = itemlen == PG_UINT32_MAX;
		if (nulls[i])
		{
			items[i] = (Datum) 0;
			if (element->domain)
				domain_check((Datum) 0, true, element->declared, &element->domain_cache, reader->cxt);
			continue;
		}
		if (itemlen > end - data)
			malformed("An array's element is longer than the array.");
		items[i] = element->domain ? decode_slow(reader, element, data, itemlen, false)
			: decode_value(reader, element, data, itemlen);
		data += itemlen;
	}
	if (data != end)
		malformed("An array has bytes left over.");
	return PointerGetDatum(construct_md_array(items, nulls, ndim, dims, lower, element->declared,
											  element->len, element->byval, element->align));
}

static void
malformed(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("malformed rows from the Hallway sidecar"),
			 errdetail_internal("%s", detail)));
}

static void
value_error(void *arg)
{
	ValueErrorContext *context = arg;

	if (context->value->attindex >= 0)
		errcontext("column \"%s\"",
				   NameStr(TupleDescAttr(context->reader->desc, context->value->attindex)->attname));
}

/* ---- the envelope -------------------------------------------------------------- */

/* A protobuf varint; false if it does not end in time. */
static bool
get_varint(const uint8 **pos, const uint8 *end, uint64 *value)
{
	*value = 0;
	for (int shift = 0; shift < 64 && *pos < end; shift += 7)
	{
		uint8		byte = *(*pos)++;

		*value |= (uint64) (byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			return true;
	}
	return false;
}

/*
 * RowBatch without a copy of its tuples. False for anything but a plain one,
 * which protobuf-c may then make sense of.
 */
static bool
plain_batch(const uint8 *pos, const uint8 *end, HallwayScanMessage *out)
{
	uint64		len;
	uint64		rows = 0;

	if (pos == end || *pos++ != ((2 << 3) | 2) ||
		!get_varint(&pos, end, &len) || len != (uint64) (end - pos))
		return false;
	if (pos == end || *pos++ != ((1 << 3) | 2) ||
		!get_varint(&pos, end, &len) || len > (uint64) (end - pos))
		return false;
	out->tuples = pos;
	out->len = len;
	pos += len;
	if (pos == end || *pos++ != ((2 << 3) | 0) ||
		!get_varint(&pos, end, &rows) || rows > PG_UINT32_MAX || pos != end)
		return false;
	out->rows = rows;
	return true;
}

void
hallway_scan_message(const uint8 *data, size_t len, HallwayScanMessage *out)
{
	Hallway__V1__ScanResponse *response;

	memset(out, 0, sizeof(*out));
	if (plain_batch(data, data + len, out))
		return;
	memset(out, 0, sizeof(*out));
	response = (Hallway__V1__ScanResponse *)
		hallway_unpack(&hallway__v1__scan_response__descriptor, data, len);
	if (response != NULL)
		switch (response->message_case)
		{
			case HALLWAY__V1__SCAN_RESPONSE__MESSAGE_HEADER:
				out->header = response->header;
				return;
			case HALLWAY__V1__SCAN_RESPONSE__MESSAGE_FOOTER:
				out->footer = response->footer;
				return;
			case HALLWAY__V1__SCAN_RESPONSE__MESSAGE_PROGRESS:
				out->progress = response->progress;
				return;
			case HALLWAY__V1__SCAN_RESPONSE__MESSAGE_BATCH:
				out->tuples = response->batch->tuples.data;
				out->len = response->batch->tuples.len;
				out->rows = response->batch->rows;
				if (out->tuples == NULL)
					out->tuples = (const uint8 *) "";
				return;
			default:
				break;
		}
	malformed("A message of the scan is neither header, rows nor footer.");
}
