/*-------------------------------------------------------------------------
 *
 * cache_functions.c
 *		SQL functions of the cache: those by which people tend it, which ask the
 *		sidecar, and those that the sidecar calls as role hallway.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "foreign/fdwapi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "hallway.h"

PG_FUNCTION_INFO_V1(hallway_refresh);
PG_FUNCTION_INFO_V1(hallway_invalidate);
PG_FUNCTION_INFO_V1(hallway_forget);
PG_FUNCTION_INFO_V1(hallway_wait_for_sync);
PG_FUNCTION_INFO_V1(hallway_resume);
PG_FUNCTION_INFO_V1(hallway_cache_attach);
PG_FUNCTION_INFO_V1(hallway_relation_definition);

static void check_reader(Oid relid);
static void check_owner(Oid relid);
static void check_foreign_table(Oid relid);
static uint64 maintain(Oid relid, Hallway__V1__MaintainRequest *request);


/* ---- for people ------------------------------------------------------------ */

/* hallway.refresh(regclass): reads all rows anew; how many there are. */
Datum
hallway_refresh(PG_FUNCTION_ARGS)
{
	Hallway__V1__MaintainRequest request = HALLWAY__V1__MAINTAIN_REQUEST__INIT;
	Oid			relid = PG_GETARG_OID(0);

	check_reader(relid);
	request.action = HALLWAY__V1__MAINTAIN_ACTION__MAINTAIN_ACTION_REFRESH;
	PG_RETURN_INT64((int64) maintain(relid, &request));
}

/* hallway.invalidate(regclass): what is cached is not used any more. */
Datum
hallway_invalidate(PG_FUNCTION_ARGS)
{
	Hallway__V1__MaintainRequest request = HALLWAY__V1__MAINTAIN_REQUEST__INIT;
	Oid			relid = PG_GETARG_OID(0);

	check_reader(relid);
	request.action = HALLWAY__V1__MAINTAIN_ACTION__MAINTAIN_ACTION_INVALIDATE;
	(void) maintain(relid, &request);
	PG_RETURN_VOID();
}

/* hallway.forget(regclass, VARIADIC text[]): one object leaves all caches. */
Datum
hallway_forget(PG_FUNCTION_ARGS)
{
	Hallway__V1__MaintainRequest request = HALLWAY__V1__MAINTAIN_REQUEST__INIT;
	Oid			relid = PG_GETARG_OID(0);
	Datum	   *values;
	bool	   *nulls;
	int			n;
	HallwayRelation *relation;

	check_owner(relid);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &n);
	relation = hallway_relation(relid, GetUserId());
	if (relation->description->n_key_columns > 0 && relation->description->n_key_columns != (size_t) n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("wrong number of key values for foreign table \"%s\"",
						get_rel_name(relid)),
				 errdetail("Its key has %d, not %d.",
						   (int) relation->description->n_key_columns, n)));
	request.action = HALLWAY__V1__MAINTAIN_ACTION__MAINTAIN_ACTION_FORGET;
	request.key = palloc(sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a key's value must not be null")));
		request.key[request.n_key++] = hallway_to_utf8(TextDatumGetCString(values[i]));
	}
	PG_RETURN_INT64((int64) maintain(relid, &request));
}

/*
 * hallway.wait_for_sync(regclass, interval): returns when the replica shows what
 * the API had when it was called. A procedure: what comes after it in the same
 * transaction then sees it.
 */
Datum
hallway_wait_for_sync(PG_FUNCTION_ARGS)
{
	Hallway__V1__MaintainRequest request = HALLWAY__V1__MAINTAIN_REQUEST__INIT;
	Interval   *timeout;
	double		wait;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("table and timeout must not be null")));
	timeout = PG_GETARG_INTERVAL_P(1);
	wait = ((double) timeout->month * DAYS_PER_MONTH + timeout->day) * SECS_PER_DAY * 1000.0 +
		timeout->time / 1000.0;
	if (!(wait >= 0 && wait <= HALLWAY_MAX_DURATION))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the timeout must be from 0 to 3650 days")));

	check_reader(PG_GETARG_OID(0));
	request.action = HALLWAY__V1__MAINTAIN_ACTION__MAINTAIN_ACTION_SYNC;
	request.wait_ms = (uint64) wait;
	(void) maintain(PG_GETARG_OID(0), &request);
	PG_RETURN_VOID();
}

