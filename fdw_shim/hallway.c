/*-------------------------------------------------------------------------
 *
 * hallway.c
 *		Where PostgreSQL comes in: the module's start, its settings, and the
 *		handler, which is the table of contents of everything else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_foreign_server.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "compat.h"
#include "hallway.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(hallway_fdw_handler);
PG_FUNCTION_INFO_V1(hallway_sidecar_version);

char	   *hallway_address;
int			hallway_connect_timeout;
int			hallway_max_wait;
bool		hallway_allow_inline_secrets;
double		hallway_max_age;
int			hallway_read_from;
int			hallway_on_rollback;
int			hallway_write_at;
bool		hallway_dry_run;
int			hallway_max_queued;

static const struct config_enum_entry read_from_options[] = {
	{"auto", READ_FROM_AUTO, false},
	{"cache", READ_FROM_CACHE, false},
	{NULL, 0, false}
};

static const struct config_enum_entry on_rollback_options[] = {
	{"auto", ON_ROLLBACK_AUTO, false},
	{"keep", ON_ROLLBACK_KEEP, false},
	{"compensate", ON_ROLLBACK_COMPENSATE, false},
	{NULL, 0, false}
};

static const struct config_enum_entry write_at_options[] = {
	{"auto", WRITE_AT_AUTO, false},
	{"statement", WRITE_AT_STATEMENT, false},
	{"commit", WRITE_AT_COMMIT, false},
	{"after_commit", WRITE_AT_AFTER_COMMIT, false},
	{NULL, 0, false}
};

static bool check_address(char **newval, void **extra, GucSource source);
static void define_settings(void);

/* Called when the library is loaded. (Newer versions declare it themselves.) */
extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	define_settings();
	hallway_xact_init();
	hallway_import_init();
	hallway_cache_cost_init();
	hallway_modify_queue_init();
	hallway_whole_init();
}

Datum
hallway_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	/* Planning: plan.c, paths.c; what may be pushed: quals.c; groups: upper.c */
	routine->GetForeignRelSize = hallwayGetForeignRelSize;
	routine->GetForeignPaths = hallwayGetForeignPaths;
	routine->GetForeignPlan = hallwayGetForeignPlan;
	routine->GetForeignUpperPaths = hallwayGetForeignUpperPaths;

	/* Reading: scan.c, with fetch.c, rows.c and channel.c below it */
	routine->BeginForeignScan = hallwayBeginForeignScan;
	routine->IterateForeignScan = hallwayIterateForeignScan;
	routine->RecheckForeignScan = hallwayRecheckForeignScan;
	routine->ReScanForeignScan = hallwayReScanForeignScan;
	routine->EndForeignScan = hallwayEndForeignScan;

	/* Several scans at once under one Append: async.c */
	routine->IsForeignPathAsyncCapable = hallwayIsForeignPathAsyncCapable;
	routine->ForeignAsyncRequest = hallwayForeignAsyncRequest;
	routine->ForeignAsyncConfigureWait = hallwayForeignAsyncConfigureWait;
	routine->ForeignAsyncNotify = hallwayForeignAsyncNotify;

	/* Writing: modify.c and its neighbours; COMMIT and ROLLBACK: xact.c */
	routine->IsForeignRelUpdatable = hallwayIsForeignRelUpdatable;
	routine->AddForeignUpdateTargets = hallwayAddForeignUpdateTargets;
	routine->PlanForeignModify = hallwayPlanForeignModify;
	routine->BeginForeignModify = hallwayBeginForeignModify;
	routine->ExecForeignInsert = hallwayExecForeignInsert;
	routine->ExecForeignBatchInsert = hallwayExecForeignBatchInsert;
	routine->GetForeignModifyBatchSize = hallwayGetForeignModifyBatchSize;
	routine->ExecForeignUpdate = hallwayExecForeignUpdate;
	routine->ExecForeignDelete = hallwayExecForeignDelete;
	routine->EndForeignModify = hallwayEndForeignModify;
	routine->BeginForeignInsert = hallwayBeginForeignInsert;
	routine->EndForeignInsert = hallwayEndForeignInsert;

	/* Looking: explain.c, analyze.c, import.c */
	routine->ExplainForeignScan = hallwayExplainForeignScan;
	routine->ExplainForeignModify = hallwayExplainForeignModify;
	routine->AnalyzeForeignTable = hallwayAnalyzeForeignTable;
	routine->ImportForeignSchema = hallwayImportForeignSchema;

	PG_RETURN_POINTER(routine);
}

