/*-------------------------------------------------------------------------
 *
 * cache_region.c
 *		What the cache holds: the canonical form of conditions, and the lookup
 *		of cache tables and their regions.
 *
 * The sidecar's registry is read by index under the snapshot under which the
 * cache table is read afterwards. A merge commits rows and region together, so
 * whoever sees the region sees its rows. Nobody needs a grant for it: who may
 * read the foreign table was checked before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "cache.h"
#include "compat.h"

/* Columns of the registry, as the extension's script makes them. */
enum CacheTablesColumn
{
	TABLES_ID = 1,
	TABLES_RELID,
	TABLES_ACCOUNT,
	TABLES_CACHE_RELID,
	TABLES_SHAPE,
	TABLES_REPLICA = 8,
	TABLES_AS_OF
};

enum CacheRegionsColumn
{
	REGIONS_CACHE_ID = 1,
	REGIONS_HASH,
	REGIONS_PREDICATE,
	REGIONS_COLUMNS,
	REGIONS_FETCHED_AT,
	REGIONS_SHOWN = 10
};

/* A table of the registry, and the index on its first two keys. */
typedef struct StateTable
{
	Oid			relid;
	Oid			index;
} StateTable;

/* They lie in the handler's schema, where only its owner can make any. */
static struct
{
	bool		known;			/* until an invalidation */
	bool		registered;		/* the callback */
	StateTable	tables;
	StateTable	regions;
} state;

static const Hallway__V1__Type *common_type(const Hallway__V1__Type *type);
static bool is_integer(Oid type);
static bool find_state(Oid serverid);
static bool find_state_table(Oid schema, const char *name, int key1, int key2, StateTable *out);
static void forget_state(Datum arg, Oid relid);
static bool same_columns(HallwayRelation *relation, Relation rel, Oid cache_relid,
						 const char **why);
static bool covers(Datum columns, Bitmapset *needed);
static int	compare_bytes(const void *a, const void *b, void *arg);
static void append_length(StringInfo buf, uint32 length);
static bytea *finish_bytes(StringInfo buf);


/* ---- conditions ------------------------------------------------------------ */

/*
 * The expression as it travels, with its parameters numbered from 0 and without
 * values, so that it does not depend on what else is in the query. Integers of
 * all widths are one, and so are texts: id = 1 and id = $1 ask for the same.
 */
bytea *
hallway_conjunct_shape(Hallway__V1__Expr *expr, List *parameters)
{
	Hallway__V1__Parameter *saved = palloc(sizeof(*saved) * Max(list_length(parameters), 1));
	size_t		len;
	bytea	   *result;
	ListCell   *lc;

	foreach(lc, parameters)
	{
		Hallway__V1__Parameter *parameter = lfirst(lc);

		saved[foreach_current_index(lc)] = *parameter;
		parameter->index = foreach_current_index(lc);
		parameter->known = false;
		parameter->value = NULL;
		parameter->type = (Hallway__V1__Type *) common_type(parameter->type);
	}
	len = protobuf_c_message_get_packed_size(&expr->base);
	result = palloc(len + VARHDRSZ);
	SET_VARSIZE(result, len + VARHDRSZ);
	protobuf_c_message_pack(&expr->base, (uint8 *) VARDATA(result));
	foreach(lc, parameters)
		*(Hallway__V1__Parameter *) lfirst(lc) = saved[foreach_current_index(lc)];
	pfree(saved);
	return result;
}

/* The type as which a parameter's values are compared. */
static const Hallway__V1__Type *
common_type(const Hallway__V1__Type *type)
{
	static Hallway__V1__Type integer = HALLWAY__V1__TYPE__INIT;
	static Hallway__V1__Type text = HALLWAY__V1__TYPE__INIT;

	integer.kind = HALLWAY__V1__KIND__KIND_INT8;
	integer.oid = INT8OID;
	text.kind = HALLWAY__V1__KIND__KIND_TEXT;
	text.oid = TEXTOID;
	if (type->array)
		return type;
	switch (type->kind)
	{
		case HALLWAY__V1__KIND__KIND_INT2:
		case HALLWAY__V1__KIND__KIND_INT4:
		case HALLWAY__V1__KIND__KIND_INT8:
			return &integer;
		case HALLWAY__V1__KIND__KIND_TEXT:
		case HALLWAY__V1__KIND__KIND_VARCHAR:
			return &text;
		default:
			return type;
	}
}

