/*-------------------------------------------------------------------------
 *
 * types.c
 *		PostgreSQL's types as the contract names them: which kind a type is,
 *		and so in which form its values travel.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "hallway.h"

static void describe_typmod(Hallway__V1__Kind kind, int32 typmod, Hallway__V1__Type *out);
static void describe_labels(Oid type, Hallway__V1__Type *out);

/* The kind of a type that is no domain; arrays are KIND_OTHER here. */
Hallway__V1__Kind
hallway_type_kind(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return HALLWAY__V1__KIND__KIND_BOOL;
		case INT2OID:
			return HALLWAY__V1__KIND__KIND_INT2;
		case INT4OID:
			return HALLWAY__V1__KIND__KIND_INT4;
		case INT8OID:
			return HALLWAY__V1__KIND__KIND_INT8;
		case FLOAT4OID:
			return HALLWAY__V1__KIND__KIND_FLOAT4;
		case FLOAT8OID:
			return HALLWAY__V1__KIND__KIND_FLOAT8;
		case NUMERICOID:
			return HALLWAY__V1__KIND__KIND_NUMERIC;
		case TEXTOID:
			return HALLWAY__V1__KIND__KIND_TEXT;
		case VARCHAROID:
			return HALLWAY__V1__KIND__KIND_VARCHAR;
		case BPCHAROID:
			return HALLWAY__V1__KIND__KIND_BPCHAR;
		case DATEOID:
			return HALLWAY__V1__KIND__KIND_DATE;
		case TIMEOID:
			return HALLWAY__V1__KIND__KIND_TIME;
		case TIMESTAMPOID:
			return HALLWAY__V1__KIND__KIND_TIMESTAMP;
		case TIMESTAMPTZOID:
			return HALLWAY__V1__KIND__KIND_TIMESTAMPTZ;
		case UUIDOID:
			return HALLWAY__V1__KIND__KIND_UUID;
		case JSONOID:
			return HALLWAY__V1__KIND__KIND_JSON;
		case JSONBOID:
			return HALLWAY__V1__KIND__KIND_JSONB;
		case BYTEAOID:
			return HALLWAY__V1__KIND__KIND_BYTEA;
		default:
			return type_is_enum(type) ? HALLWAY__V1__KIND__KIND_ENUM
				: HALLWAY__V1__KIND__KIND_OTHER;
	}
}

/*
 * The element type of an array that travels as one, else InvalidOid. The two
 * vector types look like arrays in the catalog, and are not.
 */
Oid
hallway_type_element(Oid type)
{
	if (type == INT2VECTOROID || type == OIDVECTOROID)
		return InvalidOid;
	return get_element_type(type);
}

void
hallway_describe_type(Oid type, int32 typmod, Hallway__V1__Type *out)
{
	Oid			element;
	Oid			scalar;

	hallway__v1__type__init(out);
	type = getBaseTypeAndTypmod(type, &typmod);
	out->oid = type;
	out->name = format_type_with_typemod(type, typmod);

	scalar = element = hallway_type_element(type);
	if (OidIsValid(element))
	{
		/* An array's typmod is its elements', unless these are a domain. */
		out->array = true;
		out->element_oid = element;
		scalar = getBaseTypeAndTypmod(element, &typmod);
	}
	else
		scalar = type;

	/* An array of arrays cannot be, but for a domain in between: text then. */
	if (out->array && OidIsValid(hallway_type_element(scalar)))
	{
		out->array = false;
		out->element_oid = InvalidOid;
		out->kind = HALLWAY__V1__KIND__KIND_OTHER;
		return;
	}
	out->kind = hallway_type_kind(scalar);
	describe_typmod(out->kind, typmod, out);
	if (out->kind == HALLWAY__V1__KIND__KIND_ENUM)
		describe_labels(scalar, out);
}

static void
describe_typmod(Hallway__V1__Kind kind, int32 typmod, Hallway__V1__Type *out)
{
	if (typmod < (int32) VARHDRSZ)
		return;
	typmod -= VARHDRSZ;
	switch (kind)
	{
		case HALLWAY__V1__KIND__KIND_VARCHAR:
		case HALLWAY__V1__KIND__KIND_BPCHAR:
			out->length = typmod;
			break;
		case HALLWAY__V1__KIND__KIND_NUMERIC:
			/* As numeric.c packs them: the scale has 11 bits and a sign. */
			out->precision = (typmod >> 16) & 0xffff;
			out->scale = ((typmod & 0x7ff) ^ 1024) - 1024;
			break;
		default:
			break;
	}
}

static void
describe_labels(Oid type, Hallway__V1__Type *out)
{
	Relation	rel = table_open(EnumRelationId, AccessShareLock);
	Relation	index = index_open(EnumTypIdSortOrderIndexId, AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	List	   *labels = NIL;
	ListCell   *lc;

	ScanKeyInit(&key, Anum_pg_enum_enumtypid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(type));
	scan = systable_beginscan_ordered(rel, index, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
		labels = lappend(labels, hallway_to_utf8(pstrdup(NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel))));
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);

	out->enum_labels = palloc(list_length(labels) * sizeof(char *) + 1);
	foreach(lc, labels)
		out->enum_labels[out->n_enum_labels++] = lfirst(lc);
}
