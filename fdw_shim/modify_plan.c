/*-------------------------------------------------------------------------
 *
 * modify_plan.c
 *		INSERT, UPDATE and DELETE in planning: what may be written, which
 *		columns are sent and wanted back, what identifies a row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "optimizer/appendinfo.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "hallway.h"
#include "modify.h"

/* Elements of fdw_private, in order. */
enum ModifyPrivate
{
	MODIFY_KEYS,
	MODIFY_COLUMNS,
	MODIFY_RETURNING,
	MODIFY_DO_NOTHING,
	MODIFY_OF_VALUES,
};

static int	updatable_operations(const HallwayRelation *relation);
static List *given_columns(PlannerInfo *root, Relation rel, const Bitmapset *read_only);
static List *columns_of_values(PlannerInfo *root);
static List *values_of(PlannerInfo *root, Expr *expr, int *column);
static bool is_null_everywhere(PlannerInfo *root, Expr *expr);
static List *returning_columns(PlannerInfo *root, ModifyTable *plan, Relation rel,
							   Index resultRelation, int subplan_index);
static void check_operation(const HallwayRelation *relation, Relation rel, CmdType operation);
static bool option_updatable(Relation rel);


/*
 * Which of INSERT, UPDATE and DELETE may be tried, as a bitmap of CmdTypes.
 *
 * Asked by every such statement, and by information_schema, which must answer
 * while a sidecar is away or one table's options are wrong. Then all are said to
 * be possible, as far as the option says: the statement itself fails with the
 * true reason.
 */
int
hallwayIsForeignRelUpdatable(Relation rel)
{
	static TimestampTz unreachable_since = 0;
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner oldowner = CurrentResourceOwner;
	volatile int result = (1 << CMD_INSERT) | (1 << CMD_UPDATE) | (1 << CMD_DELETE);
	const HallwayRelation *standing = hallway_relation_standing(RelationGetRelid(rel), GetUserId());

	/* Nothing can fail then, and a subtransaction would be for nothing. */
	if (standing != NULL)
		return updatable_operations(standing);
	if (!option_updatable(rel))
		return 0;

	/* A view of the catalogs with many tables waits for one of them only. */
	if (unreachable_since != 0 &&
		!TimestampDifferenceExceeds(unreachable_since, GetCurrentTimestamp(), 5000))
		return result;

	/* Parallel workers cannot have subtransactions; an error there stands. */
	if (IsInParallelMode())
		return updatable_operations(hallway_relation(RelationGetRelid(rel), GetUserId()));

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(oldcontext);
	PG_TRY();
	{
		result = updatable_operations(hallway_relation(RelationGetRelid(rel), GetUserId()));
		unreachable_since = 0;
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(oldcontext);
		CurrentResourceOwner = oldowner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(oldcontext);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(oldcontext);
		CurrentResourceOwner = oldowner;

		switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
		{
			case ERRCODE_OPERATOR_INTERVENTION:
			case ERRCODE_INSUFFICIENT_RESOURCES:
			case ERRCODE_INTERNAL_ERROR:
				ReThrowError(error);
				break;
			case ERRCODE_CONNECTION_EXCEPTION:
				unreachable_since = GetCurrentTimestamp();
				break;
			default:
				break;
		}
		FreeErrorData(error);
	}
	PG_END_TRY();

	return result;
}

/* The same as the sidecar says it. */
static int
updatable_operations(const HallwayRelation *relation)
{
	const Hallway__V1__DescribeResponse *description = relation->description;
	int			result = 0;

	if (!relation->updatable)
		return 0;
	if (description->insertable)
		result |= 1 << CMD_INSERT;
	if (description->updatable && description->n_key_columns > 0)
		result |= 1 << CMD_UPDATE;
	if ((relation->deletes_by_update ? description->updatable : description->deletable) &&
		description->n_key_columns > 0)
		result |= 1 << CMD_DELETE;
	return result;
}