/* hallway.resume(): background work of the sidecar goes on. */
Datum
hallway_resume(PG_FUNCTION_ARGS)
{
	Hallway__V1__MaintainRequest request = HALLWAY__V1__MAINTAIN_REQUEST__INIT;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to resume background work"),
				 errdetail("Only superusers may, as it was paused for all.")));
	request.action = HALLWAY__V1__MAINTAIN_ACTION__MAINTAIN_ACTION_RESUME;
	(void) maintain(InvalidOid, &request);
	PG_RETURN_VOID();
}

/* Permission to read the whole table. */
static void
check_reader(Oid relid)
{
	AclResult	aclresult;

	check_foreign_table(relid);
	aclresult = pg_class_aclcheck(relid, GetUserId(), ACL_SELECT);
	if (aclresult != ACLCHECK_OK)
		aclcheck_error(aclresult, OBJECT_FOREIGN_TABLE, get_rel_name(relid));
}

static void
check_owner(Oid relid)
{
	check_foreign_table(relid);
	if (!hallway_owns_relation(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_FOREIGN_TABLE, get_rel_name(relid));
}

static void
check_foreign_table(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE ||
		GetFdwRoutineByRelId(relid)->GetForeignPlan != hallwayGetForeignPlan)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a foreign table of Hallway", name)));
}

/*
 * Asks the sidecar, and waits as long as it takes: statement_timeout and cancel
 * end it. InvalidOid: about no relation, of the sidecar of hallway.address.
 */
static uint64
maintain(Oid relid, Hallway__V1__MaintainRequest *request)
{
	Hallway__V1__MaintainResponse *answer;
	Hallway__V1__Error *error = NULL;
	int			nestlevel = NewGUCNestLevel();

	(void) set_config_option("hallway.max_wait", "0", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (OidIsValid(relid))
		answer = (Hallway__V1__MaintainResponse *)
			hallway_relation_call(hallway_relation(relid, GetUserId()), "Maintain",
								  &request->base, &request->relation,
								  &hallway__v1__maintain_response__descriptor, false, &error);
	else
		answer = (Hallway__V1__MaintainResponse *)
			hallway_call(hallway_channel(hallway_address), "Maintain", &request->base,
						 &hallway__v1__maintain_response__descriptor, false, &error);
	if (answer == NULL)
		hallway_throw(error, NULL);
	AtEOXact_GUC(false, nestlevel);
	return answer->rows;
}

/* ---- for the sidecar ------------------------------------------------------- */

/*
 * hallway.cache_attach(regclass, oid): the cache table goes with the foreign
 * table, for whose DROP its owner needs no right on the cache table.
 */
Datum
hallway_cache_attach(PG_FUNCTION_ARGS)
{
	Oid			cache = PG_GETARG_OID(0);
	Oid			relid = PG_GETARG_OID(1);
	ObjectAddress depender;
	ObjectAddress referenced;

	if (!hallway_owns_relation(cache, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(cache));

	/* Against a DROP at the same time, which would leave the cache table behind. */
	LockRelationOid(relid, AccessShareLock);
	check_foreign_table(relid);
	ObjectAddressSet(depender, RelationRelationId, cache);
	ObjectAddressSet(referenced, RelationRelationId, relid);
	recordDependencyOn(&depender, &referenced, DEPENDENCY_AUTO);
	PG_RETURN_VOID();
}

/*
 * hallway.relation_definition(regclass, oid): the table as the contract's
 * Relation, with the user mapping of a role; secret.
 */
Datum
hallway_relation_definition(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);

	LockRelationOid(relid, AccessShareLock);
	check_foreign_table(relid);
	PG_RETURN_BYTEA_P(hallway_relation_packed(relid, PG_GETARG_OID(1)));
}
