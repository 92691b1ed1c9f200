/*-------------------------------------------------------------------------
 *
 * modify.c
 *		INSERT, UPDATE and DELETE at work: one Modify RPC for each row.
 *
 * A row is written when the executor hands it over, and what the API answers
 * becomes the row that triggers and RETURNING see. Everything that PostgreSQL
 * can refuse is refused before the API is asked, because a write there cannot
 * be taken back. Planning is in modify_plan.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "hallway.h"
#include "modify.h"

/* Hexadecimal digits of an idempotency key. */
#define IDEMPOTENCY_KEY_LEN		32

typedef struct HallwayModifyState
{
	HallwayModifyPlan plan;
	Relation	rel;
	Oid			userid;
	ModifyTableState *mtstate;	/* operation: UPDATE, when rows move here */
	MemoryContext context;		/* of one row */
	Bitmapset  *given;			/* attnums of plan.columns */
	Bitmapset  *read_only;		/* attnums that the API does not take */
	AttrNumber *key_junk;		/* where the plan's slot has the keys */
	AttrNumber	wholerow_junk;	/* and the old row; 0: it has not */
	HTAB	   *updated;		/* of UpdatedRow; NULL: nothing updated yet */
	HallwayRowWriter *writer;
	HallwayRowReader *reader;	/* of answers; NULL: none wanted */
	TupleTableSlot *answer;
} HallwayModifyState;

/* The key of a row that the statement has updated, encoded. */
typedef struct UpdatedRow
{
	const uint8 *key;
	size_t		len;
} UpdatedRow;

/* How the API dealt with a row. */
typedef enum Outcome
{
	OUTCOME_APPLIED,
	OUTCOME_NO_ROW,				/* gone, or a duplicate that may be one */
} Outcome;

static HallwayModifyState *begin(ModifyTableState *mtstate, ResultRelInfo *rinfo,
								 const HallwayModifyPlan *plan);
static Outcome write_row(HallwayModifyState *state, CmdType operation, List *columns,
						 TupleTableSlot *slot, TupleTableSlot *planSlot);
pg_noreturn static void throw_not_understood(Relation rel, const char *why);
static bool outcome_unknown(const Hallway__V1__Error *error);
static Hallway__V1__ModifyResponse *call(HallwayModifyState *state, CmdType operation,
										 List *columns, TupleTableSlot *slot,
										 TupleTableSlot *planSlot, Hallway__V1__Error **error);
static void encode_row(HallwayModifyState *state, Hallway__V1__ModifyRequest *request,
					   List *columns, TupleTableSlot *slot, TupleTableSlot *planSlot);
static bool updated_before(HallwayModifyState *state, TupleTableSlot *planSlot);
static uint32 hash_updated(const void *key, Size keysize);
static int	match_updated(const void *a, const void *b, Size keysize);
static void encode_key(HallwayModifyState *state, TupleTableSlot *planSlot);
static void take_answer(HallwayModifyState *state, EState *estate, ResultRelInfo *rinfo,
						CmdType operation, TupleTableSlot *slot);
static List *columns_to_insert(HallwayModifyState *state, TupleTableSlot *slot);
static List *columns_to_update(HallwayModifyState *state, ResultRelInfo *rinfo,
							   TupleTableSlot *slot);
static void check_row(HallwayModifyState *state, EState *estate, ResultRelInfo *rinfo,
					  CmdType operation, TupleTableSlot *slot);
static void check_transition_tables(HallwayModifyState *state, CmdType operation);
static uint32 *column_indexes(const HallwayRelation *relation, List *attnums, size_t *n);
static char *new_idempotency_key(void);


void
hallwayBeginForeignModify(ModifyTableState *mtstate, ResultRelInfo *rinfo,
						  List *fdw_private, int subplan_index, int eflags)
{
	HallwayModifyPlan plan;
	HallwayModifyState *state;
	List	   *tlist = outerPlanState(mtstate)->plan->targetlist;
	ListCell   *lc;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;

	hallway_modify_plan(fdw_private, &plan);
	state = begin(mtstate, rinfo, &plan);

	state->key_junk = palloc(sizeof(AttrNumber) * Max(list_length(plan.keys), 1));
	foreach(lc, plan.keys)
	{
		char	   *name = hallway_key_junk_name(state->rel, lfirst_int(lc));
		AttrNumber	junk = ExecFindJunkAttributeInTlist(tlist, name);

		if (!AttributeNumberIsValid(junk))
			elog(ERROR, "could not find junk column \"%s\"", name);
		state->key_junk[foreach_current_index(lc)] = junk;
	}
	if (mtstate->operation == CMD_DELETE)
		state->wholerow_junk = ExecFindJunkAttributeInTlist(tlist, "wholerow");

	rinfo->ri_FdwState = state;
}