bytea *
hallway_conjunct_bytes(const bytea *shape, Hallway__V1__Value **parameters, List *exprs,
					   int first, int count)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoSpaces(&buf, VARHDRSZ);
	append_length(&buf, VARSIZE_ANY_EXHDR(shape));
	appendBinaryStringInfo(&buf, VARDATA_ANY(shape), VARSIZE_ANY_EXHDR(shape));
	for (int i = first; i < first + count; i++)
	{
		const Hallway__V1__Value *value = parameters[i];
		int			widened = 0;

		if (!value->null && value->binary.len > 0 && value->binary.len < sizeof(int64) &&
			is_integer(exprType(list_nth(exprs, i))))
			widened = sizeof(int64) - value->binary.len;
		appendStringInfoCharMacro(&buf, value->null ? 1 : 0);
		append_length(&buf, value->binary.len + widened);
		/* In network order: the sign comes first. */
		for (int j = 0; j < widened; j++)
			appendStringInfoCharMacro(&buf, value->binary.data[0] & 0x80 ? 0xff : 0);
		appendBinaryStringInfo(&buf, (char *) value->binary.data, value->binary.len);
	}
	return finish_bytes(&buf);
}

static bool
is_integer(Oid type)
{
	type = getBaseType(type);
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

/* Fills in the order, in which a query's conditions have no place of their own. */
void
hallway_sort_conjuncts(HallwayConjuncts *conjuncts)
{
	conjuncts->order = palloc(sizeof(int) * Max(conjuncts->n, 1));
	for (int i = 0; i < conjuncts->n; i++)
		conjuncts->order[i] = i;
	if (conjuncts->n > 1)
		qsort_arg(conjuncts->order, conjuncts->n, sizeof(int), compare_bytes, conjuncts);
}

/* Each with its length before it, sorted, equal ones once. None: no bytes. */
bytea *
hallway_predicate(const HallwayConjuncts *conjuncts, uint32 mask, int64 *hash)
{
	StringInfoData buf;
	const bytea *last = NULL;
	bytea	   *result;

	initStringInfo(&buf);
	appendStringInfoSpaces(&buf, VARHDRSZ);
	for (int i = 0; i < conjuncts->n; i++)
	{
		const bytea *bytes = conjuncts->bytes[conjuncts->order[i]];

		if ((mask & ((uint32) 1 << conjuncts->order[i])) == 0)
			continue;
		if (last != NULL && VARSIZE(last) == VARSIZE(bytes) &&
			memcmp(last, bytes, VARSIZE(bytes)) == 0)
			continue;
		append_length(&buf, VARSIZE(bytes) - VARHDRSZ);
		appendBinaryStringInfo(&buf, VARDATA(bytes), VARSIZE(bytes) - VARHDRSZ);
		last = bytes;
	}
	result = finish_bytes(&buf);
	*hash = (int64) hash_bytes_extended((unsigned char *) VARDATA(result),
										VARSIZE(result) - VARHDRSZ, 0);
	return result;
}

static int
compare_bytes(const void *a, const void *b, void *arg)
{
	const HallwayConjuncts *conjuncts = arg;
	const bytea *x = conjuncts->bytes[*(const int *) a];
	const bytea *y = conjuncts->bytes[*(const int *) b];
	int			result = memcmp(VARDATA(x), VARDATA(y),
								Min(VARSIZE(x), VARSIZE(y)) - VARHDRSZ);

	if (result == 0)
		result = VARSIZE(x) < VARSIZE(y) ? -1 : VARSIZE(x) > VARSIZE(y);
	return result;
}

/* In network order: regions outlive this server's machine, in a backup. */
static void
append_length(StringInfo buf, uint32 length)
{
	uint8		bytes[4] = {length >> 24, length >> 16, length >> 8, length};

	appendBinaryStringInfo(buf, (char *) bytes, sizeof(bytes));
}

/* What was written behind room for a header, as a bytea. */
static bytea *
finish_bytes(StringInfo buf)
{
	SET_VARSIZE(buf->data, buf->len);
	return (bytea *) buf->data;
}

/* ---- the registry ---------------------------------------------------------- */

bool
hallway_cache_table(HallwayRelation *relation, Relation rel, Snapshot snapshot,
					HallwayCacheTable *out, const char **why)
{
	const Hallway__V1__DescribeResponse *description = relation->description;
	bytea	   *account = palloc(description->cache_account.len + VARHDRSZ);
	Relation	tables;
	SysScanDesc scan;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	bool		found = false;
	bool		fits = false;

	out->serverid = relation->serverid;
	*why = "nothing is cached yet";
	if (!find_state(relation->serverid) ||
		(tables = try_table_open(state.tables.relid, AccessShareLock)) == NULL)
		return false;

	SET_VARSIZE(account, description->cache_account.len + VARHDRSZ);
	memcpy(VARDATA(account), description->cache_account.data, description->cache_account.len);
	ScanKeyInit(&keys[0], TABLES_RELID, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relation->relid));
	ScanKeyInit(&keys[1], TABLES_ACCOUNT, BTEqualStrategyNumber, F_BYTEAEQ,
				PointerGetDatum(account));
	scan = systable_beginscan(tables, state.tables.index, true, snapshot, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		TupleDesc	desc = RelationGetDescr(tables);
		bool		isnull;
		bytea	   *shape = DatumGetByteaPP(heap_getattr(tuple, TABLES_SHAPE, desc, &isnull));
		Datum		as_of;

		found = true;
		fits = description->cache_shape.len == 0 ||
			(VARSIZE_ANY_EXHDR(shape) == description->cache_shape.len &&
			 memcmp(VARDATA_ANY(shape), description->cache_shape.data,
					description->cache_shape.len) == 0);
		out->id = DatumGetInt64(heap_getattr(tuple, TABLES_ID, desc, &isnull));
		out->relid = DatumGetObjectId(heap_getattr(tuple, TABLES_CACHE_RELID, desc, &isnull));
		out->replica = DatumGetBool(heap_getattr(tuple, TABLES_REPLICA, desc, &isnull));
		as_of = heap_getattr(tuple, TABLES_AS_OF, desc, &isnull);
		out->whole = out->replica && !isnull;
		out->as_of = isnull ? 0 : DatumGetTimestampTz(as_of);
	}
	systable_endscan(scan);
	table_close(tables, AccessShareLock);
	if (!found)
		return false;
	if (!fits)
	{
		*why = "the table has changed since it was cached";
		return false;
	}

	LockRelationOid(out->relid, AccessShareLock);
	return same_columns(relation, rel, out->relid, why);
}

