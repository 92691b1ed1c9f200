/*-------------------------------------------------------------------------
 *
 * relation.c
 *		Foreign tables as the sidecar sees them: their definition from the
 *		catalogs, their handle on a connection, and what Describe said.
 *
 * Entries are kept by (relation, server, user). Invalidation callbacks may come
 * at any lock, so they only mark; the next look-up builds a new entry, and the
 * old one stays for the transaction, for those who still hold it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "hallway.h"

/* Options max_age and refresh_every where nobody says otherwise; milliseconds. */
#define DEFAULT_MAX_AGE			(60 * 1000.0)
#define DEFAULT_REFRESH_EVERY	(5 * 60 * 1000.0)

typedef struct RelationKey
{
	Oid			relid;			/* InvalidOid: the server alone */
	Oid			serverid;
	Oid			userid;
} RelationKey;

/* An entry's life: built, perhaps marked stale, then replaced. */
typedef struct RelationInfo
{
	HallwayRelation public;		/* first: what callers hold */
	MemoryContext cxt;
	MemoryContext described;	/* within cxt: what public.description lies in */
	bool		stale;
	uint64		handle;
	uint64		known;			/* generation on which the sidecar has it; 0 */
	uint64		asked;			/* generation whose sidecar described it; 0 */
	const char *address;		/* the server's or wrapper's option, or NULL */
	Hallway__V1__Relation *definition;
	uint32		server_hash;
	uint32		user_hash;
	uint32		schema_hash;
	bool		has_enum;
	int			ntypes;
	uint32	   *type_hashes;	/* of types the columns' descriptions rest on */
} RelationInfo;

typedef struct RelationEntry
{
	RelationKey key;
	RelationInfo *info;
} RelationEntry;

static HTAB *relations = NULL;
static uint64 last_handle = 0;
static uint64 invalidations = 0;

static void relations_init(void);
static RelationInfo *relation_find(Oid relid, Oid serverid, Oid userid);
static RelationInfo *relation_lookup(Oid relid, Oid serverid, Oid userid);
static const char *relation_address(const RelationInfo *info);
static void forget_stale(void);
static RelationInfo *build_info(Oid relid, Oid serverid, Oid userid);
static void define_server(RelationInfo *info, ForeignServer *server);
static void define_table(RelationInfo *info);
static void define_cache(RelationInfo *info, ForeignTable *table);
static double duration_option(ForeignTable *table, ForeignServer *server, const char *name,
							  double otherwise);
static void define_column(RelationInfo *info, Form_pg_attribute att, Hallway__V1__Column *column);
static void note_type(RelationInfo *info, Oid type);
static void describe(RelationInfo *info);
static void check_description(const RelationInfo *info, const Hallway__V1__DescribeResponse *d);
static void check_columns(const RelationInfo *info, const uint32 *columns, size_t n);
static List *user_options(Oid userid, Oid serverid);
static Hallway__V1__Option **encode_options(List *options, Oid catalog, size_t *n);
static void invalidate_syscache(Datum arg, int cacheid, uint32 hash);
static void invalidate_relation(Datum arg, Oid relid);

/* ---- the interface ------------------------------------------------------------ */

HallwayRelation *
hallway_relation(Oid relid, Oid userid)
{
	RelationInfo *info = relation_lookup(relid, GetForeignServerIdByRelId(relid), userid);

	/* A new connection may lead to another version of the sidecar: ask anew. */
	if (info->asked != hallway_channel_generation(info->public.channel))
		describe(info);
	return &info->public;
}

HallwayRelation *
hallway_relation_known(Oid relid, Oid userid)
{
	RelationInfo *info = relation_find(relid, GetForeignServerIdByRelId(relid), userid);

	if (info == NULL || info->public.description == NULL)
		return NULL;
	return &info->public;
}

HallwayRelation *
hallway_relation_standing(Oid relid, Oid userid)
{
	RelationInfo *info = relation_find(relid, GetForeignServerIdByRelId(relid), userid);

	if (info == NULL || info->asked == 0 ||
		info->asked != hallway_channel_standing(relation_address(info)))
		return NULL;
	return &info->public;
}

HallwayRelation *
hallway_relation_server(Oid serverid, Oid userid)
{
	return &relation_lookup(InvalidOid, serverid, userid)->public;
}

