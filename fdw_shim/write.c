/*-------------------------------------------------------------------------
 *
 * write.c
 *		Values -> the contract's binary format: tuples for Modify, parameters
 *		for Scan.
 *
 * Text leaves as UTF-8 whatever client_encoding says; a type's send function is
 * used only where it handles no text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "hallway.h"

typedef enum Encoder
{
	ENCODE_BOOL,
	ENCODE_2,
	ENCODE_4,
	ENCODE_8,
	ENCODE_UUID,
	ENCODE_TEXT,
	ENCODE_BYTEA,
	ENCODE_JSONB,
	ENCODE_SEND,				/* the type's send function: binary types */
	ENCODE_OUTPUT,				/* its output function: types sent as text */
	ENCODE_ARRAY
} Encoder;

typedef struct ValueWriter
{
	Oid			type;			/* hash key, as declared */
	Encoder		encoder;
	bool		settings;		/* output depends on session settings */
	Oid			element;
	int16		len;
	bool		byval;
	char		align;
	FmgrInfo	function;
} ValueWriter;

struct HallwayRowWriter
{
	MemoryContext scratch;
	StringInfoData buf;
};

/* How each type met so far is written; emptied when a type changes. */
static HTAB *value_writers = NULL;
static MemoryContext value_writers_cxt = NULL;
static bool value_writers_stale = false;

static ValueWriter *value_writer(Oid type);
static void value_writers_invalidate(Datum arg, int cacheid, uint32 hash);
static void value_writer_init(ValueWriter *writer, Oid type);
static void write_value(StringInfo buf, Oid type, Datum value);
static void write_text(StringInfo buf, const char *text, int len);
static void write_array(StringInfo buf, ValueWriter *writer, Datum value);
static char *output_value(ValueWriter *writer, Datum value);

HallwayRowWriter *
hallway_writer_create(TupleDesc desc, List *attnums)
{
	HallwayRowWriter *writer = palloc(sizeof(HallwayRowWriter));

	writer->scratch = AllocSetContextCreate(CurrentMemoryContext, "Hallway writer",
											ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&writer->buf);
	return writer;
}

void
hallway_writer_reset(HallwayRowWriter *writer)
{
	resetStringInfo(&writer->buf);
}

void
hallway_writer_begin(HallwayRowWriter *writer, int ncolumns)
{
	pq_sendint16(&writer->buf, ncolumns);
}

void
hallway_writer_value(HallwayRowWriter *writer, Oid type, Datum value, bool isnull)
{
	int			start = writer->buf.len;
	uint32		len;
	MemoryContext old;

	if (isnull)
	{
		pq_sendint32(&writer->buf, PG_UINT32_MAX);
		return;
	}
	pq_sendint32(&writer->buf, 0);
	old = MemoryContextSwitchTo(writer->scratch);
	write_value(&writer->buf, type, value);
	MemoryContextSwitchTo(old);
	MemoryContextReset(writer->scratch);
	len = pg_hton32((uint32) (writer->buf.len - start - 4));
	memcpy(writer->buf.data + start, &len, 4);
}

void
hallway_writer_data(HallwayRowWriter *writer, const uint8 **data, size_t *len)
{
	*data = (const uint8 *) writer->buf.data;
	*len = writer->buf.len;
}

void
hallway_encode_value(Oid type, Datum value, bool isnull, Hallway__V1__Value *out)
{
	StringInfoData buf;

	hallway__v1__value__init(out);
	out->null = isnull;
	if (isnull)
		return;
	initStringInfo(&buf);
	write_value(&buf, type, value);
	out->binary.data = (uint8 *) buf.data;
	out->binary.len = buf.len;
}

char *
hallway_to_utf8(char *text)
{
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}

/* ---- how a type is written --------------------------------------------------- */