bool
hallway_cache_region(const HallwayCacheTable *table, Bitmapset *needed,
					 const HallwayConjuncts *conjuncts, uint32 mask,
					 Snapshot snapshot, bool describe, HallwayRegion *out)
{
	int64		hash;
	bytea	   *predicate = hallway_predicate(conjuncts, mask, &hash);
	Relation	regions;
	SysScanDesc scan;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	bool		found = false;

	/* On a standby they cannot be read. */
	if (RecoveryInProgress() || !find_state(table->serverid) ||
		(regions = try_table_open(state.regions.relid, AccessShareLock)) == NULL)
		return false;

	ScanKeyInit(&keys[0], REGIONS_CACHE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(table->id));
	ScanKeyInit(&keys[1], REGIONS_HASH, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(hash));
	scan = systable_beginscan(regions, state.regions.index, true, snapshot, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		TupleDesc	desc = RelationGetDescr(regions);
		bool		isnull;
		bytea	   *stored = DatumGetByteaPP(heap_getattr(tuple, REGIONS_PREDICATE, desc, &isnull));

		if (VARSIZE_ANY_EXHDR(stored) == VARSIZE(predicate) - VARHDRSZ &&
			memcmp(VARDATA_ANY(stored), VARDATA(predicate), VARSIZE_ANY_EXHDR(stored)) == 0 &&
			covers(heap_getattr(tuple, REGIONS_COLUMNS, desc, &isnull), needed))
		{
			found = true;
			out->mask = mask;
			out->hash = hash;
			out->all_rows = mask == 0;
			out->fetched_at =
				DatumGetTimestampTz(heap_getattr(tuple, REGIONS_FETCHED_AT, desc, &isnull));
			out->shown = describe ?
				TextDatumGetCString(heap_getattr(tuple, REGIONS_SHOWN, desc, &isnull)) : NULL;
		}
	}
	systable_endscan(scan);
	table_close(regions, AccessShareLock);
	return found;
}

