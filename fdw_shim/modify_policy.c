/*-------------------------------------------------------------------------
 *
 * modify_policy.c
 *		How a table is written: what settings and options say, and whether that
 *		can be done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#include "compat.h"
#include "hallway.h"
#include "modify.h"

static AttrNumber find_column(Relation rel, const char *name, const char *option);
static void parse_delete_sets(Relation rel, const char *value, HallwayWritePolicy *out);
static void delete_sets_context(void *arg);


/* The validator has seen the values; one that an older version allowed is as none. */
void
hallway_write_policy(Relation rel, HallwayWritePolicy *out)
{
	ForeignTable *table = GetForeignTable(RelationGetRelid(rel));
	ForeignServer *server = GetForeignServer(table->serverid);
	const char *write_at = hallway_table_option(table, server, "write_at", "statement");
	const char *on_rollback = hallway_table_option(table, server, "on_rollback", "keep");
	const char *batch_size = hallway_table_option(table, server, "batch_size", NULL);
	const char *upsert_key = hallway_option(table->options, "upsert_key");
	const char *delete_sets = hallway_option(table->options, "delete_sets");
	List	   *names;
	ListCell   *lc;

	memset(out, 0, sizeof(*out));
	if (hallway_write_at != WRITE_AT_AUTO)
		out->write_at = hallway_write_at;
	else
		out->write_at =
			strcmp(write_at, "commit") == 0 ? WRITE_AT_COMMIT :
			strcmp(write_at, "after_commit") == 0 ? WRITE_AT_AFTER_COMMIT :
			WRITE_AT_STATEMENT;
	out->compensate = hallway_on_rollback != ON_ROLLBACK_AUTO ?
		hallway_on_rollback == ON_ROLLBACK_COMPENSATE : strcmp(on_rollback, "compensate") == 0;
	out->journal = hallway_boolean_option(table, server, "journal", true);
	out->journal_values = hallway_boolean_option(table, server, "journal_values", true);
	out->dry_run = hallway_dry_run;

	if (batch_size != NULL && parse_int(batch_size, &out->batch_size, 0, NULL))
		out->batch_size = Min(Max(out->batch_size, 1), HALLWAY_MAX_BATCH);
	if (upsert_key != NULL && SplitIdentifierString(pstrdup(upsert_key), ',', &names))
	{
		foreach(lc, names)
			out->upsert_key = list_append_unique_int(out->upsert_key,
													 find_column(rel, lfirst(lc), "upsert_key"));
	}
	if (delete_sets != NULL)
		parse_delete_sets(rel, delete_sets, out);
}

static void
parse_delete_sets(Relation rel, const char *value, HallwayWritePolicy *out)
{
	const char *text;
	const char *name = hallway_delete_sets(value, &text);
	Form_pg_attribute att;
	Oid			function;
	Oid			ioparam;
	ErrorContextCallback context = {.previous = error_context_stack,
		.callback = delete_sets_context,.arg = rel};

	if (name == NULL)
		return;
	out->delete_column = find_column(rel, name, "delete_sets");
	att = TupleDescAttr(RelationGetDescr(rel), out->delete_column - 1);
	getTypeInputInfo(att->atttypid, &function, &ioparam);
	error_context_stack = &context;
	out->delete_value = OidInputFunctionCall(function, pstrdup(text), ioparam, att->atttypmod);
	error_context_stack = context.previous;
}

static void
delete_sets_context(void *arg)
{
	errcontext("value in the option \"delete_sets\" of foreign table \"%s\"",
			   RelationGetRelationName((Relation) arg));
}

static AttrNumber
find_column(Relation rel, const char *name, const char *option)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);

	if (attnum <= 0 || TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attgenerated)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 attnum > 0 ?
				 errmsg("column \"%s\" of foreign table \"%s\" is a generated one",
						name, RelationGetRelationName(rel)) :
				 errmsg("column \"%s\" of foreign table \"%s\" does not exist",
						name, RelationGetRelationName(rel)),
				 errdetail("The table's option \"%s\" names it.", option),
				 errhint("Change it with ALTER FOREIGN TABLE ... OPTIONS (SET %s '...').", option)));
	return attnum;
}

void
hallway_check_policy(const HallwayWritePolicy *policy, Relation rel,
					 CmdType command, bool returning)
{
	const char *name = RelationGetRelationName(rel);
	bool		changes = command != CMD_INSERT || policy->upsert_key != NIL;

	if (policy->dry_run)
		return;
	if (policy->write_at != WRITE_AT_STATEMENT && returning)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("RETURNING is not supported on foreign table \"%s\" while write_at is %s",
						name, policy->write_at == WRITE_AT_COMMIT ? "commit" : "after_commit"),
				 errdetail("The API is called when the statement is long over."),
				 errhint("Leave RETURNING out, or SET LOCAL hallway.write_at = 'statement'.")));
	if (policy->write_at == WRITE_AT_AFTER_COMMIT && !(policy->journal && policy->journal_values))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot write to foreign table \"%s\" after the commit: the journal may not hold its rows",
						name),
				 errdetail("The option \"%s\" of the table or its server is false.",
						   policy->journal ? "journal_values" : "journal"),
				 errhint("Set it to true, or write_at to \"statement\" or \"commit\".")));
	if (policy->compensate && policy->write_at != WRITE_AT_AFTER_COMMIT &&
		!(policy->journal && (policy->journal_values || !changes)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a rollback could not undo the write to foreign table \"%s\"", name),
				 policy->journal ?
				 errdetail("The option \"journal_values\" of the table or its server is false, so nothing keeps the rows as they were before.") :
				 errdetail("The option \"journal\" of the table or its server is false, so nothing keeps what was written."),
				 errhint("Set it to true, or on_rollback to \"keep\".")));
}

int
hallway_batch_rows(const HallwayWritePolicy *policy, const HallwayRelation *relation,
				   CmdType command)
{
	const Hallway__V1__DescribeResponse *description = relation->description;
	uint32		rows;

	if (policy->batch_size > 0)
		return policy->batch_size;
	switch (command)
	{
		case CMD_INSERT:
			rows = policy->upsert_key != NIL ? description->upsert_rows : description->insert_rows;
			break;
		case CMD_DELETE:
			if (policy->delete_column == 0)
			{
				rows = description->delete_rows;
				break;
			}
			/* FALLTHROUGH */
		default:
			rows = description->update_rows;
			break;
	}
	return Min(Max(rows, 1), HALLWAY_MAX_BATCH);
}