/* Has the scan of an UPDATE or DELETE deliver the rows' keys. */
void
hallwayAddForeignUpdateTargets(PlannerInfo *root, Index rtindex,
							   RangeTblEntry *target_rte, Relation target_relation)
{
	TupleDesc	desc = RelationGetDescr(target_relation);
	HallwayRelation *relation;
	ListCell   *lc;

	hallway_check_permissions(root);
	relation = hallway_relation(RelationGetRelid(target_relation),
								hallway_compat_target_user(root, target_rte));
	check_operation(relation, target_relation, root->parse->commandType);

	foreach(lc, hallway_key_attnums(relation))
	{
		AttrNumber	attnum = lfirst_int(lc);
		Form_pg_attribute att = TupleDescAttr(desc, attnum - 1);

		add_row_identity_var(root,
							 makeVar(rtindex, attnum, att->atttypid,
									 att->atttypmod, att->attcollation, 0),
							 rtindex, hallway_key_junk_name(target_relation, attnum));
	}

	/*
	 * Few APIs answer a DELETE with what is gone, so RETURNING shows the row as
	 * it was just read. (For an UPDATE, PostgreSQL wants the whole row anyway.)
	 */
	if (root->parse->commandType == CMD_DELETE && root->parse->returningList != NIL)
		add_row_identity_var(root,
							 makeVar(rtindex, InvalidAttrNumber, RECORDOID, -1, InvalidOid, 0),
							 rtindex, "wholerow");
}

List *
hallwayPlanForeignModify(PlannerInfo *root, ModifyTable *plan,
						 Index resultRelation, int subplan_index)
{
	RangeTblEntry *rte = planner_rt_fetch(resultRelation, root);
	Relation	rel = table_open(rte->relid, NoLock);
	HallwayModifyPlan out = {0};
	HallwayRelation *relation;
	Bitmapset  *read_only;
	ListCell   *lc;

	hallway_check_permissions(root);
	relation = hallway_relation(rte->relid, hallway_compat_target_user(root, rte));
	check_operation(relation, rel, plan->operation);
	read_only = hallway_read_only_attnums(relation);

	switch (plan->operation)
	{
		case CMD_INSERT:
			if (plan->onConflictAction == ONCONFLICT_UPDATE)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("ON CONFLICT DO UPDATE is not supported on foreign table \"%s\"",
								RelationGetRelationName(rel)),
						 errhint("Use ON CONFLICT DO NOTHING without a target, or UPDATE the rows that exist.")));
			out.do_nothing = plan->onConflictAction == ONCONFLICT_NOTHING;
			out.columns = given_columns(root, rel, read_only);
			out.of_values = columns_of_values(root);
			break;

		case CMD_UPDATE:
			foreach(lc, list_nth(plan->updateColnosLists, subplan_index))
			{
				AttrNumber	attnum = lfirst_int(lc);

				if (TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attgenerated)
					continue;
				if (bms_is_member(attnum, read_only))
					hallway_refuse_read_only(rel, attnum);
				out.columns = lappend_int(out.columns, attnum);
			}
			break;

		default:
			break;
	}

	if (plan->operation != CMD_INSERT)
		out.keys = hallway_key_attnums(relation);
	if (plan->operation != CMD_DELETE)
		out.returning = returning_columns(root, plan, rel, resultRelation, subplan_index);

	table_close(rel, NoLock);

	/* In the order of ModifyPrivate. */
	return list_make5(out.keys, out.columns, out.returning,
					  makeBoolean(out.do_nothing), out.of_values);
}

void
hallway_modify_plan(List *fdw_private, HallwayModifyPlan *out)
{
	out->keys = list_nth(fdw_private, MODIFY_KEYS);
	out->columns = list_nth(fdw_private, MODIFY_COLUMNS);
	out->returning = list_nth(fdw_private, MODIFY_RETURNING);
	out->do_nothing = boolVal(list_nth(fdw_private, MODIFY_DO_NOTHING));
	out->of_values = list_nth(fdw_private, MODIFY_OF_VALUES);
}