/* Whether all of needed is among the positions, from 1, in an int2[]. */
static bool
covers(Datum columns, Bitmapset *needed)
{
	ArrayType  *array = DatumGetArrayTypeP(columns);
	int			n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	int16	   *positions = (int16 *) ARR_DATA_PTR(array);
	Bitmapset  *held = NULL;

	if (ARR_HASNULL(array) || ARR_ELEMTYPE(array) != INT2OID)
		return false;
	for (int i = 0; i < n; i++)
	{
		if (positions[i] > 0)
			held = bms_add_member(held, positions[i] - 1);
	}
	return bms_is_subset(needed, held);
}

/*
 * Whether the cache table's rows can stand for the foreign table's. Names, too:
 * they are what a column's field is found by.
 */
static bool
same_columns(HallwayRelation *relation, Relation rel, Oid cache_relid, const char **why)
{
	Relation	cache = try_relation_open(cache_relid, NoLock);
	TupleDesc	ours = RelationGetDescr(rel);
	bool		same;

	if (cache == NULL)
	{
		*why = "the cache table is gone";
		return false;
	}
	*why = "the cache table has other columns";
	same = (cache->rd_rel->relkind == RELKIND_RELATION ||
			cache->rd_rel->relkind == RELKIND_PARTITIONED_TABLE) &&
		RelationGetNumberOfAttributes(cache) == relation->ncolumns;
	for (int i = 0; same && i < relation->ncolumns; i++)
	{
		Form_pg_attribute a = TupleDescAttr(RelationGetDescr(cache), i);
		Form_pg_attribute b = TupleDescAttr(ours, relation->attnums[i] - 1);

		same = !a->attisdropped && a->atttypid == b->atttypid &&
			a->atttypmod == b->atttypmod && a->attcollation == b->attcollation &&
			strcmp(NameStr(a->attname), NameStr(b->attname)) == 0;
	}
	if (same && RecoveryInProgress() && !RelationIsPermanent(cache))
	{
		*why = "a standby has replicas only";
		same = false;
	}
	relation_close(cache, NoLock);
	return same;
}

/* False: the extension's script is of a version that had no cache. */
static bool
find_state(Oid serverid)
{
	Oid			schema;

	if (state.known)
		return true;
	if (!state.registered)
		CacheRegisterRelcacheCallback(forget_state, (Datum) 0);
	state.registered = true;

	schema = get_func_namespace(
								GetForeignDataWrapper(GetForeignServer(serverid)->fdwid)->fdwhandler);
	do
	{
		/* An invalidation that comes from here on unmakes it. */
		state.known = true;
		if (!find_state_table(schema, "cache_tables", TABLES_RELID, TABLES_ACCOUNT,
							  &state.tables) ||
			!find_state_table(schema, "cache_regions", REGIONS_CACHE_ID, REGIONS_HASH,
							  &state.regions))
		{
			state.known = false;
			return false;
		}
	} while (!state.known);
	return true;
}

static bool
find_state_table(Oid schema, const char *name, int key1, int key2, StateTable *out)
{
	Relation	rel;
	ListCell   *lc;

	out->relid = get_relname_relid(name, schema);
	out->index = InvalidOid;
	if (!OidIsValid(out->relid) ||
		(rel = try_table_open(out->relid, AccessShareLock)) == NULL)
		return false;
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (form->indisvalid && form->indisunique && form->indnkeyatts == 2 &&
			form->indkey.values[0] == key1 && form->indkey.values[1] == key2)
			out->index = RelationGetRelid(index);
		index_close(index, AccessShareLock);
	}
	table_close(rel, AccessShareLock);
	return OidIsValid(out->index);
}

static void
forget_state(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == state.tables.relid || relid == state.regions.relid)
		state.known = false;
}