/*
 * COPY, and rows that a partitioned table routes here, come without a plan of
 * ours: all columns the statement names, and whatever else has a value.
 */
void
hallwayBeginForeignInsert(ModifyTableState *mtstate, ResultRelInfo *rinfo)
{
	ModifyTable *statement = castNode(ModifyTable, mtstate->ps.plan);
	EState	   *estate = mtstate->ps.state;
	Relation	rel = rinfo->ri_RelationDesc;
	HallwayModifyPlan plan = {0};
	Bitmapset  *inserted;
	int			col = -1;

	if (statement != NULL && statement->operation == CMD_UPDATE && rinfo->ri_FdwState != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot move rows into foreign table \"%s\", which the same UPDATE changes",
						RelationGetRelationName(rel)),
				 errhint("Restrict the UPDATE to the partitions that the rows come from.")));

	if (statement != NULL)
	{
		if (statement->onConflictAction == ONCONFLICT_UPDATE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("ON CONFLICT DO UPDATE is not supported on foreign table \"%s\"",
							RelationGetRelationName(rel))));
		plan.do_nothing = statement->onConflictAction == ONCONFLICT_NOTHING;
	}

	inserted = ExecGetInsertedCols(rinfo, estate);
	while ((col = bms_next_member(inserted, col)) >= 0)
	{
		AttrNumber	attnum = col + FirstLowInvalidHeapAttributeNumber;

		if (attnum > 0 && !TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attgenerated)
			plan.columns = lappend_int(plan.columns, attnum);
	}

	/* Whoever looks at the row afterwards may look at all of it. */
	if ((statement != NULL && statement->returningLists != NIL) ||
		(statement != NULL && statement->withCheckOptionLists != NIL) ||
		(rel->trigdesc != NULL && rel->trigdesc->trig_insert_after_row))
		plan.returning = hallway_sent_columns(rel);

	rinfo->ri_FdwState = begin(mtstate, rinfo, &plan);
}

TupleTableSlot *
hallwayExecForeignInsert(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *planSlot)
{
	HallwayModifyState *state = rinfo->ri_FdwState;
	MemoryContext oldcontext = MemoryContextSwitchTo(state->context);
	Outcome		outcome;

	MemoryContextReset(state->context);
	check_transition_tables(state, CMD_INSERT);
	check_row(state, estate, rinfo, CMD_INSERT, slot);
	outcome = write_row(state, CMD_INSERT, columns_to_insert(state, slot), slot, planSlot);
	MemoryContextSwitchTo(oldcontext);

	if (outcome == OUTCOME_NO_ROW)
		return NULL;
	take_answer(state, estate, rinfo, CMD_INSERT, slot);
	return slot;
}

TupleTableSlot *
hallwayExecForeignUpdate(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *planSlot)
{
	HallwayModifyState *state = rinfo->ri_FdwState;
	MemoryContext oldcontext = MemoryContextSwitchTo(state->context);
	List	   *columns;
	Outcome		outcome;

	MemoryContextReset(state->context);
	if (updated_before(state, planSlot))
	{
		MemoryContextSwitchTo(oldcontext);
		return NULL;
	}
	check_transition_tables(state, CMD_UPDATE);
	check_row(state, estate, rinfo, CMD_UPDATE, slot);
	columns = columns_to_update(state, rinfo, slot);

	/* The row was read a moment ago and is already as it should become. */
	if (columns == NIL)
	{
		MemoryContextSwitchTo(oldcontext);
		return slot;
	}

	outcome = write_row(state, CMD_UPDATE, columns, slot, planSlot);
	MemoryContextSwitchTo(oldcontext);

	if (outcome == OUTCOME_NO_ROW)
		return NULL;
	take_answer(state, estate, rinfo, CMD_UPDATE, slot);
	return slot;
}

