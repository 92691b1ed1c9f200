/*-------------------------------------------------------------------------
 *
 * values.c
 *		Values that need more than their bytes: other types, checks, errors.
 *
 * Text is UTF-8 whatever client_encoding says, which is why the types' receive
 * functions are not used where they would convert text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "rows.h"

static Datum decode_array(HallwayRowReader *reader, ValueReader *value,
						  const uint8 *data, uint32 len);
static Datum decode_input(HallwayRowReader *reader, ValueReader *value,
						  const uint8 *data, uint32 len);
static Datum decode_receive(ValueReader *value, const uint8 *data, uint32 len);
static Datum foreign_text(HallwayRowReader *reader, ValueReader *value,
						  const uint8 *data, uint32 len);
static void check_text(const uint8 *data, uint32 len);
static void value_error(void *arg);

/* ---- how a type is read ---------------------------------------------------- */


void
hallway_value_init(ValueReader *value, Oid type, int32 typmod, MemoryContext cxt, bool element)
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
					hallway_value_init(value->element, inner, value->typmod, cxt, true);
					return;
				}
			}
			break;
	}

	/* The function that hallway_decode_slow() calls; a bad value is an error there. */
	if (value->decoder == DECODE_INPUT || value->decoder == DECODE_JSONB)
		getTypeInputInfo(value->type, &function, &value->ioparam);
	else
		getTypeBinaryInputInfo(value->type, &function, &value->ioparam);
	fmgr_info_cxt(function, &value->function, cxt);
}

/* ---- values ------------------------------------------------------------------ */

typedef struct ValueErrorContext
{
	HallwayRowReader *reader;
	ValueReader *value;
} ValueErrorContext;

/*
 * A value for which decode() has no short way: other types, text that is not
 * ASCII, values out of range, domains. Errors tell the column.
 */
Datum
hallway_decode_slow(HallwayRowReader *reader, ValueReader *value,
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
					hallway_malformed_rows("A value is too long.");
				if (len > value->limit)
					result = decode_input(reader, value, data, len);
				else
					result = foreign_text(reader, value, data, len);
				break;
			case DECODE_JSONB:
				if (len < 1 || *data != 1)
					hallway_malformed_rows("A jsonb value has no version 1 before it.");
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
						hallway_malformed_rows(psprintf("A value of type %s has %u bytes instead of %u.",
										   format_type_be(value->type), len, wanted));
					result = hallway_decode_value(reader, value, data, len);
				}
				break;
		}
	if (value->domain)
		domain_check(result, isnull, value->declared, &value->domain_cache, reader->cxt);
	error_context_stack = callback.previous;
	return result;
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
		hallway_malformed_rows("A value is too long.");
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
		hallway_malformed_rows("A value is too long.");
	buf.data = (char *) unconstify(uint8 *, data);
	buf.len = buf.maxlen = len;
	buf.cursor = 0;
	result = ReceiveFunctionCall(&value->function, &buf, value->ioparam, value->typmod);
	if (buf.cursor != buf.len)
		hallway_malformed_rows(psprintf("A value of type %s has bytes left over.", format_type_be(value->type)));
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
		hallway_malformed_rows("An array is shorter than its header.");
	ndim = (int) get32(data);
	if (ndim < 0 || ndim > MAXDIM)
		hallway_malformed_rows("An array has an impossible number of dimensions.");
	if (get32(data + 8) != element->declared)
		hallway_malformed_rows(psprintf("An array's elements are of another type than %s.",
						   format_type_be(element->declared)));
	data += 12;
	if (end - data < ndim * 8)
		hallway_malformed_rows("An array is shorter than its header.");
	for (int i = 0; i < ndim; i++, data += 8)
	{
		dims[i] = (int) get32(data);
		lower[i] = (int) get32(data + 4);
	}
	nitems = ArrayGetNItems(ndim, dims);
	ArrayCheckBounds(ndim, dims, lower);
	if (nitems > (end - data) / 4)
		hallway_malformed_rows("An array has fewer elements than it says.");
	if (nitems == 0)
	{
		if (data != end)
			hallway_malformed_rows("An array has bytes left over.");
		return PointerGetDatum(construct_empty_array(element->declared));
	}

	items = palloc_extended(nitems * sizeof(Datum), MCXT_ALLOC_HUGE);
	nulls = palloc_extended(nitems * sizeof(bool), MCXT_ALLOC_HUGE);
	for (int i = 0; i < nitems; i++)
	{
		uint32		itemlen;

		if (end - data < 4)
			hallway_malformed_rows("An array ends within its elements.");
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
			hallway_malformed_rows("An array's element is longer than the array.");
		items[i] = element->domain ? hallway_decode_slow(reader, element, data, itemlen, false)
			: hallway_decode_value(reader, element, data, itemlen);
		data += itemlen;
	}
	if (data != end)
		hallway_malformed_rows("An array has bytes left over.");
	return PointerGetDatum(construct_md_array(items, nulls, ndim, dims, lower, element->declared,
											  element->len, element->byval, element->align));
}

void
hallway_malformed_rows(const char *detail)
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