ProtobufCMessage *
hallway_relation_call(HallwayRelation *relation, const char *method,
					  ProtobufCMessage *request, Hallway__V1__RelationRef **ref,
					  const ProtobufCMessageDescriptor *answer,
					  bool is_write, Hallway__V1__Error **error)
{
	RelationInfo *info = (RelationInfo *) relation;
	ProtobufCMessage *result;
	uint64		generation = hallway_channel_generation(relation->channel);
	bool		definition = info->known != generation;

	*ref = hallway_relation_ref(relation, definition);
	result = hallway_call(relation->channel, method, request, answer, is_write, error);
	if (result == NULL && !definition && (*error)->unknown_handle)
	{
		*ref = hallway_relation_ref(relation, true);
		definition = true;
		generation = hallway_channel_generation(relation->channel);
		result = hallway_call(relation->channel, method, request, answer, is_write, error);
	}

	/* A call that was made again on a new connection proves it for that one. */
	if (result != NULL && definition)
		info->known = Max(generation, hallway_channel_generation(relation->channel));
	return result;
}

HallwayStream *
hallway_relation_scan(HallwayRelation *relation, Hallway__V1__ScanRequest *request)
{
	RelationInfo *info = (RelationInfo *) relation;
	Hallway__V1__ScanRequest resend = *request;

	resend.relation = hallway_relation_ref(relation, true);
	if (info->known != hallway_channel_generation(relation->channel))
		request->relation = resend.relation;
	else
		request->relation = hallway_relation_ref(relation, false);
	return hallway_stream_open_resend(relation->channel, &request->base, &resend.base);
}

bytea *
hallway_relation_packed(Oid relid, Oid userid)
{
	RelationInfo *info;
	size_t		len;
	bytea	   *result;

	/* What is looked up here may be invalidated meanwhile. */
	if (relations == NULL)
		relations_init();
	info = build_info(relid, GetForeignServerIdByRelId(relid), userid);
	len = protobuf_c_message_get_packed_size(&info->definition->base);
	result = palloc(len + VARHDRSZ);
	SET_VARSIZE(result, len + VARHDRSZ);
	protobuf_c_message_pack(&info->definition->base, (uint8 *) VARDATA(result));
	return result;
}

Hallway__V1__RelationRef *
hallway_relation_ref(HallwayRelation *relation, bool definition)
{
	RelationInfo *info = (RelationInfo *) relation;
	Hallway__V1__RelationRef *ref = palloc(sizeof(Hallway__V1__RelationRef));

	hallway__v1__relation_ref__init(ref);
	ref->handle = info->handle;
	if (definition)
		ref->definition = info->definition;
	return ref;
}

Oid
hallway_scan_user(ForeignScanState *node)
{
	return hallway_compat_scan_user(node);
}

Oid
hallway_modify_user(ResultRelInfo *rinfo, EState *estate)
{
	return hallway_compat_modify_user(rinfo, estate);
}

/* ---- entries ------------------------------------------------------------------- */

static void
relations_init(void)
{
	HASHCTL		ctl = {.keysize = sizeof(RelationKey), .entrysize = sizeof(RelationEntry)};
	const int	caches[] = {FOREIGNSERVEROID, FOREIGNTABLEREL, FOREIGNDATAWRAPPEROID,
		USERMAPPINGOID, TYPEOID, ENUMOID, NAMESPACEOID, AUTHOID};

	relations = hash_create("Hallway relations", 32, &ctl, HASH_ELEM | HASH_BLOBS);
	for (int i = 0; i < (int) lengthof(caches); i++)
		CacheRegisterSyscacheCallback(caches[i], invalidate_syscache, (Datum) 0);
	CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
}

/* The entry that holds, or NULL. */
static RelationInfo *
relation_find(Oid relid, Oid serverid, Oid userid)
{
	RelationKey key;
	RelationEntry *entry;

	if (relations == NULL)
		return NULL;
	memset(&key, 0, sizeof(key));
	key.relid = relid;
	key.serverid = serverid;
	key.userid = userid;
	entry = hash_search(relations, &key, HASH_FIND, NULL);
	return entry == NULL || entry->info->stale ? NULL : entry->info;
}