TupleTableSlot *
hallwayExecForeignDelete(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *planSlot)
{
	HallwayModifyState *state = rinfo->ri_FdwState;
	MemoryContext oldcontext = MemoryContextSwitchTo(state->context);
	Outcome		outcome;

	MemoryContextReset(state->context);
	check_transition_tables(state, CMD_DELETE);
	outcome = write_row(state, CMD_DELETE, NIL, slot, planSlot);
	MemoryContextSwitchTo(oldcontext);

	if (outcome == OUTCOME_NO_ROW)
		return NULL;

	if (AttributeNumberIsValid(state->wholerow_junk))
	{
		bool		isnull;
		Datum		row = ExecGetJunkAttribute(planSlot, state->wholerow_junk, &isnull);

		if (isnull)
			elog(ERROR, "wholerow is NULL");
		ExecStoreHeapTupleDatum(row, slot);
	}
	return slot;
}

/* What these began goes with the executor's memory. */
void
hallwayEndForeignModify(EState *estate, ResultRelInfo *rinfo)
{
}

void
hallwayEndForeignInsert(EState *estate, ResultRelInfo *rinfo)
{
}

static HallwayModifyState *
begin(ModifyTableState *mtstate, ResultRelInfo *rinfo, const HallwayModifyPlan *plan)
{
	HallwayModifyState *state = palloc0(sizeof(HallwayModifyState));
	Relation	rel = rinfo->ri_RelationDesc;
	EState	   *estate = mtstate->ps.state;
	HallwayRelation *relation;
	ListCell   *lc;

	state->plan = *plan;
	state->rel = rel;
	state->userid = hallway_modify_user(rinfo, estate);
	state->mtstate = mtstate;
	state->context = AllocSetContextCreate(CurrentMemoryContext,
										   "Hallway modify", ALLOCSET_DEFAULT_SIZES);

	relation = hallway_relation(RelationGetRelid(rel), state->userid);
	state->read_only = hallway_read_only_attnums(relation);

	/* The plan may be older than the object's key. */
	if (plan->keys != NIL && !equal(plan->keys, hallway_key_attnums(relation)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the key of foreign table \"%s\" has changed since the statement was planned",
						RelationGetRelationName(rel)),
				 errhint("Run DISCARD PLANS, and the statement again.")));

	foreach(lc, plan->columns)
		state->given = bms_add_member(state->given, lfirst_int(lc));

	state->writer = hallway_writer_create(RelationGetDescr(rel), NIL);
	if (plan->returning != NIL)
	{
		state->reader = hallway_reader_create(RelationGetDescr(rel), plan->returning);
		state->answer = ExecInitExtraTupleSlot(estate, RelationGetDescr(rel), &TTSOpsVirtual);
	}
	return state;
}

/*
 * Has the API write one row, and leaves its answer in state->answer where one
 * was wanted. Everything is allocated in the row's context.
 */
static Outcome
write_row(HallwayModifyState *state, CmdType operation, List *columns,
		  TupleTableSlot *slot, TupleTableSlot *planSlot)
{
	Hallway__V1__Error *error = NULL;
	Hallway__V1__ModifyResponse *response;
	Hallway__V1__RowResult *result = NULL;

	response = call(state, operation, columns, slot, planSlot, &error);
	if (response != NULL)
	{
		if (response->n_results != 1)
			throw_not_understood(state->rel, psprintf("it has %zu results for one row",
													  response->n_results));
		result = response->results[0];
		error = result->error;
		switch (result->outcome)
		{
			case HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_APPLIED:
			case HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_NOT_FOUND:
				break;
			default:
				if (result->outcome != HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_REFUSED || error == NULL)
					throw_not_understood(state->rel, "it does not say what became of the row");
		}
	}

	/* Without an outcome that can be understood, the row stands there perhaps. */
	if (response == NULL && error != NULL && outcome_unknown(error))
		hallway_throw(error, state->rel);
	hallway_xact_end_write(state->rel, operation,
						   result != NULL &&
						   result->outcome == HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_APPLIED ? 1 : 0);

	if (response != NULL)
	{
		for (size_t i = 0; i < response->n_warnings; i++)
			hallway_warn(response->warnings[i]);
	}

	switch (result != NULL ? result->outcome : HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_REFUSED)
	{
		case HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_APPLIED:
			if (state->reader != NULL)
			{
				hallway_reader_batch(state->reader, response->tuples.data, response->tuples.len, 1);
				ExecClearTuple(state->answer);
				if (!hallway_reader_next(state->reader, state->answer))
					elog(ERROR, "the reader lost the answer's row");
			}
			return OUTCOME_APPLIED;

		case HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_NOT_FOUND:
			return OUTCOME_NO_ROW;

		default:
			if (state->plan.do_nothing && operation == CMD_INSERT &&
				strcmp(error->sqlstate, "23505") == 0)
				return OUTCOME_NO_ROW;
			hallway_throw(error, state->rel);
	}
}