static ValueWriter *
value_writer(Oid type)
{
	ValueWriter *writer;
	bool		found;

	if (value_writers_stale && value_writers != NULL)
	{
		MemoryContextDelete(value_writers_cxt);
		value_writers = NULL;
	}
	if (value_writers == NULL)
	{
		static bool registered = false;
		HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(ValueWriter)};

		if (!registered)
			CacheRegisterSyscacheCallback(TYPEOID, value_writers_invalidate, (Datum) 0);
		registered = true;
		value_writers_cxt = AllocSetContextCreate(TopMemoryContext, "Hallway types",
												  ALLOCSET_SMALL_SIZES);
		ctl.hcxt = value_writers_cxt;
		value_writers = hash_create("Hallway types", 32, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		value_writers_stale = false;
	}

	writer = hash_search(value_writers, &type, HASH_FIND, NULL);
	if (writer == NULL)
	{
		ValueWriter made;

		/* Lookups may throw, or make the table stale: enter it when done. */
		memset(&made, 0, sizeof(made));
		value_writer_init(&made, type);
		writer = hash_search(value_writers, &type, HASH_ENTER, &found);
		*writer = made;
	}
	return writer;
}

/* Only marks: writers may be in use. */
static void
value_writers_invalidate(Datum arg, int cacheid, uint32 hash)
{
	value_writers_stale = true;
}

static void
value_writer_init(ValueWriter *writer, Oid type)
{
	Oid			base = getBaseType(type);
	Oid			function = InvalidOid;
	bool		varlena;

	writer->type = type;
	get_typlenbyvalalign(base, &writer->len, &writer->byval, &writer->align);
	switch (hallway_type_kind(base))
	{
		case HALLWAY__V1__KIND__KIND_BOOL:
			writer->encoder = ENCODE_BOOL;
			return;
		case HALLWAY__V1__KIND__KIND_INT2:
			writer->encoder = ENCODE_2;
			return;
		case HALLWAY__V1__KIND__KIND_INT4:
		case HALLWAY__V1__KIND__KIND_FLOAT4:
		case HALLWAY__V1__KIND__KIND_DATE:
			writer->encoder = ENCODE_4;
			return;
		case HALLWAY__V1__KIND__KIND_INT8:
		case HALLWAY__V1__KIND__KIND_FLOAT8:
		case HALLWAY__V1__KIND__KIND_TIME:
		case HALLWAY__V1__KIND__KIND_TIMESTAMP:
		case HALLWAY__V1__KIND__KIND_TIMESTAMPTZ:
			writer->encoder = ENCODE_8;
			return;
		case HALLWAY__V1__KIND__KIND_UUID:
			writer->encoder = ENCODE_UUID;
			return;
		case HALLWAY__V1__KIND__KIND_TEXT:
		case HALLWAY__V1__KIND__KIND_VARCHAR:
		case HALLWAY__V1__KIND__KIND_BPCHAR:
		case HALLWAY__V1__KIND__KIND_JSON:
			writer->encoder = ENCODE_TEXT;
			return;
		case HALLWAY__V1__KIND__KIND_BYTEA:
			writer->encoder = ENCODE_BYTEA;
			return;
		case HALLWAY__V1__KIND__KIND_JSONB:
			writer->encoder = ENCODE_JSONB;
			return;
		case HALLWAY__V1__KIND__KIND_NUMERIC:
			writer->encoder = ENCODE_SEND;
			getTypeBinaryOutputInfo(base, &function, &varlena);
			break;
		case HALLWAY__V1__KIND__KIND_ENUM:
			writer->encoder = ENCODE_OUTPUT;
			getTypeOutputInfo(base, &function, &varlena);
			break;
		default:
			writer->element = hallway_type_element(base);
			if (OidIsValid(writer->element) &&
				!OidIsValid(hallway_type_element(getBaseType(writer->element))))
			{
				writer->encoder = ENCODE_ARRAY;
				get_typlenbyvalalign(writer->element, &writer->len, &writer->byval, &writer->align);
				return;
			}
			writer->encoder = ENCODE_OUTPUT;
			writer->settings = true;
			getTypeOutputInfo(base, &function, &varlena);
			break;
	}
	fmgr_info_cxt(function, &writer->function, value_writers_cxt);
}

/* ---- values -------------------------------------------------------------------- */

