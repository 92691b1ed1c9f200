/*-------------------------------------------------------------------------
 *
 * modify_row.c
 *		One row of a write: whether it may be written, which of its columns go to
 *		the API, what identifies it, and what it looks like afterwards.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
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

static uint32 hash_key(const void *key, Size keysize);
static int	match_keys(const void *a, const void *b, Size keysize);


/*
 * PostgreSQL checks a view's WITH CHECK OPTION after a foreign table has the
 * row, row security and a partition's bounds not at all. None of that would
 * help: so all are checked here before the API is asked, on the row as sent.
 */
void
hallway_check_row(HallwayModifyState *state, EState *estate, ResultRelInfo *rinfo,
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
void
hallway_check_transition_tables(HallwayModifyState *state, CmdType operation)
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

/*
 * A column that the statement did not name is left out: to the API that is not
 * the same as NULL. It is there all the same if something gave it a value: a
 * default, a trigger, the row of another partition.
 */
List *
hallway_columns_to_insert(HallwayModifyState *state, TupleTableSlot *slot)
{
	TupleDesc	desc = RelationGetDescr(state->rel);
	List	   *columns = NIL;
	ListCell   *lc;

	slot_getallattrs(slot);
	for (AttrNumber attnum = 1; attnum <= desc->natts; attnum++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, attnum - 1);
		bool		isnull = slot->tts_isnull[attnum - 1];

		if (att->attisdropped || att->attgenerated)
			continue;
		if (isnull && (!bms_is_member(attnum, state->given) ||
					   bms_is_member(attnum, state->left_out)))
			continue;
		if (bms_is_member(attnum, state->read_only))
		{
			if (isnull)
				continue;
			hallway_refuse_read_only(state->rel, attnum);
		}
		columns = lappend_int(columns, attnum);
	}

	/* By them the row is to be found; NULL is not equal to anything. */
	foreach(lc, state->policy.upsert_key)
	{
		AttrNumber	attnum = lfirst_int(lc);

		if (list_member_int(columns, attnum) && !slot->tts_isnull[attnum - 1])
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("a row for foreign table \"%s\" has no value in column \"%s\"",
						RelationGetRelationName(state->rel),
						NameStr(TupleDescAttr(desc, attnum - 1)->attname)),
				 errdetail("The option upsert_key names the column, so rows are looked for by it."),
				 errtablecol(state->rel, attnum)));
	}
	return columns;
}

/*
 * The columns whose value differs from the one that was read. If that may have
 * been the cache, those in SET, too: the API has something else in them perhaps.
 */
List *
hallway_columns_to_update(HallwayModifyState *state, ResultRelInfo *rinfo,
						  TupleTableSlot *slot)
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
		if (!(state->stale_reads && bms_is_member(attnum, state->given)) &&
			slot->tts_isnull[i] == old->tts_isnull[i] &&
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

/* Adds the key, as it was read with the row, to the writer. */
void
hallway_encode_key(HallwayModifyState *state, HallwayRowWriter *writer,
				   TupleTableSlot *planSlot)
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
		hallway_writer_value(writer, att->atttypid, key, false);
	}
}

/*
 * Has this statement written the row already? As in a local table, only the
 * first of several rows that a join finds for it counts.
 */
bool
hallway_touched_before(HallwayModifyState *state, TupleTableSlot *planSlot)
{
	HallwayKey	key;
	HallwayKey *entry;
	bool		found;

	if (state->touched == NULL)
		state->touched = hallway_key_table(state->own);

	hallway_writer_reset(state->key_writer);
	hallway_writer_begin(state->key_writer, list_length(state->plan.keys));
	hallway_encode_key(state, state->key_writer, planSlot);
	hallway_writer_data(state->key_writer, &key.data, &key.len);

	entry = hash_search(state->touched, &key, HASH_ENTER, &found);
	if (!found)
	{
		uint8	   *copy = MemoryContextAlloc(state->own, key.len);

		memcpy(copy, key.data, key.len);
		entry->data = copy;
	}
	return found;
}

HTAB *
hallway_key_table(MemoryContext context)
{
	HASHCTL		ctl = {.keysize = sizeof(HallwayKey),.entrysize = sizeof(HallwayKey),
	.hash = hash_key,.match = match_keys,.hcxt = context};

	return hash_create("Hallway keys", 64, &ctl,
					   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

static uint32
hash_key(const void *key, Size keysize)
{
	const HallwayKey *k = key;

	return hash_bytes(k->data, (int) k->len);
}

static int
match_keys(const void *a, const void *b, Size keysize)
{
	const HallwayKey *x = a;
	const HallwayKey *y = b;

	return x->len == y->len && memcmp(x->data, y->data, x->len) == 0 ? 0 : 1;
}

/*
 * Makes the slot what the API says the row is now. Columns it was not asked
 * for stay as they were sent.
 */
void
hallway_take_answer(HallwayModifyState *state, EState *estate, ResultRelInfo *rinfo,
					CmdType operation, TupleTableSlot *slot)
{
	TupleDesc	desc = RelationGetDescr(state->rel);
	MemoryContext oldcontext;
	ListCell   *lc;
	HeapTuple	tuple;

	if (state->reader == NULL || TTS_EMPTY(state->answer))
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