/* Before hallway_xact_end_write(), so that the row counts as one that may stand. */
static void
throw_not_understood(Relation rel, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
			 errmsg("could not understand the sidecar's answer to a write to foreign table \"%s\": %s",
					RelationGetRelationName(rel), why),
			 errhint("The API may or may not have applied it: look there before writing again.")));
}

/* Does the error leave open whether the API has done the write? */
static bool
outcome_unknown(const Hallway__V1__Error *error)
{
	return strcmp(error->sqlstate, "08007") == 0 ||
		strcmp(error->sqlstate, "08P01") == 0 ||
		strncmp(error->sqlstate, "XX", 2) == 0;
}

static Hallway__V1__ModifyResponse *
call(HallwayModifyState *state, CmdType operation, List *columns,
	 TupleTableSlot *slot, TupleTableSlot *planSlot, Hallway__V1__Error **error)
{
	Hallway__V1__ModifyRequest request = HALLWAY__V1__MODIFY_REQUEST__INIT;
	Hallway__V1__Transaction transaction = HALLWAY__V1__TRANSACTION__INIT;
	HallwayRelation *relation = hallway_relation(RelationGetRelid(state->rel), state->userid);
	Hallway__V1__ModifyResponse *response;

	switch (operation)
	{
		case CMD_INSERT:
			request.operation = HALLWAY__V1__OPERATION__OPERATION_INSERT;
			break;
		case CMD_UPDATE:
			request.operation = HALLWAY__V1__OPERATION__OPERATION_UPDATE;
			break;
		default:
			request.operation = HALLWAY__V1__OPERATION__OPERATION_DELETE;
			break;
	}
	request.key_columns = column_indexes(relation, state->plan.keys, &request.n_key_columns);
	request.columns = column_indexes(relation, columns, &request.n_columns);
	request.returning = column_indexes(relation, state->plan.returning, &request.n_returning);
	encode_row(state, &request, columns, slot, planSlot);
	request.idempotency_key = new_idempotency_key();
	request.transaction = &transaction;
	hallway_xact_begin_write(relation->channel, state->rel, &transaction);

	response = (Hallway__V1__ModifyResponse *)
		hallway_relation_call(relation, "Modify", &request.base, &request.relation,
							  &hallway__v1__modify_response__descriptor, true, error);
	if (response != NULL)
		hallway_note_write(relation, response->write_number);
	return response;
}

/* The row's key, as it was read, and then the columns. */
static void
encode_row(HallwayModifyState *state, Hallway__V1__ModifyRequest *request,
		   List *columns, TupleTableSlot *slot, TupleTableSlot *planSlot)
{
	TupleDesc	desc = RelationGetDescr(state->rel);
	const uint8 *data;
	size_t		len;
	ListCell   *lc;

	hallway_writer_reset(state->writer);
	hallway_writer_begin(state->writer, list_length(state->plan.keys) + list_length(columns));
	encode_key(state, planSlot);
	foreach(lc, columns)
	{
		Form_pg_attribute att = TupleDescAttr(desc, lfirst_int(lc) - 1);
		bool		isnull;
		Datum		value = slot_getattr(slot, lfirst_int(lc), &isnull);

		hallway_writer_value(state->writer, att->atttypid, value, isnull);
	}
	hallway_writer_data(state->writer, &data, &len);
	request->tuples.data = (uint8 *) data;
	request->tuples.len = len;
	request->rows = 1;
}