/* Appends a value that is not NULL, without its length. */
static void
write_value(StringInfo buf, Oid type, Datum value)
{
	ValueWriter *writer = value_writer(type);

	switch (writer->encoder)
	{
		case ENCODE_BOOL:
			pq_sendbyte(buf, DatumGetBool(value) ? 1 : 0);
			break;
		case ENCODE_2:
			pq_sendint16(buf, DatumGetInt16(value));
			break;
		case ENCODE_4:
			pq_sendint32(buf, DatumGetInt32(value));
			break;
		case ENCODE_8:
			pq_sendint64(buf, DatumGetInt64(value));
			break;
		case ENCODE_UUID:
			pq_sendbytes(buf, (char *) DatumGetUUIDP(value)->data, UUID_LEN);
			break;
		case ENCODE_TEXT:
			{
				text	   *t = DatumGetTextPP(value);

				write_text(buf, VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
			}
			break;
		case ENCODE_BYTEA:
			{
				bytea	   *b = DatumGetByteaPP(value);

				pq_sendbytes(buf, VARDATA_ANY(b), VARSIZE_ANY_EXHDR(b));
			}
			break;
		case ENCODE_JSONB:
			{
				Jsonb	   *jsonb = DatumGetJsonbP(value);
				char	   *text = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));

				pq_sendbyte(buf, 1);	/* version */
				write_text(buf, text, strlen(text));
			}
			break;
		case ENCODE_SEND:
			{
				bytea	   *b = SendFunctionCall(&writer->function, value);

				pq_sendbytes(buf, VARDATA(b), VARSIZE(b) - VARHDRSZ);
			}
			break;
		case ENCODE_OUTPUT:
			{
				char	   *text = output_value(writer, value);

				write_text(buf, text, strlen(text));
			}
			break;
		case ENCODE_ARRAY:
			write_array(buf, writer, value);
			break;
	}
}

static void
write_text(StringInfo buf, const char *text, int len)
{
	char	   *utf8 = pg_server_to_any(text, len, PG_UTF8);

	pq_sendbytes(buf, utf8, utf8 == text ? len : (int) strlen(utf8));
}

/* In the format of array_send(). */
static void
write_array(StringInfo buf, ValueWriter *writer, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	Oid			element = writer->element;
	Datum	   *items;
	bool	   *nulls;
	int			nitems;

	deconstruct_array(array, element, writer->len, writer->byval, writer->align,
					  &items, &nulls, &nitems);
	pq_sendint32(buf, ARR_NDIM(array));
	pq_sendint32(buf, ARR_HASNULL(array) ? 1 : 0);
	pq_sendint32(buf, element);
	for (int i = 0; i < ARR_NDIM(array); i++)
	{
		pq_sendint32(buf, ARR_DIMS(array)[i]);
		pq_sendint32(buf, ARR_LBOUND(array)[i]);
	}
	for (int i = 0; i < nitems; i++)
	{
		int			start = buf->len;
		uint32		len;

		CHECK_FOR_INTERRUPTS();
		pq_sendint32(buf, nulls[i] ? PG_UINT32_MAX : 0);
		if (nulls[i])
			continue;
		write_value(buf, element, items[i]);
		len = pg_hton32((uint32) (buf->len - start - 4));
		memcpy(buf->data + start, &len, 4);
	}
}

/*
 * A type's text must not depend on the session's settings: the sidecar reads
 * what ISO DateStyle and the like write.
 */
static char *
output_value(ValueWriter *writer, Datum value)
{
	int			level = -1;
	char	   *text;

	if (writer->settings &&
		(DateStyle != USE_ISO_DATES || IntervalStyle != INTSTYLE_POSTGRES || extra_float_digits < 1))
	{
		level = NewGUCNestLevel();
		(void) set_config_option("datestyle", "ISO", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("intervalstyle", "postgres", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("extra_float_digits", "3", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	}
	text = OutputFunctionCall(&writer->function, value);
	if (level >= 0)
		AtEOXact_GUC(true, level);
	return text;
}