/* The entry, built if there is none that holds; its channel connected. */
static RelationInfo *
relation_lookup(Oid relid, Oid serverid, Oid userid)
{
	RelationInfo *info = relation_find(relid, serverid, userid);

	if (info == NULL)
	{
		RelationKey key;
		RelationEntry *entry;
		bool		found;

		if (relations == NULL)
			relations_init();
		info = build_info(relid, serverid, userid);
		forget_stale();
		memset(&key, 0, sizeof(key));
		key.relid = relid;
		key.serverid = serverid;
		key.userid = userid;
		entry = hash_search(relations, &key, HASH_ENTER, &found);
		Assert(!found);
		entry->info = info;
		MemoryContextSetParent(info->cxt, TopMemoryContext);
	}

	/* Also where the channel is known: it may have to connect anew. */
	info->public.channel = hallway_channel(relation_address(info));
	return info;
}

/* What no option says is the session's to say. */
static const char *
relation_address(const RelationInfo *info)
{
	return info->address != NULL ? info->address : hallway_address;
}

/*
 * Stale entries leave the table, those of tables that were dropped too; their
 * memory goes with the transaction, whose code may hold them.
 */
static void
forget_stale(void)
{
	HASH_SEQ_STATUS status;
	RelationEntry *entry;

	hash_seq_init(&status, relations);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (entry->info->stale)
		{
			MemoryContextSetParent(entry->info->cxt, TopTransactionContext);
			(void) hash_search(relations, &entry->key, HASH_REMOVE, NULL);
		}
}

/*
 * Reads the definition. An invalidation that comes meanwhile may concern it, and
 * finds no entry to mark: the new one then serves for once only.
 */
static RelationInfo *
build_info(Oid relid, Oid serverid, Oid userid)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "Hallway relation",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	RelationInfo *info = palloc0(sizeof(RelationInfo));

	uint64		before = invalidations;

	info->cxt = cxt;
	info->public.relid = relid;
	info->public.serverid = serverid;
	info->public.userid = userid;
	info->handle = ++last_handle;
	info->definition = palloc(sizeof(Hallway__V1__Relation));
	hallway__v1__relation__init(info->definition);
	define_server(info, GetForeignServer(serverid));
	if (OidIsValid(relid))
		define_table(info);
	info->stale = invalidations != before;
	MemoryContextSwitchTo(old);
	return info;
}

static void
define_server(RelationInfo *info, ForeignServer *server)
{
	Hallway__V1__Relation *definition = info->definition;
	Oid			userid = info->public.userid;

	info->address = hallway_server_address_option(server);
	definition->server_oid = server->serverid;
	definition->server_name = hallway_to_utf8(server->servername);
	definition->server_options = encode_options(server->options, ForeignServerRelationId,
												&definition->n_server_options);
	definition->user_options = encode_options(user_options(userid, server->serverid),
											  UserMappingRelationId, &definition->n_user_options);
	definition->user_name = hallway_to_utf8(GetUserNameFromId(userid, false));
	info->server_hash = GetSysCacheHashValue1(FOREIGNSERVEROID, ObjectIdGetDatum(server->serverid));
	info->user_hash = GetSysCacheHashValue1(AUTHOID, ObjectIdGetDatum(userid));
}

static void
define_table(RelationInfo *info)
{
	Hallway__V1__Relation *definition = info->definition;
	Relation	rel = table_open(info->public.relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	ForeignTable *table = GetForeignTable(RelationGetRelid(rel));
	int			n = 0;

	definition->relation_oid = RelationGetRelid(rel);
	definition->table_name = hallway_to_utf8(pstrdup(RelationGetRelationName(rel)));
	definition->schema_name = hallway_to_utf8(get_namespace_name(RelationGetNamespace(rel)));
	definition->table_options = encode_options(table->options, ForeignTableRelationId,
											   &definition->n_table_options);
	define_cache(info, table);
	info->public.updatable = hallway_boolean_option(table, GetForeignServer(table->serverid),
													"updatable", true);
	info->public.deletes_by_update = hallway_option(table->options, "delete_sets") != NULL;
	info->schema_hash = GetSysCacheHashValue1(NAMESPACEOID,
											  ObjectIdGetDatum(RelationGetNamespace(rel)));

	definition->columns = palloc(desc->natts * sizeof(Hallway__V1__Column *) + 1);
	info->public.attnums = palloc(desc->natts * sizeof(AttrNumber) + 1);
	info->public.columns = palloc(desc->natts * sizeof(int) + 1);
	info->type_hashes = palloc(desc->natts * 4 * sizeof(uint32) + 1);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		info->public.columns[i] = -1;
		if (att->attisdropped)
			continue;
		info->public.columns[i] = n;
		info->public.attnums[n] = att->attnum;
		definition->columns[n] = palloc(sizeof(Hallway__V1__Column));
		define_column(info, att, definition->columns[n]);
		n++;
	}
	definition->n_columns = info->public.ncolumns = n;
	table_close(rel, AccessShareLock);
}