/* The settings. Those that decide whom a backend talks to are a superuser's. */
static void
define_settings(void)
{
	DefineCustomStringVariable("hallway.address",
							   "Where the sidecar listens.",
							   "Servers with an option \"address\" have their own.",
							   &hallway_address,
							   "unix:/run/hallway/hallway.sock",
							   PGC_SUSET, 0,
							   check_address, NULL, NULL);

	DefineCustomIntVariable("hallway.connect_timeout",
							"How long to wait for a connection to the sidecar.",
							NULL,
							&hallway_connect_timeout,
							5000, 1, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("hallway.max_wait",
							"How long to wait for an answer of an API before giving up.",
							"Bounds every call that has no statement_timeout; 0 waits for ever.",
							&hallway_max_wait,
							30000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("hallway.allow_inline_secrets",
							 "Whether user mappings may hold credentials themselves.",
							 "If off, they may only name one in the sidecar's secret store, by the option \"secret\".",
							 &hallway_allow_inline_secrets,
							 true,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomRealVariable("hallway.max_age",
							 "How old cached rows may be.",
							 "-1: what the option max_age of each table says; 0: the API is read, and what it answers kept.",
							 &hallway_max_age,
							 -1, -1, HALLWAY_MAX_DURATION,
							 PGC_USERSET, GUC_UNIT_MS,
							 NULL, NULL, NULL);

	DefineCustomEnumVariable("hallway.read_from",
							 "Where rows are read from.",
							 "With \"cache\" they are read from the cache whatever their age, and what is not there is an error: the API is never called.",
							 &hallway_read_from,
							 READ_FROM_AUTO, read_from_options,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	DefineCustomEnumVariable("hallway.on_rollback",
							 "What a ROLLBACK does about rows that were written in an API already.",
							 "keep: a WARNING says that they stand there; compensate: they are undone there. auto: what the option on_rollback of each table says.",
							 &hallway_on_rollback,
							 ON_ROLLBACK_AUTO, on_rollback_options,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	DefineCustomEnumVariable("hallway.write_at",
							 "When an API is called for a written row.",
							 "statement: at once; commit: just before the transaction commits; after_commit: when it has, in the background, with retries. auto: what the option write_at of each table says.",
							 &hallway_write_at,
							 WRITE_AT_AUTO, write_at_options,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	DefineCustomBoolVariable("hallway.dry_run",
							 "Shows what would be written in an API, and does not write it.",
							 "Each request is a NOTICE; rows count as written, and RETURNING shows them as they were given.",
							 &hallway_dry_run,
							 false,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("hallway.max_queued",
							"How much may wait for the commit of one transaction where write_at is commit.",
							NULL,
							&hallway_max_queued,
							65536, 64, MAX_KILOBYTES,
							PGC_USERSET, GUC_UNIT_KB,
							NULL, NULL, NULL);

	MarkGUCPrefixReserved("hallway");
}

static bool
check_address(char **newval, void **extra, GucSource source)
{
	const char *problem = hallway_check_address(*newval);

	if (problem == NULL)
		return true;
	GUC_check_errdetail("%s", problem);
	return false;
}

/*
 * hallway.sidecar_version(server name): proves that the sidecar is there and
 * talks to this shim. Needs USAGE on the server, as CREATE FOREIGN TABLE does.
 */
Datum
hallway_sidecar_version(PG_FUNCTION_ARGS)
{
	ForeignServer *server = GetForeignServerByName(NameStr(*PG_GETARG_NAME(0)), false);
	AclResult	aclresult = hallway_server_aclcheck(server->serverid, GetUserId(), ACL_USAGE);

	if (aclresult != ACLCHECK_OK)
		aclcheck_error(aclresult, OBJECT_FOREIGN_SERVER, server->servername);
	if (GetFdwRoutineByServerId(server->serverid)->GetForeignPlan != hallwayGetForeignPlan)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not one of Hallway's", server->servername)));

	PG_RETURN_TEXT_P(cstring_to_text(
						 hallway_channel_sidecar_version(
							 hallway_channel(hallway_server_address(server)))));
}
