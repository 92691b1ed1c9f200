/*-------------------------------------------------------------------------
 *
 * analyze.c
 *		ANALYZE of a foreign table from a sample of its rows.
 *
 * What ANALYZE learns, everyone with SELECT on the table can read in pg_stats,
 * whether or not the API would show them those rows. So it runs only where the
 * server says that all users share one view of the data.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_inherits.h"
#include "commands/vacuum.h"
#include "executor/tuptable.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/sampling.h"

#include "compat.h"
#include "hallway.h"

static int	acquire_sample(Relation relation, int elevel, HeapTuple *rows, int targrows,
						   double *totalrows, double *totaldeadrows);
static bool shared_by_all(Relation relation);
static Hallway__V1__ScanRequest *sample_request(Relation relation, List *attnums, int targrows);


bool
hallwayAnalyzeForeignTable(Relation relation, AcquireSampleRowsFunc *func,
						   BlockNumber *totalpages)
{
	double		rows;

	if (!shared_by_all(relation))
	{
		/*
		 * As part of a larger table it is left out, so that the rest of that
		 * is analyzed; PostgreSQL would end the whole command at an ERROR.
		 */
		bool		child = relation->rd_rel->relispartition ||
			has_superclass(RelationGetRelid(relation));

		ereport(child ? WARNING : ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot analyze foreign table \"%s\"",
						RelationGetRelationName(relation)),
				 errdetail("Its statistics would show rows of the API to users whose own credentials may not see them."),
				 errhint("If all users may see the same rows, say so: ALTER SERVER ... OPTIONS (ADD cache_scope 'server').")));
		return false;
	}

	/* There are no pages; this is about what the rows would take here. */
	rows = hallway_relation(RelationGetRelid(relation), GetUserId())->description->rows;
	*totalpages = (BlockNumber) Min(1 + rows * 100 / BLCKSZ, (double) MaxBlockNumber);
	*func = acquire_sample;
	return true;
}

/*
 * Fills rows with up to targrows random ones of those that the sidecar sends,
 * in the order in which they came.
 */
static int
acquire_sample(Relation relation, int elevel, HeapTuple *rows, int targrows,
			   double *totalrows, double *totaldeadrows)
{
	TupleDesc	desc = RelationGetDescr(relation);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	ReservoirStateData reservoir;
	HallwayFetch *fetch;
	List	   *attnums = NIL;
	double		seen = 0;
	double		skip = -1;
	int			taken = 0;

	for (AttrNumber attnum = 1; attnum <= desc->natts; attnum++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, attnum - 1);

		/* Stored ones are computed as rows come; others have no statistics. */
		if (!att->attisdropped &&
			(!att->attgenerated || att->attgenerated == ATTRIBUTE_GENERATED_STORED))
			attnums = lappend_int(attnums, attnum);
	}

	reservoir_init_selection_state(&reservoir, targrows);
	fetch = hallway_fetch_open(relation, GetUserId(),
							   sample_request(relation, attnums, targrows), attnums);
	while (hallway_fetch_next(fetch, slot, true) == HALLWAY_FETCH_ROW)
	{
		int			place = -1;

		CHECK_FOR_INTERRUPTS();

		/* Algorithm R for the first rows, then Vitter's for the distance. */
		if (taken < targrows)
			place = taken++;
		else
		{
			if (skip < 0)
				skip = reservoir_get_next_S(&reservoir, seen, targrows);
			if (skip <= 0)
				place = (int) (targrows * sampler_random_fract(&reservoir.randstate));
			skip -= 1;
		}

		if (place >= 0)
		{
			if (seen >= targrows)
				heap_freetuple(rows[place]);
			rows[place] = ExecCopySlotHeapTuple(slot);
		}
		seen += 1;
	}

	/* A sample of a larger whole: the API may have said how large it is. */
	*totalrows = Max(seen, hallway_fetch_footer(fetch)->total_rows);
	*totaldeadrows = 0;
	hallway_fetch_close(fetch);
	ExecDropSingleTupleTableSlot(slot);

	ereport(elevel,
			(errmsg("\"%s\": foreign table has %.0f rows, of which %.0f were read; %d rows in sample",
					RelationGetRelationName(relation), *totalrows, seen, taken)));
	return taken;
}

/* Option cache_scope of the table, else of its server, is 'server'. */
static bool
shared_by_all(Relation relation)
{
	ForeignTable *table = GetForeignTable(RelationGetRelid(relation));
	const char *scope = hallway_option(table->options, "cache_scope");

	if (scope == NULL)
		scope = hallway_option(GetForeignServer(table->serverid)->options, "cache_scope");
	return scope != NULL && strcmp(scope, "server") == 0;
}

/* A scan of the columns without any condition, planned here and now. */
static Hallway__V1__ScanRequest *
sample_request(Relation relation, List *attnums, int targrows)
{
	HallwayRelation *hrel = hallway_relation(RelationGetRelid(relation), GetUserId());
	Hallway__V1__PlanRequest plan = HALLWAY__V1__PLAN_REQUEST__INIT;
	Hallway__V1__PlanResponse *answer;
	Hallway__V1__ScanRequest *request = palloc(sizeof(Hallway__V1__ScanRequest));
	Hallway__V1__Error *error = NULL;
	ListCell   *lc;

	plan.columns = palloc(sizeof(uint32) * Max(list_length(attnums), 1));
	foreach(lc, attnums)
	{
		if (!TupleDescAttr(RelationGetDescr(relation), lfirst_int(lc) - 1)->attgenerated)
			plan.columns[plan.n_columns++] = hrel->columns[lfirst_int(lc) - 1];
	}

	answer = (Hallway__V1__PlanResponse *)
		hallway_relation_call(hrel, "Plan", &plan.base, &plan.relation,
							  &hallway__v1__plan_response__descriptor, false, &error);
	if (answer == NULL)
		hallway_throw(error, relation);

	hallway__v1__scan_request__init(request);
	request->plan = answer->plan;
	request->sample_rows = targrows;
	return request;
}