/* The validator has seen the values; one that an older version allowed is as none. */
static void
define_cache(RelationInfo *info, ForeignTable *table)
{
	ForeignServer *server = GetForeignServer(table->serverid);
	HallwayCachePolicy *policy = &info->public.cache;
	Hallway__V1__CachePolicy *message = palloc(sizeof(Hallway__V1__CachePolicy));
	const char *mode = hallway_table_option(table, server, "cache", "read_through");
	const char *scope = hallway_table_option(table, server, "cache_scope", "credential");
	const char *reads = hallway_table_option(table, server, "update_reads", "live");

	policy->mode =
		strcmp(mode, "replica") == 0 ? HALLWAY__V1__CACHE_MODE__CACHE_MODE_REPLICA :
		strcmp(mode, "off") == 0 ? HALLWAY__V1__CACHE_MODE__CACHE_MODE_OFF :
		HALLWAY__V1__CACHE_MODE__CACHE_MODE_READ_THROUGH;
	policy->shared = strcmp(scope, "server") == 0;
	policy->update_reads = strcmp(reads, "cache") == 0;
	policy->max_age_given = hallway_table_option(table, server, "max_age", NULL) != NULL;
	policy->max_age = duration_option(table, server, "max_age", DEFAULT_MAX_AGE);
	policy->refresh_every = duration_option(table, server, "refresh_every",
											DEFAULT_REFRESH_EVERY);
	policy->stale_while_error = duration_option(table, server, "stale_while_error", 0);

	hallway__v1__cache_policy__init(message);
	message->mode = policy->mode;
	message->max_age_ms = policy->max_age;
	message->refresh_every_ms = policy->refresh_every;
	message->shared = policy->shared;
	info->definition->cache = message;
}

static double
duration_option(ForeignTable *table, ForeignServer *server, const char *name,
				double otherwise)
{
	const char *value = hallway_table_option(table, server, name, NULL);
	const char *hint;
	double		result = value != NULL ? hallway_duration(value, &hint) : -1;

	return result >= 0 ? result : otherwise;
}

static void
define_column(RelationInfo *info, Form_pg_attribute att, Hallway__V1__Column *column)
{
	Oid			base = getBaseType(att->atttypid);
	Oid			element = hallway_type_element(base);

	hallway__v1__column__init(column);
	column->name = hallway_to_utf8(pstrdup(NameStr(att->attname)));
	column->type = palloc(sizeof(Hallway__V1__Type));
	hallway_describe_type(att->atttypid, att->atttypmod, column->type);
	column->not_null = att->attnotnull;
	column->generated = att->attgenerated != '\0';
	column->options = encode_options(GetForeignColumnOptions(att->attrelid, att->attnum),
									 AttributeRelationId, &column->n_options);

	note_type(info, att->atttypid);
	note_type(info, base);
	if (OidIsValid(element))
	{
		note_type(info, element);
		note_type(info, getBaseType(element));
	}
	if (column->type->kind == HALLWAY__V1__KIND__KIND_ENUM)
		info->has_enum = true;
}

static void
note_type(RelationInfo *info, Oid type)
{
	uint32		hash = GetSysCacheHashValue1(TYPEOID, ObjectIdGetDatum(type));

	for (int i = 0; i < info->ntypes; i++)
		if (info->type_hashes[i] == hash)
			return;
	info->type_hashes[info->ntypes++] = hash;
}