/* Adds the key, as it was read with the row, to the writer. */
static void
encode_key(HallwayModifyState *state, TupleTableSlot *planSlot)
{
	TupleDesc	desc = RelationGetDescr(state->rel);
	ListCell   *lc;

	foreach(lc, state->plan.keys)
	{
		Form_pg_attribute att = TupleDescAttr(desc, lfirst_int(lc) - 1);
		bool		isnull;
		Datum		key = ExecGetJunkAttribute(planSlot,
											   state->key_junk[foreach_current_index(lc)],
											   &isnull);

		if (isnull)
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("a row of foreign table \"%s\" has no value in its key column \"%s\"",
							RelationGetRelationName(state->rel), NameStr(att->attname)),
					 errdetail("The API cannot be told which row to change.")));
		hallway_writer_value(state->writer, att->atttypid, key, false);
	}
}

/*
 * Has this statement updated the row already? As in a local table, only the
 * first of several rows that a join finds for it counts.
 */
static bool
updated_before(HallwayModifyState *state, TupleTableSlot *planSlot)
{
	UpdatedRow	row;
	UpdatedRow *entry;
	bool		found;

	if (state->updated == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(UpdatedRow),.entrysize = sizeof(UpdatedRow),
			.hash = hash_updated,.match = match_updated,
		.hcxt = GetMemoryChunkContext(state)};

		state->updated = hash_create("Hallway updated rows", 64, &ctl,
									 HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	}

	hallway_writer_reset(state->writer);
	hallway_writer_begin(state->writer, list_length(state->plan.keys));
	encode_key(state, planSlot);
	hallway_writer_data(state->writer, &row.key, &row.len);

	entry = hash_search(state->updated, &row, HASH_ENTER, &found);
	if (!found)
	{
		uint8	   *copy = MemoryContextAlloc(GetMemoryChunkContext(state), row.len);

		memcpy(copy, row.key, row.len);
		entry->key = copy;
		entry->len = row.len;
	}
	return found;
}

static uint32
hash_updated(const void *key, Size keysize)
{
	const UpdatedRow *row = key;

	return hash_bytes(row->key, (int) row->len);
}

static int
match_updated(const void *a, const void *b, Size keysize)
{
	const UpdatedRow *x = a;
	const UpdatedRow *y = b;

	return x->len == y->len && memcmp(x->key, y->key, x->len) == 0 ? 0 : 1;
}

/*
 * Makes the slot what the API says the row is now. Columns it was not asked
 * for stay as they were sent.
 */
static void
take_answer(HallwayModifyState *state, EState *estate, ResultRelInfo *rinfo,
			CmdType operation, TupleTableSlot *slot)
{
	TupleDesc	desc = RelationGetDescr(state->rel);
	MemoryContext oldcontext;
	ListCell   *lc;
	HeapTuple	tuple;

	if (state->reader == NULL)
		return;

	slot_getallattrs(slot);
	foreach(lc, state->plan.returning)
	{
		int			i = lfirst_int(lc) - 1;

		slot->tts_values[i] = state->answer->tts_values[i];
		slot->tts_isnull[i] = state->answer->tts_isnull[i];
	}

	oldcontext = MemoryContextSwitchTo(slot->tts_mcxt);
	tuple = heap_form_tuple(desc, slot->tts_values, slot->tts_isnull);
	ExecForceStoreHeapTuple(tuple, slot, true);
	MemoryContextSwitchTo(oldcontext);

	/* They are PostgreSQL's to compute, from what the API made of the rest. */
	if (desc->constr != NULL && desc->constr->has_generated_stored)
	{
		slot->tts_tableOid = RelationGetRelid(state->rel);
		ExecComputeStoredGenerated(rinfo, estate, slot, operation);
	}
}

/*
 * A column that the statement did not name is left out: to the API that is not
 * the same as NULL. It is there all the same if something gave it a value: a
 * default, a trigger, the row of another partition.
 */
static List *
columns_to_insert(HallwayModifyState *state, TupleTableSlot *slot)
{
	TupleDesc	desc = RelationGetDescr(state->rel);
	List	   *columns = NIL;

	slot_getallattrs(slot);
	for (AttrNumber attnum = 1; attnum <= desc->natts; attnum++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, attnum - 1);
		bool		isnull = slot->tts_isnull[attnum - 1];

		if (att->attisdropped || att->attgenerated)
			continue;
		if (isnull && !bms_is_member(attnum, state->given))
			continue;
		if (bms_is_member(attnum, state->read_only))
		{
			if (isnull)
				continue;
			hallway_refuse_read_only(state->rel, attnum);
		}
		columns = lappend_int(columns, attnum);
	}
	return columns;
}