List *
hallway_key_attnums(const HallwayRelation *relation)
{
	const Hallway__V1__DescribeResponse *description = relation->description;
	List	   *attnums = NIL;

	for (size_t i = 0; i < description->n_key_columns; i++)
		attnums = lappend_int(attnums, relation->attnums[description->key_columns[i]]);
	return attnums;
}

Bitmapset *
hallway_read_only_attnums(const HallwayRelation *relation)
{
	const Hallway__V1__DescribeResponse *description = relation->description;
	Bitmapset  *attnums = NULL;

	for (size_t i = 0; i < description->n_read_only_columns; i++)
		attnums = bms_add_member(attnums,
								 relation->attnums[description->read_only_columns[i]]);
	return attnums;
}

/*
 * The columns that an INSERT gives a value. The query's target list has those
 * that the user named and those with a default here; not those for which the
 * user wrote DEFAULT and there is none here, so that the API's own is used.
 */
static List *
given_columns(PlannerInfo *root, Relation rel, const Bitmapset *read_only)
{
	List	   *columns = NIL;
	ListCell   *lc;

	foreach(lc, root->parse->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);

		if (entry->resjunk ||
			TupleDescAttr(RelationGetDescr(rel), entry->resno - 1)->attgenerated)
			continue;
		if (bms_is_member(entry->resno, read_only))
		{
			if (!is_null_everywhere(root, entry->expr))
				hallway_refuse_read_only(rel, entry->resno);
			continue;
		}
		columns = lappend_int(columns, entry->resno);
	}
	return columns;
}

/*
 * NULL or DEFAULT, in every row of VALUES: no value for a column that the API
 * fills in. (Rewriting has made NULL of DEFAULT where VALUES has many rows.)
 */
static bool
is_null_everywhere(PlannerInfo *root, Expr *expr)
{
	Node	   *node = strip_implicit_coercions((Node *) expr);
	List	   *lists;
	ListCell   *lc;
	int			column;

	if (node == NULL || IsA(node, SetToDefault))
		return true;
	if (IsA(node, Const))
		return ((Const *) node)->constisnull;
	lists = values_of(root, (Expr *) node, &column);
	foreach(lc, lists)
	{
		if (!is_null_everywhere(root, list_nth(lfirst(lc), column)))
			return false;
	}
	return lists != NIL;
}

/* The rows of VALUES of which expr is a column, and which; NIL: of none. */
static List *
values_of(PlannerInfo *root, Expr *expr, int *column)
{
	Var		   *var = (Var *) expr;
	RangeTblEntry *rte;

	if (!IsA(var, Var) || var->varlevelsup != 0 ||
		var->varno <= 0 || var->varno >= root->simple_rel_array_size)
		return NIL;
	rte = planner_rt_fetch(var->varno, root);
	*column = var->varattno - 1;
	return rte->rtekind == RTE_VALUES ? rte->values_lists : NIL;
}

/*
 * Columns that several rows of VALUES give. Rewriting has made NULL of DEFAULT there,
 * so where the API has no NULL it is taken for DEFAULT, which ORMs write for whatever
 * a row does not have and another one has.
 */
static List *
columns_of_values(PlannerInfo *root)
{
	List	   *columns = NIL;
	ListCell   *lc;
	int			column;

	foreach(lc, root->parse->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);

		if (values_of(root, (Expr *) strip_implicit_coercions((Node *) entry->expr),
					  &column) != NIL)
			columns = lappend_int(columns, entry->resno);
	}
	return columns;
}