/* Asks the sidecar what the table can do; errors are this statement's. */
static void
describe(RelationInfo *info)
{
	Hallway__V1__DescribeRequest request = HALLWAY__V1__DESCRIBE_REQUEST__INIT;
	Hallway__V1__Error *error;
	ProtobufCMessage *answer;
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "Hallway description",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);

	answer = hallway_relation_call(&info->public, "Describe", &request.base, &request.relation,
								   &hallway__v1__describe_response__descriptor, false, &error);
	MemoryContextSwitchTo(old);
	if (answer == NULL)
		hallway_throw(error, table_open(info->public.relid, AccessShareLock));
	check_description(info, (const Hallway__V1__DescribeResponse *) answer);

	info->asked = hallway_channel_generation(info->public.channel);
	if (info->described != NULL)
		MemoryContextSetParent(info->described, TopTransactionContext);
	MemoryContextSetParent(cxt, info->cxt);
	info->described = cxt;
	info->public.description = (const Hallway__V1__DescribeResponse *) answer;
}

/* Others use the indexes without looking. */
static void
check_description(const RelationInfo *info, const Hallway__V1__DescribeResponse *d)
{
	check_columns(info, d->key_columns, d->n_key_columns);
	check_columns(info, d->read_only_columns, d->n_read_only_columns);
	check_columns(info, d->unnullable_columns, d->n_unnullable_columns);
	for (size_t i = 0; i < d->n_lookup_keys; i++)
		check_columns(info, d->lookup_keys[i]->columns, d->lookup_keys[i]->n_columns);
}

static void
check_columns(const RelationInfo *info, const uint32 *columns, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (columns[i] >= (uint32) info->public.ncolumns)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("the Hallway sidecar described a column that foreign table \"%s\" does not have",
							info->definition->table_name)));
}

/* ---- options ------------------------------------------------------------------- */

/*
 * Options of the mapping that applies: the user's own, else PUBLIC's. None at
 * all is not an error here, for there are APIs that want no credential.
 */
static List *
user_options(Oid userid, Oid serverid)
{
	HeapTuple	tuple;
	Datum		datum;
	bool		isnull;
	List	   *options = NIL;

	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(userid),
							ObjectIdGetDatum(serverid));
	if (!HeapTupleIsValid(tuple))
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid),
								ObjectIdGetDatum(serverid));
	if (!HeapTupleIsValid(tuple))
		return NIL;
	datum = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
							Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	return options;
}

/* Those that the sidecar is told of: not the shim's own. */
static Hallway__V1__Option **
encode_options(List *options, Oid catalog, size_t *n)
{
	Hallway__V1__Option **result = palloc(list_length(options) * sizeof(*result) + 1);
	ListCell   *lc;

	*n = 0;
	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);
		Hallway__V1__Option *option;

		if (hallway_option_is_ours(def->defname, catalog))
			continue;
		option = palloc(sizeof(Hallway__V1__Option));
		hallway__v1__option__init(option);
		option->name = hallway_to_utf8(pstrdup(def->defname));
		option->value = hallway_to_utf8(pstrdup(defGetString(def)));
		result[(*n)++] = option;
	}
	return result;
}

/* ---- invalidation --------------------------------------------------------------- */

/* Hash 0 means everything. Marks only. */
static void
invalidate_syscache(Datum arg, int cacheid, uint32 hash)
{
	HASH_SEQ_STATUS status;
	RelationEntry *entry;

	invalidations++;
	hash_seq_init(&status, relations);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		RelationInfo *info = entry->info;
		bool		hit = hash == 0;

		switch (cacheid)
		{
			case FOREIGNSERVEROID:
				hit |= info->server_hash == hash;
				break;
			case NAMESPACEOID:
				hit |= info->schema_hash == hash;
				break;
			case AUTHOID:
				hit |= info->user_hash == hash;
				break;
			case ENUMOID:
				hit |= info->has_enum;
				break;
			case TYPEOID:
				for (int i = 0; i < info->ntypes && !hit; i++)
					hit = info->type_hashes[i] == hash;
				break;
			default:

				/*
				 * Mappings (one may have been made where there was none),
				 * tables, wrappers: rare enough to take all.
				 */
				hit = true;
				break;
		}
		if (hit)
			info->stale = true;
	}
}

static void
invalidate_relation(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	RelationEntry *entry;

	invalidations++;
	hash_seq_init(&status, relations);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (!OidIsValid(relid) || entry->key.relid == relid)
			entry->info->stale = true;
}