/* The columns whose value differs from the one that was read. */
static List *
columns_to_update(HallwayModifyState *state, ResultRelInfo *rinfo, TupleTableSlot *slot)
{
	TupleDesc	desc = RelationGetDescr(state->rel);
	TupleTableSlot *old = rinfo->ri_oldTupleSlot;
	List	   *columns = NIL;

	if (old == NULL || TTS_EMPTY(old))
		return list_copy(state->plan.columns);

	slot_getallattrs(slot);
	slot_getallattrs(old);
	for (AttrNumber attnum = 1; attnum <= desc->natts; attnum++)
	{
		int			i = attnum - 1;
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attgenerated)
			continue;
		if (slot->tts_isnull[i] == old->tts_isnull[i] &&
			(slot->tts_isnull[i] ||
			 datum_image_eq(slot->tts_values[i], old->tts_values[i],
							att->attbyval, att->attlen)))
			continue;

		/* SET is checked when planning; this is a trigger's doing. */
		if (bms_is_member(attnum, state->read_only))
			hallway_refuse_read_only(state->rel, attnum);
		columns = lappend_int(columns, attnum);
	}
	return columns;
}

/*
 * PostgreSQL checks a view's WITH CHECK OPTION after a foreign table has the
 * row, row security and a partition's bounds not at all. None of that would
 * help: so all are checked here before the API is asked, on the row as sent.
 */
static void
check_row(HallwayModifyState *state, EState *estate, ResultRelInfo *rinfo,
		  CmdType operation, TupleTableSlot *slot)
{
	slot->tts_tableOid = RelationGetRelid(state->rel);
	if (state->rel->rd_rel->relispartition)
		(void) ExecPartitionCheck(rinfo, slot, estate, true);

	if (rinfo->ri_WithCheckOptions == NIL)
		return;
	if (operation == CMD_INSERT && state->mtstate->operation == CMD_INSERT)
		ExecWithCheckOptions(WCO_RLS_INSERT_CHECK, rinfo, slot, estate);
	else
		ExecWithCheckOptions(WCO_RLS_UPDATE_CHECK, rinfo, slot, estate);
	ExecWithCheckOptions(WCO_VIEW_CHECK, rinfo, slot, estate);
}

/*
 * A statement trigger of a partitioned table that wants to see the changed rows
 * cannot see those of a foreign partition. PostgreSQL notices when the row has
 * been written.
 */
static void
check_transition_tables(HallwayModifyState *state, CmdType operation)
{
	TransitionCaptureState *capture = state->mtstate->mt_transition_capture;
	bool		wanted;

	if (capture == NULL)
		return;
	/* A row that moves here counts as updated. */
	switch (state->mtstate->operation == CMD_UPDATE ? CMD_UPDATE : operation)
	{
		case CMD_INSERT:
			wanted = capture->tcs_insert_new_table;
			break;
		case CMD_UPDATE:
			wanted = capture->tcs_update_old_table || capture->tcs_update_new_table;
			break;
		default:
			wanted = capture->tcs_delete_old_table;
			break;
	}
	if (wanted)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot collect transition tuples from child foreign tables")));
}

static uint32 *
column_indexes(const HallwayRelation *relation, List *attnums, size_t *n)
{
	uint32	   *indexes = palloc(sizeof(uint32) * Max(list_length(attnums), 1));
	ListCell   *lc;

	*n = 0;
	foreach(lc, attnums)
	{
		int			column = relation->columns[lfirst_int(lc) - 1];

		if (column < 0)
			elog(ERROR, "column %d of foreign table %u cannot be written",
				 lfirst_int(lc), relation->relid);
		indexes[(*n)++] = column;
	}
	return indexes;
}

static char *
new_idempotency_key(void)
{
	uint8		bytes[IDEMPOTENCY_KEY_LEN / 2];
	char	   *key = palloc(IDEMPOTENCY_KEY_LEN + 1);

	if (!pg_strong_random(bytes, sizeof(bytes)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values for an idempotency key")));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(key + 2 * i, 3, "%02x", bytes[i]);
	return key;
}