/* What the API must answer with: what RETURNING, triggers and checks look at. */
static List *
returning_columns(PlannerInfo *root, ModifyTable *plan, Relation rel,
				  Index resultRelation, int subplan_index)
{
	TriggerDesc *triggers = rel->trigdesc;
	Bitmapset  *wanted = NULL;
	List	   *columns = NIL;
	ListCell   *lc;

	if (triggers != NULL &&
		(plan->operation == CMD_INSERT ? triggers->trig_insert_after_row :
		 triggers->trig_update_after_row))
		return hallway_sent_columns(rel);
	if (plan->withCheckOptionLists != NIL &&
		list_nth(plan->withCheckOptionLists, subplan_index) != NIL)
		return hallway_sent_columns(rel);
	if (plan->returningLists == NIL)
		return NIL;

	pull_varattnos(list_nth(plan->returningLists, subplan_index), resultRelation, &wanted);
	foreach(lc, hallway_sent_columns(rel))
	{
		int			attnum = lfirst_int(lc);

		if (bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, wanted) ||
			bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, wanted))
			columns = lappend_int(columns, attnum);
	}

	/* A generated column is computed from others; any of them will do. */
	if (RelationGetDescr(rel)->constr != NULL &&
		RelationGetDescr(rel)->constr->has_generated_stored)
		return hallway_sent_columns(rel);
	return columns;
}

/* Without those that PostgreSQL computes. */
List *
hallway_sent_columns(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *columns = NIL;

	for (AttrNumber attnum = 1; attnum <= desc->natts; attnum++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, attnum - 1);

		if (!att->attisdropped && !att->attgenerated)
			columns = lappend_int(columns, attnum);
	}
	return columns;
}

/*
 * Two tables of one inheritance tree share a junk column exactly if its Vars
 * are equal, hence everything that a Var says stands in the name.
 */
char *
hallway_key_junk_name(Relation rel, AttrNumber attnum)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);

	return psprintf("hallway_key_%d_%u_%d_%u", attnum, att->atttypid,
					att->atttypmod, att->attcollation);
}

#define KEYLESS_HINT "Mark the columns that identify a row with OPTIONS (key 'true')."

static void
check_operation(const HallwayRelation *relation, Relation rel, CmdType operation)
{
	const Hallway__V1__DescribeResponse *description = relation->description;
	const char *reason = description->read_only_reason;
	bool		keyless = operation != CMD_INSERT && description->n_key_columns == 0;
	const char *what;
	bool		allowed;

	switch (operation)
	{
		case CMD_INSERT:
			allowed = description->insertable;
			what = "inserts";
			break;
		case CMD_UPDATE:
			allowed = description->updatable;
			what = "updates";
			break;
		default:
			allowed = relation->deletes_by_update ? description->updatable :
				description->deletable;
			what = "deletes";
			break;
	}

	if (!relation->updatable)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("foreign table \"%s\" does not allow %s",
						RelationGetRelationName(rel), what),
				 errdetail("Its option \"updatable\", or its server's, is false.")));
	if (!allowed)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("foreign table \"%s\" does not allow %s",
						RelationGetRelationName(rel), what),
				 reason != NULL && reason[0] != '\0' ? errdetail_internal("%s", reason) : 0,
				 keyless && description->insertable ? errhint(KEYLESS_HINT) : 0));
	if (keyless)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("foreign table \"%s\" does not allow %s: its rows have no key",
						RelationGetRelationName(rel), what),
				 errhint(KEYLESS_HINT)));
}

static bool
option_updatable(Relation rel)
{
	ForeignTable *table = GetForeignTable(RelationGetRelid(rel));

	return hallway_boolean_option(table, GetForeignServer(table->serverid), "updatable", true);
}

void
hallway_refuse_read_only(Relation rel, AttrNumber attnum)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	const char *name = NameStr(att->attname);

	ereport(ERROR,
			(errcode(ERRCODE_GENERATED_ALWAYS),
			 errmsg("column \"%s\" of foreign table \"%s\" cannot be written",
					name, RelationGetRelationName(rel)),
			 errdetail("The API sets it itself."),
			 /* The table gives it a value where the statement leaves it out. */
			 att->attidentity || att->atthasdef ?
			 errhint("Leave it out, and have the table give it no value: ALTER FOREIGN TABLE %s ALTER COLUMN %s DROP %s.",
					 quote_identifier(RelationGetRelationName(rel)), quote_identifier(name),
					 att->attidentity ? "IDENTITY" : "DEFAULT") :
			 errhint("Leave it out."),
			 errtablecol(rel, attnum)));
}
